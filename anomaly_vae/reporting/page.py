"""``report.html``: what was found, why, and what the threshold does, in one file for people.

What it shows stands in it as JSON, and as pictures that are decoded when they come into view;
the scripts make the rest of it.
"""

import base64
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np
import scipy  # loads its parts when they are used
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from anomaly_vae.calibration.metadata import ModelCard
from anomaly_vae.images.stacks import columns_of
from anomaly_vae.outputs import replacing
from anomaly_vae.reporting.gallery import MOST
from anomaly_vae.reporting.heatmaps import CLEAR, FADE, INFERNO, MOST_OPAQUE, OUTLINE
from anomaly_vae.reporting.html import render
from anomaly_vae.reporting.results import Results
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.reporting.summary import Summary

SCRIPTS = ("verdicts.js", "histogram.js", "gallery.js", "viewer.js", "page.js")
_CONFIDENCE = 0.95
_CHUNK = 40  # pictures that the browser takes out of the file at once
_MOST_REGIONS = 100  # of one image
_IMAGE = (
    *("path", "verdict", "score", "reconstruction_error", "kl", "p_value", "width", "height"),
    *("quality", "error", "id"),
)
_REGION = ("x", "y", "width", "height", "area", "peak")

Row = dict[str, Any]


def write_page(results: Results, summary: Summary, card: ModelCard, model_id: str) -> None:
    """Write ``report.html`` beside the tables, from what they hold.

    Raises:
        OutputError: it cannot be written.
    """
    shown = _worst(results.images(), card.threshold.score)
    slices = card.images.stacked if card.images.slices else 0
    kinds = card.kinds.names if card.kinds else ()
    told = ("slice", "depth") if slices else ("kind", "kind_probability") if kinds else ()
    regions = _regions_of({row["id"] for row in shown}, results.regions(), (*_REGION, *told))
    left = summary.tally.verdicts - Counter(row["verdict"] for row in shown)
    data = {
        "key": results.key,
        "images": [
            [*(row[name] for name in _IMAGE), results.sha256(row["id"])] for row in shown
        ],
        "regions": [regions.get(row["id"], []) for row in shown],
        "others": dict(left),
        "limit": _limit(card),
        "heat": {
            "stations": INFERNO.tolist(), "outline": OUTLINE,
            "clear": CLEAR, "fade": FADE, "opaque": MOST_OPAQUE,
        },
        "chunk": _CHUNK,
        "slices": [slices, columns_of(slices)] if slices else None,
        "kinds": kinds,
    }  # fmt: skip
    pieces = render(
        "page.html",
        SCRIPTS,
        source=spelled(str(results.folder if results.folder.name else results.folder.resolve())),
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        summary=summary,
        card=card,
        model_id=model_id,
        shown=len(shown),
        data=htmlsafe_json_dumps(data),
        pictures=_encoded(results, [row["id"] for row in shown]),
    )
    with replacing(results.out / "report.html") as file:
        file.writelines(pieces)


def _worst(rows: Iterable[Row], threshold: float) -> list[Row]:
    """Give the images with the highest scores, ``MOST`` of them; unreadable ones amid them."""

    def rank(row: Row) -> float:
        return threshold if row["score"] is None else float(row["score"])

    return heapq.nlargest(MOST, rows, key=rank)


def _regions_of(
    ids: set[str], rows: Iterable[Row], columns: Sequence[str]
) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        if row["id"] in ids and len(found[row["id"]]) < _MOST_REGIONS:
            found[row["id"]].append([row[name] for name in columns])
    return found


def _limit(card: ModelCard) -> dict[str, Any]:
    """Say what is known of the threshold, and of the images that it was set on."""
    limit, good = card.threshold, card.good
    return {
        "score": limit.score,
        "review": limit.review,
        "map": limit.anomaly_map,
        "kl_weight": card.kl_weight,
        "scale": card.scale,
        "good": good.scores if good else [],
        "reconstruction_error": good.reconstruction_error if good else [],
        "kl": good.kl if good else [],
        "defective": card.defective_scores,
        "good_rates": _rates(len(good.scores) if good else 0),
        "defective_rates": _rates(len(card.defective_scores)),
    }


def _rates(of: int) -> list[list[float]]:
    """Give the interval of each share 0 / ``of``, 1 / ``of``, … after Clopper and Pearson (1934).

    From their beta quantiles directly: what ``intervals`` uses takes seconds to load.
    """
    counts, tail = np.arange(of + 1), (1 - _CONFIDENCE) / 2
    low = scipy.special.betaincinv(np.maximum(counts, 1), of - counts + 1, tail)
    high = scipy.special.betaincinv(counts + 1, np.maximum(of - counts, 1), 1 - tail)
    limits = np.c_[np.where(counts > 0, low, 0.0), np.where(counts < of, high, 1.0)]
    return [[float(f"{value:.4g}") for value in each] for each in limits]


def _encoded(results: Results, ids: Sequence[str]) -> Iterator[Markup]:
    """Give the pictures of rows in their order, by chunks: a line each."""
    left = iter(ids)
    while chunk := list(islice(left, _CHUNK)):
        yield Markup("\n".join(_line(results, each) for each in chunk))  # noqa: S704 - base64


def _line(results: Results, row_id: str) -> str:
    picture = results.picture(row_id)
    if picture is None:
        return ""
    parts = (picture.photo, picture.anomaly_map, picture.expected)
    return " ".join(base64.b64encode(part).decode() for part in parts)
