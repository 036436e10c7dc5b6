"""One part turned into another: what ``anomaly-vae interpolate`` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from anomaly_vae.latent.space import as_seen, decode, encode, unevenness
from anomaly_vae.outputs import Made, prepare_folder, refuse_folder
from anomaly_vae.reporting.latents import save_strip
from anomaly_vae.reporting.pictures import save_animation
from anomaly_vae.vae.sampling import linear_path, spherical_path
from anomaly_vae.workflows.opening import open_pixel_model, read_photographs

Film = Literal["gif", "webp"]
STRIP = "strip.png"
_PATHS = {"linear": linear_path, "spherical": spherical_path}
_FILMS = (f"{name}.{each}" for name in _PATHS for each in get_args(Film))
_INTERPOLATED = Made("interpolate", (STRIP, *_FILMS))
# More frames make the animation smooth than the strip has room for.
_FRAMES_PER_STEP = 4


@dataclass(frozen=True)
class Interpolation:
    """What was drawn."""

    films: dict[str, tuple[Path, float]]
    """Of each kind of path its film, and the largest step of the strip over the mean step."""
    notes: list[str]
    """What a person should know of the photographs, each a line."""


def interpolate_parts(
    run: Path,
    first: Path,
    second: Path,
    out: Path,
    *,
    steps: int = 9,
    film: Film = "gif",
    overwrite: bool = False,
) -> Interpolation:
    """Turn one part into another, on the line and on the arc: a strip of pictures, and films.

    Raises:
        ImageReadError: a photograph cannot be read.
        ModelFileError, OutputError: the run or ``out`` cannot be used.
    """
    config, detector = open_pixel_model(run)
    refuse_folder(out, _INTERPOLATED, overwrite=overwrite)
    images, notes = read_photographs([first, second], config.images)
    start, end = encode(detector, images).mean
    frames = _FRAMES_PER_STEP * (steps - 1) + 1
    drawn = {name: decode(detector, path(start, end, frames)) for name, path in _PATHS.items()}
    prepare_folder(out, _INTERPOLATED, overwrite=overwrite)
    strip = {name: pictures[::_FRAMES_PER_STEP] for name, pictures in drawn.items()}
    save_strip(strip, as_seen(detector, images), out / STRIP)
    films = {}
    for name, pictures in drawn.items():
        films[name] = out / f"{name}.{film}", unevenness(strip[name])
        save_animation(pictures, films[name][0])
    return Interpolation(films, notes)
