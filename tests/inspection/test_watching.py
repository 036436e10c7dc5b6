"""Following a folder: every photograph once, and not before it is completely written."""

import os
import shutil
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from anomaly_vae.errors import FolderError
from anomaly_vae.inspection.watching import Arrivals

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
    model = run / "model.onnx"
    first = command("watch", model, photos, "--out", out, "--idle", "0.1")
    assert first.code == 0, first.err
    assert sorted(table(out).path) == names
    shutil.copy(photos / names[0], photos / "new.png")
    moving = ("--idle", "0.1", "--move-to", sorted_)
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
                   "--overwrite")  # fmt: skip
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
    assert outcome.code == 0, outcome.err
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
