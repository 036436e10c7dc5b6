"""Several files replaced as one: whatever fails, and wherever, all of them are old, or new."""

import shutil
from pathlib import Path

import pytest

from anomaly_vae.errors import OutputError
from anomaly_vae.outputs import LOCK, write_text
from anomaly_vae.transaction import Transaction, complete

from .faults import Faults, failing, survive

OLD = {"a.txt": "old", "b.txt": "old", "gone.txt": "old", "sub/one.txt": "old", "mine.txt": "mine"}
NEW = {"a.txt": "new", "c.txt": "new", "b.txt": "old", "sub/two.txt": "new", "mine.txt": "mine"}


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK
    }


def begin(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "sub").mkdir(parents=True)
    for name, text in OLD.items():
        (folder / name).write_text(text)


def replace(folder: Path) -> None:
    with Transaction(folder) as files:
        for name in ("a.txt", "c.txt"):
            write_text(files.path(name), "new")
        files.path("sub").mkdir()
        write_text(files.path("sub") / "two.txt", "new")
        files.remove(["gone.txt", "a.txt", "never.txt"])
        assert files.current("a.txt").read_text() == "new"
        assert files.current("b.txt").read_text() == "old"
        assert not files.current("gone.txt").exists()
        files.commit()


def test_files_take_their_places_together(tmp_path: Path) -> None:
    begin(tmp_path)
    replace(tmp_path)
    assert contents(tmp_path) == NEW
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        LOCK, "a.txt", "b.txt", "c.txt", "mine.txt", "sub"
    ]  # fmt: skip


def test_what_is_not_committed_is_forgotten(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(ZeroDivisionError), Transaction(tmp_path) as files:
        write_text(files.path("a.txt"), "new")
        raise ZeroDivisionError
    assert contents(tmp_path) == OLD


def test_files_that_lie_in_a_folder_are_kept_until_they_are_committed(tmp_path: Path) -> None:
    begin(tmp_path)
    built = tmp_path / "work" / "new"
    built.mkdir(parents=True)
    (built / "a.txt").write_text("new")
    (built / "scratch.txt").write_text("for nobody")
    with Transaction(tmp_path, built):
        pass
    with Transaction(tmp_path, built) as files:
        files.commit(["a.txt", "missing.txt"])
    assert contents(tmp_path) == OLD | {"a.txt": "new"}


def test_a_fault_anywhere_leaves_all_old_or_all_new(tmp_path: Path) -> None:
    folder, ends = tmp_path / "run", set()

    def check(said: str) -> None:
        complete(folder)  # as whoever opens the folder next does
        found = contents(folder)
        found = {name: text for name, text in found.items() if not name.startswith(".staged/")}
        assert found in (OLD, NEW), said
        ends.add(found == NEW)
        replace(folder)
        assert contents(folder) == NEW, said

    points = survive(folder, lambda: begin(folder), lambda: replace(folder), check)
    assert ends == {True, False}
    assert len(points) >= 40


def test_a_folder_that_is_full_says_so_and_stays_as_it_is(tmp_path: Path) -> None:
    begin(tmp_path)
    with failing(Faults(tmp_path, 3, "full")), pytest.raises(OutputError, match="No space left"):
        replace(tmp_path)
    assert contents(tmp_path) == OLD
