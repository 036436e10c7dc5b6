"""The command that shows what latent dimensions mean."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..options import Out, Overwrite, Run
from ..saying import warn_notes

EXAMPLES = """
anomaly-vae traverse run photos/good/000.png --out meaning
anomaly-vae traverse run photos/good/000.png --sort effect --out meaning
"""


class Sorting(StrEnum):
    """Which latent dimensions come first."""

    KL = "kl"
    EFFECT = "effect"


def traverse(
    run: Run,
    image: Annotated[Path, typer.Argument(help="Photograph of a part.")],
    out: Out,
    steps: Annotated[int, typer.Option(min=2, max=25, help="Pictures per dimension.")] = 7,
    most: Annotated[int, typer.Option(min=1, max=100, help="Dimensions at most.")] = 10,
    sort: Annotated[
        Sorting, typer.Option(help="First those with the largest KL, or that change most.")
    ] = Sorting.KL,
    overwrite: Overwrite = False,
) -> None:
    """Show what each latent dimension means, from -3 to 3 sigma."""
    from anomaly_vae.workflows.traverse import PICTURE, traverse_part

    meaning = traverse_part(
        run, image, out, steps=steps, most=most, by_effect=sort == Sorting.EFFECT,
        overwrite=overwrite,
    )  # fmt: skip
    warn_notes(meaning.notes)
    talk.say("dimension   KL, nats    effect   this part")
    for dimension, kl, effect, lies in zip(*meaning.found[:3], meaning.lies, strict=True):
        amount = f"{effect:9.2%}" if meaning.draws else f"{effect:9.3f}"
        talk.say(f"{dimension:9d} {kl:10.2f} {amount} {lies:+11.2f}")
    if not meaning.draws:
        talk.say("effect in standard deviations of good parts; all are means over the map")
    talk.say(f"picture: {out / PICTURE}")
