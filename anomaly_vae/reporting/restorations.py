"""What ``restore`` writes: pictures of each image, and of a folder a table."""

from pathlib import Path
from typing import NamedTuple

from anomaly_vae.latent.restoration import Restoration
from anomaly_vae.outputs import Made
from anomaly_vae.reporting.heatmaps import picture_path
from anomaly_vae.reporting.latents import save_restoration
from anomaly_vae.reporting.pictures import save_picture

TABLE = "restorations.csv"
_PICTURES = ("restored", "difference", "restoration")
RESTORED = Made("restore", (TABLE, *_PICTURES, *(f"{name}.png" for name in _PICTURES)))


class Row(NamedTuple):
    """What became of one image."""

    path: str
    """Relative to the folder."""
    score: float | None = None
    restored_score: float | None = None
    error: str = ""
    """Why it could not be read."""


def save_restored(found: Restoration, number: int, out: Path, path: str = "") -> None:
    """Write the nearest good part of one of the images, the difference, and both side by side.

    Each is a file in ``out``, or, with the ``path`` of an image in a folder, in a folder there.

    Raises:
        OutputError: they cannot be written.
    """
    restored, difference, side_by_side = (
        picture_path(out / name, path, ".png") if path else out / f"{name}.png"
        for name in _PICTURES
    )
    save_picture(found.restored[number], restored)
    save_picture(found.difference[number], difference)
    scores = float(found.score[number]), float(found.restored_score[number])
    side_by_side.parent.mkdir(parents=True, exist_ok=True)
    save_restoration(found.seen[number], found.restored[number], scores, side_by_side)
