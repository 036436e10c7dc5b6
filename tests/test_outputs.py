"""Output folders and files: nothing of the user's is lost, nothing is half-written."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from anomaly_vae import __version__
from anomaly_vae.errors import OutputError
from anomaly_vae.outputs import (
    MARKER,
    Made,
    make_folder,
    prepare_folder,
    write_bytes,
    write_json,
    write_text,
)

MADE = Made("inspect", ("images.csv", "heatmaps", ".state"))


def used(folder: Path) -> Path:
    """A folder with results of an earlier run, and something of the user's."""
    make_folder(folder, MADE)
    (folder / "heatmaps" / "sub").mkdir(parents=True)
    for name in ("images.csv", "heatmaps/sub/a.jpg", "notes.txt"):
        (folder / name).write_text(name)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def contents(folder: Path) -> dict[str, str]:
    return {
        name: (folder / name).read_text() for name in names(folder) if (folder / name).is_file()
    }


def test_a_missing_folder_is_made_with_its_parents_and_says_what_made_it(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b", MADE)
    assert names(tmp_path) == ["a", "a/b", f"a/b/{MARKER}"]
    assert json.loads((tmp_path / "a" / "b" / MARKER).read_text()) == {
        "made_by": "inspect", "version": __version__, "holds": "results",
        "own": [".state", "heatmaps", "images.csv"],
    }  # fmt: skip


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_an_empty_folder_is_accepted(tmp_path: Path, how: dict[str, bool]) -> None:
    prepare_folder(tmp_path, MADE, **how)
    assert names(tmp_path) == [MARKER]


@pytest.mark.parametrize("name", ["notes.txt", "images.csv", ".hidden"])
def test_a_folder_that_is_not_empty_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(OutputError, match=r"is not empty; choose another --out, or .*--overwrite"):
        prepare_folder(tmp_path, MADE)
    assert names(tmp_path) == [name]


def test_overwriting_removes_own_results_and_nothing_else(tmp_path: Path) -> None:
    prepare_folder(used(tmp_path), MADE, overwrite=True)
    assert names(tmp_path) == [MARKER, "notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "notes.txt"


def test_resuming_removes_nothing(tmp_path: Path) -> None:
    before = contents(used(tmp_path))
    prepare_folder(tmp_path, MADE, resume=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("how", ["overwrite", "resume"])
@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        (None, "holds heatmaps, images.csv, and nothing says that 'inspect' has made it"),
        ({"made_by": "train", "own": ["images.csv"]}, "was made by 'train', not 'inspect'"),
        ({"made_by": "inspect", "own": ["images.csv"]}, "holds heatmaps, and nothing says"),
        ("damaged", "holds heatmaps, images.csv, and nothing says"),
    ],
)
def test_what_nothing_says_is_ours_is_neither_replaced_nor_gone_on_with(
    tmp_path: Path, marker: object, expected: str, how: str
) -> None:
    (used(tmp_path) / MARKER).write_text(json.dumps(marker))
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=expected):
        prepare_folder(tmp_path, MADE, **{how: True})
    assert contents(tmp_path) == before


def test_results_of_an_earlier_version_are_known_by_their_content(tmp_path: Path) -> None:
    (used(tmp_path) / MARKER).unlink()
    made = replace(MADE, known=lambda folder: (folder / "heatmaps").is_dir())
    prepare_folder(tmp_path, made, overwrite=True)
    assert names(tmp_path) == [MARKER, "notes.txt"]


def test_a_folder_of_something_else_is_written_beside_but_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds nothing of 'inspect' to go on with; choose"):
        prepare_folder(tmp_path, MADE, resume=True)
    assert names(tmp_path) == ["notes.txt"]
    prepare_folder(tmp_path, MADE, overwrite=True)
    assert contents(tmp_path)["notes.txt"] == "mine"


def test_a_marker_cannot_name_what_lies_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    marker = {"made_by": "inspect", "own": ["../mine.txt", str(tmp_path / "mine.txt"), "..", ""]}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MARKER).write_text(json.dumps(marker))
    prepare_folder(tmp_path / "out", MADE, overwrite=True)
    assert names(tmp_path) == ["mine.txt", "out", f"out/{MARKER}"]


def test_going_on_and_beginning_anew_contradict_each_other(tmp_path: Path) -> None:
    before = contents(used(tmp_path))
    with pytest.raises(OutputError, match="--resume and --overwrite contradict each other"):
        prepare_folder(tmp_path, MADE, overwrite=True, resume=True)
    assert contents(tmp_path) == before


def test_overwriting_removes_a_link_but_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").touch()
    make_folder(tmp_path / "out", MADE)
    (tmp_path / "out" / "heatmaps").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    prepare_folder(tmp_path / "out", MADE, overwrite=True)
    assert names(tmp_path) == ["elsewhere", "elsewhere/a.jpg", "out", f"out/{MARKER}"]


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_place_of_the_folder_is_refused(
    tmp_path: Path, place: str, how: dict[str, bool]
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"file.*: cannot be used for results .*another --out"):
        prepare_folder(tmp_path / place, MADE, **how)
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
