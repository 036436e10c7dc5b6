"""The command that shows what latent dimensions mean."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..opening import open_model, read_photographs
from ..options import Out, Overwrite, Run

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
    from anomaly_vae.latent import space as latent
    from anomaly_vae.outputs import Made, prepare_folder, refuse_folder
    from anomaly_vae.reporting import latents as figures
    from anomaly_vae.vae.features import PixelFeatures

    config, detector = open_model(run)
    made = Made("traverse", ("traversal.png",))
    refuse_folder(out, made, overwrite=overwrite)
    photographs = read_photographs([image], config.images)
    found = latent.traverse(
        detector, photographs[0], steps=steps, most=most, by_effect=sort == Sorting.EFFECT
    )
    prepare_folder(out, made, overwrite=overwrite)
    draws = isinstance(detector.features, PixelFeatures)
    talk.say("dimension   KL, nats    effect   this part")
    names = []
    own = found.own.reshape(len(found.own), -1).mean(1)
    for dimension, kl, effect, lies in zip(*found[:3], own, strict=True):
        amount = f"{effect:9.2%}" if draws else f"{effect:9.3f}"
        talk.say(f"{dimension:9d} {kl:10.2f} {amount} {lies:+11.2f}")
        names.append(f"z{dimension} = {lies:+.2f}\nKL {kl:.2f}")
    path = out / "traversal.png"
    if draws:
        figures.save_traversal(found.values, found.frames, names, path)
    else:
        talk.say("effect in standard deviations of good parts; all are means over the map")
        (seen,) = latent.as_seen(detector, photographs)
        figures.save_traversed_maps(found.values, found.frames, found.own, seen, names, path)
    talk.say(f"picture: {path}")
