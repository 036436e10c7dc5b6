"""What detail is worth, and what it costs; fills ``detail.md``.

    python reports/detail.py SCRATCH [DATA …] [--features NAME] [--weights FILE] [--details 1,2]

DATA are data sets in the layout of MVTec AD. Beside them, parts are drawn into SCRATCH and
photographed at 2,048 x 2,048 pixels: good ones, the same ones with a defect of 5 to 8 pixels, and
others with large defects. Each is trained on at each detail, in short and once; the drawn ones at
that of ``--smallest-defect 5``, too. Memory is the most that training and testing held.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from tables import markdown, replace_tables

from anomaly_vae.images.drawn import Wish, draw_defects
from anomaly_vae.images.part import measure_part
from anomaly_vae.images.samples import draw_sample

HERE = Path(__file__).parent
HEAD = ["", "asked for", "the model sees", "AUROC (95 %)", "defects that pass", "good that fail",
        "model alone, images/s", "memory, GiB", "minutes"]  # fmt: skip
SIDE, TRAIN, TEST, LARGE = 2048, 40, 20, 12
_SHORT = ("training.epochs=16", "training.refit=false", "split.folds=1")
_FINE, _CONTRAST = (5.0, 8.0), 60.0  # pixels, grey levels


def main(
    scratch: Path,
    data: list[Path] | None = None,
    features: str = "resnet18",
    weights: Path | None = None,
    details: Annotated[str, typer.Option(help="With commas between them.")] = "1,2",
) -> None:
    """Measure, and fill the table of ``detail.md``."""
    draw(scratch / "drawn")
    rows = []
    for each in [*(data or []), scratch / "drawn"]:
        asked = [f"--detail={detail}" for detail in details.split(",")]
        asked += ["--smallest-defect=5"] if each == scratch / "drawn" else []
        for option in asked:
            out = scratch / f"{each.name}{option}"
            source = ["--features", features, *(["--weights", str(weights)] if weights else [])]
            rows += measured(each, option, out, source)
            sys.stdout.write(f"{markdown(HEAD, rows)}\n\n")
            sys.stdout.flush()
    report = HERE / "detail.md"
    table = replace_tables(report.read_text(encoding="utf-8"), {"detail": markdown(HEAD, rows)})
    report.write_text(table, encoding="utf-8")


def draw(folder: Path) -> None:
    """Draw parts, as far as they are not there yet."""
    for number in range(TRAIN):
        save(folder / "train" / "good" / f"{number:03d}.png", "good", 1000 + number)
    tested = [folder / "test" / "good" / f"{number:03d}.png" for number in range(TEST)]
    for number, path in enumerate(tested):
        save(path, "good", 2000 + number)
    for number in range(LARGE):
        kind = ("scratch", "dent", "contamination")[number % 3]
        path = folder / "large" / kind / f"{number:03d}.png"
        save(path, kind, 4000 + number)
    for path in tested:
        beside = folder / "large" / "good" / path.name
        beside.parent.mkdir(exist_ok=True)
        beside.unlink(missing_ok=True)
        beside.hardlink_to(path)
    if (folder / "test" / "spot").is_dir():
        return
    photographs = [np.asarray(Image.open(path)) for path in tested]
    rng = np.random.default_rng(0)
    kinds = ("spot", "stain", "scratch")
    wishes = [
        Wish(number, kinds[number % 3], float(rng.uniform(*_FINE)), _CONTRAST)
        for number in range(TEST)
    ]
    part = measure_part(photographs)
    for drawn in draw_defects(photographs, part, wishes, seed=0):
        write(folder / "test" / drawn.wish.kind / f"{drawn.wish.photograph:03d}.png", drawn.image)


def save(path: Path, kind: str, seed: int) -> None:
    """Draw a part into a file, if it is not there yet."""
    if not path.is_file():
        write(path, draw_sample(np.random.default_rng(seed), kind, size=SIDE).image)


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


def measured(data: Path, option: str, out: Path, source: list[str]) -> list[list[str]]:
    """Train, evaluate and time; gives a row for each folder that is tested with."""
    begin = time.monotonic()
    settings = [word for each in _SHORT for word in ("--set", each)]
    held = [run("train", data / "train" / "good", "--out", out, "--overwrite", option, *source,
                *settings)]  # fmt: skip
    model, found = out / "model.onnx", {}
    for test in (data / "test", data / "large"):
        if test.is_dir():
            held.append(run("evaluate", model, test, "--out", out / test.name, "--overwrite"))
            metrics = (out / test.name / "metrics.json").read_text(encoding="utf-8")
            found[test.name] = json.loads(metrics)["images"]
    timed = told("benchmark", model, data / "test" / "good", "--images", "16", "--json")
    stages = {each["name"]: each for each in timed["stages"]}
    height, width = told("info", model, "--json")["images"]["frame"]
    minutes = (time.monotonic() - begin) / 60
    return [
        [
            f"{data.name}, {name}" if len(found) > 1 else data.name,
            option.lstrip("-").replace("=", " "),
            f"{width} x {height}",
            f"{each['auroc']:.3f} ({each['auroc_interval'][0]:.2f} to "
            f"{each['auroc_interval'][1]:.2f})",
            share(each["escapes"]),
            share(each["overkill"]),
            f"{stages['infer']['images_per_second']:.3g}",
            f"{max(held):.1f}",
            f"{minutes:.0f}",
        ]
        for name, each in found.items()
    ]


def share(rate: dict[str, Any]) -> str:
    """Say how many of how many."""
    return f"{rate['count']} of {rate['of']}"


def program() -> str:
    """Give the path of the program."""
    return str(Path(sys.executable).with_name("anomaly-vae"))


def told(*words: object) -> dict[str, Any]:
    """Run a command that prints JSON; gives it."""
    command = [program(), *map(str, words)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def run(*words: object) -> float:
    """Run a command; gives the most memory that it held, in GiB."""
    process = subprocess.Popen([program(), "-q", *map(str, words)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {words}")
    return usage.ru_maxrss / 2**20


if __name__ == "__main__":
    typer.run(main)
