"""Where in a photograph its part lies, as far as that can be told without knowing the part."""

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.images.quality import luminance


def centre(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Give the centre of all edges of an image, uint8 RGB [H, W, 3]: x, y as shares of its sides.

    The first moments of the gradient's magnitude: a part has edges, and what it lies on has few. It
    moves with the part by the share of the edges that are the part's. An image without edges has
    its centre in the middle.
    """
    light = luminance(pixels)
    edges = np.hypot(light[1:, 1:] - light[:-1, 1:], light[1:, 1:] - light[1:, :-1])
    total = float(edges.sum())
    if total <= 0:
        return 0.5, 0.5
    height, width = edges.shape
    x = float(edges.sum(0) @ (np.arange(width) + 0.5)) / total / width
    y = float(edges.sum(1) @ (np.arange(height) + 0.5)) / total / height
    return x, y
