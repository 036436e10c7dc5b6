"""New parts, drawn from what a model has learned: what ``anomaly-vae generate`` does."""

from dataclasses import dataclass
from pathlib import Path

from anomaly_vae.images.ahead import usable_cores
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
    """What new parts were drawn from: the prior, or Gaussians around good images."""

    components: int = 0
    """Gaussians; 0: it was the prior."""
    covariance: str = ""
    """Of what kind theirs is."""
    images: int = 0
    """Good images that they were fitted to."""
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know of the images, each a line."""


def generate_parts(
    run: Path,
    out: Path,
    *,
    count: int,
    good: Path | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    overwrite: bool = False,
    track: Track = untracked,
) -> Drawn:
    """Draw parts from the prior, N(0, I), or from where ``good`` images lie, where there are any.

    Raises:
        FolderError, ModelFileError, OutputError: a folder or the run cannot be used.
    """
    config, detector = open_pixel_model(run)
    refuse_folder(out, _GENERATED, overwrite=overwrite)
    if good is None:
        drawn = Drawn()
        z = detector.model.draw_prior(count, temperature=temperature, seed=seed)
    else:
        images = read_images(good, config.images, workers=usable_cores(), track=track)
        mixture = fit_mixture(encode(detector, images.pixels).mean)
        unreadable = tuple(path for path, _ in images.unreadable)
        kind, number = mixture.covariance_type, len(images.paths)
        drawn = Drawn(mixture.n_components, kind, number, unreadable, images.notes)
        z = draw_from_mixture(mixture, count, temperature=temperature, seed=seed)
    parts = decode(detector, z)
    prepare_folder(out, _GENERATED, overwrite=overwrite)
    save_grid(parts, out / GRID)
    save_pictures(parts, out / PARTS)
    return drawn
