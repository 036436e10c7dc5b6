"""The command that makes a candidate of marks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import Run, TrainingDevice, TrainOn
from ..saying import warn_notes
from .refine import say_refinement

if TYPE_CHECKING:
    from anomaly_vae.workflows.improve import Improvement

EXAMPLES = """
anomaly-vae improve run --marks marks.csv --images photos/today
"""


def improve(
    run: Run,
    marks: Annotated[Path, typer.Option(help="Marks downloaded from report.html.")],
    images: Annotated[Path, typer.Option(help="Folder that --marks speaks of.")],
    good: Annotated[
        Path | None,
        typer.Option(help="Good images of the training; default: where they were."),
    ] = None,
    device: TrainOn = TrainingDevice.AUTO,
) -> None:
    """Train a candidate with marked photographs, and compare it; replaces nothing."""
    from anomaly_vae.workflows.improve import PAGE, improve_run
    from anomaly_vae.workflows.promote import CANDIDATE

    result = improve_run(run, marks, images, good=good, device=device.value, track=talk.track)
    warn_notes(result.notes)
    talk.say(f"learned from {result.good} more good photographs")
    if result.refinement:
        say_refinement(result.refinement)
    _say_comparison(result)
    talk.say(f"both cards side by side: {run / CANDIDATE / PAGE}")
    talk.say(f"the model stays as it is until 'anomaly-vae promote {run}'")


def _say_comparison(result: "Improvement") -> None:
    talk.say("by models that have not learned from them:   present  candidate")
    rows = [("good photographs that fail", result.rejected_before, result.rejected)]
    if result.found and result.found_before:
        rows.append(("marked defects that fail", result.found_before, result.found))
    for what, before, now in rows:
        talk.say(f"  {what}, of {f'{now.of}:':12s} {before.count:7d} {now.count:10d}")
    joint = result.comparison
    if joint:
        low, high = joint.difference_interval
        talk.say(
            f"  AUROC {joint.other_auroc:.4f}, of the candidate {joint.auroc:.4f}: "
            f"{joint.difference:+.4f} [{low:+.4f}, {high:+.4f}], p = {joint.p_value:.3g}"
        )
