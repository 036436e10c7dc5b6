"""Measures inspection on a GPU, and fills the tables of ``speed.md`` that need one.

    python reports/gpu.py PHOTOGRAPHS RUN... [--device cpu]

PHOTOGRAPHS is a folder, such as ``bottle/test`` of MVTec AD; each RUN was trained on such ones. As
on a line, speed is measured on the good ones, those in its sub-folder ``good`` if there is one;
verdicts are compared on all. Without TensorRT a model takes under four minutes. With ``--device
cpu`` everything is rehearsed with few images, and printed instead of written.
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
import torch
import typer
from numpy.typing import NDArray
from tables import markdown, replace_tables

from anomaly_vae.calibration.metadata import Precision
from anomaly_vae.errors import DeviceError, ExportError
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.images.files import list_images
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.providers import (
    BATCH_SIZE_GPU,
    Kind,
    cuda_devices,
    providers_for,
    start_session,
)
from anomaly_vae.inspection.reading import Read
from anomaly_vae.vae.trunk import TrunkFeatures
from anomaly_vae.workflows.benchmark import benchmark
from anomaly_vae.workflows.export import export_lower
from anomaly_vae.workflows.runs import load_detector, saved_config

HERE = Path(__file__).parent
COUNT, SECONDS, COMPARED, TURNS = 2000, 8.0, 200, 3
REHEARSED_COUNT, REHEARSED_SECONDS = 16, 0.5
SHOWN_OPERATORS = 5
SPEED = ["", "precision", "device", "batch", "start, s", "trunk in PyTorch", "infer", "decoded",
         "decode alone", "end to end", "model busy", "GPU busy", "scores move",
         "other verdicts"]  # fmt: skip
PROFILE = ["", "precision", "share of the time of all operators"]
# Of the CUDA provider: what may make the model faster; the second moves scores.
OPTIONS = {
    "as it runs": {},
    "prefer_nhwc": {"prefer_nhwc": "1"},
    "use_tf32": {"use_tf32": "1"},
    "cudnn_conv_algo_search = HEURISTIC": {"cudnn_conv_algo_search": "HEURISTIC"},
    "prefer_nhwc and use_tf32": {"prefer_nhwc": "1", "use_tf32": "1"},
}


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
    devices: tuple[Kind, ...] = ("cpu",) if rehearsal else ("cuda", "tensorrt")
    speed, profiles, ways = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for run in runs:
            for precision, model in models(run, Path(scratch)):
                name = [f"`{run.name}`", precision]
                if isinstance(model, str):
                    speed.append([*name, model, *["-"] * (len(SPEED) - 3)])
                    continue
                bound = trunk_alone(run, precision, rehearsal=rehearsal)
                speed += [
                    [*name, *measured(model, run / "model.onnx", each, photographs, bound)]
                    for each in devices
                ]
                profiles.append([*name, profile(model, devices[0], photographs)])
                ways.append([*name, *with_options(model, devices[0], photographs)])
    found = {
        "gpu": markdown(SPEED, speed),
        "gpu_profile": markdown(PROFILE, profiles),
        "gpu_options": markdown(["", "precision", *OPTIONS], ways),
    }
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


def trunk_alone(run: Path, precision: Precision, *, rehearsal: bool) -> str:
    """Give images per second of a run's trunk in PyTorch: what the model can at most."""
    config = saved_config(run)
    features = load_detector(run, config).features
    half = precision == "fp16"
    if not isinstance(features, TrunkFeatures) or (half and rehearsal):
        return "-"  # half precision on a CPU says nothing
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    batch = 2 if rehearsal else 128
    place, kind = "cpu" if rehearsal else "cuda", torch.half if half else torch.float
    trunk = features.trunk.to(place, kind).to(memory_format=torch.channels_last)
    images = torch.rand(batch, 3, config.images.size, config.images.size).to(place, kind)
    images = images.to(memory_format=torch.channels_last)

    def runs(count: int) -> float:
        begin = time.perf_counter()
        with torch.no_grad():
            for _ in range(count):
                trunk(images)
        if not rehearsal:
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    once = min(runs(1) for _ in range(TURNS))
    count = max(1, round((REHEARSED_SECONDS if rehearsal else SECONDS / 4) / once))
    return f"{count * batch / runs(count):.0f}"


