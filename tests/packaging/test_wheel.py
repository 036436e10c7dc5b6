"""The base wheel alone, in an environment of its own: what an inspection PC installs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from configs.deploy.wheels import build_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


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
def test_the_base_wheel_inspects_without_torch(
    wheel: Path, run: Path, parts: Path, tmp_path: Path
) -> None:
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


@pytest.mark.slow
def test_the_wheel_holds_the_program_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"anomaly_vae", "anomaly_vae_cli", "anomaly_vae_configs"}
    assert not [name for name in names if "deploy" in name]
