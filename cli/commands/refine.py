"""The command that lets marked defects teach the score."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import Images, Marks, Run
from ..saying import say_filled, say_threshold, warn_notes

if TYPE_CHECKING:
    from anomaly_vae.workflows.labelled import Photographs
    from anomaly_vae.workflows.refine import Refinement

EXAMPLES = """
anomaly-vae refine run --defective photos/defective
anomaly-vae refine run --marks marks.csv --images photos/today
"""


def refine(
    run: Run,
    defective: Annotated[
        Path | None, typer.Option(help="Folder of defective images, 5 to 20 of them.")
    ] = None,
    good: Annotated[
        Path | None,
        typer.Option(help="Folder of good images that must not be taken for defects."),
    ] = None,
    marks: Marks = None,
    images: Images = None,
) -> None:
    """Let a few marked defects teach the score what matters, if that helps."""
    from anomaly_vae.workflows.refine import refine_run

    bad, normal = _given(defective, good, marks, images)
    say_refinement(refine_run(run, bad, normal, track=talk.track))


def _given(
    defective: Path | None, good: Path | None, marks: Path | None, images: Path | None
) -> "tuple[Photographs, Photographs | None]":
    """Find out which images are defective and which are good: by folders, or by marks."""
    from anomaly_vae.errors import FolderError
    from anomaly_vae.workflows.labelled import Photographs
    from anomaly_vae.workflows.marks import marked_defects

    if defective and not (marks or images):
        return Photographs(defective), Photographs(good) if good else None
    if defective or good or not (marks and images):
        raise FolderError("expected --defective DIR (and --good DIR), or --marks FILE --images DIR")
    normal, bad = marked_defects(marks, images)
    return bad, normal


def say_refinement(result: "Refinement") -> None:
    """Say what was learned, what it gains on photographs that were left out, and what is kept."""
    warn_notes(result.notes)
    out, joint = result.left_out, result.left_out.joint
    low, high = joint.difference_interval
    say_filled(
        f"{result.defective} marked defects against {result.good} good photographs that models had "
        "not seen; of those left out in turn:"
    )
    talk.say(f"  told apart by what marked defects have in common: {out.told_apart:.3f} AUROC, "
             f"p = {out.p_value:.2g}")  # fmt: skip
    talk.say(f"  AUROC of the score {joint.other_auroc:.4f}, with it {joint.auroc:.4f}: "
             f"{joint.difference:+.4f} [{low:+.4f}, {high:+.4f}]")  # fmt: skip
    talk.say(f"  found where 1 in 20 good ones fail: {out.found_before.count} of "
             f"{out.found.of}, with it {out.found.count}")  # fmt: skip
    if not result.kept:
        say_filled(f"nothing was kept: {result.why}; the model stays as it is")
        return
    say_filled("the model has it now; its limits are set anew from good images alone:")
    say_threshold(result.threshold)
    if result.before.criterion != "good-only":
        talk.warn("the limits that 'calibrate' had set are gone, as scores are others now: "
                  "calibrate again")  # fmt: skip
