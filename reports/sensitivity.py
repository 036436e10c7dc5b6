"""Compares what is said of drawn defects with real ones, and fills ``sensitivity.md``.

    python reports/sensitivity.py DATA RUNS

DATA holds data sets in the layout of MVTec AD, RUNS a run folder for each of those that are to be
judged, called NAME or NAME_anything. Defects are drawn onto good test photographs, which no model
has seen.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray
from tables import markdown, replace_tables

from anomaly_vae.calibration.intervals import rate
from anomaly_vae.calibration.sensitivity import Sensitivity
from anomaly_vae.images.decoding import decode_image
from anomaly_vae.images.files import list_images
from anomaly_vae.images.part import Pixels
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.workflows.sensitivity import measure

HERE = Path(__file__).parent


def main(data: Path, runs: Path) -> None:
    """Fill the tables of ``sensitivity.md``."""
    rows: list[list[str]] = []
    cells: list[str] = []
    for run in sorted(runs.iterdir()):
        name = run.name.partition("_")[0]
        if (data / name / "test").is_dir() and (run / "model.onnx").is_file():
            rows.append(compared(name, data / name / "test", Inspector(run / "model.onnx"), cells))
    report = HERE / "sensitivity.md"
    head = ["", "drawn defects that pass", "real defects that pass", "good ones that pass",
            "drawn", "left out", "seconds"]  # fmt: skip
    tables = {"escapes": markdown(head, rows), "cells": "\n\n".join(cells)}
    report.write_text(replace_tables(report.read_text(encoding="utf-8"), tables), encoding="utf-8")


def compared(name: str, test: Path, inspector: Inspector, cells: list[str]) -> list[str]:
    """Judge drawn and real defects with one model; adds a table of sizes and contrasts."""
    settings, limits = inspector.card.images, inspector.card.threshold
    every = list_images(test)
    found_in = inspector.inspect(test / each for each in every)
    # By their scores, as the drawn ones are judged; not by the quality of the photograph.
    passed = {
        each: limits.verdict(finding.score) == "pass"
        for each, finding in zip(every, found_in, strict=True)
    }
    good, real = (
        [each for each in every if each.startswith("good/") is kind] for kind in (True, False)
    )
    photographs = [np.asarray(decode_image(test / each, settings)) for each in good]
    # A defect on one that does not pass anyway would be found without being seen.
    fold_of = np.array([0 if passed[each] else -1 for each in good])

    def scores(images: Sequence[Pixels], _fold: int) -> NDArray[np.floating]:
        return np.array([finding.score for finding in inspector.inspect(list(images))])

    begin = time.perf_counter()
    found, _ = measure(photographs, fold_of, scores, limits, seed=0)
    seconds = time.perf_counter() - begin
    cells.append(by_size(name, found))
    total = found.overall.found
    return [
        f"`{name}`",
        str(rate(total.of - total.count, total.of)),
        str(rate(sum(passed[each] for each in real), len(real))),
        str(rate(sum(passed[each] for each in good), len(good))),
        str(total.of),
        str(found.left_out),
        f"{seconds:.0f}",
    ]


def by_size(name: str, found: Sensitivity) -> str:
    """Give the shares found, by size and contrast."""
    rows = []
    for contrast in found.contrasts:
        some = [found.cell(size, contrast) for size in found.sizes]
        shares = [f"{each.found.count} of {each.found.of}" if each else "-" for each in some]
        rows.append([f"{contrast:.0f} grey levels", *shares])
    return markdown([f"`{name}`", *(f"{size:.2g} px" for size in found.sizes)], rows)


if __name__ == "__main__":
    typer.run(main)
