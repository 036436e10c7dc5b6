"""What each latent dimension means: what ``anomaly-vae traverse`` does."""

from dataclasses import dataclass
from pathlib import Path

from anomaly_vae.latent.space import Traversal, as_seen, traverse
from anomaly_vae.outputs import Made, prepare_folder, refuse_folder
from anomaly_vae.reporting.latents import save_traversal, save_traversed_maps
from anomaly_vae.vae.features import PixelFeatures
from anomaly_vae.workflows.opening import open_model, read_photographs, refuse_stacks

PICTURE = "traversal.png"
_TRAVERSED = Made("traverse", (PICTURE,))


@dataclass(frozen=True)
class Meaning:
    """What the dimensions do to a part."""

    found: Traversal
    lies: list[float]
    """Where the part itself lies in each dimension, in standard deviations of the prior."""
    draws: bool
    """Whether the model draws pictures; else effects are in standard deviations of good parts."""
    notes: list[str]
    """What a person should know of the photograph, each a line."""


def traverse_part(
    run: Path,
    image: Path,
    out: Path,
    *,
    steps: int = 7,
    most: int = 10,
    by_effect: bool = False,
    overwrite: bool = False,
) -> Meaning:
    """Draw what each latent dimension changes on a part; see ``latent.space.traverse``.

    Raises:
        ImageReadError: the photograph cannot be read.
        ModelFileError, OutputError: the run or ``out`` cannot be used.
    """
    config, detector = open_model(run)
    refuse_stacks(run, config)
    refuse_folder(out, _TRAVERSED, overwrite=overwrite)
    photographs, notes = read_photographs([image], config.images)
    found = traverse(detector, photographs[0], steps=steps, most=most, by_effect=by_effect)
    prepare_folder(out, _TRAVERSED, overwrite=overwrite)
    lies = found.own.reshape(len(found.own), -1).mean(1).tolist()
    names = [
        f"z{dimension} = {own:+.2f}\nKL {kl:.2f}"
        for dimension, kl, own in zip(found.dimensions, found.kl, lies, strict=True)
    ]
    draws = isinstance(detector.features, PixelFeatures)
    if draws:
        save_traversal(found.values, found.frames, names, out / PICTURE)
    else:
        (seen,) = as_seen(detector, photographs)
        save_traversed_maps(found.values, found.frames, found.own, seen, names, out / PICTURE)
    return Meaning(found, lies, draws, notes)
