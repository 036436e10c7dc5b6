"""Measures how fast images are inspected and what an interruption costs; writes ``speed.md``.

    python reports/speed.py DATA RUN18 RUN_PIXELS RUN_SMALL [--peers PYTHON --weights FILE]

DATA holds ``bottle`` in the layout of MVTec AD; RUN18 was trained on it with the trunk WEIGHTS,
RUN_PIXELS with ``--features pixels``, RUN_SMALL also with ``--set images.size=64``. PYTHON is that
of an environment with anomalib. Run it while nothing else runs: it takes half an hour on 2 cores.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated, Any, cast

import numpy as np
import pandas as pd
import tables
import typer

HERE = Path(__file__).parent
PROGRAM = str(Path(sys.executable).with_name("anomaly-vae"))
COPIES = 2000
KILLS = 20
TURNS = 5
SMALL, LARGE = 10_000, 100_000
LIBRARIES = "import typer, numpy, onnxruntime, PIL.Image; from pydantic import TypeAdapter"
REPEATS = 4  # of the test images of bottle: 332


def copies(source: Path, target: Path, count: int, per_folder: int = 1000) -> Path:
    """Make ``count`` hard links of the images below ``source``."""
    images = sorted(path for path in source.rglob("*") if path.is_file())
    for number in range(count):
        original = images[number % len(images)]
        folder = target / f"{number // per_folder:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(original, folder / f"{number:06d}{original.suffix}")
    return target


def with_test_images(source: Path, target: Path, repeats: int) -> Path:
    """Make hard links of a data set, with ``repeats`` of each test image."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        inside = path.relative_to(source)
        for number in range(repeats if inside.parts[0] == "test" else 1):
            link = target / inside.with_stem(f"{inside.stem}_{number}")
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, link)
    return target


