"""Where the images of a folder lie in the latent space: what ``anomaly-vae latents`` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.images.stacks import side_by_side
from anomaly_vae.latent.space import Plane, encode, plane
from anomaly_vae.outputs import Made, prepare_folder, refuse_folder
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting.latents import save_plane, save_table
from anomaly_vae.scoring.batches import score_images
from anomaly_vae.training.dataset import read_images
from anomaly_vae.workflows.opening import open_model
from anomaly_vae.workflows.truth import good_among

Table = Literal["csv", "parquet"]
_LATENTS = Made("latents", ("latents.png", *(f"latents.{each}" for each in get_args(Table))))


@dataclass(frozen=True)
class Latents:
    """What was written."""

    images: int
    dimensions: int
    unreadable: list[str]
    notes: tuple[str, ...]
    """What a person should know of the images, each a line."""


def write_latents(
    run: Path,
    folder: Path,
    out: Path,
    *,
    good_class: str | None = None,
    projection: Plane = "pca",
    table: Table = "csv",
    overwrite: bool = False,
    track: Track = untracked,
) -> Latents:
    """Write mean and log-variance of each image as a table, and draw them in a plane.

    They are coloured by their class, which is their sub-folder; see ``good_among``.

    Raises:
        FolderError: the folder holds too few images, or not the good class that was named.
        ModelFileError, OutputError: the run or ``out`` cannot be used.
    """
    config, detector = open_model(run)
    refuse_folder(out, _LATENTS, overwrite=overwrite)
    workers = usable_cores()
    images = read_images(folder, config.images, workers=workers, skip=out, track=track)
    classes = [path.split("/")[0] if "/" in path else "" for path in images.paths]
    good = good_among(folder, classes, good_class)
    posterior = encode(detector, images.pixels)
    scores = score_images(detector, images.pixels).score.numpy()
    points, axis_names = plane(posterior.mean, projection)
    prepare_folder(out, _LATENTS, overwrite=overwrite)
    mean, log_variance = (each.numpy() for each in posterior)
    save_table(images.paths, classes, scores, mean, log_variance, out / f"latents.{table}")
    picture = out / "latents.png"
    slices = config.images.stacked
    shown = np.stack([side_by_side(each, slices) for each in images.pixels])
    save_plane(points, axis_names, shown, picture, classes=classes, scores=scores, good=good)
    unreadable = [path for path, _ in images.unreadable]
    return Latents(len(images.paths), mean.shape[1], unreadable, images.notes)
