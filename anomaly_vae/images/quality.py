"""What a photograph looks like apart from its part: brightness, contrast, sharpness, colour."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue; ITU-R BT.601
STATISTICS = ("brightness", "contrast", "sharpness")


@dataclass(frozen=True)
class ImageStatistics:
    """Simple statistics of one image as the model sees it, all of luminance in [0, 1]."""

    brightness: float
    """Mean."""
    contrast: float
    """Standard deviation."""
    sharpness: float
    """Standard deviation of the Laplacian (Pech-Pacheco et al., ICPR 2000, use its square)."""
    color: bool
    """Whether any pixel is not grey."""


def image_statistics(
    pixels: NDArray[np.uint8], inspected: NDArray[np.bool_] | None = None
) -> ImageStatistics:
    """Measure an image, uint8 RGB [S, T, 3], or those pixels of it that are inspected, [S, T]."""
    light = luminance(pixels)
    inner = light[1:-1, 1:-1]
    laplacian = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:] - 4 * inner
    if inspected is not None:
        # The edge of the region of interest is none of the photograph.
        laplacian = laplacian[_surrounded(inspected)]
        light = light[inspected]
    grey = np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(
        pixels[..., 1], pixels[..., 2]
    )
    return ImageStatistics(
        float(light.mean()),
        float(light.std()),
        float(laplacian.std()) if laplacian.size else 0.0,
        not grey,
    )


def luminance(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the luminance, [S, T] in [0, 1], of RGB, uint8 [S, T, 3 or more].

    Not as a product of matrices: that would be computed on threads of its own, for which all
    threads that decode photographs would wait in turn.
    """
    red, green, blue = np.array(LUMINANCE, dtype=np.float32) / 255
    light: NDArray[np.float32] = pixels[..., 0] * red
    light += pixels[..., 1] * green
    light += pixels[..., 2] * blue
    return light


def _surrounded(inspected: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which inner pixels, [S - 2, T - 2], are inspected with all their eight neighbours."""
    height, width = (side - 2 for side in inspected.shape)
    shifted = [inspected[row : row + height, column : column + width]
               for row in range(3) for column in range(3)]  # fmt: skip
    return np.asarray(np.logical_and.reduce(shifted))
