"""Pictures of what a VAE has learned: generated parts, paths, latent dimensions, the latent plane.

Letters: N pictures, S x T pixels of a picture, T steps of a path.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import NDArray
from PIL import Image, ImageOps

from anomaly_vae.outputs import replacing, write_bytes, write_text
from anomaly_vae.reporting.rows import spelled

matplotlib.use("Agg")
Pictures = NDArray[np.uint8]
Floats = NDArray[np.floating]

# Colours that the colour-blind can tell apart (Okabe and Ito, 2008); the first is for good parts.
_CLASSES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")
_MARKERS = "o^sDvP"
_THUMBNAIL_PIXELS = 44
_THUMBNAIL_ROOM = (0.13, 0.145)  # shares of the width and height of the plane


def save_strip(paths: Mapping[str, Pictures], ends: Pictures, path: Path) -> None:
    """Draw each path between two parts, [T, S, T, 3], as a row, the photographs at its ends."""
    steps = len(next(iter(paths.values())))
    columns = steps + 2
    figure = Figure(figsize=(1.25 * columns, 1.42 * len(paths)), layout="constrained")
    grid = figure.subplots(len(paths), columns, squeeze=False)
    for row, (name, pictures) in zip(grid, paths.items(), strict=True):
        for axes, picture in zip(row, (ends[0], *pictures, ends[1]), strict=True):
            _show(axes, picture)
        row[0].set_ylabel(name)
    titles = ("A", *(f"{share:.0%}" for share in np.linspace(0, 1, steps)), "B")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)


def save_traversal(
    values: Sequence[float], pictures: NDArray[np.uint8], names: Sequence[str], path: Path
) -> None:
    """Draw what each latent dimension changes, a row of [rows, T, S, T, 3] for each.

    The last column shows where: the range of each pixel over the row, on one scale for all.
    """
    ranges = np.ptp(pictures.astype(np.float64), axis=1).mean(-1) / 255
    figure, grid = _table((*(f"{value:+.3g}" for value in values), "range"), names)
    for row, frames, changed in zip(grid, pictures, ranges, strict=True):
        for axes, frame in zip(row, frames, strict=False):
            _show(axes, frame)
        _show(row[-1], changed, highest=max(float(ranges.max()), 1e-6))
    figure.savefig(path, dpi=90)


def save_traversed_maps(
    values: Sequence[float],
    moved: Floats,
    own: Floats,
    photograph: NDArray[np.uint8],
    names: Sequence[str],
    path: Path,
) -> None:
    """Draw what each dimension says of the places of a part, and how far it moves them.

    The first column has where the places of the photograph, [S, T, 3], lie themselves, [rows, h,
    w]; the others how far what is expected there moves, [rows, T, h, w], on one scale for all.
    """
    figure, grid = _table(("this part", *(f"{value:+.3g}" for value in values)), names, foot=0.7)
    # Lightened, so that colours can be told apart on dark parts.
    grey, (height, width) = 0.5 + photograph.mean(-1) / 510, photograph.shape[:2]
    far, farthest = max(3, np.quantile(np.abs(own), 0.98)), max(float(moved.max()), 1e-6)
    for row, frames, lies in zip(grid, moved, own, strict=True):
        _show(row[0], np.repeat(grey[..., None], 3, -1))
        over = row[0].imshow(
            lies, cmap="RdBu_r", vmin=-far, vmax=far, alpha=0.6, extent=(0, width, height, 0)
        )
        for axes, frame in zip(row[1:], frames, strict=True):
            drawn = _show(axes, frame, highest=farthest)
    where, how_far = "lies at, $\\sigma$", "moves by, in standard deviations of good parts"
    for shown, axes, label in ((over, grid[:, :1], where), (drawn, grid[:, 1:], how_far)):
        # As thick under one column as under several.
        figure.colorbar(
            shown, ax=axes, label=label, location="bottom", aspect=8 * axes.shape[1],
            pad=0.02, fraction=0.3 / len(names),
        )  # fmt: skip
    figure.savefig(path, dpi=90)


def _table(
    titles: Sequence[str], names: Sequence[str], *, foot: float = 0
) -> tuple[Figure, NDArray[np.object_]]:
    """Give a figure of rows and columns of pictures with a name each, and its axes.

    ``foot`` is room at the bottom, in inches.
    """
    rows, columns = len(names), len(titles)
    figure = Figure(figsize=(1.25 * columns + 1, 1.3 * rows + 0.3 + foot), layout="constrained")
    grid: NDArray[np.object_] = figure.subplots(rows, columns, squeeze=False)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure, grid


def save_table(
    paths: Sequence[str],
    classes: Sequence[str],
    scores: Floats,
    mean: Floats,
    log_variance: Floats,
    path: Path,
) -> None:
    """Write path, class, score, mean and log-variance, [N, D], of each image.

    As CSV, or as Parquet if that is how ``path`` ends.

    Raises:
        OutputError: the file cannot be written.
    """
    dimensions = range(mean.shape[1])
    columns = {
        "path": [spelled(each) for each in paths],
        "class": [spelled(each) for each in classes],
        "score": scores,
        **{f"mean_{number}": mean[:, number] for number in dimensions},
        **{f"log_variance_{number}": log_variance[:, number] for number in dimensions},
    }
    table = pd.DataFrame(columns)
    if path.suffix == ".parquet":
        write_bytes(path, table.to_parquet(engine="pyarrow", index=False))
    else:
        write_text(path, table.to_csv(index=False, float_format="%.9g"))


def save_plane(
    points: Floats,
    axis_names: tuple[str, str],
    photographs: Pictures,
    path: Path,
    *,
    classes: Sequence[str],
    scores: Floats,
    good: str | None,
) -> None:
    """Draw images as points, [N, 2], and once more as thumbnails as far as they find room.

    They are coloured by their class if there are several, otherwise by their score; the class
    ``good`` comes first.
    """
    figure = Figure(figsize=(12.5, 5.8), layout="constrained")
    dots, thumbnails = figure.subplots(1, 2, sharex=True, sharey=True)
    colors = _by_class(dots, points, classes, good) or _by_score(figure, dots, points, scores)
    for number in _with_room(points):
        side = (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS)
        small = ImageOps.contain(Image.fromarray(photographs[number]), side)
        thumbnail = OffsetImage(np.asarray(small))
        frame = {"edgecolor": colors[number], "linewidth": 1.5}
        thumbnails.add_artist(
            AnnotationBbox(thumbnail, tuple(points[number]), pad=0.1, bboxprops=frame)
        )
    for axes in (dots, thumbnails):
        axes.set_xlabel(axis_names[0])
        axes.spines[["top", "right"]].set_visible(False)
    dots.set_ylabel(axis_names[1])
    dots.margins(0.07)
    figure.savefig(path, dpi=110)


def save_restoration(
    seen: Pictures, restored: Pictures, scores: tuple[float, float], path: Path
) -> None:
    """Draw a part as it is and as it should be, [S, T, 3], and where and how they differ.

    Raises:
        OutputError: it cannot be written.
    """
    difference = (seen.astype(np.float64) - restored) / 255
    size = np.abs(difference).mean(-1)
    figure = Figure(figsize=(12.4, 3.5), layout="constrained")
    is_so, should, where, how = figure.subplots(1, 4)
    _show(is_so, seen, title=f"as it is: score {scores[0]:.2f}")
    _show(should, restored, title=f"nearest good: score {scores[1]:.2f}")
    shown = _show(where, size, title="where they differ")
    figure.colorbar(shown, ax=where, shrink=0.85, label="share of white")
    contrast = 0.5 / max(np.abs(difference).max(), 1e-6)
    _show(how, 0.5 + contrast * difference, title="how: lighter, darker")
    with replacing(path) as file:
        figure.savefig(file, dpi=110)


def _show(
    axes: Axes, picture: NDArray[np.generic], *, title: str = "", highest: float | None = None
) -> AxesImage:
    """Show a picture, [S, T, 3], or values from 0 to ``highest``, [S, T]."""
    axes.set(xticks=[], yticks=[])
    if title:
        axes.set_title(title)
    return axes.imshow(picture, cmap="inferno", vmin=0, vmax=highest, interpolation="none")


def _by_class(axes: Axes, points: Floats, classes: Sequence[str], good: str | None) -> list[str]:
    """Draw the points of each class in its colour; gives the colours, none for a single class."""
    names = sorted(set(classes), key=lambda name: (name != good, name))
    if len(names) < 2:
        return []
    colors = {name: _CLASSES[number % len(_CLASSES)] for number, name in enumerate(names)}
    members = np.array(classes)
    for number, name in enumerate(names):
        marker = _MARKERS[number % len(_MARKERS)]
        x, y = points[members == name].T
        axes.scatter(
            x, y, s=26, color=colors[name], marker=marker, alpha=0.8, linewidth=0, label=name
        )
    axes.legend(frameon=False)
    return [colors[name] for name in classes]


def _by_score(figure: Figure, axes: Axes, points: Floats, scores: Floats) -> list[str]:
    """Draw points coloured by score; gives the colours."""
    drawn = axes.scatter(points[:, 0], points[:, 1], s=26, c=scores, cmap="plasma", linewidth=0)
    figure.colorbar(drawn, ax=axes, label="score (higher: more unusual)")
    return [matplotlib.colors.to_hex(color) for color in drawn.to_rgba(scores)]


def _with_room(points: Floats) -> list[int]:
    """Choose points, [N, 2], that lie apart by a thumbnail, first come, first served."""
    span = np.maximum(np.ptp(points, axis=0), 1e-9)
    chosen: list[int] = []
    for number, point in enumerate(points):
        apart = np.abs(points[chosen] - point) / span
        if not (apart < _THUMBNAIL_ROOM).all(-1).any():
            chosen.append(number)
    return chosen
