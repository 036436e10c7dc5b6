"""What keeping proportions is worth: ``python reports/proportions.py DIR [--short]``.

Draws long parts (500 x 2000 pixels) with scratches about 3 pixels wide, and parts of mixed shapes
(1:3 to 3:1) beside others in one shape; trains with proportions kept and stretched, and prints the
AUROC of each; of long ones with ``--detail 1.6``, too. ``--weights`` are those of a ResNet-18.
Short trainings have 12 epochs and two folds.
"""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import typer
from PIL import Image

from anomaly_vae.images.samples import draw_sample

_TRAIN, _TEST = 120, 40
_PLAIN = ("--set", "training.sensitivity=false", "--set", "training.pictures=false")
_SHORT = ("--set", "training.epochs=12", "--set", "split.folds=2")
_WAYS = {"keep": (), "stretch": (), "keep, detail 1.6": ("--detail", "1.6")}
_OF = {"long": tuple(_WAYS), "mixed": ("keep", "stretch"), "square": ("keep",)}
_SETS = {  # shorter side, width by height, kinds of defects
    "long": (500, (4.0, 4.0), ("scratch",)),
    "mixed": (250, (1 / 3, 3.0), ("scratch", "dent", "contamination")),
    "square": (250, (1.0, 1.0), ("scratch", "dent", "contamination")),
}


def draw(folder: Path, size: int, ratios: tuple[float, float], kinds: tuple[str, ...]) -> None:
    """Draw good parts to train on, and as many good as defective ones to test with."""
    plan = [("train/good", "good", 1000 + number) for number in range(_TRAIN)]
    plan += [("test/good", "good", 2000 + number) for number in range(_TEST)]
    for number in range(_TEST):
        kind = kinds[number % len(kinds)]
        plan.append((f"test/{kind}", kind, 3000 + number))
    for place, kind, seed in plan:
        (folder / place).mkdir(parents=True, exist_ok=True)
        drawn = draw_sample(np.random.default_rng(seed), kind, size=size, proportions=ratios)
        Image.fromarray(drawn.image).save(folder / place / f"{seed}.png", compress_level=1)


def auroc(data: Path, way: str, weights: Path | None, seed: int, *, short: bool) -> str:
    """Train, evaluate, and give the AUROC of the test images, with its interval."""
    fit = way.partition(",")[0]
    out = data.parent / f"{data.name}-{way}-{seed}"
    program = [str(Path(sys.executable).with_name("anomaly-vae")), "-q"]
    trained = [*program, "train", str(data / "train" / "good"), "--out", str(out), "--overwrite"]
    trained += ["--features", "resnet18", *(["--weights", str(weights)] if weights else [])]
    trained += ["--seed", str(seed), "--set", f"images.fit={fit}", *_PLAIN, *_WAYS[way]]
    trained += _SHORT if short else ()
    subprocess.run(trained, check=True)
    tested = [*program, "evaluate", str(out / "model.onnx"), str(data / "test")]
    subprocess.run([*tested, "--out", str(out / "test"), "--overwrite"], check=True)
    metrics = json.loads((out / "test" / "metrics.json").read_text("utf-8"))
    low, high = metrics["images"]["auroc_interval"]
    return f"{metrics['images']['auroc']:.3f} ({low:.3f} to {high:.3f})"


def main(folder: Path, weights: Path | None = None, *, short: bool = False, seeds: int = 1) -> None:
    """Draw what is not there yet, and print a row for each training."""
    sys.stdout.write(
        "| set | images.fit | seed | AUROC (95 %) | seconds |\n|---|---|---|---|---|\n"
    )
    for name, (size, ratios, kinds) in _SETS.items():
        if not (folder / name).is_dir():
            draw(folder / name, size, ratios, kinds)
        for way, seed in itertools.product(_OF[name], range(seeds)):
            begin = time.monotonic()
            found = auroc(folder / name, way, weights, seed, short=short)
            row = f"| {name} | {way} | {seed} | {found} | {time.monotonic() - begin:.0f} |"
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    typer.run(main)
