"""What the trainings of a study gave: a row each, as a table and as ``sweep.csv``."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from anomaly_vae.latent.information import Information
from anomaly_vae.workflows.grid import Planned

MEASURES = (*Information._fields, "auroc", "epochs", "seconds")


@dataclass(frozen=True)
class Result:
    """What one training gave."""

    run: str
    information: Information | None = None
    auroc: float = math.nan
    """Of ``model.onnx`` on the labelled images, if there are any."""
    epochs: int = 0
    seconds: float = 0.0
    """Of its epochs; reading, extracting features and exporting are not in it."""
    error: str = ""
    """Why there is no model."""


def tabulate(plan: Iterable[Planned], results: Mapping[str, Result]) -> pd.DataFrame:
    """Give a row per result, in the order of the plan: its run, settings, seed and measures."""
    rows = []
    for each in plan:
        if result := results.get(each.name):
            row = {"run": each.name, **each.values, "seed": each.config.training.seed}
            row |= dict.fromkeys(MEASURES, math.nan)
            if result.information:
                row |= result.information._asdict()
                row |= {name: getattr(result, name) for name in ("auroc", "epochs", "seconds")}
            rows.append({**row, "error": result.error})
    return pd.DataFrame(rows)


def as_csv(table: pd.DataFrame) -> str:
    """Write a table with 9 significant digits; what there is nothing to say of is empty."""
    return table.to_csv(index=False, float_format="%.9g")


def read_results(path: Path) -> list[Result]:
    """Read what ``as_csv`` wrote of ``tabulate``; nothing if it is not there, or damaged."""
    try:
        table = pd.read_csv(path, dtype={"run": str, "error": str})
        table["error"] = table["error"].fillna("")
        return [_result(row) for row in table.to_dict("records")]
    except (OSError, KeyError, ValueError):
        return []


def _result(row: Mapping[Any, Any]) -> Result:
    measures = {name: float(row[name]) for name in MEASURES}
    if row["error"]:
        return Result(str(row["run"]), error=str(row["error"]))
    *nats, active = (measures[name] for name in Information._fields)
    return Result(
        str(row["run"]),
        Information._make([*nats, int(active)]),
        measures["auroc"],
        int(measures["epochs"]),
        measures["seconds"],
    )
