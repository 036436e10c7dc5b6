"""What the trainings of a study gave: a row each, means over seeds, and the Pareto front."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from anomaly_vae.grid import Planned
from anomaly_vae.information import Information

MEASURES = (*Information._fields, "auroc", "epochs", "seconds")
# In models that differ in these, a nat of the distortion is about something else.
_APART = ("images.", "features.", "model.likelihood")


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


def summarise(done: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Give mean and standard deviation over the seeds of each setting, and the Pareto front.

    ``done`` is what ``tabulate`` gives, of trainings that gave a model. A deviation of one seed is
    not a number.
    """
    groups = done.groupby(list(keys), sort=False)
    summary = groups.size().rename("runs").to_frame()
    for name in MEASURES:
        summary[f"{name}_mean"] = groups[name].mean()
        summary[f"{name}_std"] = groups[name].std()
    summary = summary.reset_index()
    summary.insert(len(keys) + 1, "pareto", _optimal(summary, apart(keys)))
    return summary


def apart(keys: Iterable[str]) -> list[str]:
    """Give those of the settings between whose values rate and distortion do not compare."""
    return [key for key in keys if key.startswith(_APART)]


def _optimal(summary: pd.DataFrame, keys: list[str]) -> NDArray[np.bool_]:
    """Find the Pareto front of each set of settings that compare, i.e. are alike in ``keys``."""
    alike = np.zeros(len(summary), int)
    if keys:
        alike = summary.groupby(keys, sort=False).ngroup().to_numpy()
    optimal = np.zeros(len(summary), bool)
    for number in range(alike.max() + 1):
        group = summary[alike == number]
        optimal[alike == number] = pareto_front(group.bits_per_image_mean, group.distortion_mean)
    return optimal


def pareto_front(rates: ArrayLike, distortions: ArrayLike) -> NDArray[np.bool_]:
    """Say of which points, [N], no other has a lower rate or distortion without more of the other.

    Of equal points all are on the front.
    """
    points = np.c_[rates, distortions]
    no_worse = (points[:, None] <= points).all(-1)
    better = (points[:, None] < points).any(-1)
    front: NDArray[np.bool_] = ~(no_worse & better).any(0)
    return front
