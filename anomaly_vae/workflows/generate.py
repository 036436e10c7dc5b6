"""New parts, drawn from what a model has learned: what ``anomaly-vae generate`` does."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.latent.diffusion import fit_diffusion
from anomaly_vae.latent.space import decode, encode
from anomaly_vae.outputs import Made, prepare_folder, refuse_folder
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting.pictures import save_grid, save_pictures
from anomaly_vae.training.dataset import read_images
from anomaly_vae.vae.sampling import draw_from_mixture, fit_mixture
from anomaly_vae.workflows.opening import open_pixel_model

GRID, PARTS = "grid.png", "parts"
_GENERATED = Made("generate", (GRID, PARTS))


@dataclass(frozen=True)
class Drawn:
    """What new parts were drawn from: the prior, Gaussians around good images, or a diffusion."""

    components: int = 0
    """Gaussians; 0: there were none."""
    covariance: str = ""
    """Of what kind theirs is."""
    steps: int = 0
    """Of the training of a diffusion; 0: there was none."""
    images: int = 0
    """Good images that it was fitted to."""
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know of the images, each a line."""


class Near(NamedTuple):
    """Where new parts are to lie."""

    good: Path
    """Folder of good images."""
    diffusion: bool = False
    """Whether a diffusion draws them, not Gaussians."""


def generate_parts(
    run: Path,
    out: Path,
    *,
    count: int,
    near: Near | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    overwrite: bool = False,
    track: Track = untracked,
) -> Drawn:
    """Draw parts from the prior, N(0, I), or from where good images lie, ``near`` them.

    Raises:
        FolderError, ModelFileError, OutputError: a folder or the run cannot be used.
    """
    config, detector = open_pixel_model(run)
    refuse_folder(out, _GENERATED, overwrite=overwrite)
    if near is None:
        drawn = Drawn()
        z = detector.model.draw_prior(count, temperature=temperature, seed=seed)
    else:
        images = read_images(near.good, config.images, workers=usable_cores(), track=track)
        unreadable = tuple(path for path, _ in images.unreadable)
        drawn = Drawn(images=len(images.paths), unreadable=unreadable, notes=images.notes)
        posterior = encode(detector, images.pixels)
        if near.diffusion:
            fitted = fit_diffusion(posterior)
            drawn = replace(drawn, steps=fitted.steps)
            z = fitted.draw(count, temperature=temperature, seed=seed)
        else:
            mixture = fit_mixture(posterior.mean)
            kind = mixture.covariance_type
            drawn = replace(drawn, components=mixture.n_components, covariance=kind)
            z = draw_from_mixture(mixture, count, temperature=temperature, seed=seed)
    parts = decode(detector, z)
    prepare_folder(out, _GENERATED, overwrite=overwrite)
    save_grid(parts, out / GRID)
    save_pictures(parts, out / PARTS)
    return drawn
