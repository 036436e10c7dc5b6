"""The command that measures speed."""

import json
import math
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import BatchSize, Model, OnDevice, Workers

if TYPE_CHECKING:
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.workflows.advice import Way
    from anomaly_vae.workflows.benchmark import Benchmark


EXAMPLES = """
anomaly-vae benchmark run/model.onnx
anomaly-vae benchmark run/model.onnx photos/today --batch-size 16
anomaly-vae benchmark run/model.onnx photos/today --advise
"""
_DRAWN, _SIDE = 8, 512  # photographs, and of how many pixels, where there are none: a square


def benchmark(
    model: Model,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of images (default: drawn ones).")
    ] = None,
    count: Annotated[
        int, typer.Option("--images", min=8, help="How many images, the same ones repeatedly.")
    ] = 200,
    device: OnDevice = "auto",
    batch_size: BatchSize = None,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
    advise: Annotated[
        bool,
        typer.Option(
            "--advise", help="Try processors, batch sizes and the other models of the run."
        ),
    ] = False,
) -> None:
    """Measure how fast images are inspected, stage by stage, and what limits it."""
    if advise:
        if folder is None or as_json or workers or batch_size or device != "auto":
            raise typer.BadParameter(
                "expected a folder of photographs, and neither --json nor what it tries itself: "
                "--device, --batch-size, --workers",
                param_hint="--advise",
            )
        _advise(model, folder, count)
        return
    from anomaly_vae.inspection.inspector import Inspector

    inspector = Inspector(
        model, device=device, batch_size=batch_size, workers=workers, told=talk.warn
    )
    if folder:
        measured = _measured(inspector, folder, count)
    else:
        from anomaly_vae.images.samples import write_samples

        height, width = inspector.card.images.shape
        size, ratio = round(_SIDE * min(height, width) / math.sqrt(height * width)), width / height
        with tempfile.TemporaryDirectory() as scratch:
            write_samples(
                Path(scratch), train=_DRAWN, test_good=0, test_defective=0, size=size,
                proportions=(ratio, ratio),
            )  # fmt: skip
            measured = _measured(inspector, Path(scratch), count)
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(measured)))
    else:
        _say(measured)


def _advise(model: Path, folder: Path, count: int) -> None:
    """Say of each way how fast it is, and which one to take."""
    from anomaly_vae.images.files import list_images
    from anomaly_vae.workflows.advice import fastest, ways

    tried: list[Way] = []
    talk.say(f"{'model':24s} {'device':9s} {'batch':>5s} {'images/s':>9s}  other verdicts")
    for way in ways(model, folder, list_images(folder), count, talk.warn):
        talk.say(
            f"{way.model.name[:24]:24s} {way.device:9s} {way.batch_size:5d} "
            f"{way.images_per_second:9.1f}  {way.changed}"
        )
        tried.append(way)
    words = shlex.join(["anomaly-vae", "inspect", *fastest(tried).words])
    talk.say(f"the fastest that keeps all verdicts: {words}")


def _measured(inspector: "Inspector", folder: Path, count: int) -> "Benchmark":
    from anomaly_vae.images.files import list_images
    from anomaly_vae.workflows.benchmark import benchmark

    return benchmark(inspector, folder, list_images(folder), count)


def _say(measured: "Benchmark") -> None:
    talk.say(
        f"{measured.images} images, {measured.provider}, batches of {measured.batch_size}, "
        f"{measured.workers} threads decode"
    )
    talk.say(f"{'stage, alone':14s} {'images/s':>10s} {'p50':>9s} {'p95':>9s} {'p99':>9s}")
    for stage in measured.stages:
        talk.say(
            f"{stage.name:14s} {stage.images_per_second:10.1f} "
            f"{stage.p50:6.2f} ms {stage.p95:6.2f} ms {stage.p99:6.2f} ms"
            f"{'  per batch' if stage.name == 'infer' else ''}"
        )
    share = measured.end_to_end / measured.bound
    talk.say(
        f"{'without reading':14s} {measured.decoded:9.1f}  the model is busy {measured.busy:.0%}"
    )
    talk.say(f"{'end to end':14s} {measured.end_to_end:10.1f}")
    talk.say(
        f"decoding and model allow {measured.bound:.1f} images/s: {share:.0%} is reached; "
        f"{measured.limit} takes longest"
    )
