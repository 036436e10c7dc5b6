"""What several tests need: drawn parts, a quickly trained run, and the command line."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

# Each worker of pytest-xdist has a core; threads that wait for each other would share it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).parents[2] / "shared"


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line gave."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run ``anomaly-vae`` in this process, through what its entry point calls."""
    from anomaly_vae_cli import run

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


def shell(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``anomaly-vae`` as its users do, in a process of its own."""
    program = Path(sys.executable).with_name("anomaly-vae")
    return subprocess.run(
        [str(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"},
        check=False,
    )


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn parts of 64 x 64 pixels: 24 for training, 8 good and 10 defective for testing."""
    from anomaly_vae.images.samples import write_samples

    folder = tmp_path_factory.mktemp("parts")
    write_samples(folder, train=24, test_good=8, test_defective=10, size=64)
    return folder


@pytest.fixture(scope="session")
def more_good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 other good parts, which no model has learned from."""
    from anomaly_vae.images.samples import write_samples

    folder = tmp_path_factory.mktemp("more")
    write_samples(folder, train=24, test_good=0, test_defective=0, size=64, seed=9)
    return folder / "train" / "good"


# Without alignment: its unrolled steps are what takes the ONNX exporter most of its time. One
# training of a part of the images: workflows/test_folds.py has the others.
SHORT = ("--set", "images.size=64", "--set", "training.epochs=2", "--set", "features.align=false",
         "--set", "training.sensitivity=false")  # fmt: skip
RESNET = ("--features", "resnet18", "--weights")
QUICK = (*SHORT, "--set", "split.folds=1", "--set", "training.refit=false")


@pytest.fixture(scope="session")
def run(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a pixel model trained for two epochs; tests must not change it."""
    from anomaly_vae_cli import run as command_line

    out = tmp_path_factory.mktemp("runs") / "pixels"
    arguments = ["-q", "train", parts / "train" / "good", "--out", out, "--features", "pixels"]
    assert command_line([str(argument) for argument in (*arguments, *QUICK)]) == 0
    return out


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="session")
def trunk_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of an untrained model of trunk features: for what does not depend on more."""
    from safetensors.torch import save_file

    from anomaly_vae.scoring.factory import build_detector
    from anomaly_vae.settings.files import config_to_yaml, load_config

    out = tmp_path_factory.mktemp("trunk_run")
    settings = ("images.size=64", "model.latent_size=3", "model.hidden_size=256")
    config = load_config(None, ["features.source=resnet18", *settings])
    (out / "config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    save_file(build_detector(config).state_dict(), out / "vae.safetensors")
    return out


@pytest.fixture(scope="session")
def trunk_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 with random weights: what the code does does not depend on what they know."""
    import torch
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(resnet18(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def patch_run(parts: Path, trunk_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a model of features, trained in folds for two epochs."""
    from anomaly_vae_cli import run as command_line

    out = tmp_path_factory.mktemp("runs") / "patch"
    line = ["-q", "train", parts / "train" / "good", "--out", out, *RESNET, trunk_weights, *SHORT,
            "--set", "split.folds=2", "--set", "features.components=8",
            "--set", "model.hidden_size=16"]  # fmt: skip
    assert command_line([str(each) for each in line]) == 0
    return out


@pytest.fixture
def own_patch_run(patch_run: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(patch_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def bad(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten defective parts, in one folder."""
    folder = tmp_path_factory.mktemp("bad")
    for file in (parts / "test").rglob("*.png"):
        if file.parent.name != "good":
            shutil.copy(file, folder / f"{file.parent.name}-{file.name}")
    return folder


@pytest.fixture
def forbidden_b(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders called b cannot be listed (the tests may run as root, who may list all)."""
    from anomaly_vae.images import files as reading

    listed = reading._listed

    def forbidden(folder: Path) -> list[str]:
        if folder.name == "b":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(reading, "_listed", forbidden)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI only what needs the shared data, a GPU, a browser or C++ headers may be skipped."""
    report = yield
    if (
        report.skipped
        and os.environ.get("CI")
        and not re.search("shared|GPU|Chromium|headers", str(report.longrepr))
    ):
        report.outcome, report.longrepr = "failed", f"{item.name} was skipped: {report.longrepr}"
    return report
