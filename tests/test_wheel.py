"""The base wheel alone, in an environment of its own: what an inspection PC installs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def call(*arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_base_wheel_inspects_without_torch(run: Path, parts: Path, tmp_path: Path) -> None:
    call(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT, cwd=tmp_path
    )
    (wheel,) = tmp_path.glob("anomaly_vae-*.whl")
    call(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    programs = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    call(programs / "python", "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    program = programs / "anomaly-vae"
    out = call(program, "inspect", run / "model.onnx", parts / "test", "--out", "o", cwd=tmp_path)
    assert "18 images" in out
    assert (tmp_path / "o" / "images.csv").exists()
    assert "not possible: torch" in call(program, "doctor", cwd=tmp_path)
    assert "latent_size" in call(program, "config", "show", cwd=tmp_path)
    done = subprocess.run(
        [str(program), "train", str(parts / "train" / "good"), "--out", "r"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "anomaly-vae[train]" in done.stderr