def measured(model: Path, single: Path, device: Kind, folder: Path, bound: str) -> list[str]:
    """Give the row of a model on a device, from the device on; ``single`` is it in fp32."""
    begin = time.perf_counter()
    try:
        inspector = Inspector(model, device=device)
    except DeviceError as error:
        return [f"{device}: {error}", *["-"] * (len(SPEED) - 3)]
    start = time.perf_counter() - begin
    rehearsal, everything = device == "cpu", folder
    folder = folder / "good" if (folder / "good").is_dir() else folder
    paths = list_images(folder)
    count = REHEARSED_COUNT if rehearsal else COUNT
    stages = benchmark(inspector, folder, paths, count)
    alone = {each.name: each.images_per_second for each in stages.stages}
    images = loaded(inspector, folder, paths[:COUNT])
    rate, busy, gpu = sustained(inspector, images, REHEARSED_SECONDS if rehearsal else SECONDS)
    pixels = np.stack([
        each.pixels for each in loaded(inspector, everything, list_images(everything)[:COMPARED])
    ])  # fmt: skip
    reference, limit = scores(Inspector(single, device="cpu"), pixels), inspector.card.threshold
    found = scores(inspector, pixels)
    apart = np.abs(found - reference) / np.maximum(1, np.abs(reference))
    others = sum(
        limit.verdict(one) != limit.verdict(other)
        for one, other in zip(found.tolist(), reference.tolist(), strict=True)
    )
    return [
        device, str(inspector.batch_size), f"{start:.1f}", bound, f"{alone['infer']:.1f}",
        f"{rate:.1f}", f"{alone['decode']:.1f}", f"{stages.end_to_end:.1f}", f"{busy:.0%}", gpu,
        f"{apart.max():.1e}", f"{others} of {len(found)}",
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

    def files() -> Iterator[Read]:
        ends = time.perf_counter() + seconds
        for image in cycle(images):
            if time.perf_counter() > ends:
                return
            yield Read("", None, image)

    warm = (Read("", None, each) for each in images[: 2 * inspector.batch_size])
    list(inspector.inspect_read(warm))
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


def with_options(model: Path, device: Kind, folder: Path) -> Iterator[str]:
    """Give images per second of the model alone with each of the options; "-" where it fails."""
    rehearsal, paths = device == "cpu", list_images(folder)
    inspector = Inspector(model, device="cpu")
    size = 2 if rehearsal else BATCH_SIZE_GPU
    images = loaded(inspector, folder, list(islice(cycle(paths), size)))
    pixels = np.stack([each.pixels for each in images])
    (name, own), *others = providers_for(device)
    for options in OPTIONS.values():
        if rehearsal and options:
            yield "-"
            continue
        given = onnxruntime.OrtValue.ortvalue_from_numpy(pixels, device, 0)
        session = start_session(model.read_bytes(), [(name, own | options), *others])
        binding = session.io_binding()
        binding.bind_ortvalue_input("images", given)
        for output in ("score", "anomaly_map"):
            binding.bind_output(output, device)
        if session.get_providers()[0] != name:
            yield "-"
            continue
        session.run_with_iobinding(binding)  # the first run chooses its kernels
        begin, runs = time.perf_counter(), 0
        while (took := time.perf_counter() - begin) < (REHEARSED_SECONDS if rehearsal else 2):
            session.run_with_iobinding(binding)
            runs += 1
        yield f"{runs * size / took:.0f}"


def profile(model: Path, device: Kind, folder: Path) -> str:
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
