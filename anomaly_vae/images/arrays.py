"""Photographs in memory: what a camera's library gives, as the picture that a file would hold."""

from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from anomaly_vae.errors import InputError

Order = Literal["rgb", "bgr"]
_EXPECTED = "expected uint8 or uint16, H x W (grey) or H x W x 3 (RGB, or BGR with order='bgr')"
_SIXTEEN_BITS = 65535


def picture_from(array: np.ndarray[Any, Any], order: Order, white_level: int) -> Image.Image:
    """Make a picture of an array, uint8 or uint16, H x W or H x W x 3.

    Grey values of 16 bits stay so. Of a colour image, ``white_level`` becomes 255; where it is
    65535, the upper 8 bits are taken, as they are of a file.

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
        if white_level == _SIXTEEN_BITS:
            array = (array >> 8).astype(np.uint8)
        else:
            scaled = array * np.float32(255 / white_level) + np.float32(0.5)
            array = scaled.clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array))
