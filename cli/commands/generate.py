"""The command that draws new parts."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..options import Out, Overwrite, Run
from ..saying import warn_notes, warn_unreadable

EXAMPLES = """
anomaly-vae generate run --good photos/good --out new
anomaly-vae generate run --good photos/good --from diffusion --out diffused
anomaly-vae generate run --from prior --temperature 0.7 --out usual
"""


class Origin(StrEnum):
    """What new parts are drawn from."""

    PRIOR = "prior"
    POSTERIOR = "posterior"
    DIFFUSION = "diffusion"


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
            help="prior: N(0, I); posterior: Gaussians where the images of --good lie, the better "
            "one because N(0, I) has holes; diffusion: a network that is trained on them; default: "
            "posterior if there is --good.",
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
    from anomaly_vae.workflows.generate import GRID, PARTS, Near, generate_parts

    if origin in (Origin.POSTERIOR, Origin.DIFFUSION) and good is None:
        raise ConfigError(f"--from {origin.value} needs --good, a folder of good images")
    if origin == Origin.PRIOR and good:
        raise ConfigError("--from prior uses no images; leave out --good")
    drawn = generate_parts(
        run, out, count=count, near=Near(good, origin == Origin.DIFFUSION) if good else None,
        temperature=temperature, seed=seed, overwrite=overwrite, track=talk.track,
    )  # fmt: skip
    warn_unreadable(drawn.unreadable)
    warn_notes(drawn.notes)
    if drawn.components:
        talk.say(
            f"drawn from {drawn.components} Gaussian(s) around {drawn.images} good images, "
            f"{drawn.covariance} covariance"
        )
    elif drawn.steps:
        talk.say(f"drawn by a diffusion of {drawn.steps} steps on {drawn.images} good images")
    else:
        talk.say("drawn from the prior; with --good they would keep to where good parts lie")
    talk.say(f"{count} parts: {out / GRID}, {out / PARTS}")
