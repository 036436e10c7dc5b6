"""Draws defects onto real photographs of good parts: what would be found can be asked of them.

Scratches, spots and stains; patches of the photograph itself, turned and moved (CutPaste, Li et
al., CVPR 2021); patches of another good photograph, seamlessly blended (NSA, Schlueter et al.,
ECCV 2022); missing regions, where the background shows, or what lies around. They are drawn, never
real: they tell which sizes and contrasts escape, not which defects a line makes.

Letters: H x W pixels of a photograph, h x w of a window of it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from anomaly_vae.images.part import Inspected, Mask, Part, Pixels
from anomaly_vae.images.patches import LONG, OUTLINES, blended, filled, turned
from anomaly_vae.images.plate import Field

KINDS: tuple[str, ...] = tuple(OUTLINES)
_TRIES, _SPOTS = 8, 2000
_AS_WISHED = 1.3
"""Size and contrast may be larger or smaller by this factor, after rounding and clipping."""
_INSIDE = 0.95
"""Share of a defect that lies within the part."""
_COLOURED = {"spot", "stain"}
AS_THEY_ARE = frozenset({"blended", "missing"})
"""Kinds whose contrast is that of what they show."""


@dataclass(frozen=True)
class Wish:
    """A defect to be drawn onto a photograph."""

    photograph: int
    """Its place among the photographs."""
    kind: str
    """One of ``KINDS``."""
    size: float
    """Diameter of the circle of the same area, in pixels of the photograph."""
    contrast: float
    """Mean change of the channel that changes most, in grey levels of 255; of ``AS_THEY_ARE`` the
    least."""


@dataclass(frozen=True)
class Drawn:
    """A good photograph with a defect drawn onto it."""

    wish: Wish
    image: Pixels
    """uint8 [H, W, 3]; outside of a window around the defect it equals the photograph."""
    mask: Mask
    """Where the defect has half of its strength or more, bool [H, W]."""
    size: float
    """As in ``Wish``, as it came out."""
    contrast: float
    """As in ``Wish``, as it came out."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge of the mask, the last two beyond it."""
        rows, columns = (np.flatnonzero(self.mask.any(axis)) for axis in (1, 0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True)
class _Shown:
    """A photograph, and where the part lies in it, [H, W]."""

    pixels: Pixels
    part: Mask


def draw_defects(
    photographs: Sequence[Pixels],
    part: Part,
    wishes: Sequence[Wish],
    *,
    seed: int,
    inspected: Inspected | None = None,
) -> Iterator[Drawn]:
    """Draw defects onto good photographs, uint8 [H, W, 3] each, in the order of ``wishes``.

    A wish that a photograph does not allow (a patch as strange as that, a region as large) is left
    out. What blends in comes from another photograph among those of the wishes. The same seed draws
    the same. A photograph is asked for once, if all its wishes stand together. ``inspected``
    restricts where they lie.
    """
    order = list(dict.fromkeys(wish.photograph for wish in wishes))
    others = dict(zip(order, [*order[-1:], *order[:-1]], strict=True))
    shown: dict[int, _Shown] = {}
    for number, wish in enumerate(wishes):
        this, other = wish.photograph, others[wish.photograph]
        shown = {
            each: shown.get(each) or _shown(photographs[each], part, inspected)
            for each in (other, this)
        }
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
        for _ in range(_TRIES):
            drawn = _draw(rng, shown[this], shown[other], wish, part)
            if drawn is not None:
                yield drawn
                break


def _shown(photograph: Pixels, part: Part, inspected: Inspected | None) -> _Shown:
    return _Shown(photograph, part.mask(photograph, inspected))


def _draw(
    rng: np.random.Generator, shown: _Shown, other: _Shown, wish: Wish, part: Part
) -> Drawn | None:
    """Draw a defect, or give nothing where this try does not come out as it was wished."""
    chipped = part.background and wish.kind == "missing"
    found = _spot(rng, shown, wish, chipped=chipped)
    if found is None:
        return None
    window, place = _window(shown.pixels, *found, wish.size)
    # A chip is cut by the edge of the part.
    cover = OUTLINES[wish.kind](rng, place, wish.size * (1.25 if chipped else 1.0))
    within, before = shown.part[window], shown.pixels[window].astype(np.float32)
    if chipped:
        cover = cover * within
    mask = cover >= 0.5
    size = 2 * math.sqrt(mask.sum() / math.pi)
    near = _AS_WISHED + 1 / wish.size  # small ones are of few pixels
    if not wish.size / near <= size <= wish.size * near or within[mask].mean() < _INSIDE:
        return None
    if wish.kind == "missing":
        source = ~within if chipped else cover < 0.02
        patch = filled(before, source, wish.size / 8) if source.any() else None
    elif wish.kind in ("pasted", "blended"):
        patch = _moved(rng, shown if wish.kind == "pasted" else other, wish, place)
    else:
        patch = before if wish.kind != "spot" else before[mask].mean(0) + np.zeros_like(before)
    if patch is None:
        return None
    after = _strengthened(rng, before, patch, cover, wish)
    change = np.abs(after.astype(np.float32) - before).max(-1)
    contrast = float(change[mask].mean())
    most = math.inf if wish.kind in AS_THEY_ARE else wish.contrast
    if not wish.contrast / _AS_WISHED <= contrast <= most * _AS_WISHED:
        return None
    image, whole = shown.pixels.copy(), np.zeros(shown.part.shape, np.bool_)
    image[window], whole[window] = after, mask
    return Drawn(wish, image, whole, size, contrast)


def _spot(
    rng: np.random.Generator, shown: _Shown, wish: Wish, *, chipped: bool
) -> tuple[tuple[int, int], float] | None:
    """Choose where a defect lies, and how it is turned, so that it is within the part.

    A chip lies across the edge of the part.
    """
    height, width = shown.part.shape
    spots = np.stack([rng.integers(side, size=_SPOTS) for side in (height, width)], -1)
    spots = spots[shown.part[spots[:, 0], spots[:, 1]]]
    bearings = rng.uniform(0, 2 * np.pi, len(spots))
    if wish.kind == "scratch":
        reach = np.linspace(-LONG / 2, LONG / 2, 9) * wish.size
        outline = np.stack([np.zeros(9), reach], -1)
    else:
        around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        outline = np.stack([np.sin(around), np.cos(around)], -1) * wish.size / 2
    c, s = np.cos(bearings)[:, None], np.sin(bearings)[:, None]
    row = np.rint(spots[:, :1] + c * outline[:, 0] + s * outline[:, 1]).astype(int)
    column = np.rint(spots[:, 1:] - s * outline[:, 0] + c * outline[:, 1]).astype(int)
    within = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    on = within & shown.part[row.clip(0, height - 1), column.clip(0, width - 1)]
    share = on.mean(-1)
    fits = (share >= 0.5) & (share < 0.85) & within.all(-1) if chipped else share == 1
    if not fits.any():
        return None
    first = int(np.argmax(fits))
    # What blends in fills an upright box.
    bearing = 0.0 if wish.kind == "blended" else float(bearings[first])
    return (int(spots[first, 0]), int(spots[first, 1])), bearing


def _window(
    pixels: Pixels, spot: tuple[int, int], bearing: float, size: float
) -> tuple[tuple[slice, slice], tuple[Field, Field]]:
    """Give the window around a spot, and its coordinates x and y, [h, w], turned, in pixels."""
    reach = math.ceil(LONG / 2 * size) + 3
    rows, columns = (
        np.arange(max(0, middle - reach), min(side, middle + reach + 1))
        for middle, side in zip(spot, pixels.shape[:2], strict=True)
    )
    y, x = np.meshgrid(rows - spot[0], columns - spot[1], indexing="ij")
    c, s = math.cos(bearing), math.sin(bearing)
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return window, ((c * x + s * y).astype(np.float32), (c * y - s * x).astype(np.float32))


def _moved(
    rng: np.random.Generator, source: _Shown, wish: Wish, place: tuple[Field, Field]
) -> Field | None:
    """Take a patch, [h, w, 3], from elsewhere in the part."""
    found = _spot(rng, source, wish, chipped=False)
    return None if found is None else turned(source.pixels, place, found[0])


def _strengthened(
    rng: np.random.Generator, before: Field, patch: Field, cover: Field, wish: Wish
) -> Pixels:
    """Bring a patch to its contrast, darker or brighter, or by letting the surface shine through.

    Gives the window with the defect, uint8 [h, w, 3].
    """
    mask = cover >= 0.5
    if wish.kind == "blended":
        patch, cover = blended(before, patch, cover), np.ones_like(cover)
    change = cover[..., None] * (patch - before)
    natural = float(np.abs(change[mask]).max(-1).mean())
    if wish.kind in AS_THEY_ARE:
        pass
    elif natural >= wish.contrast:
        change *= wish.contrast / natural
    else:
        tint = _tint(rng, before, wish.kind)
        bright = rng.random() < _room(before[mask].mean(), wish.contrast)
        shift = cover[..., None] * (tint if bright else -tint)

        def mean(strength: float) -> float:
            return float(np.abs(change[mask] + strength * shift[mask]).max(-1).mean())

        low, high = 0.0, 4 * wish.contrast
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if mean(middle) < wish.contrast else (low, middle)
        change = change + np.float32(high) * shift
    return np.clip(np.rint(before + change), 0, 255).astype(np.uint8)


def _room(grey: float, contrast: float) -> float:
    """Give the probability that a defect is bright: one half, if there is room on both sides."""
    bright, dark = 255 - grey >= contrast, grey >= contrast
    return 0.5 if bright == dark else float(bright)


def _tint(rng: np.random.Generator, before: Field, kind: str) -> Field:
    """Give how much each channel changes, [3], 1 at the most: the same in a grey photograph."""
    grey = bool((np.ptp(before, axis=-1) == 0).all())
    if grey or kind not in _COLOURED:
        return np.ones(3, np.float32)
    tint = rng.uniform(0.3, 1, 3)
    return np.asarray(tint / tint.max(), np.float32)
