"""The command that writes where images lie in the latent space."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..options import GoodClass, Out, Overwrite, Run
from ..saying import warn_notes, warn_unreadable

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
    good_class: GoodClass = None,
    overwrite: Overwrite = False,
) -> None:
    """Write where images lie in the latent space, as a table and as a picture."""
    if table is Table.PARQUET:
        import pyarrow  # noqa: F401 (that it is missing is to be said before the work)

    from anomaly_vae.workflows.latents import write_latents

    found = write_latents(
        run, folder, out, good_class=good_class, projection=plane.value, table=table.value,
        overwrite=overwrite, track=talk.track,
    )  # fmt: skip
    warn_unreadable(found.unreadable)
    warn_notes(found.notes)
    talk.say(f"{found.images} images, {found.dimensions} latent dimensions: {out}")
