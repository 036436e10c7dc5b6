"""What a defect region looks like to a model, for telling its kind.

Letters: h x w map, C components.
"""

import math

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.calibration.kinds import directions
from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.images.regions import Region


def described(
    region: Region,
    image: LoadedImage,
    anomaly_map: NDArray[np.float32],
    residual: NDArray[np.float32],
    limit: float,
) -> NDArray[np.float64]:
    """Describe a region by the direction, [C], in which its places are unusual.

    Takes map, [h, w], and residual, [C, h, w], of the photograph. The places of the region's box
    count by how far the map is above its ``limit`` there; where it is nowhere, by how far it is
    above its lowest value.
    """
    rows, columns = _cells(region, image, anomaly_map.shape)
    values = anomaly_map[rows, columns]
    weights = np.maximum(values - limit, 0)
    if not weights.any():
        weights = values - values.min() + np.float32(1e-6)
    return directions(np.tensordot(residual[:, rows, columns], weights, 2))


def _cells(region: Region, image: LoadedImage, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Give the rows and columns of a map that the box of a region touches."""
    place, (height, width) = image.placement, image.pixels.shape[:2]
    return (
        _touched(region.y, region.height, place.scale_y, place.offset_y, shape[0] / height),
        _touched(region.x, region.width, place.scale_x, place.offset_x, shape[1] / width),
    )


def _touched(start: int, length: int, scale: float, offset: float, cells: float) -> slice:
    """Give the cells of an axis that lie under so many pixels of the photograph."""
    first, last = ((edge * scale + offset) * cells for edge in (start, start + length))
    return slice(max(0, math.floor(first + 1e-6)), max(1, math.ceil(last - 1e-6)))
