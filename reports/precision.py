"""Measures what lower precision costs and gains, and fills ``precision.md``.

    python reports/precision.py DATA RUNS

RUNS holds run folders; what stands before the first ``_`` of a run's name is its data set in DATA
(layout of MVTec AD). Ranges are taken from training images, scores compared on the test images.
"""

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import typer
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tables import markdown, replace_tables

from anomaly_vae.calibration.metadata import Agreement, Threshold
from anomaly_vae.exporting.agreement import Lower, compare_scores, objection
from anomaly_vae.exporting.graph import to_onnx
from anomaly_vae.exporting.precision import in_eight_bits, in_half_precision, quantised
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.providers import start_session
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import read_images
from anomaly_vae.workflows.runs import load_detector, saved_config

HERE = Path(__file__).parent
RANGES, BATCH, TURNS = 32, 8, 15
ALONE = 40  # defective images that single layers are judged on, at most
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """A trained run, and images it has not seen."""

    run: Path
    config: Config
    limit: Threshold
    single: onnx.ModelProto
    ranges: Images
    images: Images
    defective: NDArray[np.bool_]


def main(data: Path, runs: Path) -> None:
    """Measure, and write the tables."""
    cases = [
        read_case(run, data / run.name.split("_")[0])
        for run in sorted(runs.iterdir())
        if (run / "model.onnx").is_file()
    ]
    tables = {
        "lower": markdown(
            ["run", "", "largest", "rank correlation, good", "AUROC fp32", "AUROC", "verdicts "
             "changed, good", "defective", "kept with labels", "without", "MB", "speed"],
            [row for case in cases for row in lower_rows(case)],
        ),
        "layers": markdown(
            ["run", "only this in 8 bits", "largest", "rank correlation, good", "AUROC fp32",
             "AUROC"],
            [row for case in cases for row in layer_rows(case)],
        ),
    }  # fmt: skip
    report = HERE / "precision.md"
    report.write_text(replace_tables(report.read_text(), tables))


def read_case(run: Path, data: Path) -> Case:
    """Read a run and the images of its data set."""
    config, workers = saved_config(run), os.cpu_count() or 1
    training = read_images(data / "train" / "good", config.images, workers=workers).pixels
    good = read_images(data / "test" / "good", config.images, workers=workers).pixels
    others = sorted(each for each in (data / "test").iterdir() if each.name != "good")
    bad = [read_images(each, config.images, workers=workers).pixels for each in others]
    images = np.concatenate([good, *bad])
    return Case(
        run,
        config,
        Inspector(run / "model.onnx", device="cpu").card.threshold,
        onnx.load(run / "model.onnx"),
        training[:: -(-len(training) // RANGES)],
        images,
        np.arange(len(images)) >= len(good),
    )


def lower_rows(case: Case) -> Iterator[list[str]]:
    """One row for each precision."""
    single = session(case.single)
    before = scores(single, case.images)
    half = in_half_precision(load_detector(case.run, case.config))
    models: dict[Lower, onnx.ModelProto] = {
        "fp16": to_onnx(half, case.config.images.input_shape),
        "int8": in_eight_bits(case.single, case.ranges),
    }
    for precision, model in models.items():
        lower = session(model)
        found = compare_scores(before, scores(lower, case.images), case.defective, case.limit)
        unlabelled = replace(found, auroc=None, auroc_before=None)
        yield [
            f"`{case.run.name}`", precision, *figures(found),
            f"{found.changed_good} of {found.good}",
            f"{found.changed - found.changed_good} of {found.defective}",
            "no" if objection(found, precision) else "yes",
            "no" if objection(unlabelled, precision) else "yes",
            f"{model.ByteSize() / 1e6:.1f} ({case.single.ByteSize() / 1e6:.1f})",
            speed(single, lower, case.images[:BATCH]),
        ]  # fmt: skip


def layer_rows(case: Case) -> Iterator[list[str]]:
    """One row for each group of layers that is in 8 bits alone."""
    groups: dict[str, list[onnx.NodeProto]] = {}
    for node in case.single.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            groups.setdefault(layer(node), []).append(node)
    good = int((~case.defective).sum())
    kept = np.r_[:good, good : len(case.images) : -(-int(case.defective.sum()) // ALONE)]
    images, defective = case.images[kept], case.defective[kept]
    before = scores(session(case.single), images)
    for name, nodes in groups.items():
        if not name:
            continue
        after = scores(session(quantised(case.single, case.ranges, nodes)), images)
        found = compare_scores(before, after, defective, case.limit)
        yield [f"`{case.run.name}`", f"{name} ({len(nodes)})", *figures(found)]


def layer(node: onnx.NodeProto) -> str:
    """Name the part that a node belongs to; empty for alignment and scoring."""
    scope = "".join(each.value for each in node.metadata_props if "name_scopes" in each.key)
    for part in ("layer1", "layer2", "layer3", "features.trunk", "model.encoder", "model.decoder"):
        if f"'{part}" in scope or f".{part}." in scope:
            return {"features.trunk": "first convolution"}.get(part, part)
    return "whitening" if "'features'" in scope else ""


def figures(found: Agreement) -> list[str]:
    """Say how near the scores are."""
    numbers = found.rank_correlation, found.auroc_before, found.auroc
    return [f"{found.largest:.2g}", *("-" if n is None else f"{n:.4f}" for n in numbers)]


def session(model: onnx.ModelProto) -> InferenceSession:
    """Load a model on the CPU."""
    return start_session(model.SerializeToString(), ["CPUExecutionProvider"])


def scores(model: InferenceSession, images: Images) -> NDArray[np.float32]:
    """Score images in batches."""
    begins = range(0, len(images), BATCH)
    return np.concatenate(
        [model.run(["score"], {"images": images[begin : begin + BATCH]})[0] for begin in begins]
    )


def speed(single: InferenceSession, lower: InferenceSession, images: Images) -> str:
    """Give images/s over those of single precision: the median of turns by turns, and its range."""
    ratios = []
    for _turn in range(TURNS + 1):
        marks = [time.perf_counter()]
        for each in (single, lower):
            each.run(None, {"images": images})
            marks.append(time.perf_counter())
        ratios.append((marks[1] - marks[0]) / (marks[2] - marks[1]))
    low, _, high = statistics.quantiles(ratios[1:], n=4)  # the first turn warms up
    return f"{statistics.median(ratios[1:]):.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    typer.run(main)
