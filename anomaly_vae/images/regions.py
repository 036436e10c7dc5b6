"""From an anomaly map to defect regions, in pixels of the original photograph.

Letters: h x w map, S x T pixels of the frame, H x W pixels of the photograph.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy  # loads its parts when they are used
from numpy.typing import NDArray

from anomaly_vae.images.decoding import LoadedImage, Placement
from anomaly_vae.images.stacks import apart

_ROUNDING = 1e-5  # of a threshold, more than interpolation errs by
Part = tuple[slice, slice]


@dataclass(frozen=True)
class Region:
    """One connected defect region; lengths in pixels of the original photograph."""

    x: int
    """Left edge of the box."""
    y: int
    """Upper edge of the box."""
    width: int
    height: int
    area: float
    """In square pixels."""
    centroid_x: float
    centroid_y: float
    peak: float
    """Highest value of the anomaly map in the region."""
    mean: float
    """Mean value of the anomaly map in the region."""
    elongation: float
    """Major by minor axis of the ellipse with the same second moments; 1 for a disc or a square."""
    slice: int = 0
    """Of a stack: the one with the peak, counted from 1. All of the above but peak and mean are
    those of its shadow on a slice. 0 of a photograph."""
    depth: int = 0
    """Of a stack: how many slices it reaches through."""
    kind: str = ""
    """What it is, or ``unknown``, by a model that was shown kinds of defects."""
    kind_probability: float = math.nan
    """Among the kinds that it was shown; of an ``unknown`` one there is none."""

    @property
    def equivalent_diameter(self) -> float:
        """Diameter of the circle of the same area."""
        return 2 * math.sqrt(self.area / math.pi)


def find_regions(
    anomaly_map: NDArray[np.float32], image: LoadedImage, threshold: float, min_area: float = 0
) -> list[Region]:
    """Find the connected regions of the map above ``threshold``, the highest peak first.

    The map [h, w] is enlarged to the frame [S, T] first, so that boxes are not bound to the grid
    of the map. Regions below ``min_area``, in square pixels of the photograph, are left out. There
    is always at least one region: where nothing exceeds the threshold, the surroundings of the
    peak; where all regions are too small, the one with the highest peak. Regions of a stack are
    connected through its slices.
    """
    if image.slices:
        return _kept(_in_stack(anomaly_map, image, threshold), min_area)
    shape = image.pixels.shape[:2]
    inside, part = _inside(image, shape), _reached(anomaly_map, threshold, shape)
    square = enlarged(anomaly_map, shape, part)
    above = (square > threshold) & inside[part]
    if not above.any():
        part = slice(None), slice(None)
        square = enlarged(anomaly_map, shape)
        above = _around_peak(square, inside)
    labels = _connected(above)
    boxes = scipy.ndimage.find_objects(labels)
    regions = [
        _measure(square[box], labels[box] == label, _moved(box, part), image)
        for label, box in enumerate(boxes, start=1)
    ]
    return _kept(regions, min_area)


def _in_stack(
    anomaly_map: NDArray[np.float32], image: LoadedImage, threshold: float
) -> list[Region]:
    """Find the regions of a stack; each is measured by its shadow on a slice."""
    shape = apart(image.pixels, image.slices).shape[1:3]
    maps = apart(anomaly_map, image.slices)
    values = np.stack([enlarged(each, shape) for each in maps])
    inside = np.broadcast_to(_inside(image, shape), values.shape)
    above = (values > threshold) & inside
    labels = _connected(above if above.any() else _around_peak(values, inside))
    regions = []
    for label, box in enumerate(scipy.ndimage.find_objects(labels), start=1):
        member = labels[box] == label
        seen = np.where(member, values[box], -np.inf).astype(np.float32)
        region = replace(
            _measure(seen.max(0), member.any(0), box[1:], image),
            mean=float(values[box][member].mean(dtype=np.float64)),
            slice=1 + box[0].start + int(seen.max((1, 2)).argmax()),
            depth=len(member),
        )
        regions.append(region)
    return regions


def _kept(regions: list[Region], min_area: float) -> list[Region]:
    """Give those that are large enough, or one, the highest peak first."""
    regions.sort(key=lambda region: -region.peak)
    return [region for region in regions if region.area >= min_area] or regions[:1]


def _around_peak(values: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give the spot that stands out: what is half-way between the median and the peak, or above."""
    limit = (values[inside].max() + np.median(values[inside])) / 2
    labels = _connected((values >= limit) & inside)
    spot: NDArray[np.bool_] = labels == labels.flat[np.argmax(np.where(inside, values, -np.inf))]
    return spot


