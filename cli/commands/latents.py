"""The command that writes where images lie in the latent space."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..opening import open_model, read_folder
from ..options import Out, Overwrite, Run

EXAMPLES = """
anomaly-vae latents run photos/test --out latents
anomaly-vae latents run photos/test --plane tsne --out neighbours
"""


class Table(StrEnum):
    """What the table of latents is written as."""

    CSV = "csv"
    PARQUET = "parquet"


class Plane(StrEnum):
    """How many latent dimensions are shown in two."""

    PCA = "pca"
    TSNE = "tsne"


def latents(
    run: Run,
    folder: Annotated[Path, typer.Argument(help="Images, or one sub-folder per class.")],
    out: Out,
    plane: Annotated[
        Plane, typer.Option(help="What more than two dimensions are shown by.")
    ] = Plane.PCA,
    table: Annotated[
        Table, typer.Option("--format", help="Of the table; parquet: pip install [parquet].")
    ] = Table.CSV,
    overwrite: Overwrite = False,
) -> None:
    """Write where images lie in the latent space, as a table and as a picture."""
    if table is Table.PARQUET:
        import pyarrow  # noqa: F401 (that it is missing is to be said before the work)

    from anomaly_vae.latent import space as latent
    from anomaly_vae.outputs import Made, prepare_folder, refuse_folder
    from anomaly_vae.reporting import latents as figures
    from anomaly_vae.scoring.batches import score_images

    config, detector = open_model(run)
    own = (f"latents.{each.value}" for each in Table)
    made = Made("latents", ("latents.png", *own))
    refuse_folder(out, made, overwrite=overwrite)
    images = read_folder(folder, config.images, skip=out)
    classes = [path.split("/")[0] if "/" in path else "" for path in images.paths]
    posterior = latent.encode(detector, images.pixels)
    scores = score_images(detector, images.pixels).score.numpy()
    points, axis_names = latent.plane(posterior.mean, plane.value)
    prepare_folder(out, made, overwrite=overwrite)
    mean, log_variance = (each.numpy() for each in posterior)
    path = out / f"latents.{table.value}"
    figures.save_table(images.paths, classes, scores, mean, log_variance, path)
    figures.save_plane(
        points, axis_names, images.pixels, out / "latents.png", classes=classes, scores=scores
    )
    talk.say(f"{len(images.paths)} images, {mean.shape[1]} latent dimensions: {out}")
