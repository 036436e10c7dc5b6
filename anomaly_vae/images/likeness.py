"""Which photographs of a folder are nearly the same, do not belong, or form groups.

Nothing here knows what a part is: each photograph is compared with the others, and a limit lies
where the others leave no doubt.

Letters: N photographs, S x S pixels of a thumbnail.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.floating]

_SMOOTH = 3.0
"""Pixels of a thumbnail: what changes more slowly is light, not the part."""
_COMMON = 10
"""Principal components in which most photographs differ: pose, light, and what tolerances vary."""
# A pair is nearly the same above this correlation, and above what nearest neighbours among the
# others reach: their median plus so often the distance of it from the lower quartile. Seven such
# distances are 4.7 standard deviations of a normal distribution. The lower half is used, because
# bursts raise the upper one.
_SAME, _BEYOND = 0.7, 7.0
_MAD_TO_STD = 1.4826
_STRANGE = 6.0
"""Robust standard deviations."""
# Two halves of a normal distribution lie 2.65 of Ashman's D apart, of an even one 3.46.
_APART = 4.5
_FEWEST, _LEAST_SHARE = 5, 0.05


def detail(thumbnails: Floats) -> Floats:
    """Give what is particular of each thumbnail, [N, S, S]: rows of length 1, [N, S * S].

    Slow changes of light are taken off, then the mean, then the main components of how all differ.
    """
    rows = np.stack([each - gaussian_filter(each, _SMOOTH) for each in thumbnails])
    rows = rows.reshape(len(rows), -1)
    rows = rows - rows.mean(0)
    common = np.linalg.svd(rows @ rows.T)[0][:, : min(_COMMON, len(rows) // 4)]
    rows = rows - common @ (common.T @ rows)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    particular: Floats = rows / np.maximum(lengths, 1e-9)
    return particular


def bursts(rows: Floats) -> list[list[int]]:
    """Group photographs that are nearly the same, by the rows that ``detail`` gives, [N, D].

    Gives groups of two or more, as indices.
    """
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -1)
    nearest = np.arctanh(likeness.max(1).clip(-0.99999, 0.99999))
    lower, middle = np.quantile(nearest, (0.25, 0.5))
    limit = max(_SAME, math.tanh(middle + _BEYOND * (middle - lower)))
    return connected(likeness > limit)


def connected(linked: NDArray[np.bool_]) -> list[list[int]]:
    """Give the groups of two or more that links, [N, N], hold together."""
    _, group = connected_components(linked, directed=False)
    members = [np.flatnonzero(group == each).tolist() for each in np.unique(group)]
    return [each for each in members if len(each) > 1]


def strange(values: Floats, *, low: bool = True, high: bool = True) -> list[int]:
    """Give what lies far from the median of values, [N], the farthest first."""
    middle = np.median(values)
    spread = _MAD_TO_STD * np.median(np.abs(values - middle))
    away = (values - middle) / max(float(spread), 1e-9 + 1e-3 * abs(float(middle)))
    found = np.flatnonzero(((away > _STRANGE) & high) | ((away < -_STRANGE) & low))
    return sorted(found.tolist(), key=lambda index: -abs(away[index]))


def unlikeness(thumbnails: Floats) -> Floats:
    """Say how little of each thumbnail, [N, S, S], is of the kind that most others are, [N].

    Logarithm of the mean square of what is left without the median and the main components of the
    three quarters that are nearest to it: odd ones do not say what is usual.
    """
    rows = thumbnails.reshape(len(thumbnails), -1)
    rows = rows - np.median(rows, axis=0)
    usual = rows[np.argsort(np.square(rows).sum(1))[: len(rows) * 3 // 4]]
    count = min(_COMMON, len(usual) // 6)
    left, sizes, _ = np.linalg.svd(usual @ usual.T)
    axes = usual.T @ left[:, :count] / np.sqrt(sizes[:count] + 1e-12)
    rest: Floats = np.log(np.square(rows - (rows @ axes) @ axes.T).mean(1) + 1e-9)
    return rest


def two_groups(values: Floats) -> NDArray[np.bool_] | None:
    """Say which of values, [N], belong to the smaller of two groups; None if they are one.

    The split is Otsu's (1979); two groups are apart by Ashman's D (Ashman, Bird and Zepf, 1994).
    """
    ordered = np.sort(values)
    count = len(ordered)
    least = max(_FEWEST, math.ceil(_LEAST_SHARE * count))
    best, at = 0.0, 0
    for cut in range(least, count - least + 1):
        low, high = ordered[:cut], ordered[cut:]
        spread = math.sqrt(float(low.var() + high.var())) + 1e-9 + 1e-3 * abs(float(low.mean()))
        apart = math.sqrt(2) * float(high.mean() - low.mean()) / spread
        if apart > best:
            best, at = apart, cut
    if best < _APART:
        return None
    above: NDArray[np.bool_] = values >= ordered[at]
    return above if above.sum() <= count / 2 else ~above
