"""The command ``demo``: the whole line on drawn parts, without network and data."""

import time
from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .console import talk
from .inspecting import Heatmaps, inspect
from .judging import Criterion, calibrate, evaluate
from .training import train

_OWN = ("parts", "examples", "run", "evaluation", "inspection")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parts and of the training.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results of an earlier demo.")
    ] = False,
) -> None:
    """Draw parts, then train, calibrate, evaluate and inspect; needs no network and no data."""
    from anomaly_vae.outputs import prepare_folder

    start = time.perf_counter()
    prepare_folder(out, _OWN, overwrite=overwrite)
    parts, examples, run = out / "parts", out / "examples", out / "run"
    _step(1, f"drawing 300 machined parts into {parts}")
    _draw(parts, seed)
    _step(2, f"training on the good parts in {parts / 'train' / 'good'}")
    train(parts / "train" / "good", run, features="pixels", seed=seed)
    _step(3, "calibrating the threshold on 60 other labelled parts")
    _draw(examples, seed + 1, train=0, good=40, defective=20)
    test = examples / "test"
    defective = examples / "defective"
    _gather_defective(test, defective)
    calibrate(run, test / "good", defective, criterion=Criterion.YOUDEN)
    _step(4, "evaluating on the test parts, which nothing has seen so far")
    evaluate(run, parts / "test", out / "evaluation")
    _step(5, "inspecting the test parts as a production line would")
    inspect(run / "model.onnx", parts / "test", out / "inspection", heatmaps=Heatmaps.DEFECTS,
            exit_zero=True)  # fmt: skip
    talk.say(f"\ndone in {time.perf_counter() - start:.0f} s; look at")
    for what, path in (
        ("the page to look through", out / "inspection" / "report.html"),
        ("the defect report", out / "inspection" / "images.csv"),
        ("the defect regions", out / "inspection" / "defects.csv"),
        ("pictures of the defects", out / "inspection" / "heatmaps"),
        ("how the training went", run / "training.png"),
        ("what the model sees", run / "reconstructions.png"),
        ("how well it separates", out / "evaluation" / "roc.png"),
    ):
        talk.say(f"  {what:24s} {path}")


@app.command()
def samples(
    folder: Annotated[Path, typer.Argument(help="Folder to draw into.")],
    train_images: Annotated[
        int, typer.Option("--train", min=0, help="Good parts to train on.")
    ] = 200,
    test_good: Annotated[int, typer.Option(min=0, help="Good parts to test with.")] = 40,
    test_defective: Annotated[int, typer.Option(min=0, help="Defective parts, all kinds.")] = 60,
    size: Annotated[int, typer.Option(min=32, max=2048, help="Side of a picture, pixels.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other parts.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the parts in FOLDER.")
    ] = False,
) -> None:
    """Draw machined parts, good and defective, with masks, in the layout of MVTec AD."""
    from anomaly_vae.outputs import prepare_folder

    prepare_folder(folder, ("train", "test", "ground_truth"), overwrite=overwrite)
    _draw(folder, seed, train=train_images, good=test_good, defective=test_defective, size=size)
    talk.say(f"{train_images + test_good + test_defective} parts: {folder}")


def _step(number: int, text: str) -> None:
    talk.say(f"\n[{number}/5] {text}")


def _draw(
    folder: Path,
    seed: int,
    *,
    train: int = 200,
    good: int = 40,
    defective: int = 60,
    size: int = 256,
) -> None:
    from anomaly_vae.samples import write_samples

    with talk.counter("Drawing parts", train + good + defective) as advance:
        write_samples(
            folder,
            train=train,
            test_good=good,
            test_defective=defective,
            size=size,
            seed=seed,
            progress=advance,
        )


def _gather_defective(test: Path, target: Path) -> None:
    """Put the classes of defects below one folder, as ``calibrate --defective`` takes them."""
    target.mkdir()
    for folder in sorted(test.iterdir()):
        if folder.name != "good":
            folder.rename(target / folder.name)
