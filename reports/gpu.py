"""Measures inspection on a GPU, and fills the tables of ``speed.md`` that need one.

    python reports/gpu.py PHOTOGRAPHS RUN... [--device cpu]

PHOTOGRAPHS is a folder, such as ``bottle/test`` of MVTec AD; each RUN was trained on such ones.
With ``--device cpu`` everything is rehearsed with few images, and printed instead of written.
"""

import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from numpy.typing import NDArray
from tables import markdown, replace_tables

from anomaly_vae.calibration.metadata import Precision
from anomaly_vae.errors import DeviceError, ExportError
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.images.files import list_images
from anomaly_vae.inspection.inspector import Inspector, Read
from anomaly_vae.inspection.providers import Device, cuda_devices, providers_for
from anomaly_vae.workflows.benchmark import benchmark
from anomaly_vae.workflows.export import export_lower

HERE = Path(__file__).parent
COUNT, SECONDS, COMPARED, TURNS = 2000, 20.0, 64, 3
REHEARSED_COUNT, REHEARSED_SECONDS = 16, 0.5
SHOWN_OPERATORS = 5
SPEED = ["", "precision", "device", "batch", "start, s", "infer", "decoded", "end to end",
         "model busy", "GPU busy", "scores move"]  # fmt: skip
PROFILE = ["", "precision", "share of the time of all operators"]


class On(StrEnum):
    """What is measured on."""

    GPU = "gpu"
    CPU = "cpu"


def main(
    photographs: Path,
    runs: list[Path],
    device: Annotated[On, typer.Option(help="cpu: a rehearsal.")] = On.GPU,
) -> None:
    """Measure every run in both precisions, and write the tables."""
    rehearsal = device is On.CPU
    if not (rehearsal or cuda_devices()):
        typer.echo("error: no NVIDIA driver or GPU was found; --device cpu rehearses", err=True)
        raise typer.Exit(2)
    devices: tuple[Device, ...] = ("cpu",) if rehearsal else ("cuda", "tensorrt")
    speed, profiles = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for run in runs:
            for precision, model in models(run, Path(scratch)):
                name = [f"`{run.name}`", precision]
                if isinstance(model, str):
                    speed.append([*name, model, *["-"] * (len(SPEED) - 3)])
                    continue
                speed += [
                    [*name, *measured(model, run / "model.onnx", each, photographs)]
                    for each in devices
                ]
                profiles.append([*name, profile(model, devices[0], photographs)])
    found = {"gpu": markdown(SPEED, speed), "gpu_profile": markdown(PROFILE, profiles)}
    if rehearsal:
        typer.echo("\n\n".join(found.values()))
        return
    path = HERE / "speed.md"
    path.write_text(replace_tables(path.read_text(), found))


def models(run: Path, scratch: Path) -> Iterator[tuple[Precision, Path | str]]:
    """Give the model of a run in both precisions, or why there is none."""
    yield "fp32", run / "model.onnx"
    half = scratch / f"{run.name}.onnx"
    try:
        export_lower(run, half, "fp16", overwrite=True)
        yield "fp16", half
    except ExportError as error:
        yield "fp16", str(error)


def measured(model: Path, single: Path, device: Device, folder: Path) -> list[str]:
    """Give the row of a model on a device, from the device on; ``single`` is it in fp32."""
    begin = time.perf_counter()
    try:
        inspector = Inspector(model, device=device)
    except DeviceError as error:
        return [f"{device}: {error}", *["-"] * (len(SPEED) - 3)]
    start = time.perf_counter() - begin
    rehearsal, paths = device == "cpu", list_images(folder)
    count = REHEARSED_COUNT if rehearsal else COUNT
    stages = benchmark(inspector, folder, paths, count)
    infer = next(each for each in stages.stages if each.name == "infer")
    images = loaded(inspector, folder, paths[:COUNT])
    rate, busy, gpu = sustained(inspector, images, REHEARSED_SECONDS if rehearsal else SECONDS)
    pixels = np.stack([each.pixels for each in images[:COMPARED]])
    reference = scores(Inspector(single, device="cpu"), pixels)
    apart = np.abs(scores(inspector, pixels) - reference) / np.maximum(1, np.abs(reference))
    return [
        device, str(inspector.batch_size), f"{start:.1f}", f"{infer.images_per_second:.1f}",
        f"{rate:.1f}", f"{stages.end_to_end:.1f}", f"{busy:.0%}", gpu, f"{apart.max():.1e}",
    ]  # fmt: skip


