"""The command that draws the nearest good part."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..opening import open_pixel_model, read_photographs
from ..options import Out, Overwrite, Run
from ..saying import warn_notes, warn_unreadable

if TYPE_CHECKING:
    from anomaly_vae.scoring.detector import Detector
    from anomaly_vae.settings.schema import ImageSettings


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
    from anomaly_vae.outputs import refuse_folder
    from anomaly_vae.reporting.restorations import RESTORED

    config, detector = open_pixel_model(run)
    refuse_folder(out, RESTORED, overwrite=overwrite)
    if image.is_dir():
        _restore_folder(detector, config.images, image, out, overwrite=overwrite)
    else:
        _restore_image(detector, config.images, image, out, overwrite=overwrite)


def _restore_image(
    detector: "Detector", settings: "ImageSettings", image: Path, out: Path, *, overwrite: bool
) -> None:
    from anomaly_vae.latent.restoration import restore
    from anomaly_vae.outputs import prepare_folder
    from anomaly_vae.reporting.restorations import RESTORED, save_restored

    found = restore(detector, read_photographs([image], settings))
    prepare_folder(out, RESTORED, overwrite=overwrite)
    save_restored(found, 0, out)
    talk.say(f"score {found.score[0]:.4g}, of the nearest good part {found.restored_score[0]:.4g}")
    talk.say(f"side by side: {out / 'restoration.png'}")


def _restore_folder(
    detector: "Detector", settings: "ImageSettings", folder: Path, out: Path, *, overwrite: bool
) -> None:
    from anomaly_vae.errors import FolderError
    from anomaly_vae.images.sources import images_below
    from anomaly_vae.outputs import prepare_folder
    from anomaly_vae.reporting.restorations import RESTORED, TABLE, restore_folder

    source = images_below(folder, skip=out)
    prepare_folder(out, RESTORED, overwrite=overwrite)
    restored, unreadable = 0, []
    rows = restore_folder(detector, settings, source, out)
    for row in talk.track(rows, "Restoring", source.total):
        restored += not row.error
        if row.error:
            unreadable.append(row)
    if not restored:
        first = unreadable[0]
        raise FolderError(
            f"{folder}: none of {len(unreadable)} images is readable; {first.path}: {first.error}"
        )
    warn_unreadable([row.path for row in unreadable])
    warn_notes(source.notes)
    for trouble in source.unlisted:
        talk.warn(f"{trouble}: its images were not restored")
    talk.say(f"{restored} images restored: {out / TABLE}")
