"""The command that draws new parts."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..opening import open_pixel_model, read_folder
from ..options import Out, Overwrite, Run

EXAMPLES = """
anomaly-vae generate run --good photos/good --out new
anomaly-vae generate run --from prior --temperature 0.7 --out usual
"""


class Origin(StrEnum):
    """What new parts are drawn from."""

    PRIOR = "prior"
    POSTERIOR = "posterior"


def generate(
    run: Run,
    out: Out,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Number of parts.")] = 16,
    good: Annotated[
        Path | None,
        typer.Option(help="Good images; a run folder does not hold those it was made with."),
    ] = None,
    origin: Annotated[
        Origin | None,
        typer.Option(
            "--from",
            help="prior: N(0, I); posterior: where the images of --good lie, the better one "
            "because N(0, I) has holes; default: posterior if there is --good.",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, max=10, help="Below 1: more usual parts; above: stranger.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other parts.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw new parts that look like good ones (needs a model of pixels)."""
    from anomaly_vae.errors import ConfigError
    from anomaly_vae.latent import space as latent
    from anomaly_vae.outputs import Made, prepare_folder, refuse_folder
    from anomaly_vae.reporting import pictures
    from anomaly_vae.vae import sampling

    config, detector = open_pixel_model(run)
    origin = origin or (Origin.POSTERIOR if good else Origin.PRIOR)
    if origin == Origin.POSTERIOR and good is None:
        raise ConfigError("--from posterior needs --good, a folder of good images")
    if origin == Origin.PRIOR and good:
        raise ConfigError("--from prior uses no images; leave out --good")
    made = Made("generate", ("grid.png", "parts"))
    refuse_folder(out, made, overwrite=overwrite)
    if origin == Origin.POSTERIOR and good:
        means = latent.encode(detector, read_folder(good, config.images).pixels).mean
        mixture = sampling.fit_mixture(means)
        talk.say(
            f"drawn from {mixture.n_components} Gaussian(s) around {len(means)} good images, "
            f"{mixture.covariance_type} covariance"
        )
        z = sampling.draw_from_mixture(mixture, count, temperature=temperature, seed=seed)
    else:
        talk.say("drawn from the prior; with --good they would keep to where good parts lie")
        z = detector.model.draw_prior(count, temperature=temperature, seed=seed)
    parts = latent.decode(detector, z)
    prepare_folder(out, made, overwrite=overwrite)
    pictures.save_grid(parts, out / "grid.png")
    pictures.save_pictures(parts, out / "parts")
    talk.say(f"{count} parts: {out / 'grid.png'}, {out / 'parts'}")
