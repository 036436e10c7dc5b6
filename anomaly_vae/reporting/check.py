"""``check.html`` and ``check.json``: what photographs are like before a training."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anomaly_vae.calibration.conformal import DEFAULT_FALSE_ALARM_RATE
from anomaly_vae.images.decoding import decode_image
from anomaly_vae.images.survey import Look
from anomaly_vae.outputs import Made, replacing, write_json
from anomaly_vae.reporting.html import as_source, render
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.settings.images import ImageSettings

CHECKED = Made("check", ("check.html", "check.json"))
_THUMBNAIL, _MOST = 160, 24
"""Longer side in pixels; and how many of a remark are shown."""


@dataclass(frozen=True)
class Remark:
    """Something that a person should know, or mend, before a training."""

    topic: str
    text: str
    paths: tuple[str, ...] = ()
    """The photographs that it is about; empty: all."""


@dataclass(frozen=True)
class Check:
    """What a look at a folder gave."""

    folder: str
    photographs: int
    parts: int
    """Different parts, as far as the photographs tell: copies and bursts count once."""
    sizes: dict[str, int]
    kinds: dict[str, int]
    cameras: dict[str, int]
    color: bool
    unreadable: dict[str, str]
    remarks: tuple[Remark, ...]
    smallest: float
    """Side of the smallest defect that ``images.size`` can show, in pixels of the photograph."""
    smallest_mm: float | None
    size: int
    held_out: int
    """Photographs that would set the limit from good images alone."""
    command: str

    @property
    def promise(self) -> float:
        """The false-alarm rate that so many parts can promise."""
        return max(DEFAULT_FALSE_ALARM_RATE, 1 / (self.held_out + 1))

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return asdict(self) | {"promise": self.promise}


def write_check(check: Check, looks: Sequence[Look], out: Path, settings: ImageSettings) -> None:
    """Write page and table into a folder.

    Raises:
        OutputError: they cannot be written.
    """
    write_json(out / "check.json", check.as_dict())
    folder = Path(check.folder)
    sections = [
        (each, [(spelled(path), _picture(folder / path, settings)) for path in each.paths[:_MOST]])
        for each in check.remarks
    ]
    chosen = [looks[i * len(looks) // _MOST].path for i in range(min(_MOST, len(looks)))]
    some = Remark("photographs", "Some of them, evenly chosen", tuple(chosen))
    sections.append((some, [(spelled(path), _picture(folder / path, settings)) for path in chosen]))
    with replacing(out / "check.html") as file:
        file.writelines(render("check.html", check=check, sections=sections, most=_MOST))


def _picture(path: Path, settings: ImageSettings) -> str:
    image = decode_image(path, settings, smallest=2 * _THUMBNAIL)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stored = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(stored, "JPEG", quality=80)
    return as_source(stored.getvalue(), "jpeg")
