"""The table of ``train-many``: what each training gave, read from its run folder."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = (
    *("part", "status", "images", "epochs", "held_out", "held_out_median", "held_out_highest"),
    *("threshold", "review_threshold", "model_id", "warnings", "error"),
)
COUNTS = dict.fromkeys(("images", "epochs", "held_out"), "Int64")
"""Columns of whole numbers, which may be missing."""


def row_of(name: str, run: Path, error: str) -> dict[str, Any]:
    """Give the row of a part; where there is no model, why."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"part": name, "warnings": "", "error": error}
    if error:
        return row | {"status": "error"}
    from anomaly_vae.inspection.runtime import model_id  # noqa: PLC0415

    told = json.loads((run / "training.json").read_text(encoding="utf-8"))
    limit = json.loads((run / "calibration.json").read_text(encoding="utf-8"))["threshold"]
    normals = pd.read_csv(run / "normals.csv")
    scores = normals.score[normals.part == "calibration"]
    warnings = [told["latents"]["advice"]] if told["latents"]["advice"] else []
    if told["unreadable"]:
        warnings.append(f"{len(told['unreadable'])} unreadable, first {told['unreadable'][0]}")
    return row | {
        "status": "ok",
        "images": sum(told["parts"].values()),
        "epochs": len(pd.read_csv(run / "history.csv")),
        "held_out": len(scores),
        "held_out_median": scores.median(),
        "held_out_highest": scores.max(),
        "threshold": limit["score"],
        "review_threshold": limit["review"],
        "model_id": model_id((run / "model.onnx").read_bytes()),
        "warnings": "; ".join(warnings),
    }
