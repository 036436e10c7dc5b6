"""Measures what ``train --augment-with-samples`` gives, and fills ``augmentation.md``.

    python reports/augmentation.py DATA [DATA ...]

Each DATA is a folder in the layout of MVTec AD. Of its good images 20 and 50 are chosen by seed.
Scores are computed by torch, as the exported model gives them: exporting takes longer than
training here.
"""

import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import typer
from sklearn.metrics import roc_auc_score
from tables import markdown, replace_tables

from anomaly_vae.scoring.batches import parts_of_images, score_images
from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import ImageSet, read_images
from anomaly_vae.training.split import CALIBRATION, STOPPING
from anomaly_vae.workflows.train import TrainingSession

COUNTS, SAMPLES, SEEDS = (20, 50), (0, 200), (0, 1, 2)


def main(data: list[Path]) -> None:
    """Measure, and write the table."""
    head = ["", "good images", *(f"AUROC, {count} samples" for count in SAMPLES), "difference"]
    rows = []
    for folder in data:
        test = read_images(folder / "test", settings().images, workers=1)
        for count in COUNTS:
            found = [[auroc(folder, test, count, n, seed) for n in SAMPLES] for seed in SEEDS]
            without, augmented = zip(*found, strict=True)
            gains = [b - a for a, b in found]
            figures = [spread(values) for values in (without, augmented, gains)]
            rows.append([f"`{folder.name}`", str(count), *figures])
            typer.echo(" | ".join(rows[-1]))
    report = Path(__file__).with_name("augmentation.md")
    report.write_text(replace_tables(report.read_text(), {"results": markdown(head, rows)}))


def settings(samples: int = 0, seed: int = 0) -> Config:
    """Give the settings of pixels, at a quarter of their number, so that it takes minutes."""
    given = {"images.size": 64, "training.samples": samples, "training.seed": seed}
    lines = [f"{key}={value}" for key, value in given.items()]
    return load_config(None, ["features.source=pixels", "training.pictures=false", *lines])


def auroc(data: Path, test: ImageSet, count: int, samples: int, seed: int) -> float:
    """Train on some of the good images, chosen by ``seed``, and judge all test images."""
    good = sorted((data / "train" / "good").iterdir())
    with tempfile.TemporaryDirectory() as scratch:
        few, run = Path(scratch) / "few", Path(scratch) / "run"
        few.mkdir()
        for index in np.random.default_rng(seed).permutation(len(good))[:count]:
            shutil.copy(good[index], few)
        session = TrainingSession(few, run, settings(samples, seed), device="cpu")
        list(session.epochs())
        stopping, held_out = (
            parts_of_images(session.detector, session.images.chosen(session.split.of(part)))
            for part in (STOPPING, CALIBRATION)
        )
        session.detector.learn_places(*stopping)
        session.detector.standardise(*held_out)
    defective = [not path.startswith("good/") for path in test.paths]
    return float(roc_auc_score(defective, score_images(session.detector, test.pixels).score))


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    typer.run(main)
