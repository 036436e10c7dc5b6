"""The command that lets a model tell kinds of defects apart."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import Images, Marks, Run
from ..saying import say_filled, warn_notes

if TYPE_CHECKING:
    from anomaly_vae.workflows.kinds import LearnedKinds, Named

EXAMPLES = """
anomaly-vae kinds run --defective photos/defective
anomaly-vae kinds run --marks marks.csv --images photos/today
"""


def kinds(
    run: Run,
    defective: Annotated[
        Path | None,
        typer.Option(help="Folder with a folder for each kind of defect, 5 images or more in it."),
    ] = None,
    marks: Marks = None,
    images: Images = None,
) -> None:
    """Let the model say which kind of defect a region shows: scratch, dent, or unknown."""
    from anomaly_vae.workflows.kinds import learn_run_kinds

    _say(learn_run_kinds(run, _given(defective, marks, images), track=talk.track))


def _given(defective: Path | None, marks: Path | None, images: Path | None) -> "Named":
    """Find out what each photograph shows: by folders, or by marks."""
    from anomaly_vae.errors import FolderError
    from anomaly_vae.workflows.kinds import named_by_folder, named_by_marks

    if defective and not (marks or images):
        return named_by_folder(defective)
    if defective or not (marks and images):
        raise FolderError("expected --defective DIR, or --marks FILE --images DIR")
    return named_by_marks(marks, images)


def _say(result: "LearnedKinds") -> None:
    """Say what was learned, and how often it is right of photographs that were left out."""
    warn_notes(result.notes)
    kinds = result.kinds
    known = zip(kinds.names, kinds.examples, strict=True)
    say_filled(f"{len(kinds.names)} kinds: {', '.join(f'{name} ({n})' for name, n in known)}; of "
               "examples left out in turn:")  # fmt: skip
    for what, rate in (
        ("their own kind is the nearest", result.right),
        ("unknown, though their kind was shown", result.unsure),
        ("unknown where their kind was not shown", result.strangers),
    ):
        talk.say(f"  {what}: {rate.count} of {rate.of}, {rate}")
    say_filled("the model has them now; scores and limits are as before. 'inspect' writes kind and "
               "kind_probability into defects.csv")  # fmt: skip
