"""The command that draws the nearest good part."""

from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..options import Out, Overwrite, Run
from ..saying import warn_notes, warn_unreadable

EXAMPLES = """
anomaly-vae restore run photos/today/000.png --out restored
anomaly-vae restore run photos/today --out all-restored
"""


def restore(
    run: Run,
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGE_OR_FOLDER",
            help="Photograph of a part, defective or not, or a folder, searched recursively.",
        ),
    ],
    out: Out,
    overwrite: Overwrite = False,
) -> None:
    """Draw the nearest good part, and where a part differs from it (needs a model of pixels)."""
    from anomaly_vae.reporting.restorations import TABLE
    from anomaly_vae.workflows.restore import restore_folder, restore_image

    if not image.is_dir():
        row, notes = restore_image(run, image, out, overwrite=overwrite)
        warn_notes(notes)
        talk.say(f"score {row.score:.4g}, of the nearest good part {row.restored_score:.4g}")
        talk.say(f"side by side: {out / 'restoration.png'}")
        return
    found = restore_folder(run, image, out, overwrite=overwrite, track=talk.track)
    warn_unreadable(found.unreadable)
    warn_notes(found.notes)
    for trouble in found.unlisted:
        talk.warn(f"{trouble}: its images were not restored")
    talk.say(f"{found.images} images restored: {out / TABLE}")
