"""Puts what ``detection.py`` has measured into the tables of ``detection.md`` and ``ablation.md``.

The prose of both is written by people. A table stands between ``<!-- NAME -->`` and
``<!-- end -->`` and is replaced.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
SETS = ("bottle", "screw", "elpv", "drawn")
DEFAULT = "VAE on ResNet-18"
ONCE = "trained once"
AUTOENCODER = f"autoencoder (beta = 0), {ONCE}"
COMPARED = (
    DEFAULT,
    ONCE,
    AUTOENCODER,
    "VAE on pixels",
    "nearest neighbour, 2 % of all locations",
    "PaDiM (anomalib)",
    "PatchCore, 1 % (anomalib)",
)
FIGURES = {
    "auroc": ("image AUROC", 4), "average_precision": ("average precision", 4),
    "f1": ("best F1", 4), "pixel_auroc": ("pixel AUROC", 4), "pro": ("PRO", 4),
    "training_seconds": ("training, s", 0), "images_per_second": ("images/s", 1),
}  # fmt: skip
# Of the first seed that has them: it had the machine to itself.
TIMED = ("training_seconds", "images_per_second", "cost")

Cells = dict[tuple[str, str], list[dict[str, Any]]]


def main() -> None:
    """Write all tables."""
    cells = read_cells(HERE / "cells.json")
    measured = dict.fromkeys(method for method, _ in cells)
    names = dict.fromkeys([*(name for name in COMPARED if name in measured), *measured])
    ablated = [name for name in names if name not in COMPARED[2:]]
    tables = {
        "results": "\n\n".join(results(cells, name) for name in SETS),
        "cost": costs(cells),
        "regions": regions(cells),
        "ablation": per_method(cells, ablated),
        "rotation": rotation(cells, ablated),
        "kl": kl_weights(cells),
    }
    for report in ("detection.md", "ablation.md"):
        path = HERE / report
        path.write_text(replace_tables(path.read_text(), tables))


def read_cells(path: Path) -> Cells:
    """Group the cells by method and data set; one per seed.

    What was only scored in another way stands as a method of its own.
    """
    cells: Cells = {}
    for key, cell in json.loads(path.read_text()).items():
        method, name, _seed = key.split(" | ")
        cells.setdefault((method, name), []).append(cell)
        for variant, auroc in cell.get("rescored", {}).items():
            cells.setdefault((f"{method}; {variant}", name), []).append({"auroc": auroc})
    return cells


def results(cells: Cells, name: str) -> str:
    """One data set: methods by figures, with the number of seeds."""
    rows = [
        [
            f"{method} ({len(cells[method, name])})",
            *(figure(cells[method, name], digits, key) for key, (_, digits) in FIGURES.items()),
        ]
        for method in COMPARED
        if (method, name) in cells
    ]
    return markdown([f"`{name}`", *(title for title, _ in FIGURES.values())], rows)


def figure(measured: list[dict[str, Any]], digits: int, key: str) -> str:
    """Mean and, over several seeds, standard deviation."""
    values = [cell[key] for cell in measured if key in cell][: 1 if key in TIMED else None]
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def costs(cells: Cells) -> str:
    """What the default costs beside its trunk."""
    rows = [
        [
            f"`{name}`",
            figure(cells[DEFAULT, name], 2, "cost"),
            figure(cells[DEFAULT, name], 1, "model_mib"),
            figure(cells[DEFAULT, name], 1, "trunk_mib"),
        ]
        for name in SETS
        if (DEFAULT, name) in cells
    ]
    return markdown(["", "time / trunk alone", "model, MiB", "trunk, MiB"], rows)


def regions(cells: Cells) -> str:
    """How regions lie on masks, at the threshold from good images alone."""
    rows = [
        [
            f"`{name}`",
            figure(cells[DEFAULT, name], 3, "defects_with_region"),
            figure(cells[DEFAULT, name], 3, "regions_per_good"),
        ]
        for name in SETS
        if any("regions_per_good" in cell for cell in cells.get((DEFAULT, name), []))
    ]
    return markdown(
        ["", "defective images with a region on the mask", "regions per good image"], rows
    )


def per_method(cells: Cells, methods: list[str]) -> str:
    """Image AUROC: variants by data sets, first seed only, so that all are alike."""
    rows = [
        [method, *(f"{value:.4f}" if value else "-" for value in first_seeds(cells, method))]
        for method in methods
    ]
    return markdown(["seed 0", *(f"`{name}`" for name in SETS)], rows)


def first_seeds(cells: Cells, method: str) -> list[float | None]:
    """Image AUROC of the first seed on each data set, where it was measured."""
    return [cells[method, name][0]["auroc"] if (method, name) in cells else None for name in SETS]


def rotation(cells: Cells, methods: list[str]) -> str:
    """Choose a variant on all data sets but one, and report it on that one."""
    known = {method: first_seeds(cells, method) for method in methods}
    complete = {
        method: [value for value in values if value is not None]
        for method, values in known.items()
        if None not in values
    }
    rows = []
    for index, name in enumerate(SETS[:3]):

        def elsewhere(method: str, left_out: int = index) -> float:
            return statistics.mean(v for i, v in enumerate(complete[method]) if i != left_out)

        if complete:
            chosen = max(complete, key=elsewhere)
            best = max(complete, key=lambda method, i=index: complete[method][i])  # type: ignore[misc]
            rows.append(
                [
                    f"`{name}`", chosen, f"{complete[chosen][index]:.4f}",
                    f"{complete[DEFAULT][index]:.4f}" if DEFAULT in complete else "-",
                    f"{best}: {complete[best][index]:.4f}",
                ]
            )  # fmt: skip
    return markdown(
        ["left out", "chosen on the others", "on the one left out", "default", "best there"], rows
    )


def kl_weights(cells: Cells) -> str:
    """Image AUROC with other weights of the KL."""
    measured = [(name, [cell["kl_auroc"] for cell in cells.get((ONCE, name), [])]) for name in SETS]
    weights = list(dict.fromkeys(key for _, each in measured for cell in each for key in cell))
    rows = [
        [f"`{name}`", *(f"{statistics.mean(c[w] for c in each):.4f}" for w in weights)]
        for name, each in measured
        if each
    ]
    return markdown(["", *(f"w = {w}" if w != "alone" else "KL alone" for w in weights)], rows)


def with_interval(values: NDArray[np.floating] | list[float], digits: int, sign: str = "") -> str:
    """Write a mean over draws and half of its 95 % interval; ``sign`` ``+`` shows that, too."""
    half = 1.96 * np.std(values) / len(values) ** 0.5
    return f"{np.mean(values):{sign}.{digits}f} ± {half:.{digits}f}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace_tables(text: str, tables: dict[str, str]) -> str:
    """Put each table where its name stands; what was not measured stays as it is."""

    def filled(found: re.Match[str]) -> str:
        if found[1] not in tables:
            return found[0]
        return f"<!-- {found[1]} -->\n{tables[found[1]]}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", filled, text, flags=re.S)


if __name__ == "__main__":
    main()
