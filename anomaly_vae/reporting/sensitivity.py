"""What would be found of drawn defects: a table, a picture of the shares, and examples.

Everything here calls them drawn: nobody may take them for real ones.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.calibration.sensitivity import FOUND, Cell, DrawnScore, Sensitivity
from anomaly_vae.images.drawn import Drawn
from anomaly_vae.outputs import replacing, write_text
from anomaly_vae.reporting.heatmaps import OUTLINE

matplotlib.use("Agg")

TABLE, SHARES, EXAMPLES = FILES = ("sensitivity.csv", "sensitivity.png", "drawn.jpg")
"""What ``save_sensitivity`` writes."""
COLUMNS = (
    *("kind", "size", "size_mm", "contrast", "drawn", "failed", "found"),
    *("share_found", "share_found_low", "share_found_high"),
)
"""Of the table; units and meanings stand in docs/guide/files.md."""

_CROP = 128
"""Side of the picture of a drawn defect, in pixels."""
_ROOM = 4.0
"""Side of what it shows, in sizes of the defect, and at the least a share of the photograph."""
_LEAST_SHOWN = 1 / 6
_VERDICTS = {"fail": (230, 97, 0), "review": (255, 200, 40), "pass": OUTLINE}
_SHARES, _BARS, _QUIET = "Blues", "#2b6cb0", "#777777"
_GAP, _LEFT, _TOP, _FOOT = 3, 62, 40, 24
_INK, _PAPER, _EMPTY = (34, 34, 34), (255, 255, 255), (238, 238, 238)


@dataclass(frozen=True)
class Example:
    """A drawn defect, as it is shown and counted."""

    picture: NDArray[np.uint8]
    """It and its surroundings, uint8 RGB [S, S, 3]."""
    box: tuple[float, float, float, float]
    """Left, upper, right and lower edge around it, in pixels of ``picture``."""
    photograph: int
    """Place of the good photograph that it was drawn on among those given."""
    scored: DrawnScore


def example(drawn: Drawn, size: float, contrast: float, *, score: float) -> Example:
    """Keep what is shown of a drawn defect of these classes."""
    height, width = drawn.image.shape[:2]
    side = min(height, width)
    side = min(side, round(max(_ROOM * drawn.wish.size, _LEAST_SHOWN * side, 16)))
    left, top, right, bottom = drawn.box
    x = min(max(0, (left + right - side) // 2), width - side)
    y = min(max(0, (top + bottom - side) // 2), height - side)
    cut = Image.fromarray(drawn.image[y : y + side, x : x + side])
    scale = _CROP / side
    box = tuple(
        scale * (edge - origin)
        for edge, origin in zip((left, top, right, bottom), (x, y, x, y), strict=True)
    )
    return Example(
        np.asarray(cut.resize((_CROP, _CROP), Image.Resampling.BICUBIC)),
        (box[0], box[1], box[2], box[3]),
        drawn.wish.photograph,
        DrawnScore(drawn.wish.kind, size, contrast, score),
    )


def save_sensitivity(
    found: Sensitivity,
    examples: Sequence[Example],
    limit: Threshold,
    folder: Path,
    mm_per_pixel: float | None = None,
) -> None:
    """Write the table of the shares, their picture, and examples of drawn defects.

    ``limit`` is that of ``found``; ``mm_per_pixel`` the side of a pixel of the photographs.

    Raises:
        OutputError: they cannot be written.
    """
    save_table(found, folder / TABLE, mm_per_pixel)
    save_shares(found, limit, folder / SHARES, mm_per_pixel)
    save_examples(examples, limit, folder / EXAMPLES, mm_per_pixel)


def summary(found: Sensitivity, mm_per_pixel: float | None = None) -> str:
    """Say in a line what share of the drawn defects is found, and from which size on."""
    shown = []
    for contrast in found.contrasts:
        size = found.smallest(contrast)
        from_on = "at no size" if size is None else f"from {_size_text(size, mm_per_pixel)} on"
        shown.append(f"of {contrast:.0f} grey levels {from_on}")
    text = f"{found} ({FOUND:.0%} and more: {', '.join(shown)})"
    return f"{text}; {found.left_out} could not be drawn" if found.left_out else text


def save_table(found: Sensitivity, path: Path, mm_per_pixel: float | None = None) -> None:
    """Write ``sensitivity.csv``, with the columns of ``COLUMNS``.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(cell, mm_per_pixel) for cell in found.cells)
    write_text(path, text.getvalue())


def _row(cell: Cell, mm_per_pixel: float | None) -> list[str | int]:
    size, share = cell.size, cell.found
    mm = None if size is None or mm_per_pixel is None else size * mm_per_pixel
    return [
        cell.kind or "all",
        *("" if number is None else f"{number:.4g}" for number in (size, mm, cell.contrast)),
        share.of,
        cell.failed.count,
        share.count,
        *(f"{number:.4f}" for number in (share.value, share.low, share.high)),
    ]


def save_shares(
    found: Sensitivity, limit: Threshold, path: Path, mm_per_pixel: float | None = None
) -> None:
    """Draw what share of the drawn defects is found, by size and contrast, and by kind (PNG).

    Raises:
        OutputError: it cannot be written.
    """
    figure = Figure(figsize=(9.6, 4.1), layout="constrained")
    shares, kinds = figure.subplots(1, 2, width_ratios=(2.1, 1))
    _draw_shares(shares, found, mm_per_pixel)
    _draw_kinds(kinds, [cell for cell in found.cells if cell.kind and cell.size is None])
    total = found.overall.found
    figure.suptitle(
        f"Drawn defects that would be found: {total.value:.0%} of {total.of}, on "
        f"{found.photographs} good photographs\n{_limits_text(limit)}",
        fontsize=11,
    )
    with replacing(path) as file:
        figure.savefig(file, dpi=110, format="png")


