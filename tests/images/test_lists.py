"""Lists of photographs: what they may look like, what is said of them, and what is refused."""

import codecs
import csv
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from anomaly_vae.errors import FolderError
from anomaly_vae.images.sources import images_at

from ..conftest import Command

NAMES = ["b c.png", "sub/ü.png", "a.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


def table(paths: list[str], delimiter: str = ",") -> str:
    return "\r\n".join(f'7{delimiter}"{path}"' for path in paths) + "\r\n"


def write_parquet(file: Path, paths: list[str | None], column: str = "path") -> None:
    parquet.write_table(pyarrow.table({"lot": range(len(paths)), column: paths}), file)


@pytest.mark.parametrize(("name", "write"), [
    ("list.txt", lambda file: file.write_text("\n".join(NAMES), "utf-8")),
    ("list.TXT", lambda file: file.write_bytes(codecs.BOM_UTF8 + "\r\n".join(NAMES).encode())),
    ("list.csv", lambda file: file.write_text(f"lot,path\r\n{table(NAMES)}", "utf-8")),
    ("list.csv", lambda file: file.write_text(f"Lot; Path\r\n{table(NAMES, ';')}", "utf-16")),
    ("list.parquet", lambda file: write_parquet(file, [*NAMES])),
])  # fmt: skip
def test_a_text_or_a_table_names_photographs_relative_to_its_folder(
    folder: Path, name: str, write: Callable[[Path], object]
) -> None:
    write(folder / name)
    source = images_at([folder / name])
    assert (list(source.paths), source.folder, source.notes) == (NAMES, folder, [])


def test_what_is_named_again_or_not_at_all_is_said(folder: Path) -> None:
    there = folder / "a.png"
    file = folder / "list.parquet"
    write_parquet(file, ["a.png", "./a.png", None, "gone.png", str(there), "sub\\ü.png", "a.png"])
    source = images_at([file])
    assert list(source.paths) == ["a.png", "gone.png", there.as_posix(), "sub/ü.png"]
    assert source.notes == [
        f"{file}: 2 rows name a photograph again, first a.png: left out",
        f"{file}: 1 rows have no path: left out",
    ]


@pytest.mark.parametrize(("name", "data", "said"), [
    ("l.csv", b"file\na.png\n", "has no column 'path'"),
    ("l.csv", b"", "has no column 'path'"),
    ("l.csv", b"path\n\n", "names no photographs; expected"),
    ("l.txt", b"\n", "names no photographs; expected"),
    ("l.txt", b"x/a.png\nx/b.png", "none of its first 2 photographs is there, such as .*x/a.png;"),
    ("l.txt", b"https://example.org/a.png", "cannot be reached; expected s3://"),
    ("l.txt", b"s3://user:password@bucket/a.png", "holds credentials"),
    ("l.parquet", b"path", "cannot be read as Parquet"),
])  # fmt: skip
def test_what_is_no_list_is_refused(folder: Path, name: str, data: bytes, said: str) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(FolderError, match=said):
        images_at([folder / name])


def test_a_column_of_something_else_is_refused(folder: Path) -> None:
    parquet.write_table(pyarrow.table({"path": [["a.png"], ["b.png"]]}), folder / "l.parquet")
    with pytest.raises(FolderError, match="cannot be read as Parquet: Unsupported cast"):
        images_at([folder / "l.parquet"])


def test_a_list_stands_alone(folder: Path) -> None:
    (folder / "l.txt").write_text("a.png")
    with pytest.raises(FolderError, match=r"l\.txt: stands beside other places"):
        images_at([folder / "a.png", folder / "l.txt"])


def test_what_a_list_names_is_inspected_and_gone_on_with(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    photos, out = parts / "test", tmp_path / "out"
    whole = str(photos / "good" / "000.png")
    near = Path(os.path.relpath(photos / "dent" / "000.png", tmp_path)).as_posix()
    file = tmp_path / "list.csv"
    file.write_text(f"path\n{whole}\n{near}\n{whole}\ngone.png\n")
    line = ("inspect", run / "model.onnx", file, "--out", out, "--exit-zero")
    told = command(*line)
    assert told.code == 0
    assert told.err == f"warning: {file}: 1 rows name a photograph again, first {whole}: left out\n"
    file.write_text(file.read_text() + str(photos / "good" / "001.png"))
    assert "3 images were done before" in command(*line, "--resume").out
    with (out / "images.csv").open(newline="") as rows:
        found = {row["path"]: row for row in csv.DictReader(rows)}
    assert set(found) == {whole, near, "gone.png", str(photos / "good" / "001.png")}
    assert found[near]["verdict"] == "fail"
    assert found["gone.png"]["error"] == "the file no longer exists"
    assert (out / "heatmaps" / near.replace("..", "up")).with_suffix(".png.jpg").is_file()
