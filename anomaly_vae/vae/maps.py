"""Arithmetic on maps and images that feature extractors, scoring and drawing share.

Letters: N images, S x T pixels of the frame, C channels, h x w locations of a map.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d, pad

from anomaly_vae.images.many import in_pieces
from anomaly_vae.images.quality import LUMINANCE

CODE_SIZE = 10
"""How many numbers tell where a place is."""


def without_border(maps: Tensor, width: int) -> Tensor:
    """Cut off ``width`` locations around maps, [..., h, w]."""
    return maps[..., width : maps.shape[-2] - width, width : maps.shape[-1] - width]


def with_border(maps: Tensor, width: int) -> Tensor:
    """Put ``width`` locations around maps, [N, h, w], with the values of the nearest ones."""
    return pad(maps[:, None], (width,) * 4, mode="replicate")[:, 0] if width else maps


def local_mean(maps: Tensor, window: int, slices: int = 1) -> Tensor:
    """Average maps, [N, C, h, w], over ``window`` x ``window`` locations, as far as they exist.

    Where they hold ``slices`` of a stack, one below the other, over a cube of it.
    """
    if window == 1:
        return maps
    if slices > 1:
        means = avg_pool3d(stacked(maps, slices), window, 1, window // 2, count_include_pad=False)
        return means.flatten(2, 3)
    return avg_pool2d(maps, window, 1, window // 2, count_include_pad=False)


def smoothed(values: Tensor, around: int, inside: Tensor) -> Tensor:
    """Average values of places, [h, w], over ``around`` x ``around`` of them.

    Those that are not ``inside``, bool [h, w], say nothing.
    """
    weight = inside.to(values)
    sums = local_mean(torch.stack([weight * values, weight])[None], around)[0]
    return sums[0] / sums[1].clamp_min(1e-6)


def stacked(sheets: Tensor, slices: int) -> Tensor:
    """Give the stacks, [N, C, D, H, W], of sheets, [N, C, D H, W], of D slices."""
    count, channels, rows, columns = sheets.shape
    return sheets.reshape(count, channels, slices, rows // slices, columns)


def mad(values: Tensor) -> Tensor:
    """Give the median absolute deviation of all values."""
    return (values - values.quantile(0.5)).abs().quantile(0.5)


def mean_and_std(*items: NDArray[np.floating]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the first dimension of all, summed in double precision."""
    shape = items[0].shape[1:]
    total, squares = np.zeros(shape), np.zeros(shape)
    step = max(1, 2**22 // math.prod(shape))
    for piece in items:
        for rows in in_pieces(piece, step):
            chunk = rows.astype(np.float64)
            total += chunk.sum(0)
            squares += np.square(chunk).sum(0)
    count = sum(len(piece) for piece in items)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()


def place_codes(height: int, width: int) -> Tensor:
    """Tell where the places of a map are, [h, w, CODE_SIZE].

    Horizontally and vertically, from -1 to 1, and sine and cosine of one and of two periods.
    """
    sides = [(torch.arange(side) + 0.5) / side * 2 - 1 for side in (height, width)]
    grid = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1)
    angles = torch.cat([torch.pi * grid, 2 * torch.pi * grid], -1)
    return torch.cat([grid, angles.sin(), angles.cos()], -1)


def unit_range(images: Tensor) -> Tensor:
    """Turn stored images, uint8 [N, S, T, 3], into what extractors take: [0, 1], [N, 3, S, T]."""
    return images.permute(0, 3, 1, 2).float() / 255


def luminance(images: Tensor) -> Tensor:
    """Give the luminance (ITU-R BT.601), [N, 1, S, T], of RGB images, [N, 3, S, T]."""
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    return LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue


def within_photographs(items: Tensor, images: Tensor, border: int) -> Tensor:
    """Give the items, [N, g, t, ...], of padded images, [N, S, T, 4], as if they filled the frame.

    The place of each, without ``border`` on each side, is at the same share of the sides of the
    photograph. Taken is the item there, or the nearest one that lies neither in the border of the
    photograph nor, in part, beside it. So what is beside a photograph takes part in nothing, and
    all photographs have as many items.
    """
    places = []
    for axis, seen in ((1, images[:, :, 0, 3]), (2, images[:, 0, :, 3])):
        count, pixels = items.shape[axis], images.shape[axis]
        extent = (seen > 0).sum(1, keepdim=True)
        middles = 2 * torch.arange(border, count - border, device=items.device) + 1
        last = extent * count // pixels - 1 - border
        places.append((middles * extent // (2 * pixels)).minimum(last).clamp_min(border))
    rows, columns = places
    image = torch.arange(items.shape[0], device=items.device)[:, None, None]
    return items[image, rows[:, :, None], columns[:, None, :]]