def _limits_text(limit: Threshold) -> str:
    review = "" if limit.review is None else f", for review above {limit.review:.3g}"
    return f"fails above {limit.score:.3g}{review}"


def _draw_shares(axes: Axes, found: Sensitivity, mm_per_pixel: float | None) -> None:
    values = np.full((len(found.contrasts), len(found.sizes)), np.nan)
    for row, column in np.ndindex(values.shape):
        cell = found.cell(found.sizes[column], found.contrasts[row])
        if cell is None:
            continue
        values[row, column] = share = cell.found.value
        ink = "white" if share > 0.55 else "#222222"
        axes.text(column, row + 0.02, f"{share:.0%}", ha="center", va="bottom", color=ink,
                  fontsize=15)  # fmt: skip
        below = f"{cell.found.count} of {cell.found.of}; {cell.failed.count} fail"
        axes.text(column, row - 0.06, below, ha="center", va="top", color=ink, fontsize=8)
    axes.imshow(values, cmap=_SHARES, vmin=0, vmax=1.15, aspect="auto", origin="lower")
    axes.set_xticks(
        range(len(found.sizes)), [_size_text(each, mm_per_pixel, "\n") for each in found.sizes]
    )
    axes.set_yticks(range(len(found.contrasts)), [f"{each:.0f}" for each in found.contrasts])
    axes.set(
        xlabel="size: diameter of the circle of the same area",
        ylabel="contrast, grey levels of 255",
    )
    axes.set_xticks(np.arange(0.5, len(found.sizes) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(found.contrasts) - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=3)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _draw_kinds(axes: Axes, cells: Sequence[Cell]) -> None:
    values = np.array([cell.found.value for cell in cells])
    ends = np.array([[cell.found.value - cell.found.low for cell in cells],
                     [cell.found.high - cell.found.value for cell in cells]])  # fmt: skip
    axes.barh(range(len(cells)), values, color=_BARS, alpha=0.75, height=0.6)
    axes.errorbar(values, range(len(cells)), xerr=ends, fmt="none", ecolor="#222222", linewidth=1)
    axes.set_yticks(range(len(cells)), [cell.kind for cell in cells])
    axes.set(xlim=(0, 1), xlabel="share found, 95 % interval", ylim=(len(cells) - 0.4, -0.6))
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _size_text(size: float, mm_per_pixel: float | None, between: str = " = ") -> str:
    """Give a size in pixels, and in mm, if a pixel's is known."""
    pixels = f"{size:.3g} px" if size >= 100 else f"{size:.2g} px"
    return pixels if mm_per_pixel is None else f"{pixels}{between}{size * mm_per_pixel:.2g} mm"


def save_examples(
    examples: Sequence[Example], limit: Threshold, path: Path, mm_per_pixel: float | None = None
) -> None:
    """Draw an example of each kind, size and contrast, in a box that says its verdict (JPEG).

    Raises:
        OutputError: it cannot be written.
    """
    first: dict[tuple[str, float, float], Example] = {}
    for each in examples:
        key = (each.scored.kind, each.scored.contrast, each.scored.size)
        first.setdefault(key, each)
    kinds = sorted({kind for kind, _, _ in first})
    contrasts = sorted({contrast for _, contrast, _ in first})
    sizes = sorted({size for _, _, size in first})
    step, columns = _CROP * 3 // 4 + _GAP, list(product(contrasts, sizes))
    width, height = _LEFT + step * len(columns), _TOP + step * len(kinds)
    sheet = Image.new("RGB", (width, height + _FOOT), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, (contrast, size) in enumerate(columns):
        x = _LEFT + step * column
        if size == sizes[0]:
            draw.text((x, 3), f"{contrast:.0f} grey levels", fill=_INK, font=font)
        draw.text((x, 21), _size_text(size, mm_per_pixel), fill=_INK, font=font)
        for row, kind in enumerate(kinds):
            tile = _tile(first.get((kind, contrast, size)), limit, step - _GAP)
            sheet.paste(tile, (x, _TOP + step * row))
    for row, kind in enumerate(kinds):
        draw.text((4, _TOP + step * row + step // 2), kind, fill=_INK, font=font, anchor="lm")
    _draw_verdicts(draw, font, height + 4)
    with replacing(path) as file:
        sheet.save(file, "JPEG", quality=88)


def _tile(shown: Example | None, limit: Threshold, side: int) -> Image.Image:
    if shown is None:
        return Image.new("RGB", (side, side), _EMPTY)
    tile = Image.fromarray(shown.picture).resize((side, side), Image.Resampling.LANCZOS)
    scale, verdict = side / _CROP, limit.verdict(shown.scored.score)
    left, top, right, bottom = (scale * edge for edge in shown.box)
    ImageDraw.Draw(tile).rectangle(
        (left - 4, top - 4, right + 3, bottom + 3), outline=_VERDICTS[verdict], width=2
    )
    return tile


def _draw_verdicts(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, top: int
) -> None:
    x = _LEFT
    for verdict, color in _VERDICTS.items():
        draw.rectangle((x, top + 3, x + 11, top + 14), outline=color, width=3)
        draw.text((x + 17, top + 2), verdict, fill=_INK, font=font)
        x += 80
    draw.text((x + 10, top + 2), "Defects drawn onto good photographs; none is real.", fill=_INK,
              font=font)  # fmt: skip
