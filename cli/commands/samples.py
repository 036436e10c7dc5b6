"""The command that draws parts."""

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
"""


def samples(
    folder: Annotated[Path, typer.Argument(help="Folder to draw into.")],
    train_images: Annotated[
        int, typer.Option("--train", min=0, help="Good parts to train on.")
    ] = 200,
    test_good: Annotated[int, typer.Option(min=0, help="Good parts to test with.")] = 40,
    test_defective: Annotated[int, typer.Option(min=0, help="Defective parts, all kinds.")] = 60,
    size: Annotated[
        int, typer.Option(min=32, max=2048, help="Shorter side of a picture, pixels.")
    ] = 256,
    proportions: Annotated[
        str, typer.Option(help="Height:width of pictures, 1:4; or two that bound them, 1:3-3:1.")
    ] = "1:1",
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other parts.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the parts in FOLDER.")
    ] = False,
) -> None:
    """Draw machined parts, good and defective, with masks, in the layout of MVTec AD."""
    from anomaly_vae.errors import ConfigError
    from anomaly_vae.images.samples import parse_proportions
    from anomaly_vae.outputs import prepare_folder

    try:
        ratios = parse_proportions(proportions)
    except ValueError as error:
        raise ConfigError(f"--proportions {error}") from error
    prepare_folder(folder, drawn_parts(), overwrite=overwrite)
    counts = {"train": train_images, "good": test_good, "defective": test_defective}
    draw_parts(folder, seed, **counts, size=size, proportions=ratios)
    talk.say(f"{train_images + test_good + test_defective} parts: {folder}")


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
