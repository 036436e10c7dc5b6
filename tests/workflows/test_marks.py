"""Marks of people, as spreadsheets save them, of photographs that may be others by now."""

import hashlib
from pathlib import Path

import pytest

from anomaly_vae.errors import FolderError
from anomaly_vae.workflows.marks import read_marks


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/ü.png"):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8-sig", "utf-16"])
def test_a_german_spreadsheet_may_have_saved_them(
    photos: Path, tmp_path: Path, encoding: str
) -> None:
    table = tmp_path / "marks.csv"
    text = "Path;Mark;Score\r\na.png;Good ;1,5\r\nsub\\ü.png;DEFECT;9,25\r\n"
    table.write_bytes(text.encode(encoding))
    good, defective = read_marks(table, photos)
    assert defective
    assert (good.paths, defective.paths) == (("a.png",), ("sub/ü.png",))


def test_marks_of_another_photograph_of_that_name_are_refused(photos: Path, tmp_path: Path) -> None:
    table, sha256 = tmp_path / "marks.csv", hashlib.sha256(b"a.png").hexdigest()
    table.write_text(f"path,mark,id,sha256\na.png,good,p1,{sha256}\n")
    assert read_marks(table, photos)[0].paths == ("a.png",)
    (photos / "a.png").write_bytes(b"another one")
    with pytest.raises(
        FolderError, match=r"a\.png: is not the photograph that was marked \(row p1"
    ):
        read_marks(table, photos)


def test_an_image_is_either_good_or_defective(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "marks.csv"
    table.write_text("path,mark\na.png,good\na.png,defect\n")
    with pytest.raises(FolderError, match="marked both good and defect"):
        read_marks(table, photos)