def benchmark(run: Path, folder: Path, count: int) -> dict[str, Any]:
    """Measure each stage alone, and all together."""
    command = [PROGRAM, "benchmark", run / "model.onnx", folder, "--images", count, "--json"]
    done = subprocess.run([str(each) for each in command], check=True, capture_output=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def cold_start(run: Path, folder: Path) -> tuple[float, float]:
    """Seconds until the first row of a folder is there, and until the end; medians of turns."""
    command = [PROGRAM, "inspect", str(run / "model.onnx"), str(folder), "--jsonl", "--exit-zero"]
    turns = []
    for _ in range(TURNS):
        begin = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            rows = cast(IO[bytes], process.stdout)
            rows.readline()
            first = time.perf_counter() - begin
            rows.read()
        turns.append((first, time.perf_counter() - begin))
    first, whole = np.median(turns, 0)
    return float(first), float(whole)


def seconds(*words: object, turns: int = TURNS) -> float:
    """Wall time of a command, the median of some turns."""
    taken = []
    for _ in range(turns):
        begin = time.perf_counter()
        subprocess.run([str(each) for each in words], check=True, capture_output=True)
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def peer(python: Path, name: str, data: Path, ten: Path, weights: Path) -> tuple[float, float]:
    """Images per second of anomalib on ``data``, and seconds for ``ten``, without Python's own.

    The second is a program that loads a fitted model and predicts; the median of three turns.
    """
    script = HERE / "peer.py"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.npz"
        seconds(python, script, name, data, weights, out, turns=1)
        with np.load(out) as given:
            rate = float(given["images_per_second"])
        start = seconds(python, script, name, out.with_suffix(".ckpt"), ten, turns=3)
    return rate, start - seconds(python, "-c", "")


def peak_memory(run: Path, folder: Path, out: Path) -> float:
    """Largest resident memory of an inspection, in MiB."""
    command = [PROGRAM, "-q", "inspect", run / "model.onnx", folder, "--out", out, "--exit-zero"]
    words = [str(each) for each in command] + ["--heatmaps", "none"]
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def killed(run: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Kill an inspection at random moments, go on each time, and compare the tables."""
    command = [PROGRAM, "-q", "inspect", run / "model.onnx", folder, "--exit-zero"]
    words = [str(each) for each in command] + ["--heatmaps", "none", "--resume", "--out"]
    begin = time.perf_counter()
    subprocess.run([*words, str(scratch / "whole")], check=True, capture_output=True)
    seconds = time.perf_counter() - begin
    moments, kills = np.random.default_rng(0), 0
    while kills < KILLS:
        process = subprocess.Popen([*words, str(scratch / "torn")], stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0, 2 * seconds / KILLS + 3))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    subprocess.run([*words, str(scratch / "torn")], check=True, capture_output=True)
    one, other = (
        pd.read_csv(scratch / name / "images.csv").set_index("path") for name in ("whole", "torn")
    )
    aligned = other.reindex(one.index)
    far = ((one.score - aligned.score).abs() / one.score.abs().clip(1)).max()
    return {
        "kills": kills,
        "rows": len(other),
        "double": int(other.index.duplicated().sum()),
        "same_paths": set(one.index) == set(other.index),
        "verdicts_changed": int((one.verdict != aligned.verdict).sum()),
        "largest_difference": float(far),
    }


def main(
    data: Path,
    run18: Path,
    run_pixels: Path,
    run_small: Path,
    *,
    peers: Annotated[Path | None, typer.Option(help="Python with anomalib.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of the trunk of RUN18.")] = None,
    only: Annotated[str, typer.Option(help="Tables to measure, a regular expression.")] = "",
) -> None:
    """Measure everything, and write the tables."""
    bottle, found = data / "bottle", {}
    with tempfile.TemporaryDirectory(dir=run18) as place:
        scratch = Path(place)
        many = copies(bottle / "test", scratch / "many", COPIES)
        good, defective = (
            copies(bottle / "test" / name, scratch / name, 10) for name in ("good", "broken_large")
        )
        runs = {"`resnet18`": run18, "`pixels`": run_pixels}
        if re.search(only, "stages"):
            found["stages"] = stages(runs, many)
        if re.search(only, "stub"):
            found["stub"] = stub(bottle / "test")
        if re.search(only, "start"):
            found["start"] = starts(runs, good, defective)
        if re.search(only, "peers") and peers and weights:
            repeated = with_test_images(bottle, scratch / "bottle", REPEATS)
            found["peers"] = tables.markdown(
                ["", "images/s", "start to ten images, s"],
                [
                    [name, *(f"{each:.1f}" for each in peer(peers, name, repeated, good, weights))]
                    for name in ("padim", "patchcore")
                ],
            )
        if re.search(only, "kills"):
            outcome = killed(run_pixels, many, scratch)
            values = [str(each) for each in outcome.values()]
            found["kills"] = tables.markdown(list(outcome), [values])
        if re.search(only, "memory"):
            memory = [
                peak_memory(run_small, copies(bottle / "test", scratch / str(n), n),
                            scratch / f"out{n}")
                for n in (SMALL, LARGE)
            ]  # fmt: skip
            found["memory"] = tables.markdown(
                [f"{SMALL} images", f"{LARGE} images", "ratio"],
                [[f"{memory[0]:.0f} MiB", f"{memory[1]:.0f} MiB", f"{memory[1] / memory[0]:.3f}"]],
            )
    path = HERE / "speed.md"
    path.write_text(tables.replace_tables(path.read_text(), found))


def stages(runs: Mapping[str, Path], many: Path) -> str:
    """Measure what each stage does alone, and all together."""
    rows = []
    for name, run in runs.items():
        measured = benchmark(run, many, COPIES)
        rates = {each["name"]: each["images_per_second"] for each in measured["stages"]}
        rows.append(
            [
                name, *(f"{rates[each]:.1f}" for each in rates),
                f"{measured['end_to_end']:.1f}", f"{measured['bound']:.1f}",
                f"{measured['end_to_end'] / measured['bound']:.2f}",
            ]
        )  # fmt: skip
    return tables.markdown(["", *rates, "end to end", "bound", "share"], rows)


def stub(photographs: Path) -> str:
    """Measure inspection with a model that costs nothing; medians of turns."""
    command = [sys.executable, HERE / "stub.py", photographs, COPIES]
    words = [str(each) for each in command]
    turns = [
        json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
        for _ in range(TURNS)
    ]
    *_, decoding, files = turns[0]
    rates = {
        name: np.array([turn[name]["images_per_second"] for turn in turns]) for name in turns[0]
    }
    shares = {files: f"{np.median(rates[files] / rates[decoding]):.2f}"}
    rows = [
        [
            name,
            f"{np.median(rates[name]):.0f}",
            f"{np.median([turn[name]['processor_us'] for turn in turns]):.0f}",
            shares.get(name, ""),
        ]
        for name in turns[0]
    ]
    head = ["", "images/s", "µs of the processor for an image", "share of decoding"]
    return tables.markdown(head, rows)


def starts(runs: Mapping[str, Path], good: Path, defective: Path) -> str:
    """Measure how soon the first results are there, and loading the libraries alone.

    What Python takes for nothing is taken off all of them.
    """
    nothing, libraries = (seconds(sys.executable, "-c", each) for each in ("", LIBRARIES))
    rows = []
    for name, run in runs.items():
        first, ten = cold_start(run, good)
        first_defective, _ = cold_start(run, defective)
        measured = (first, first_defective, ten, libraries)
        rows.append([name, *(f"{each - nothing:.2f}" for each in measured)])
    head = ["", "first is good", "first is defective", "all ten", "libraries alone"]
    return tables.markdown(head, rows)


if __name__ == "__main__":
    typer.run(main)
