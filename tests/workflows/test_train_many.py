"""A model for each part number, as if each had been trained alone."""

import shutil
import time
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from anomaly_vae.errors import ConfigError, FolderError

from ..conftest import QUICK, Command


@pytest.fixture
def folder(parts: Path, tmp_path: Path) -> Path:
    """Photographs of a part, of one without any, and one that lies beside them."""
    folder = tmp_path / "parts"
    shutil.copytree(parts / "train", folder / "4711" / "train")
    (folder / "empty").mkdir()
    shutil.copy(parts / "train" / "good" / "000.png", folder / "loose.png")
    return folder


@pytest.mark.slow
def test_each_model_is_the_one_trained_alone_and_none_is_trained_twice(
    run: Path, folder: Path, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    line = ("train-many", folder, "--out", out, "--features", "pixels", *QUICK, "--workers", 2)
    told = command(*line)
    assert (told.code, told.err.count("\n")) == (1, 2)
    assert "1 photographs lie in" in told.err
    assert "empty gave no model" in told.err
    table = pd.read_csv(out / "parts.csv", index_col="part", dtype={"part": str})
    assert list(table.status) == ["ok", "error"]
    assert "holds no images" in table.error["empty"]
    normals = pd.read_csv(run / "normals.csv").query("part == 'calibration'")
    assert table.held_out_highest["4711"] == pytest.approx(normals.score.max())
    assert table.images["4711"] == 24
    weights = "vae.safetensors"
    assert (out / "4711" / weights).read_bytes() == (run / weights).read_bytes()

    model = out / "4711" / "model.onnx"
    made = model.stat().st_mtime_ns
    shutil.copytree(folder / "4711", folder / "empty", dirs_exist_ok=True)
    told = command("train-many", folder, "--out", out, "--workers", 2, "--resume")
    assert told.code == 0
    assert "4711: 24 good images" in told.out
    assert "done before" in told.out
    assert model.stat().st_mtime_ns == made
    assert (out / "empty" / weights).read_bytes() == (run / weights).read_bytes()


@pytest.mark.slow
def test_a_process_that_dies_is_told_of_its_part(folder: Path, tmp_path: Path) -> None:
    from anomaly_vae.workflows.train_many import Many, _alone

    many = Many(folder, tmp_path / "runs", None)
    running = {}

    def kill() -> None:
        while "4711" not in running or not running["4711"].pid:
            time.sleep(0.01)
        running["4711"].kill()

    Thread(target=kill).start()
    assert _alone(many.parts[0], many._asked, 1, running) == "its process died (-9)"
    assert not running


def test_what_it_was_begun_with_must_be_known(folder: Path, tmp_path: Path) -> None:
    from anomaly_vae.workflows.train_many import Many

    Many(folder, tmp_path / "runs", None)
    (tmp_path / "runs" / "asked.json").write_text("{")
    with pytest.raises(ConfigError, match=r"asked\.json: missing or damaged"):
        Many(folder, tmp_path / "runs", None, resume=True)


def test_an_interruption_ends_a_process_that_was_about_to_start(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomaly_vae.workflows import train_many

    many = train_many.Many(folder, tmp_path / "runs", None)
    begun, ended, process = Event(), Event(), SimpleNamespace(pid=None)
    process.terminate = ended.set

    def alone(part: Any, _asked: Any, _cores: int, running: dict[str, Any]) -> str:
        if part.name == "4711":
            assert begun.wait(30)
            return ""
        running[part.name] = process
        begun.set()
        time.sleep(0.3)
        process.pid = 1
        assert ended.wait(30)
        return "ended"

    monkeypatch.setattr(train_many, "_alone", alone)
    rows = many._here(many.parts, 2)
    assert next(rows)[0].name == "4711"
    with pytest.raises(KeyboardInterrupt):
        rows.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert ended.is_set()


def test_what_cannot_be_gone_on_with_is_refused(folder: Path, tmp_path: Path) -> None:
    from anomaly_vae.settings.files import load_config
    from anomaly_vae.workflows.train_many import Many

    out = tmp_path / "runs"
    assert [part.name for part in Many(folder, out, None).parts] == ["4711", "empty"]
    assert Many(folder, out, None, resume=True).notes
    with pytest.raises(ConfigError, match="other settings"):
        Many(folder, out, load_config(None, ["training.epochs=3"]), resume=True)
    begun = tmp_path / "begun"
    Many(folder, begun, None, weights=Path("trunk.safetensors"))
    assert Many(folder, begun, None, resume=True).weights == Path("trunk.safetensors").absolute()
    with pytest.raises(ConfigError, match=r"other\.pth: .* was begun with .*trunk\.safetensors;"):
        Many(folder, begun, None, weights=Path("other.pth"), resume=True)
    with pytest.raises(ConfigError, match="was begun with none"):
        Many(folder, out, None, weights=Path("other.pth"), resume=True)
    (tmp_path / "none").mkdir()
    with pytest.raises(FolderError, match="one for each part"):
        Many(tmp_path / "none", out, None)
