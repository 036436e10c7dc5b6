"""The command that compares settings."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import (
    Features,
    GoodClass,
    GoodDir,
    Overwrite,
    Resume,
    Settings,
    TrainingDevice,
    TrainOn,
    Weights,
)
from ..saying import warn_notes, warn_seen

if TYPE_CHECKING:
    import pandas as pd

    from anomaly_vae.training.loop import EpochRecord
    from anomaly_vae.workflows.study import Result
    from anomaly_vae.workflows.sweep import Sweep


EXAMPLES = """
anomaly-vae sweep photos/good --out study --vary model.latent_size=8,32
anomaly-vae sweep photos/good --out study --vary model.beta=0,1,4 --seeds 3
"""
_NAME = 17  # columns for the settings, so that a line of the table has 80
_COLUMNS = {
    "bits": ("bits_per_image", 9, ".1f"),
    "distortion": ("distortion", 11, ".1f"),
    "error": ("reconstruction_error", 11, ".1f"),
    "mse": ("squared_error", 9, ".3g"),
    "active": ("active_latents", 7, ".1f"),
    "AUROC": ("auroc", 7, ".3f"),
    "s": ("seconds", 7, ".1f"),
}


def sweep(
    good_dir: GoodDir,
    out: Annotated[Path, typer.Option(help="Folder of the study to make.")],
    vary: Annotated[
        list[str], typer.Option(help="A setting and its values, as in model.beta=0,0.5,1,4.")
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, with other seeds.")] = 1,
    test: Annotated[
        Path | None, typer.Option(help="Folder with one sub-folder per class, for the AUROC.")
    ] = None,
    good_class: GoodClass = None,
    features: Features = None,
    config: Annotated[
        Path | None,
        typer.Option(help="The other settings; as for train."),
    ] = None,
    settings: Settings = None,
    weights: Weights = None,
    device: TrainOn = TrainingDevice.AUTO,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train with all combinations of settings, and compare what they give."""
    from anomaly_vae.outputs import refuse_folder
    from anomaly_vae.workflows.grid import overruled, plan_runs
    from anomaly_vae.workflows.runs import refuse_twice
    from anomaly_vae.workflows.sweep import STUDY, Sweep

    given = [f"features.source={json.dumps(features)}"] if features else []
    refuse_twice(settings or (), ["features.source"] if features else [])
    given += settings or []
    refuse_twice(given, [each.partition("=")[0].strip() for each in vary])
    plan = plan_runs(vary, config=config, assignments=given, seeds=seeds)
    if note := overruled(config) if config else "":
        talk.warn(note)
    refuse_folder(out, STUDY, overwrite=overwrite, resume=resume)
    study = Sweep(
        good_dir, out, plan, test=test, good_class=good_class, weights=weights, device=device,
        track=talk.track,
    )  # fmt: skip
    study.prepare(overwrite=overwrite, resume=resume)
    _train_all(study)
    for path, reason in study.unreadable:
        talk.warn(f"{path} is left out: {reason}")
    warn_notes(study.notes)
    warn_seen(study.seen_before, "so the AUROCs are too good")
    _say_summary(study.finish(), study)


def _train_all(study: "Sweep") -> None:
    """Train what is waiting, with a line for each training."""
    count, before = len(study.plan), len(study.results)
    kept = f", {before} of them done before" if before else ""
    talk.say(f"{count} trainings{kept}; training on {study.device}")
    try:
        for number, result in enumerate(study.run(_detail_epoch), before + 1):
            _say_result(result, f"[{number}/{count}]")
    except KeyboardInterrupt:
        talk.warn(f"{len(study.results)} of {count} trainings are done; give --resume to go on")
        raise


def _detail_epoch(record: "EpochRecord") -> None:
    talk.detail(
        f"  epoch {record.epoch}: loss {record.loss:.2f}, KL {record.kl:.2f}, held out "
        f"{record.stopping_loss:.2f}, {record.active_latents} active, {record.seconds:.1f} s"
    )


def _say_result(result: "Result", number: str) -> None:
    if result.information is None:
        talk.warn(f"{number} {result.run} gave no model: {result.error}")
        return
    auroc = "" if math.isnan(result.auroc) else f", AUROC {result.auroc:.3f}"
    information = result.information
    talk.say(
        f"{number} {result.run}: error {information.reconstruction_error:.1f}, "
        f"{information.bits_per_image:.1f} bits, {information.active_latents} active{auroc}, "
        f"{result.seconds:.1f} s"
    )


def _say_summary(summary: "pd.DataFrame", study: "Sweep") -> None:
    """Say the means over seeds as a table of 80 columns."""
    from anomaly_vae.calibration.tradeoff import apart
    from anomaly_vae.workflows.grid import short_names

    shown = {
        head: each for head, each in _COLUMNS.items() if summary[f"{each[0]}_mean"].notna().any()
    }
    heads = "".join(f"{head:>{width}s}" for head, (_, width, _) in shown.items())
    title = ", ".join(short_names(study.keys).values())
    talk.say(f"\n  {_cut(title)}{heads}")
    for _, row in summary.iterrows():
        name = ", ".join(_value(row[key]) for key in study.keys)
        cells = "".join(
            f"{row[f'{measure}_mean']:>{width}{style}}" for measure, width, style in shown.values()
        )
        talk.say(f"{'*' if row.pareto else ' '} {_cut(name)}{cells}")
    talk.say("means over seeds, on good images held out of training; error at z = mean and")
    talk.say("distortion (over the posterior) in nats per item, mse in standardised units")
    talk.say("* Pareto-optimal: nothing else has fewer bits, or less distortion, for the same")
    if alike := apart(study.keys):
        talk.say(f"  (among those with the same {', '.join(alike)}: others count other things)")
    if "AUROC" in shown:
        talk.say("the best AUROC of many is too good: judge the model you choose on other images")
    talk.say(f"tables, figures and a run folder of each training: {study.out}")


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    shown = text if len(text) <= _NAME else f"{text[: _NAME - 3]}..."
    return f"{shown:{_NAME}s}"
