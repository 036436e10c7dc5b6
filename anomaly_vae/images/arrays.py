"""Photographs in memory: what a camera's library gives, as the picture that a file would hold."""

from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from anomaly_vae.errors import InputError
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.values import FULL_RANGE

Order = Literal["rgb", "bgr"]
_EXPECTED = "expected uint8 or uint16, H x W (grey) or H x W x 3 (RGB, or BGR with order='bgr')"


def picture_from(array: np.ndarray[Any, Any], order: Order, settings: ImageSettings) -> Image.Image:
    """Make a picture of an array, uint8 or uint16, H x W or H x W x 3.

    Grey values of 16 bits stay so. Of a colour image, ``settings.black_level`` becomes 0 and
    ``settings.white_level`` 255; where they are 0 and 65535, the upper 8 bits are taken, as they
    are of a file.

    Raises:
        InputError: the array is something else.
    """
    if order not in get_args(Order):
        raise InputError(f"order = {order!r}: expected 'rgb' or 'bgr'")
    color = array.ndim == 3 and array.shape[2] == 3
    if array.dtype not in (np.uint8, np.uint16) or not (color or array.ndim == 2):
        shape = " x ".join(map(str, array.shape)) or "no dimension"
        raise InputError(f"an array of {array.dtype}, {shape}: {_EXPECTED}")
    if not array.size:
        raise InputError(f"an array without a pixel, {array.shape[0]} x {array.shape[1]}")
    if color and order == "bgr":
        array = array[..., ::-1]
    if color and array.dtype == np.uint16:
        white, black = settings.white, settings.black_level
        if (white, black) == (FULL_RANGE, 0):
            array = (array >> 8).astype(np.uint8)
        else:
            shifted = array.astype(np.float32) - black
            scaled = shifted * np.float32(255 / (white - black)) + np.float32(0.5)
            array = scaled.clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array))
