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

from anomaly_vae.calibration.intervals import Rate, rate
from anomaly_vae.calibration.sensitivity import Sensitivity
from anomaly_vae.images.decoding import decode_image
from anomaly_vae.images.files import list_images
from anomaly_vae.images.part import Pixels
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.workflows.sensitivity import measure

HERE = Path(__file__).parent


def main(data: Path, runs: Path) -> None:
    """Fill the tables of ``sensitivity.md``."""
    rows, cells = [], []
    for run in sorted(runs.iterdir()):
        name = run.name.partition("_")[0]
        if (data / name / "test").is_dir() and (run / "model.onnx").is_file():
            rows.append(compared(name, data / name / "test", Inspector(run / "model.onnx"), cells))
    ordered = sorted(rows, key=lambda row: row[2])
    report = HERE / "sensitivity.md"
    head = ["", "drawn defects that pass", "real defects that pass", "good ones that pass",
            "drawn", "left out", "seconds"]  # fmt: skip
    tables = {"escapes": markdown(head, ordered), "cells": "\n\n".join(cells)}
    report.write_text(replace_tables(report.read_text(encoding="utf-8"), tables), encoding="utf-8")


def compared(name: str, test: Path, inspector: Inspector, cells: list[str]) -> list[str]:
    """Judge drawn and real defects with one model; adds a table of sizes and contrasts."""
    good = test / "good"
    names, settings = list_images(good), inspector.card.images
    photographs = [np.asarray(decode_image(good / each, settings)) for each in names]

    def scores(images: Sequence[Pixels], _fold: int) -> NDArray[np.floating]:
        return np.array([finding.score for finding in inspector.inspect(list(images))])

    begin = time.perf_counter()
    limits = inspector.card.threshold
    found, _ = measure(photographs, np.zeros(len(names), int), scores, limits, seed=0)
    seconds = time.perf_counter() - begin
    cells.append(by_size(name, found))
    total = found.overall.found

    def passed(paths: Sequence[str]) -> Rate:
        """Photographs that pass by their score, as the drawn ones are judged."""
        given = [finding.score for finding in inspector.inspect(test / each for each in paths)]
        return rate([limits.verdict(score) for score in given].count("pass"), len(given))

    every = list_images(test)
    return [
        f"`{name}`",
        str(rate(total.of - total.count, total.of)),
        str(passed([each for each in every if not each.startswith("good/")])),
        str(passed([each for each in every if each.startswith("good/")])),
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
