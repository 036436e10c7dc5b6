"""Trains on drawn stacks of slices, and fills ``volumes.md``.

    python reports/volumes.py --work DIR

What is in DIR is not made again.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from tables import markdown, replace_tables

from anomaly_vae.images.scans import KINDS

HERE = Path(__file__).parent
PROGRAM = str(Path(sys.executable).with_name("anomaly-vae"))
TRAIN, TEST = 40, 30
MODELS = {
    "volume": ("--config", "volume", "--set", "training.pictures=false"),
    "slices, `embedded`": ("--config", "slices", "--features", "embedded"),
}


def main(work: Annotated[Path, typer.Option(help="Folder for what is made.")]) -> None:
    """Draw, train, measure, and write the table."""
    rows = []
    for kind in KINDS:
        parts = work / kind
        if not parts.is_dir():
            call("samples", parts, "--volumes", kind, "--train", TRAIN, "--test-good", TEST,
                 "--test-defective", TEST)  # fmt: skip
        for name, options in MODELS.items():
            rows.append(row(kind, name, parts, work / f"{kind}-{options[1]}", options))
    head = ["parts", "`--config`", "image AUROC", "95 %", "defective that pass",
            "good that fail", "training, seconds of a core"]  # fmt: skip
    report = HERE / "volumes.md"
    report.write_text(replace_tables(report.read_text(), {"stacks": markdown(head, rows)}))


def row(kind: str, name: str, parts: Path, run: Path, options: tuple[str, ...]) -> list[str]:
    """Train and measure one model."""
    took, measured = run.with_suffix(".json"), run.with_name(f"{run.name}-measured")
    if not took.is_file():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        call("train", parts / "train/good", "--out", run, "--overwrite", *options)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        took.write_text(json.dumps(seconds))
        call("evaluate", run, parts / "test", "--out", measured, "--overwrite")
    images = json.loads((measured / "metrics.json").read_text())["images"]
    low, high = images["auroc_interval"]
    rates = (images["escapes"], images["overkill"])
    return [f"`{kind}`", name, f"{images['auroc']:.3f}", f"{low:.3f} to {high:.3f}",
            *(f"{each['count']} of {each['of']}" for each in rates),
            f"{json.loads(took.read_text()):.0f}"]  # fmt: skip


def call(*words: object) -> None:
    """Run the program as a user does, on one core."""
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([PROGRAM, "-q", *map(str, words)], check=True, env=one)


if __name__ == "__main__":
    typer.run(main)
