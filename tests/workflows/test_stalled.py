"""A drive that stalls: it costs its own photographs a row, and nobody a Ctrl-C."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.errors import ConfigError, FolderError, OutputError
from anomaly_vae.images import ahead
from anomaly_vae.images.ahead import on_thread, patiently, read_ahead
from anomaly_vae.images.files import Stamp, stamp
from anomaly_vae.images.masks import read_roi
from anomaly_vae.inspection import watching
from anomaly_vae.inspection.watching import Arrivals
from anomaly_vae.reporting import results
from anomaly_vae.reporting.heatmaps import shown_photo
from anomaly_vae.reporting.results import Results
from anomaly_vae.training.dataset import read_images
from anomaly_vae.workflows import inspect as inspecting
from anomaly_vae.workflows import watch
from anomaly_vae.workflows.recorder import Recorder
from anomaly_vae.workflows.truth import read_truths

from ..conftest import Command
from .test_faults import BRIGHT, SETTINGS, Judge, Once, photograph

LONG = 30.0  # seconds after which a test gives up


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is a minute."""
    for function in (read_ahead, patiently):
        monkeypatch.setitem(function.__kwdefaults__, "patience", 0.3)


@pytest.fixture
def ever() -> Iterator[threading.Event]:
    """What a stalled drive waits for."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Photographs, and a pipe nobody writes into, which stalls whoever opens it."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "c.png"):
        photograph(photos / name, BRIGHT)
    os.mkfifo(photos / "b.png")
    yield photos
    os.close(os.open(photos / "b.png", os.O_RDWR | os.O_NONBLOCK))


def inspect(photos: Path, out: Path) -> list[dict[str, Any]]:
    from anomaly_vae.images.sources import images_below

    with Results(out, photos, {}) as results:
        recorder = Recorder(Judge(), photos, results, page=False)  # type: ignore[arg-type]
        inspecting.inspect_images(Judge(), images_below(photos), recorder)  # type: ignore[arg-type]
        return list(results.images())


@pytest.mark.usefixtures("hasty")
def test_a_stalled_look_at_a_file_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ever: threading.Event
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        photograph(photos / name, BRIGHT)

    def look(path: Path) -> Stamp | None:
        return ever.wait() and None if path.name == "b.png" else stamp(path)

    monkeypatch.setattr(inspecting, "stamp", look)
    rows = inspect(photos, tmp_path / "out")
    assert [(row["path"], row["verdict"]) for row in rows] == [
        ("a.png", "pass"), ("b.png", "pass"), ("c.png", "pass")
    ]  # fmt: skip


@pytest.mark.usefixtures("hasty")
def test_a_training_and_a_picture_do_not_wait_for_a_stalled_drive(folder: Path) -> None:
    images = read_images(folder, SETTINGS, workers=2)
    assert images.paths == ("a.png", "c.png")
    assert images.unreadable == (("b.png", "could not be read within 0.3 seconds"),)
    with pytest.raises(ahead.ImageReadError, match=r"could not be read within 0\.3 seconds"):
        shown_photo(folder / "b.png", SETTINGS)


@pytest.mark.usefixtures("hasty")
def test_masks_do_not_wait_for_a_stalled_drive(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (folder / "b.png").rename(tmp_path / "c" / "c_mask.png")
    classes = np.array(["good", "bad"])
    with pytest.raises(FolderError, match=r"c\.png: it or its mask could not be read within 0\.3"):
        read_truths(folder, ["a.png", "c.png"], classes, SETTINGS, tmp_path / "c")
    with pytest.raises(ConfigError, match=r"--roi .*c_mask\.png: could not be read within 0\.3"):
        read_roi(tmp_path / "c" / "c_mask.png")
    (tmp_path / "c" / "c_mask.png").rename(folder / "b.png")


@pytest.mark.usefixtures("hasty")
def test_without_an_answer_of_the_drive_nothing_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ever: threading.Event
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        photograph(photos / name, BRIGHT)
    rows, there = inspect(photos, out), set(out.rglob("*"))
    assert out / "summary.json" in there
    with monkeypatch.context() as patch:
        patch.setattr(results, "stamp", lambda _: ever.wait() and None)
        with pytest.raises(OutputError, match=r"\.png: could not .* nobody knows whether it has"):
            Results(out, photos, {}, resume=True)
    assert set(out.rglob("*")) == there
    with Results(out, photos, {}, resume=True) as opened:
        assert list(opened.images()) == rows


def interrupted(when: Callable[[], bool], release: Path) -> threading.Thread:
    """Press Ctrl-C once something is the case; let the drive go on where that does not help."""

    def press() -> None:
        end = time.monotonic() + LONG
        while not when() and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(LONG / 2)
        if not done.is_set():
            os.close(os.open(release, os.O_RDWR | os.O_NONBLOCK))

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" lets it be ignored
    done = threading.Event()
    thread = threading.Thread(target=press, daemon=True)
    thread.done = done  # type: ignore[attr-defined]
    thread.start()
    return thread


def test_ctrl_c_does_not_wait_for_a_stalled_drive(
    run: Path, folder: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out"
    rows = out / "images.csv"
    pressed = time.monotonic() + 2
    thread = interrupted(lambda: rows.exists() and time.monotonic() > pressed, folder / "b.png")
    outcome = command("inspect", run / "model.onnx", folder, "--out", out)
    assert thread.is_alive(), "it has waited until the drive went on"
    thread.done.set()  # type: ignore[attr-defined]
    assert outcome.code == 130
    assert "give --resume to go on" in outcome.err


@pytest.mark.usefixtures("hasty")
def test_a_watched_drive_that_stalls_is_said_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ever: threading.Event
) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    said: list[str] = []

    def look(path: Path) -> Stamp | None:
        ever.wait(LONG)
        return stamp(path)

    def warned(text: str) -> None:
        said.append(text)
        ever.set()  # it goes on

    monkeypatch.setattr(watching, "stamp", look)
    with Arrivals(tmp_path, warned=warned) as arrivals:
        assert next(arrivals.batches(idle=3)) == ["a.png"]
    assert len(said) == 1
    assert "its drive has not answered for" in said[0]


@pytest.mark.usefixtures("hasty")
def test_a_photograph_whose_moving_stalls_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ever: threading.Event
) -> None:
    inbox, target = tmp_path / "inbox", tmp_path / "sorted"
    inbox.mkdir()
    photograph(inbox / "a.png", BRIGHT)
    said, moved = list[str](), watch.Mover.move

    def move(self: Any, done: Any) -> None:
        if done.path == "a.png":
            ever.wait()
        moved(self, done)

    monkeypatch.setattr(watch.Mover, "move", move)
    monkeypatch.setattr(watch, "_PAUSE", 0.0)
    monkeypatch.setattr(watch, "_HANGING", 0.1)
    monkeypatch.setattr(watch, "_FAREWELL", 0.1)
    monkeypatch.setattr(watch.Watch._move_all, "__defaults__", (0.3,))
    with Results(tmp_path / "out", inbox, {}, renew=False, move=True) as results:
        judge = Judge()
        recorder = Recorder(judge, inbox, results, page=False)  # type: ignore[arg-type]
        watched = watch.Watch(
            judge, inbox, results, recorder,  # type: ignore[arg-type]
            move_to=target, told=lambda _: None, warned=said.append,
        )  # fmt: skip
        watched.follow(Once(inbox), None)  # type: ignore[arg-type]
        photograph(inbox / "b.png", BRIGHT)
        watched.follow(Once(inbox), None)  # type: ignore[arg-type]
        assert len(pd.read_csv(tmp_path / "out" / "images.csv")) == 2
        assert said == [
            f"photographs cannot be moved now ({inbox}: no answer); this is tried again"
        ]
        ever.set()
        watched.follow(Once(inbox), None)  # type: ignore[arg-type]
        watched.finish()
    assert {path.name for path in (target / "pass").iterdir()} == {"a.png", "b.png"}
    assert list(inbox.iterdir()) == []


def test_items_on_a_thread_come_in_order_and_so_does_an_error() -> None:
    def items() -> Iterator[int]:
        yield from range(100)
        raise ZeroDivisionError

    assert list(on_thread(iter(range(100)))) == list(range(100))
    taken = on_thread(items())
    assert next(taken) == 0
    with pytest.raises(ZeroDivisionError):
        list(taken)


def test_a_call_that_takes_too_long_is_given_up_or_waited_for(ever: threading.Event) -> None:
    with pytest.raises(ahead.ImageReadError, match=r"could not be read within 0\.1 seconds"):
        patiently(ever.wait, patience=0.1)
    assert patiently(ever.wait, patience=0.1, stalled=ever.set)

    def failing() -> None:
        raise TimeoutError("of the drive itself")

    with pytest.raises(TimeoutError, match="of the drive itself"):
        patiently(failing)
