"""Measures how fast images are inspected and what an interruption costs; writes ``speed.md``.

    python reports/speed.py DATA RUN18 RUN_PIXELS RUN_SMALL [--peers PYTHON --weights FILE]

DATA holds ``bottle`` in the layout of MVTec AD; RUN18 was trained on it with the trunk WEIGHTS,
RUN_PIXELS with ``--features pixels``, RUN_SMALL also with ``--set images.size=64``. PYTHON is that
of an environment with anomalib. Run it while nothing else runs: it takes half an hour on 2 cores.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import tables
import typer
from detection import peer

HERE = Path(__file__).parent
PROGRAM = str(Path(sys.executable).with_name("anomaly-vae"))
COPIES = 2000
KILLS = 20
SMALL, LARGE = 10_000, 100_000


def copies(source: Path, target: Path, count: int, per_folder: int = 1000) -> Path:
    """Make ``count`` hard links of the images below ``source``."""
    images = sorted(path for path in source.rglob("*") if path.is_file())
    for number in range(count):
        original = images[number % len(images)]
        folder = target / f"{number // per_folder:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(original, folder / f"{number:06d}{original.suffix}")
    return target


def benchmark(run: Path, folder: Path, count: int) -> dict[str, Any]:
    """Measure each stage alone, and all together."""
    command = [PROGRAM, "benchmark", run / "model.onnx", folder, "--images", count, "--json"]
    done = subprocess.run([str(each) for each in command], check=True, capture_output=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def cold_start(run: Path, folder: Path) -> tuple[float, float]:
    """Seconds of wall time for ten images, and for Python alone; medians of five turns."""
    inspect = [PROGRAM, "inspect", str(run / "model.onnx"), str(folder), "--jsonl", "--exit-zero"]
    nothing = [sys.executable, "-c", ""]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(5):
        for command, taken in zip((inspect, nothing), times, strict=True):
            begin = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            taken.append(time.perf_counter() - begin)
    first, second = (float(np.median(taken)) for taken in times)
    return first, second


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
    peers: Annotated[Path | None, typer.Option(help="Python with anomalib.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of the trunk of RUN18.")] = None,
) -> None:
    """Measure everything, and write the tables."""
    rows, found = [], {}
    with tempfile.TemporaryDirectory(dir=run18) as place:
        scratch = Path(place)
        many = copies(data / "bottle" / "test", scratch / "many", COPIES)
        ten = copies(data / "bottle" / "test", scratch / "ten", 10)
        for name, run in (("`resnet18`", run18), ("`pixels`", run_pixels)):
            measured = benchmark(run, many, COPIES)
            rates = {each["name"]: each["images_per_second"] for each in measured["stages"]}
            start, python = cold_start(run, ten)
            rows.append(
                [
                    name, *(f"{rates[each]:.1f}" for each in rates),
                    f"{measured['end_to_end']:.1f}", f"{measured['bound']:.1f}",
                    f"{measured['end_to_end'] / measured['bound']:.2f}", f"{start - python:.2f}",
                ]
            )  # fmt: skip
        head = ["", *rates, "end to end", "bound", "share", "start to ten images, s"]
        found["stages"] = tables.markdown(head, rows)
        outcome = killed(run_pixels, many, scratch)
        found["kills"] = tables.markdown(list(outcome), [[str(each) for each in outcome.values()]])
        memory = [
            peak_memory(run_small, copies(data / "bottle" / "test", scratch / str(n), n),
                        scratch / f"out{n}")
            for n in (SMALL, LARGE)
        ]  # fmt: skip
        found["memory"] = tables.markdown(
            [f"{SMALL} images", f"{LARGE} images", "ratio"],
            [[f"{memory[0]:.0f} MiB", f"{memory[1]:.0f} MiB", f"{memory[1] / memory[0]:.3f}"]],
        )
    if peers and weights:
        bottle = data / "bottle"
        names = ("padim", "patchcore")
        found["peers"] = tables.markdown(
            list(names),
            [[f"{peer(peers, n, bottle, 0, weights)['images_per_second']:.1f}" for n in names]],
        )
    path = HERE / "speed.md"
    path.write_text(tables.replace_tables(path.read_text(), found))


if __name__ == "__main__":
    typer.run(main)
