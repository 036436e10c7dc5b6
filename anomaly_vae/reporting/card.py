"""``card.html``: what a model was made of, how, and what it promises; for people and auditors.

It is made of what lies in the run folder, so that ``calibrate`` can write it anew.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import TemplateError
from PIL import Image, ImageOps

from anomaly_vae.calibration.intervals import rate
from anomaly_vae.calibration.metadata import ModelCard
from anomaly_vae.errors import ModelFileError
from anomaly_vae.images.decoding import without_padding
from anomaly_vae.images.many import Chosen
from anomaly_vae.images.stacks import side_by_side
from anomaly_vae.outputs import replacing
from anomaly_vae.reporting.html import as_source, render
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.reporting.suspects import SHOWN
from anomaly_vae.transaction import Transaction

RATE_DISTORTION = "rate_distortion.png"
PICTURES = {
    "thumbnails.jpg": "Some of the good images, as the model sees them",
    "training.png": "Training",
    "latents.png": "What each latent dimension carries, on held-out good images",
    RATE_DISTORTION: "Rate and distortion in the study that this run belongs to",
    "suspicious.jpg": "The most unusual of the good images, and where they are so",
    "reconstructions.png": "Held-out good images, what the model makes of them, anomaly maps",
    "scores.png": "Scores of the images that the threshold was set on",
    "roc.png": "ROC curve",
    "sensitivity.png": "Share of drawn defects that would be found, by size and contrast, and by "
    "how they were drawn",
    "drawn.jpg": "Some of them, and their verdicts; none is real",
}
_THUMBNAIL, _COLUMNS, _ROWS = 96, 12, 2


def write_card(run: Path, card: ModelCard, model_id: str, files: Transaction | None = None) -> None:
    """Write ``card.html`` into a run folder; what is missing there is left out.

    With ``files`` that are about to take their places there, it is made of them, and one of them.

    Raises:
        OutputError: it cannot be written.
    """
    files = files or Transaction(run, run)
    pictures = {
        name: (title, as_source(path.read_bytes(), "png" if name[-3:] == "png" else "jpeg"))
        for name, title in PICTURES.items()
        if (path := files.current(name)).is_file()
    }
    kinds = card.kinds
    pieces = render(
        "card.html",
        title=spelled(run.resolve().name),
        card=card,
        model_id=model_id,
        pictures=pictures,
        kinds_right=kinds and rate(kinds.right, sum(kinds.examples)),
        calibration=_json(files.current("calibration.json")),
        training=_json(files.current("training.json")),
        suspicious=_suspicious(files.current("suspicious.csv")),
        config=_text(files.current("config.yaml")),
    )
    try:
        with replacing(files.path("card.html")) as file:
            file.writelines(pieces)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise _damaged(run / "training.json or calibration.json", error) from error


def contact_sheet(pixels: Sequence[Any] | Chosen, slices: int = 1) -> Image.Image:
    """Put images, uint8 [S, T, C] each, side by side: evenly chosen ones, if there are many.

    So are the ``slices`` of each, where they are stacks.
    """
    most = _COLUMNS * _ROWS
    count = min(len(pixels), most)
    chosen = [pixels[i * len(pixels) // count] for i in range(count)]
    rows = -(-len(chosen) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _THUMBNAIL, rows * _THUMBNAIL), (255, 255, 255))
    for i, each in enumerate(chosen):
        shown = Image.fromarray(side_by_side(without_padding(each), slices))
        side = _THUMBNAIL, _THUMBNAIL
        small = ImageOps.contain(shown, side, Image.Resampling.BILINEAR)
        sheet.paste(small, (i % _COLUMNS * _THUMBNAIL, i // _COLUMNS * _THUMBNAIL))
    return sheet


def _suspicious(table: Path) -> list[dict[Any, Any]]:
    """Give the good images with the highest scores."""
    if not table.is_file():
        return []
    try:
        rows = pd.read_csv(
            table,
            usecols=["path", "score", "p_value", "verdict", "reason"],
            dtype={"path": "str", "score": "float", "p_value": "float", "verdict": "str"},
            keep_default_na=False,
            encoding_errors="backslashreplace",
        )
    except (OSError, ValueError) as error:
        raise _damaged(table, error) from error
    return rows.head(SHOWN).to_dict("records")


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_text(path) or "{}")
    except ValueError as error:
        raise _damaged(path, error) from error
    return data if isinstance(data, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _damaged(path: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"{path}: damaged ({' '.join(str(error).split()):.80}); remove it, and the card is written "
        "without it"
    )
