"""What a drawn defect puts in the place of a good surface, and how it gets its outline.

Letters: h x w pixels of a window of the photograph; fields are float32.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import dstn, idstn

from anomaly_vae.images.flaws import blob, streak
from anomaly_vae.images.plate import Field

Mask = NDArray[np.bool_]
Place = tuple[Field, Field]

LONG = 3.5
"""Length of a scratch, in diameters of the circle of the same area."""
_STREAK = 0.69
"""Area of a scratch whose length and width (at half its strength) are 1."""
_HALF = math.sqrt(math.log(2))
"""Of the width parameter of a Gaussian profile, where it has fallen to a half."""


def scratch(rng: np.random.Generator, place: Place, size: float) -> Field:
    """Draw a thin, slightly bent line."""
    area = math.pi / 4 * size**2
    width = max(area / (LONG * size * _STREAK), 1.0)
    length = area / (width * _STREAK)
    along, across = place
    bend = rng.normal(0, 0.12) / length
    return streak(along, across - np.float32(bend) * along**2, length / 2, width / (2 * _HALF))


def spot(rng: np.random.Generator, place: Place, size: float) -> Field:
    """Draw an irregular spot with a sharp outline."""
    return _filled(blob(rng, place, size / 2, 0.12), size, soft=0.1)


def stain(rng: np.random.Generator, place: Place, size: float) -> Field:
    """Draw an irregular spot that fades into its surroundings; a half is left on its outline."""
    far = blob(rng, place, size / 2, 0.15)
    cloud: Field = np.exp(-np.float32(math.log(2)) * far**2)
    return cloud


def rectangle(rng: np.random.Generator, place: Place, size: float) -> Field:
    """Draw a rectangle with a soft edge; its sides are as 1 to 3 at the most (CutPaste)."""
    ratio = math.sqrt(math.exp(rng.uniform(-1, 1) * math.log(3)))
    side = math.sqrt(math.pi) / 2 * size
    far = np.maximum(np.abs(place[0]) - side * ratio / 2, np.abs(place[1]) - side / ratio / 2)
    return _edge(far, max(1.0, 0.08 * size))


def chip(rng: np.random.Generator, place: Place, size: float) -> Field:
    """Draw an irregular region with a sharp outline."""
    return _filled(blob(rng, place, size / 2, 0.2), size, soft=0.02)


OUTLINES: dict[str, Callable[[np.random.Generator, Place, float], Field]] = {
    "scratch": scratch,
    "spot": spot,
    "stain": stain,
    "pasted": rectangle,
    "blended": rectangle,
    "missing": chip,
}


def turned(photograph: NDArray[np.uint8], place: Place, spot: tuple[int, int]) -> Field:
    """Cut a patch, [h, w, 3], out of a photograph around ``spot`` (row, column), as ``place`` lies.

    Beyond the photograph its last pixels go on.
    """
    x, y = place
    where = np.stack([y + spot[0], x + spot[1]])
    low = [max(0, math.floor(float(each.min()))) for each in where]
    high = [math.ceil(float(each.max())) + 2 for each in where]
    cut = photograph[low[0] : high[0], low[1] : high[1]].astype(np.float32)
    moved = where - np.array(low, np.float32)[:, None, None]
    patch: Field = np.stack(
        [ndimage.map_coordinates(cut[..., c], moved, order=1, mode="nearest") for c in range(3)], -1
    )
    return patch


def blended(before: Field, patch: Field, cover: Field) -> Field:
    """Carry the gradients of a patch over, [h, w, 3], where ``cover`` [h, w] is half or more.

    The Poisson equation with the surroundings as boundary values (Perez, Gangnet and Blake, 2003),
    as NSA uses it (Schlueter et al., ECCV 2022), on the box around the outline: there the discrete
    sine transform solves it exactly.
    """
    rows, columns = (np.flatnonzero((cover >= 0.5).any(axis)) for axis in (1, 0))
    after = before.copy()
    if not len(rows):
        return after
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    offset = np.pad((patch - before), ((1, 1), (1, 1), (0, 0)), mode="edge")
    larger = tuple(slice(each.start, each.stop + 2) for each in box)
    bent = offset[larger]
    laplacian = (
        bent[:-2, 1:-1] + bent[2:, 1:-1] + bent[1:-1, :-2] + bent[1:-1, 2:] - 4 * bent[1:-1, 1:-1]
    )
    high, wide = laplacian.shape[:2]
    frequencies = (
        2 * np.cos(np.pi * np.arange(1, high + 1) / (high + 1))[:, None]
        + 2 * np.cos(np.pi * np.arange(1, wide + 1) / (wide + 1))
        - 4
    )
    solved = idstn(dstn(laplacian, 1, axes=(0, 1)) / frequencies[..., None], 1, axes=(0, 1))
    after[box] += solved.astype(np.float32)
    return after


def filled(before: Field, source: Mask, smooth: float) -> Field:
    """Fill a window, [h, w, 3], with the nearest of the pixels ``source``, [h, w], smoothed."""
    nearest = ndimage.distance_transform_edt(~source, return_distances=False, return_indices=True)
    patch: Field = ndimage.gaussian_filter(before[tuple(nearest)], (smooth, smooth, 0))
    return patch


def _filled(far: Field, size: float, *, soft: float) -> Field:
    """Fill an outline, at 1.0; its edge is ``soft`` times the size wide, one pixel at least."""
    return _edge((far - 1) * np.float32(size / 2), max(1.0, soft * size))


def _edge(distance: Field, width: float) -> Field:
    cover: Field = np.clip(np.float32(0.5) - distance / np.float32(width), 0, 1)
    return cover
