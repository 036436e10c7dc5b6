"""Following a folder: every photograph once, and not before it is completely written."""

import logging
import os
import shutil
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from anomaly_vae.errors import FolderError
from anomaly_vae.images.files import digest, stamp
from anomaly_vae.inspection import watching
from anomaly_vae.inspection.watching import Arrivals
from anomaly_vae.reporting.journal import Done
from anomaly_vae.workflows import moving
from anomaly_vae.workflows.moving import Mover

from .. import small
from ..conftest import Command


def test_images_come_when_they_are_complete_and_nothing_else_does(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "out").mkdir(parents=True)
    (folder / "there.png").write_bytes(b"1")
    complete: dict[str, bytes] = {}
    with Arrivals(folder, skip=folder / "out") as arrivals:

        def write() -> None:
            time.sleep(0.2)
            (folder / "sub").mkdir()
            (folder / "sub" / "moved.tmp").write_bytes(b"22")
            (folder / "sub" / "moved.tmp").rename(folder / "sub" / "moved.PNG")
            (folder / "note.txt").write_bytes(b"3")
            (folder / "out" / "own.png").write_bytes(b"4")
            with (folder / "slow.png").open("wb", buffering=0) as file:
                for _ in range(10):
                    file.write(b"5")
                    time.sleep(0.05)

        writer = threading.Thread(target=write)
        writer.start()
        for batch in arrivals.batches(idle=1.5):
            for path in batch:
                assert path not in complete
                complete[path] = (folder / path).read_bytes()
        writer.join()
    assert complete == {"there.png": b"1", "sub/moved.PNG": b"22", "slow.png": b"5" * 10}


def test_what_the_system_has_lost_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "known.png").write_bytes(b"1")
    with Arrivals(tmp_path) as arrivals:
        batches = arrivals.batches(idle=3)
        assert next(batches) == ["known.png"]
        arrivals.is_known = lambda path: path == "known.png"
        arrivals._observer.unschedule_all()  # nothing is told any more
        (tmp_path / "lost.png").write_bytes(b"2")
        logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed")
        assert next(batches) == ["lost.png"]
        arrivals.is_known = lambda path: path in ("known.png", "lost.png")
        monkeypatch.setattr(watching, "_LIST_AGAIN", 0.1)
        arrivals._lost.emit(logging.makeLogRecord({}))  # from here on it is listed again and again
        (tmp_path / "later.png").write_bytes(b"3")
        seen = next(batch for batch in batches if batch)
        assert seen == ["later.png"]


