"""``suspicious.csv`` and ``suspicious.jpg``: good photographs that may not be good."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.images.regions import Region
from anomaly_vae.outputs import write_text
from anomaly_vae.reporting.heatmaps import on_photo, save_picture
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.reporting.sheets import on_sheet, sheet_of

SHOWN = 12
_SIDE, _COLUMNS = 192, 6
_RED, _WHITE = (214, 40, 40), (255, 255, 255)


@dataclass(frozen=True)
class Suspect:
    """What a model that has not seen it says of a good photograph."""

    path: str
    score: float
    p_value: float
    """Share of the good photographs with this score or a higher one."""
    verdict: str
    """That such a photograph would get at inspection."""
    sha256: str
    image: LoadedImage | None = None
    region: Region | None = None
    """Where it is most unusual; known of the most unusual ones, and their photographs."""
    objection: str = ""
    """In what its photograph is unlike all others."""

    @property
    def reason(self) -> str:
        """Say in what it is unusual."""
        place = ""
        if self.region:
            where = f"x {self.region.centroid_x:.0f}, y {self.region.centroid_y:.0f}"
            where += f", slice {self.region.slice}" if self.region.slice else ""
            place = f"most unusual around {where}"
        return "; ".join(filter(None, [place, self.objection]))


def save_suspects(suspects: Sequence[Suspect], folder: Path) -> None:
    """Write both files; ``exclude`` is for a person to mark, and ``train --exclude`` reads it.

    Raises:
        OutputError: one cannot be written.
    """
    columns = {
        "path": [spelled(each.path) for each in suspects],
        "exclude": "",
        "score": [each.score for each in suspects],
        "p_value": [each.p_value for each in suspects],
        "verdict": [each.verdict for each in suspects],
        "reason": [each.reason for each in suspects],
        "sha256": [each.sha256 for each in suspects],
    }
    table = pd.DataFrame(columns).to_csv(index=False, float_format="%.6g")
    write_text(folder / "suspicious.csv", table)
    shown = [each for each in suspects[:SHOWN] if each.image]
    if shown:
        save_picture(_sheet(shown), folder / "suspicious.jpg")


def _sheet(suspects: Sequence[Suspect]) -> Image.Image:
    """Put photographs side by side, numbered, with a box where each is most unusual."""
    rows = -(-len(suspects) // _COLUMNS)
    columns = min(len(suspects), _COLUMNS)
    sheet = Image.new("RGB", (columns * _SIDE, rows * _SIDE), _WHITE)
    for number, suspect in enumerate(suspects):
        tile = _tile(suspect, number + 1)
        sheet.paste(tile, (number % _COLUMNS * _SIDE, number // _COLUMNS * _SIDE))
    return sheet


def _tile(suspect: Suspect, number: int) -> Image.Image:
    stack = suspect.image
    assert stack is not None  # noqa: S101 - those without are left out
    image = sheet_of(stack)
    shrink = (_SIDE - 8) / max(image.width, image.height)
    size = max(1, round(image.width * shrink)), max(1, round(image.height * shrink))
    tile = Image.new("RGB", (_SIDE, _SIDE), _WHITE)
    left, top = (_SIDE - size[0]) // 2, (_SIDE - size[1]) // 2
    tile.paste(on_photo(image.pixels, image, size), (left, top))
    draw = ImageDraw.Draw(tile)
    if suspect.region:
        box = on_sheet(suspect.region, stack)
        corners = (box.x, box.y, box.x + box.width, box.y + box.height)
        x0, y0, x1, y1 = (value * shrink for value in corners)
        draw.rectangle(
            (left + x0 - 2, top + y0 - 2, left + x1 + 2, top + y1 + 2), outline=_RED, width=2
        )
    draw.rectangle((left, top, left + 24, top + 20), fill=_WHITE)
    draw.text((left + 4, top + 2), str(number), fill=_RED, font=ImageFont.load_default(15))
    return tile
