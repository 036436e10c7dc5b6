"""Which images are inspected: files, folders, and lists as editors and shells write them."""

import codecs
from pathlib import Path

import pytest

from anomaly_vae.errors import FolderError
from anomaly_vae.images.sources import images_at, images_named

LIST = "a.png\r\n\r\n\"b c.png\"\r\nsub\\ü.png\r\n'd.png';\r\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "b c.png", "sub/ü.png", "d.png"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("data", [
    LIST.encode(),
    LIST.replace("\r", "").encode(),
    codecs.BOM_UTF8 + LIST.encode(),
    LIST.encode("utf-16"),
    codecs.BOM_UTF16_BE + LIST.encode("utf-16-be"),
    LIST.encode("utf-16-le"),
])  # fmt: skip
@pytest.mark.usefixtures("here")
def test_a_list_may_be_written_by_any_editor(data: bytes) -> None:
    names = ["a.png", "b c.png", "sub/ü.png", "d.png"]
    assert list(images_named(data.splitlines(keepends=True)).paths) == names


def test_a_name_that_looks_odd_is_that_of_the_file_there_is(here: Path) -> None:
    odd = ['"q".png"', "back\\slash.png", "end;", "caf\udce9.png"]
    for name in odd:
        (here / name).touch()
    lines = [f"{name}\n".encode("utf-8", "surrogateescape") for name in odd]
    assert list(images_named(lines).paths) == odd


@pytest.mark.parametrize("data", [b"", b"\r\n \n", codecs.BOM_UTF8])
def test_a_list_of_nothing_is_a_mistake(data: bytes) -> None:
    with pytest.raises(FolderError, match="names no images; expected a path on each line"):
        images_named([data])


@pytest.mark.usefixtures("here")
def test_files_and_folders_are_taken_in_their_order() -> None:
    source = images_at([Path("d.png"), Path("sub"), Path("a.png")])
    assert list(source.paths) == ["d.png", "sub/ü.png", "a.png"]
    assert images_at([Path("d.png")]).total() == 1  # type: ignore[operator]
    assert list(images_at([Path("sub")]).paths) == ["ü.png"]
    with pytest.raises(FolderError, match=r"gone\.png: is not there"):
        images_at([Path("d.png"), Path("gone.png")])
