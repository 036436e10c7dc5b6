"""How fast a model inspects, stage by stage, and what limits it.

Every stage is measured alone first, then all of them together as ``inspect`` runs them. On a
processor that decodes and runs the model, both share its cores: at best an image takes the sum of
what each takes alone on all of them. With a graphics card the slower of the two is the bound. In
between, images that are decoded already are inspected, without tables: how busy the model is then
says whether the program around it keeps up.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.images.stacks import load_part
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.reading import Read
from anomaly_vae.reporting.results import Results
from anomaly_vae.workflows.recorder import Recorder

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Stage:
    """One stage, alone."""

    name: str
    images_per_second: float
    p50: float
    """Median of the milliseconds of one step: an image, or (``infer``) a batch."""
    p95: float
    p99: float


@dataclass(frozen=True)
class Benchmark:
    """What was measured."""

    stages: tuple[Stage, ...]
    decoded: float
    """Images per second that are decoded already, without tables."""
    busy: float
    """Share of that time for which the model was running."""
    end_to_end: float
    """Images per second, from files to tables on the disk; without start-up and pictures."""
    bound: float
    """Images per second that decoding and model allow."""
    limit: str
    """The stage that takes longest."""
    images: int
    batch_size: int
    workers: int
    provider: str


def benchmark(inspector: Inspector, folder: Path, paths: Sequence[str], count: int) -> Benchmark:
    """Measure on ``count`` images, those at ``paths`` over and over.

    Raises:
        ImageReadError: one of them cannot be read.
        OutputError: the folder for temporary files cannot be written to.
    """
    names = list(islice(cycle(paths), count))
    read, _ = _measured("read", lambda name: (folder / name).read_bytes(), names)
    decode, images = _measured(
        "decode",
        lambda name: load_part(folder / name, inspector.card.images),
        names,
        workers=inspector.workers,
    )
    infer, judge, findings = _model(inspector, names, images)
    decoded, busy = _decoded(inspector, names, images)
    with tempfile.TemporaryDirectory() as scratch:
        with Results(Path(scratch) / "alone", folder, {}) as results:
            recorder = Recorder(inspector, folder, results, heatmaps="none", page=False)
            write, _ = _measured("write", recorder.record, findings)
        begin = time.perf_counter()
        with Results(Path(scratch) / "together", folder, {}) as results:
            recorder = Recorder(inspector, folder, results, heatmaps="none", page=False)
            for finding in inspector.inspect_files(folder, names, recorder.shows):
                recorder.record(finding)
        together = time.perf_counter() - begin
    shares = [1 / stage.images_per_second for stage in (decode, infer)]
    stages = (read, decode, infer, judge, write)
    return Benchmark(
        stages=stages,
        decoded=decoded,
        busy=busy,
        end_to_end=count / together,
        bound=1 / (sum(shares) if inspector.model.on_cpu else max(shares)),
        limit=min(stages, key=lambda stage: stage.images_per_second).name,
        images=count,
        batch_size=inspector.batch_size,
        workers=inspector.workers,
        provider=inspector.provider,
    )


def _model(
    inspector: Inspector, names: Sequence[str], images: Sequence[LoadedImage]
) -> tuple[Stage, Stage, list[Finding]]:
    """Measure the model, and what is made of its outputs; gives that, too."""
    size = inspector.batch_size
    stack = np.stack([image.pixels for image in images])
    batches = [stack[begin : begin + size] for begin in range(0, len(stack), size)]
    inspector.run(batches[0])  # the first run of a graph allocates
    infer, outputs = _measured("infer", inspector.run, batches, per_step=len(images) / len(batches))
    rows = [row for batch in outputs for row in batch.rows()]
    judge, findings = _measured(
        "judge",
        lambda each: inspector.judge(*each),
        list(zip(names, images, rows, strict=True)),
    )
    return infer, judge, findings


def _decoded(
    inspector: Inspector, names: Sequence[str], images: Sequence[LoadedImage]
) -> tuple[float, float]:
    """Give images per second without reading and tables, and the share the model is busy."""
    files = [Read(name, None, image) for name, image in zip(names, images, strict=True)]
    busy, begin = inspector.model.busy.seconds, time.perf_counter()
    for _ in inspector.inspect_read(files):
        pass
    seconds = time.perf_counter() - begin
    return len(files) / seconds, (inspector.model.busy.seconds - busy) / seconds


def _measured(
    name: str,
    step: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int = 1,
    per_step: float = 1.0,
) -> tuple[Stage, list[R]]:
    """Take all steps on ``workers`` threads; gives also what they gave."""

    def timed(item: T) -> tuple[float, R]:
        begin = time.perf_counter()
        result = step(item)
        return time.perf_counter() - begin, result

    begin = time.perf_counter()
    if workers == 1:
        taken = [timed(item) for item in items]
    else:
        with ThreadPoolExecutor(workers) as pool:
            taken = list(pool.map(timed, items))
    seconds = time.perf_counter() - begin
    p50, p95, p99 = np.percentile([1000 * each for each, _ in taken], (50, 95, 99))
    rate = len(items) * per_step / seconds
    return Stage(name, rate, float(p50), float(p95), float(p99)), [result for _, result in taken]
