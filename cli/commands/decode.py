"""The command that draws parts at points of the latent space."""

from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..options import Out, Overwrite, Run

EXAMPLES = """
anomaly-vae decode run latents/latents.csv --out decoded
"""


def decode(
    run: Run,
    table: Annotated[Path, typer.Argument(help="Table of 'latents', CSV or Parquet.")],
    out: Out,
    overwrite: Overwrite = False,
) -> None:
    """Draw the parts at points of the latent space, that another program may have moved."""
    if table.suffix == ".parquet":
        import pyarrow  # noqa: F401 (that it is missing is to be said before the work)

    from anomaly_vae.workflows.decode import GRID, PARTS, decode_table

    count = decode_table(run, table, out, overwrite=overwrite)
    talk.say(f"{count} parts, in the order of the rows: {out / GRID}, {out / PARTS}")