def _connected(above: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number what is connected, by corners, too, from 1 on; 0 is what is not ``above``."""
    labels: NDArray[np.int32] = scipy.ndimage.label(above, np.ones((3,) * above.ndim, int))[0]
    return labels


def enlarged(
    anomaly_map: NDArray[np.float32],
    shape: tuple[int, ...],
    part: Part = (slice(None), slice(None)),
) -> NDArray[np.float32]:
    """Interpolate a map [h, w] bilinearly to ``shape``, cell centres aligned; a part of that."""
    if anomaly_map.shape == shape:
        return anomaly_map[part]
    rows, columns = (
        _positions(cells, size)[kept]
        for cells, size, kept in zip(anomaly_map.shape, shape, part, strict=True)
    )
    square: NDArray[np.float32] = _interpolated(_interpolated(anomaly_map, rows).T, columns).T
    return square


def _positions(cells: int, size: int) -> NDArray[np.float64]:
    """Give where the centres of ``size`` pixels lie among the centres of so many cells."""
    return np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)


def _reached(anomaly_map: NDArray[np.float32], threshold: float, shape: tuple[int, ...]) -> Part:
    """Give the rows and columns of the frame in which the map may exceed the threshold.

    No pixel is above all the cells that it lies between, but for rounding.
    """
    high = anomaly_map > threshold - _ROUNDING * abs(threshold)
    rows, columns = np.asarray(high.any(1)), np.asarray(high.any(0))
    return _between(rows, shape[0]), _between(columns, shape[1])


def _between(high: NDArray[np.bool_], size: int) -> slice:
    """Give the pixels of an axis that lie next to any of its ``high`` cells."""
    cells, positions = np.flatnonzero(high), _positions(len(high), size)
    if not len(cells):
        return slice(0)
    first = np.searchsorted(positions, cells[0] - 1, "right")
    return slice(int(first), int(np.searchsorted(positions, cells[-1] + 1)))


def _moved(box: tuple[slice, ...], part: Part) -> tuple[slice, ...]:
    """Give a box of a part of the square as one of the square."""
    starts = [kept.start or 0 for kept in part]
    return tuple(slice(e.start + s, e.stop + s) for e, s in zip(box, starts, strict=True))


def _interpolated(
    values: NDArray[np.float32], positions: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Interpolate linearly between the rows of ``values``."""
    below = np.floor(positions).astype(int)
    above = np.minimum(below + 1, len(values) - 1)
    weight = (positions - below).astype(np.float32)[:, None]
    mixed: NDArray[np.float32] = values[below] * (1 - weight) + values[above] * weight
    return mixed


def _inside(image: LoadedImage, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Tell which pixels of the frame show what is inspected, not the border of a letterbox."""
    place = image.placement
    left, top = int(place.offset_x), int(place.offset_y)
    right = left + max(1, round(image.width * place.scale_x))
    bottom = top + max(1, round(image.height * place.scale_y))
    inside = np.zeros(shape, dtype=bool)
    inside[top:bottom, left:right] = True
    return inside if image.inspected is None else inside & image.inspected


def _measure(
    values: NDArray[np.float32],
    member: NDArray[np.bool_],
    box: tuple[slice, ...],
    image: LoadedImage,
) -> Region:
    """Measure the ``member`` pixels of ``box``; ``values`` are those of the map in it."""
    place = image.placement
    rows, columns = box
    # The smallest box of whole pixels around the region; 1e-6 keeps rounding errors out.
    left = math.floor((columns.start - place.offset_x) / place.scale_x + 1e-6)
    top = math.floor((rows.start - place.offset_y) / place.scale_y + 1e-6)
    right = math.ceil((columns.stop - place.offset_x) / place.scale_x - 1e-6)
    bottom = math.ceil((rows.stop - place.offset_y) / place.scale_y - 1e-6)
    ys, xs = (found + edge.start for found, edge in zip(np.nonzero(member), box, strict=True))
    values = values[member]
    return Region(
        x=left,
        y=top,
        width=right - left,
        height=bottom - top,
        area=len(values) / (place.scale_x * place.scale_y),
        centroid_x=(float(xs.mean()) + 0.5 - place.offset_x) / place.scale_x,
        centroid_y=(float(ys.mean()) + 0.5 - place.offset_y) / place.scale_y,
        peak=float(values.max()),
        mean=float(values.mean(dtype=np.float64)),
        elongation=_elongation(xs, ys, place),
    )


def _elongation(xs: NDArray[np.intp], ys: NDArray[np.intp], place: Placement) -> float:
    """Divide the axes of the ellipse that has the second moments of these pixels of the frame.

    A pixel is no point: its own second moment, 1/12, keeps the minor axis of a line above zero.
    """
    dx, dy = xs - xs.mean(), ys - ys.mean()
    # Not as products of vectors: for those of many pixels threads are started.
    xx, yy, xy = (float((one * other).mean()) for one, other in ((dx, dx), (dy, dy), (dx, dy)))
    xx, yy = xx + 1 / 12, yy + 1 / 12
    across, down = 1 / place.scale_x, 1 / place.scale_y  # pixels of the photograph per pixel
    # Of moments that are scaled unlike, this difference would have no digits left.
    major_times_minor = math.sqrt(xx * yy - xy * xy) * across * down
    xx, xy, yy = xx * across**2, xy * across * down, yy * down**2
    major_squared = (xx + yy) / 2 + math.hypot((xx - yy) / 2, xy)
    return max(1.0, major_squared / major_times_minor)