@pytest.mark.usefixtures("forbidden_b")
def test_a_folder_that_cannot_be_listed_is_said_and_no_pass(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(parts / "test" / "good", photos)
    (photos / "b").mkdir()
    arguments = ("watch", run / "model.onnx", photos, "--out", tmp_path / "out", "--idle", "0.1")
    outcome = command(*arguments)
    assert outcome.code == 1
    assert f"{photos / 'b'}: Permission denied" in outcome.err
    assert command(*arguments, "--exit-zero").code == 0


def test_a_full_target_is_said_and_what_was_judged_is_moved_later(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    photos, sorted_ = tmp_path / "photos", tmp_path / "sorted"
    photos.mkdir()
    shutil.copy(parts / "test" / "good" / "000.png", photos / "one.png")
    arguments = ("watch", run / "model.onnx", photos, "--out", tmp_path / "out", "--idle", "0.1",
                 "--move-to", sorted_, "--exit-zero")  # fmt: skip
    sorted_.write_bytes(b"in the way")
    outcome = command(*arguments)
    assert outcome.code == 0
    assert "photographs cannot be moved now (" in outcome.err
    assert "1 photographs are judged, but still in" in outcome.err
    sorted_.unlink()
    assert command(*arguments).code == 0
    assert [path.name for path in sorted_.rglob("*.png")] == ["one.png"]
    assert list(photos.iterdir()) == []
    assert len(table(tmp_path / "out")) == 1


def test_a_photograph_is_never_sorted_by_the_verdict_of_another(
    own_run: Path, parts: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, sorted_ = tmp_path / "photos", tmp_path / "sorted"
    photos.mkdir()
    verdicts = small.judged(own_run, sorted((parts / "test").rglob("*.png")))
    good, bad = (next(p for p, v in verdicts.items() if v == each) for each in ("pass", "fail"))
    shutil.copy(good, photos / "live.png")
    move = Mover.move

    def late(self: Mover, done: Done) -> None:
        if done.verdict == "pass":  # the camera writes the next one before the first is moved
            shutil.copy(bad, photos / "new.tmp")
            (photos / "new.tmp").replace(photos / "live.png")
        move(self, done)

    monkeypatch.setattr(Mover, "move", late)
    outcome = command("watch", own_run / "model.onnx", photos, "--out", tmp_path / "out", "--idle", "1",
                      "--move-to", sorted_)  # fmt: skip
    assert list(table(tmp_path / "out").verdict) == ["pass", "fail"], outcome.err
    moved = [path.relative_to(sorted_).as_posix() for path in sorted_.rglob("*.png")]
    assert moved == ["fail/live.png"]
    assert (sorted_ / "fail" / "live.png").read_bytes() == bad.read_bytes()


def test_a_missing_folder_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="missing: cannot be watched"):
        Arrivals(tmp_path / "missing")


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "images.csv", keep_default_na=False)


def test_photographs_are_inspected_and_moved_and_a_restart_goes_on(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    photos, out, sorted_ = tmp_path / "photos", tmp_path / "out", tmp_path / "sorted"
    shutil.copytree(parts / "test" / "good", photos)
    names = sorted(path.name for path in photos.iterdir())
    model, zero = run / "model.onnx", "--exit-zero"
    first = command("watch", model, photos, "--out", out, "--idle", "0.1", zero)
    assert first.code == 0, first.err
    assert sorted(table(out).path) == names
    shutil.copy(photos / names[0], photos / "new.png")
    moving = ("--idle", "0.1", "--move-to", sorted_, zero)
    second = command("watch", model, photos, "--out", out, *moving)
    assert second.code == 0, second.err
    assert sorted(table(out).path) == sorted([*names, "new.png"])
    assert [path.name for path in sorted_.rglob("*.png")] == ["new.png"]
    shutil.copy(photos / names[0], photos / "new.png")  # another photograph, under the same name
    os.utime(photos / "new.png", (1, 1))
    assert command("watch", model, photos, "--out", out, *moving).code == 0
    assert list(table(out).path).count("new.png") == 2
    assert sorted(path.name for path in sorted_.rglob("*.png")) == ["new-2.png", "new.png"]
    other = command("watch", model, photos, "--out", out, "--idle", "0.1", "--min-area", 5)
    assert other.code == 2
    assert "choose another --out, or give --overwrite" in other.err
    anew = command("watch", model, photos, "--out", out, "--idle", "0.1", "--min-area", 5,
                   "--overwrite", zero)  # fmt: skip
    assert anew.code == 0, anew.err
    assert sorted(table(out).path) == names


def test_what_can_never_be_read_is_an_error_in_the_end(
    run: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    monkeypatch.setattr("anomaly_vae.inspection.watching._UNFINISHED", 1.0)
    (photos / "torn.png").write_bytes(b"no image")
    out = tmp_path / "out"
    outcome = command("watch", run / "model.onnx", photos, "--out", out, "--idle", "0.1")
    assert outcome.code == 1, outcome.err
    assert list(table(out).verdict) == ["error"]
    assert "error   torn.png: not a " in outcome.out


def test_photographs_are_not_moved_into_the_watched_folder(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    photos = parts / "test"
    outcome = command(
        *("watch", run / "model.onnx", photos, "--out", tmp_path / "out"),
        *("--move-to", photos / "done"),
    )
    assert outcome.code == 2
    assert "lies in the watched folder" in outcome.err
    assert not (tmp_path / "out").exists()


def test_what_is_written_behind_a_link_is_seen(tmp_path: Path) -> None:
    inbox, camera = tmp_path / "inbox", tmp_path / "camera"
    for folder in (inbox, camera / "today"):
        folder.mkdir(parents=True)
    (inbox / "station").symlink_to(camera, target_is_directory=True)
    (camera / "a.png").write_bytes(b"1")
    with Arrivals(inbox) as arrivals:
        batches = arrivals.batches(idle=3)
        assert next(batches) == ["station/a.png"]
        for name in ("b.png", "today/c.png"):
            (camera / name).write_bytes(b"2")
            assert next(batches) == [f"station/{name}"]


@pytest.mark.parametrize("drives", [1, 2])
def test_what_is_written_in_the_very_moment_of_moving_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drives: int
) -> None:
    photos, target = tmp_path / "photos", tmp_path / "sorted"
    photos.mkdir()
    (photos / "live.png").write_bytes(b"judged")
    seen = stamp(photos / "live.png")
    assert seen
    seen = seen._replace(sha256=digest(photos / "live.png"))
    looked = moving._is_as_judged

    def late(path: Path, done: Done) -> bool:
        same = looked(path, done)
        (photos / "new.tmp").write_bytes(b"the next one")
        (photos / "new.tmp").replace(photos / "live.png")
        return same

    monkeypatch.setattr(moving, "_is_as_judged", late)
    monkeypatch.setattr(moving, "_drive", lambda place: drives > 1 and "sorted" in str(place))
    Mover(photos, target, lambda _: None).move(Done("p1", "live.png", seen, "pass", to_move=True))
    assert [path.read_bytes() for path in photos.iterdir()] == [b"the next one"]
    assert not [path for path in target.rglob("*") if path.is_file()]
