"""What the documentation shows runs: commands, Python and settings."""

import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import anomaly_vae

from ..conftest import Command
from .pages import GUIDE, OURS, PAGES, PYTHON, blocks


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of small images suffice to see that a command runs."""
    from anomaly_vae.settings import files

    checked = files.config_from_dict

    def lowered(data: dict[str, Any], *, origin: str) -> Any:
        small = {"training": {"epochs": 2, "sensitivity": False}, "images": {"size": 64}}
        return checked(files._merged(data, small), origin=origin)

    monkeypatch.setattr(files, "config_from_dict", lowered)


@pytest.fixture
def photos(
    parts: Path,
    trunk_weights: Path,
    short: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The folder that the pages speak of; tests work in it."""
    from safetensors.torch import load_file
    from torch import save

    shutil.copytree(parts / "train" / "good", tmp_path / "photos" / "good")
    shutil.copytree(parts / "test", tmp_path / "photos" / "test")
    shutil.copytree(parts / "ground_truth", tmp_path / "photos" / "ground_truth")
    shutil.copytree(parts / "test" / "good", tmp_path / "photos" / "more-good")
    defects = [each for each in (parts / "test").rglob("*.png") if each.parent.name != "good"]
    (tmp_path / "photos" / "defective").mkdir()
    for path in defects:
        shutil.copy(path, tmp_path / "photos" / "defective" / f"{path.parent.name}-{path.name}")
    for kind, level in (("black", 0), ("white", 255)):
        (tmp_path / "photos" / "kinds" / kind).mkdir(parents=True)
        for path in sorted((parts / "train" / "good").iterdir())[:6]:
            spoilt = Image.open(path)
            spoilt.paste((level,) * 3, (8, 8, 56, 56))
            spoilt.save(tmp_path / "photos" / "kinds" / kind / path.name)
    (tmp_path / "photos" / "monday").mkdir()
    for path in (parts / "test" / "good").iterdir():
        darker = Image.open(path).point(lambda level: level * 0.8)
        darker.save(tmp_path / "photos" / "monday" / path.name)
    (tmp_path / "suspicious.csv").write_text("path,exclude,score\n000.png,x,9\n001.png,,1\n")
    today = tmp_path / "photos" / "today"
    shutil.copytree(parts / "test" / "scratch", today)
    shutil.copytree(parts / "test" / "good", today / "good")
    for path in defects:
        if path.parent.name != "scratch":
            shutil.copy(path, today / f"{path.parent.name}-{path.name}")
    marks = [(path.relative_to(today).as_posix(), "good" if path.parent != today else "defect")
             for path in sorted(today.rglob("*.png"))]  # fmt: skip
    (tmp_path / "marks.csv").write_text("\n".join(map(",".join, [("path", "mark"), *marks])))
    save(load_file(trunk_weights), tmp_path / "resnet18.pth")
    mask = Image.new("1", (200, 200))
    mask.paste(1, (20, 20, 180, 180))
    mask.save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_quick(line: str) -> bool:
    """Whether a command neither trains nor exports, nor needs what another one than the first does."""
    _, name, *others = shlex.split(line)
    of_run = not {"run", "run/model.onnx"}.isdisjoint(others)
    return name in ("config", "doctor", "plan") or (
        of_run and name in ("calibrate", "evaluate", "info", "inspect")
    )


def run_lines(lines: list[str], command: Command) -> None:
    for line in lines:
        words = shlex.split(line)
        outcome = command(*words[1:])
        assert outcome.code in ((0, 1) if words[1] in ("inspect", "watch") else (0,)), (
            line,
            outcome.err,
        )


def test_the_first_commands_run_and_their_files_are_explained(
    photos: Path, command: Command
) -> None:
    first = next(line for line in OURS if " train " in line)
    lines = [line for line in OURS if line == first or is_quick(line)]
    assert len(lines) >= 18
    run_lines(lines, command)
    explained = PAGES[GUIDE / "files.md"]
    for folder in ("run", "report", "evaluation"):
        for file in (photos / folder).iterdir():
            assert re.search(rf"`{re.escape(file.name)}[`/]", explained), file


@pytest.mark.slow
def test_all_commands_run_in_their_order(photos: Path, command: Command) -> None:
    assert len(OURS) >= 38
    run_lines(OURS, command)
    assert (photos / "demo" / "inspection" / "report.html").exists()


class Camera:
    """Stands for the camera of OpenCV: two photographs, and no more."""

    def __init__(self, number: int) -> None:
        assert number == 0
        self.left = 2

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        if self.left < 0:
            return False, None
        return True, np.full((48, 64, 3), 90, dtype=np.uint8)

    def release(self) -> None:
        self.left = 0


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("cv2")
    module.VideoCapture = Camera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv2", module)


def run_python(wanted: list[str]) -> None:
    names: dict[str, Any] = {}
    for block in wanted:
        exec(compile(block, "a python block of the documentation", "exec"), names)


def test_the_python_blocks_run_in_their_order(
    photos: Path, run: Path, opencv: None, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, photos / "run")
    anomaly_vae.export("run", "press-7-any.onnx", any_size=True)
    shutil.make_archive("shards/000", "tar", "photos", "today")
    lines = [block for block in PYTHON if "train(" not in block]
    assert len(lines) >= 5
    run_python(lines)
    said = capsys.readouterr().out
    assert "000.png" in said
    assert "missing.onnx" in said
    found = Path("shards/000.csv").read_text()
    assert found.count("\n") == 19
    assert found.count("today/good/000.png,") == 1


@pytest.mark.slow
def test_the_python_block_that_trains_runs(photos: Path) -> None:
    (block,) = [block for block in PYTHON if "train(" in block]
    run_python([block])
    assert (photos / "press.onnx").exists()


def test_the_yaml_blocks_are_settings(tmp_path: Path) -> None:
    from anomaly_vae.settings.files import load_config

    for number, block in enumerate(blocks("yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block, encoding="utf-8")
        load_config(file)