def loaded(inspector: Inspector, folder: Path, paths: list[str]) -> list[LoadedImage]:
    """Decode images."""
    return [load_image(folder / path, inspector.card.images) for path in paths]


def scores(inspector: Inspector, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Score images, uint8 [N, S, S, 3], batch by batch."""
    size = inspector.batch_size
    begins = range(0, len(pixels), size)
    return np.concatenate([inspector.run(pixels[begin : begin + size]).score for begin in begins])


def sustained(
    inspector: Inspector, images: list[LoadedImage], seconds: float
) -> tuple[float, float, str]:
    """Inspect decoded images for some seconds: images/s, and how busy model and GPU are."""
    ends = time.perf_counter() + seconds

    def files() -> Iterator[Read]:
        for image in cycle(images):
            if time.perf_counter() > ends:
                return
            yield Read("", None, image)

    list(islice(inspector.inspect_read(Read("", None, each) for each in images), COMPARED))  # warm
    before, begin, done = inspector.model.busy.seconds, time.perf_counter(), 0
    with Share() as share:
        for _ in inspector.inspect_read(files()):
            done += 1
    took = time.perf_counter() - begin
    return done / took, (inspector.model.busy.seconds - before) / took, str(share)


class Share:
    """The share of time in which the first GPU computes anything, as its driver sees it."""

    def __enter__(self) -> "Share":
        self._values: list[float] = []
        self._process: subprocess.Popen[str] | None = None
        words = ["-i", "0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        if program := shutil.which("nvidia-smi"):
            command = [program, *words, "-lms", "200"]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            lines = self._process.communicate()[0]
            self._values = [float(line) for line in lines.split() if line.isdigit()]

    def __str__(self) -> str:
        # What was sampled first is of the time before.
        kept = self._values[len(self._values) // 4 :]
        return f"{np.median(kept):.0f}%" if kept else "-"


def profile(model: Path, device: Device, folder: Path) -> str:
    """Name the operators that take longest; on a GPU only if this ONNX Runtime has CUPTI."""
    inspector = Inspector(model, device="cpu")
    images = loaded(inspector, folder, list(islice(cycle(list_images(folder)), 32)))
    pixels = np.stack([each.pixels for each in images])
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=providers_for(device))
        if session.get_providers()[0] != providers_for(device)[0][0]:
            return "-"
        for _ in range(TURNS):
            session.run(["score", "anomaly_map"], {"images": pixels})
        events = json.loads(Path(session.end_profiling()).read_text())
    return longest(events)


def longest(events: list[dict[str, Any]]) -> str:
    """Sum the times of kernels, or where there are none of nodes, by operator, in the last run."""
    begin = max(each["ts"] for each in events if each["name"] == "model_run")
    last = [each for each in events if each["ts"] >= begin]
    kernels = [each for each in last if each["cat"] == "Kernel"]
    nodes = [each for each in last if each["name"].endswith("_kernel_time")]
    taken: Counter[str] = Counter()
    for each in kernels or nodes:
        taken[each["args"].get("op_name", each["name"])] += each["dur"]
    total = max(1, taken.total())
    most = taken.most_common(SHOWN_OPERATORS)
    return ", ".join(f"{name} {time / total:.0%}" for name, time in most) + (
        "" if kernels else " (as the host sees it)"
    )


if __name__ == "__main__":
    typer.run(main)
