"""The command that turns one part into another."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..options import Out, Overwrite, Run
from ..saying import warn_notes

EXAMPLES = """
anomaly-vae interpolate run a.png b.png --out between
anomaly-vae interpolate run a.png b.png --steps 15 --format webp --out film
"""


class Film(StrEnum):
    """What animations are written as."""

    GIF = "gif"
    WEBP = "webp"


def interpolate(
    run: Run,
    first: Annotated[Path, typer.Argument(metavar="A", help="Photograph to begin with.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Photograph to end with.")],
    out: Out,
    steps: Annotated[int, typer.Option(min=2, max=50, help="Pictures from A to B.")] = 9,
    film: Annotated[
        Film,
        typer.Option("--format", help="Of the films: webp is smaller than gif, in full colour."),
    ] = Film.GIF,
    overwrite: Overwrite = False,
) -> None:
    """Turn one part into another, on the line and on the arc (needs a model of pixels)."""
    from anomaly_vae.workflows.interpolate import STRIP, interpolate_parts

    found = interpolate_parts(
        run, first, second, out, steps=steps, film=film.value, overwrite=overwrite
    )
    warn_notes(found.notes)
    for name, (path, uneven) in found.films.items():
        talk.say(f"{name:9s}  largest step {uneven:.2f} of the mean step: {path}")
    talk.say(f"side by side: {out / STRIP}")
