"""The command that turns one part into another."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..opening import open_pixel_model, read_photographs
from ..options import Out, Overwrite, Run

EXAMPLES = """
anomaly-vae interpolate run a.png b.png --out between
anomaly-vae interpolate run a.png b.png --steps 15 --format webp --out film
"""
# More frames make the animation smooth than the strip has room for.
_FRAMES_PER_STEP = 4


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
    from anomaly_vae.latent import space as latent
    from anomaly_vae.outputs import Made, prepare_folder, refuse_folder
    from anomaly_vae.reporting import latents as figures
    from anomaly_vae.reporting import pictures
    from anomaly_vae.vae import sampling

    config, detector = open_pixel_model(run)
    paths = {"linear": sampling.linear_path, "spherical": sampling.spherical_path}
    own = (f"{name}.{each.value}" for name in paths for each in Film)
    made = Made("interpolate", ("strip.png", *own))
    refuse_folder(out, made, overwrite=overwrite)
    images = read_photographs([first, second], config.images)
    start, end = latent.encode(detector, images).mean
    frames = _FRAMES_PER_STEP * (steps - 1) + 1
    films = {
        name: latent.decode(detector, path(start, end, frames)) for name, path in paths.items()
    }
    prepare_folder(out, made, overwrite=overwrite)
    strip = {name: film[::_FRAMES_PER_STEP] for name, film in films.items()}
    figures.save_strip(strip, latent.as_seen(detector, images), out / "strip.png")
    for name, frames_of in films.items():
        path = out / f"{name}.{film.value}"
        pictures.save_animation(frames_of, path)
        talk.say(
            f"{name:9s}  largest step {latent.unevenness(strip[name]):.2f} of the mean step: {path}"
        )
    talk.say(f"side by side: {out / 'strip.png'}")
