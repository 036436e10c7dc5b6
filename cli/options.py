"""What the options of several commands are: their types, values and help."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class TrainingDevice(StrEnum):
    """Where the model is trained."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Heatmaps(StrEnum):
    """Which images get a picture."""

    NONE = "none"
    DEFECTS = "defects"
    ALL = "all"


def within(least: float, most: float) -> Callable[[float | None], float | None]:
    """Give a check of an option that keeps out NaN, too, and names the value."""

    def check(value: float | None) -> float | None:
        if value is not None and not least <= value <= most:
            raise typer.BadParameter(f"{value:g}: expected a number from {least:g} to {most:g}")
        return value

    return check


def place(text: str) -> Path:
    """Give the path of a place, here or in a store."""
    if "://" not in text:
        return Path(text)
    from anomaly_vae.remote import place as anywhere

    return anywhere(text)


# What commands share that write into --out.
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results in --out.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")]
ExitZero = Annotated[
    bool, typer.Option("--exit-zero", help="Exit with 0 even if not every image passed.")
]

# of a training
ConfigFile = Annotated[
    Path | None, typer.Option(help="Settings, a YAML file; or a model of the literature.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of everything drawn at random.")]
Features = Annotated[
    str | None,
    typer.Option(help="embedded (default), pixels, or a torchvision model such as resnet18."),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Weights of the trunk; default: what it comes with, or torchvision's download."
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="One setting, as in training.epochs=5.")
]
GoodDir = Annotated[Path, typer.Argument(help="Folder of photographs of good parts.")]
TrainOn = Annotated[TrainingDevice, typer.Option("--device", help="Where to train.")]

# of a labelled folder
GoodClass = Annotated[
    str | None,
    typer.Option(help="Name of the good class; default: good, ok or normal, in any case."),
]

# of an inspection
Model = Annotated[Path, typer.Argument(help="model.onnx of a run.")]
OnDevice = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="<auto|cpu|cuda|tensorrt>",
        autocompletion=lambda: ["auto", "cpu", "cuda", "tensorrt"],
        help="Where the model runs; cuda:1, or cuda:0,1 for several graphics cards.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1, help="Images per run of the model; default: 8, on a GPU 32, of large frames fewer."
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads that decode images.")]
Pictures = Annotated[Heatmaps, typer.Option("--heatmaps", help="Which images get a picture.")]
MinArea = Annotated[
    float,
    typer.Option(
        callback=within(0, 1e12),
        help="Leave out defect regions that are smaller, in square pixels of the photograph; "
        "no verdict changes.",
    ),
]
# From the finest electron microscope to the coarsest satellite: areas in mm² stay finite.
MmPerPixel = Annotated[
    float | None,
    typer.Option(
        callback=within(1e-9, 1e9),
        help="Millimetres per pixel of the photograph: sizes of regions in mm, too.",
    ),
]

Volumes = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Files of a folder with the same match in their names are slices of one part; ^: all "
        "of a folder.",
    ),
]

# of what shows the latent space
Run = Annotated[Path, typer.Argument(help="Run folder of 'train'.")]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]

# of marks
Marks = Annotated[
    Path | None, typer.Option(help="Instead of both: marks downloaded from report.html.")
]
Images = Annotated[Path | None, typer.Option(help="Folder that --marks speaks of.")]
