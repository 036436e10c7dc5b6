"""The command that draws parts."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk

if TYPE_CHECKING:
    from anomaly_vae.outputs import Made

EXAMPLES = """
anomaly-vae samples parts
anomaly-vae samples parts --train 50 --size 512 --seed 1
anomaly-vae samples rails --proportions 1:4
anomaly-vae samples scans --volumes castings
"""


class Stacks(StrEnum):
    """Parts that are stacks of slices."""

    CASTINGS = "castings"
    WHEELS = "wheels"


def samples(
    folder: Annotated[Path, typer.Argument(help="Folder to draw into.")],
    train_images: Annotated[
        int, typer.Option("--train", min=0, help="Good parts to train on.")
    ] = 200,
    test_good: Annotated[int, typer.Option(min=0, help="Good parts to test with.")] = 40,
    test_defective: Annotated[int, typer.Option(min=0, help="Defective parts, all kinds.")] = 60,
    size: Annotated[
        int | None,
        typer.Option(min=32, max=2048, help="Shorter side of a picture, pixels; default: 256."),
    ] = None,
    proportions: Annotated[
        str | None,
        typer.Option(
            help="Height:width of pictures, 1:4; or two that bound them, 1:3-3:1; default: 1:1."
        ),
    ] = None,
    volumes: Annotated[
        Stacks | None,
        typer.Option(
            help="Stacks of 32 slices, 64 x 64 pixels, instead: castings in a scanner, with pores; "
            "clips of turning wheels, with a blind hole."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other parts.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the parts in FOLDER.")
    ] = False,
) -> None:
    """Draw machined parts, good and defective, with masks, in the layout of MVTec AD.

    Stacks of slices have no masks.
    """
    from anomaly_vae.errors import ConfigError
    from anomaly_vae.images.samples import parse_proportions
    from anomaly_vae.outputs import prepare_folder

    if volumes and (size or proportions):
        raise ConfigError("--volumes has one size; leave --size and --proportions out")
    try:
        ratios = parse_proportions(proportions or "1:1")
    except ValueError as error:
        raise ConfigError(f"--proportions {error}") from error
    prepare_folder(folder, drawn_parts(), overwrite=overwrite)
    counts = {"train": train_images, "good": test_good, "defective": test_defective}
    if volumes:
        draw_stacks(folder, seed, volumes.value, **counts)
    else:
        draw_parts(folder, seed, **counts, size=size or 256, proportions=ratios)
    talk.say(f"{train_images + test_good + test_defective} parts: {folder}")


def draw_stacks(
    folder: Path, seed: int, kind: str, *, train: int, good: int, defective: int
) -> None:
    """Draw stacks of slices into a folder, with a progress bar."""
    from anomaly_vae.images.scans import write_stacks

    with talk.counter("Drawing stacks", train + good + defective) as advance:
        write_stacks(
            folder,
            kind,
            train=train,
            test_good=good,
            test_defective=defective,
            seed=seed,
            progress=advance,
        )


def drawn_parts() -> "Made":
    """Say what ``draw_parts`` makes: photographs to be used."""
    from anomaly_vae.outputs import PHOTOGRAPHS, Made

    return Made("samples", ("train", "test", "ground_truth"), holds=PHOTOGRAPHS)


def draw_parts(
    folder: Path,
    seed: int,
    *,
    train: int = 200,
    good: int = 40,
    defective: int = 60,
    size: int = 256,
    proportions: tuple[float, float] = (1, 1),
) -> None:
    """Draw parts into a folder, with a progress bar."""
    from anomaly_vae.images.samples import write_samples

    with talk.counter("Drawing parts", train + good + defective) as advance:
        write_samples(
            folder,
            train=train,
            test_good=good,
            test_defective=defective,
            size=size,
            proportions=proportions,
            seed=seed,
            progress=advance,
        )
