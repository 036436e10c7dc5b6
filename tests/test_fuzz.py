"""Damaged files: each gives a row or a line, never a traceback, a hang or a full memory."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of memory")

ROOT = Path(__file__).parents[1]
KINDS = ("image", "model.onnx", "config.yaml", "vae.safetensors", "checkpoint.safetensors",
         "card.json", "marks.csv", "journal.sqlite", "calibration.json", "training.json",
         "normals.csv")  # fmt: skip
IMAGES = {
    "grey.png": {}, "deep.png": {}, "colour.jpg": {"exif": True}, "progressive.jpg": {"progressive": True},
    "a.bmp": {}, "lzw.tif": {"compression": "tiff_lzw"}, "jpeg.tif": {"compression": "jpeg"},
    "deflate.tif": {"compression": "tiff_deflate"}, "a.webp": {}, "palette.png": {},
}  # fmt: skip


def draw_images(folder: Path) -> None:
    """Photographs of 80 x 60 pixels in all formats."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    colour = Image.fromarray(noise // 8 + np.arange(80, dtype=np.uint8)[:, None] * 2)
    kinds = {"grey.png": colour.convert("L"), "palette.png": colour.convert("P"),
             "deep.png": Image.fromarray(noise[..., 0].astype(np.uint16) * 200)}  # fmt: skip
    for name, how in IMAGES.items():
        options = dict(how)
        if options.pop("exif", False):
            exif = Image.Exif()
            exif[274], exif[271] = 6, "a camera"
            options["exif"] = exif
        stored = io.BytesIO()
        image = kinds.get(name, colour)
        image.save(stored, Image.registered_extensions()[Path(name).suffix], **options)
        (folder / name).write_bytes(stored.getvalue())


@pytest.fixture
def place(own_run: Path, parts: Path, tmp_path: Path, command: Command) -> Path:
    """One file of each kind, those of a run in a run."""
    import torch

    from anomaly_vae.calibration.metadata import card_to_json
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.training.checkpoint import Checkpoint
    from anomaly_vae.workflows.runs import load_detector, saved_config

    draw_images(tmp_path / "images")
    shutil.rmtree(own_run / "epochs")
    assert command("inspect", own_run / "model.onnx", parts / "test" / "good", "--exit-zero",
                   "--out", tmp_path / "out", "--heatmaps", "none").code == 0  # fmt: skip
    marks = "".join(f"images/{name},good\n" for name in IMAGES)
    (tmp_path / "marks.csv").write_text(f"path,mark\n{marks}")
    model = load_detector(own_run, saved_config(own_run)).model.state_dict()
    small = {name: value.flatten()[:5] for name, value in model.items()}
    Checkpoint(small, small, {}, torch.zeros(3), {"a": 1}, []).save(
        tmp_path / "checkpoint.safetensors"
    )
    (own_run / ".state").mkdir()
    card = Inspector(own_run / "model.onnx", device="cpu").card
    (own_run / ".state" / "card.json").write_text(card_to_json(card))
    return tmp_path


def fuzz(place: Path, seed: int, count: int, *kinds: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", str(place), str(seed), str(count), *kinds],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = (done.stdout.splitlines() or ["nothing"])[-1]
    assert done.returncode == 0, f"the last read was {last}\n{done.stderr[-4000:]}"


def test_a_few_mutants_of_everything(place: Path) -> None:
    fuzz(place, 0, 15, *KINDS)


@pytest.mark.slow
def test_many_mutants_of_everything(place: Path) -> None:
    fuzz(place, 1, 100, *KINDS)  # of 20 files
