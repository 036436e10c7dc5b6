"""Output folders and files: nothing of the user's is lost, nothing is half-written."""

import json
import os
from pathlib import Path

import pytest

from anomaly_vae.errors import OutputError
from anomaly_vae.outputs import prepare_folder, write_bytes, write_json, write_text

OWN = ("images.csv", "heatmaps", ".state")


def used(folder: Path) -> Path:
    """A folder with results of an earlier run, and something of the user's."""
    (folder / "heatmaps" / "sub").mkdir(parents=True)
    for name in ("images.csv", "heatmaps/sub/a.jpg", "notes.txt"):
        (folder / name).write_text(name)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_missing_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b" / "c", OWN)
    assert names(tmp_path) == ["a", "a/b", "a/b/c"]


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_an_empty_folder_is_accepted(tmp_path: Path, how: dict[str, bool]) -> None:
    prepare_folder(tmp_path, OWN, **how)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["notes.txt", "images.csv", ".hidden"])
def test_a_folder_that_is_not_empty_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(OutputError, match=r"is not empty; choose another --out, or .*--overwrite"):
        prepare_folder(tmp_path, OWN)
    assert names(tmp_path) == [name]


def test_overwriting_removes_own_results_and_nothing_else(tmp_path: Path) -> None:
    prepare_folder(used(tmp_path), OWN, overwrite=True)
    assert names(tmp_path) == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "notes.txt"


def test_resuming_removes_nothing(tmp_path: Path) -> None:
    before = names(used(tmp_path))
    prepare_folder(tmp_path, OWN, resume=True)
    assert names(tmp_path) == before


def test_overwriting_removes_a_link_but_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "heatmaps").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    prepare_folder(tmp_path / "out", OWN, overwrite=True)
    assert names(tmp_path) == ["elsewhere", "elsewhere/a.jpg", "out"]


def test_a_file_of_the_user_is_not_taken_for_the_probe(tmp_path: Path) -> None:
    (tmp_path / ".writable").write_text("mine")
    prepare_folder(tmp_path, OWN, resume=True)
    assert names(tmp_path) == [".writable"]


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_place_of_the_folder_is_refused(
    tmp_path: Path, place: str, how: dict[str, bool]
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"file.*: cannot be used for results .*another --out"):
        prepare_folder(tmp_path / place, OWN, **how)
    assert (tmp_path / "file").read_text() == "mine"


# --- files


def test_bytes_are_written_and_replaced(tmp_path: Path) -> None:
    for data in (b"first, and longer", b"second"):
        write_bytes(tmp_path / "a.bin", data)
        assert (tmp_path / "a.bin").read_bytes() == data
    assert names(tmp_path) == ["a.bin"]


def full_disk(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_the_old_file_stands_until_all_of_the_new_one_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match=r"a\.bin: cannot be written: No space left on device"):
        write_bytes(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError):
        write_bytes(tmp_path / "a.bin", b"new")
    assert names(tmp_path) == []


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OutputError, match=r"a\.bin: cannot be written"):
        write_bytes(tmp_path / "a.bin", b"new")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.bin: cannot be written: No such file"):
        write_bytes(tmp_path / "missing" / "a.bin", b"new")


def test_text_is_utf8_with_the_line_ends_given(tmp_path: Path) -> None:
    name = b"\xe9".decode("utf-8", "surrogateescape")
    write_text(tmp_path / "a.txt", f"ä\n{name}\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa4\n\xe9\r\n"


def test_json_reads_as_the_same(tmp_path: Path) -> None:
    data = {"a": [1, 2.5, None], "ä": {"b": True}}
    write_json(tmp_path / "a.json", data)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == data
    assert text.endswith("}\n")
