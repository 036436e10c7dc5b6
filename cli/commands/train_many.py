"""The command that makes a model for each part number."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..console import talk
from ..engines import Address, Engine, GpusPerWorker, OnEngine, wished
from ..options import (
    ConfigFile,
    Features,
    Overwrite,
    Resume,
    Seed,
    Settings,
    TrainingDevice,
    TrainOn,
    Weights,
)
from ..saying import warn_notes

EXAMPLES = """
anomaly-vae train-many parts --out runs
anomaly-vae train-many parts --out runs --workers 2 --resume
"""


def train_many(
    parts_dir: Annotated[
        Path,
        typer.Argument(
            help="Folder with a folder for each part: its good photographs, below train/good or "
            "good if there is one."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for a run folder of each part, and parts.csv.")],
    config: ConfigFile = None,
    features: Features = None,
    weights: Weights = None,
    settings: Settings = None,
    seed: Seed = None,
    device: TrainOn = TrainingDevice.AUTO,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings at the same time; default: one for each four cores."),
    ] = None,
    engine: OnEngine = Engine.LOCAL,
    address: Address = None,
    gpus_per_worker: GpusPerWorker = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn what good parts look like, for many part numbers: a model.onnx for each."""
    from anomaly_vae.workflows.runs import asked_settings
    from anomaly_vae.workflows.train_many import Many

    wish = wished(engine, address, gpus_per_worker, device.value, workers, None)
    given = {"features.source": features, "training.seed": seed}
    asked = asked_settings(config, settings or (), given)
    many = Many(
        parts_dir, out, asked, weights=weights, device=device.value, overwrite=overwrite,
        resume=resume,
    )  # fmt: skip
    warn_notes(many.notes)
    talk.say(f"{len(many.parts)} parts")
    try:
        for row in many.train(wish, workers):
            _say(row, f"[{len(many.rows)}/{len(many.parts)}]")
    except KeyboardInterrupt:
        talk.warn(f"{len(many.rows)} of {len(many.parts)} parts are done; give --resume to go on")
        raise
    failed = sum(row["status"] == "error" for row in many.rows.values())
    talk.say(f"\n{len(many.rows) - failed} models, {failed} failed: {out / 'parts.csv'}")
    if failed:
        raise typer.Exit(1)


def _say(row: dict[str, Any], number: str) -> None:
    """Say what came of a part."""
    if row["status"] == "error":
        talk.warn(f"{number} {row['part']} gave no model: {row['error']}")
        return
    before = ", done before" if row["before"] else ""
    talk.say(
        f"{number} {row['part']}: {row['images']} good images, fails above {row['threshold']:.4g}"
        f"{before}"
    )
    if row["warnings"]:
        talk.warn(f"{row['part']}: {row['warnings']}")
