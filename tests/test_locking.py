"""A folder of results has one writer at a time."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomaly_vae.errors import OutputError
from anomaly_vae.locking import lock_folder

from .conftest import Command

HOLDER = "import sys; from pathlib import Path; from anomaly_vae.locking import lock_folder; " \
    "lock = lock_folder(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"  # fmt: skip


_begun: list["Other"] = []


@pytest.fixture(autouse=True)
def _nobody_left() -> Iterator[None]:
    yield
    while _begun:
        _begun.pop().kill()


class Other:
    """Another program, which locks a folder until ``end``, if it can."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdout
        _begun.append(self)
        self.has_it = self._process.stdout.readline() == b"\n"

    def end(self) -> None:
        self._process.communicate()

    def kill(self) -> None:
        self._process.kill()
        with self._process:  # waits, and closes what is open
            pass


def is_free(folder: Path) -> bool:
    other = Other(folder)
    other.end()
    return other.has_it


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def locked(own_run: Path) -> Iterator[Path]:
    other = Other(own_run)
    yield own_run
    other.end()


def test_a_folder_is_free_again_when_its_writer_ends_however_that_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    other = Other(folder)
    with pytest.raises(OutputError, match="run: another program is writing into it; wait for it"):
        lock_folder(folder)
    other.kill()
    lock = lock_folder(folder)
    lock_folder(folder).release()  # the same program may lock it twice
    assert not is_free(folder)
    del lock
    assert is_free(folder)


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(
        OutputError, match="run: cannot be used for results: cannot be locked for writing"
    ):
        lock_folder(tmp_path / "run")


@pytest.mark.parametrize(
    "line",
    [
        "train {good} --out {run} --overwrite --features pixels",
        "calibrate {run} --good {other}",
        "calibrate {run} --good {other} --defective {bad} --fit-kl-weight",
        "export {run} --out {run}/model.onnx --overwrite",
    ],
)
def test_what_writes_into_a_run_does_not_meanwhile(
    line: str, locked: Path, parts: Path, command: Command
) -> None:
    before = contents(locked)
    test = parts / "test"
    words = line.format(run=locked, good=parts / "train" / "good", other=test / "good",
                        bad=test / "scratch")  # fmt: skip
    outcome = command(*words.split())
    assert outcome.code == 2
    assert "another program is writing into it; wait for it" in outcome.err
    assert outcome.err.count("\n") == 1
    assert contents(locked) == before


def test_a_training_locks_its_run_as_long_as_it_lasts(parts: Path, tmp_path: Path) -> None:
    from anomaly_vae.settings.files import load_config
    from anomaly_vae.workflows.train import TrainingSession

    config = load_config(None, ["features.source=pixels", "images.size=64", "training.epochs=1"])
    session = TrainingSession(parts / "train" / "good", tmp_path / "run", config, device="cpu")
    assert not is_free(tmp_path / "run")
    del session
    assert is_free(tmp_path / "run")
