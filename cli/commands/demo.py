"""The command that runs the whole line on drawn parts, without network and data."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..options import Heatmaps
from .calibrate import Criterion, calibrate
from .evaluate import evaluate
from .inspect import inspect
from .samples import draw_parts, drawn_parts
from .train import train

EXAMPLES = """
anomaly-vae demo
anomaly-vae demo --out elsewhere --seed 1
"""
_OWN = ("parts", "examples", "run", "evaluation", "inspection")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the parts and of the training.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results of an earlier demo.")
    ] = False,
) -> None:
    """Draw parts, then train, calibrate, evaluate and inspect; needs no network and no data."""
    from anomaly_vae.outputs import Made, prepare_folder

    start = time.perf_counter()
    prepare_folder(out, Made("demo", _OWN), overwrite=overwrite)
    parts, examples, run = out / "parts", out / "examples", out / "run"
    for photographs in (parts, examples):
        prepare_folder(photographs, drawn_parts())
    _step(1, f"drawing 300 machined parts into {parts}")
    draw_parts(parts, seed)
    _step(2, f"training on the good parts in {parts / 'train' / 'good'}")
    train(parts / "train" / "good", run, features="pixels", seed=seed)
    _step(3, "calibrating the threshold on 60 other labelled parts")
    draw_parts(examples, seed + 1, train=0, good=40, defective=20)
    test = examples / "test"
    defective = examples / "defective"
    _gather_defective(test, defective)
    calibrate(run, [test / "good"], defective, criterion=Criterion.YOUDEN)
    _step(4, "evaluating on the test parts, which nothing has seen so far")
    evaluate(run, parts / "test", out / "evaluation")
    _step(5, "inspecting the test parts as a production line would")
    inspect(run / "model.onnx", [parts / "test"], out / "inspection", heatmaps=Heatmaps.DEFECTS,
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


def _step(number: int, text: str) -> None:
    talk.say(f"\n[{number}/5] {text}")


def _gather_defective(test: Path, target: Path) -> None:
    """Put the classes of defects below one folder, as ``calibrate --defective`` takes them."""
    target.mkdir()
    for folder in sorted(test.iterdir()):
        if folder.name != "good":
            folder.rename(target / folder.name)
