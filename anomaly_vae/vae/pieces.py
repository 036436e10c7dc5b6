"""A trunk run over a part of a frame, or over a large frame strip by strip.

What a convolution gives at a place depends on what is near it alone. So a strip gives there what
the whole gives, but for rounding, if it goes on beyond the place for as far as the layers see (its
halo), and begins where all layers have a place, so that their places are the same. Strips bound the
memory of the first layers, of which nothing is kept. They are unrolled in the graph
of ``model.onnx``: their number follows from the frame, and weights are shared.

Letters: N images, S x T pixels of the frame, h x w places of its map with its border.
"""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

STRIP_PIXELS = 2**22
"""Pixels of a frame, beyond which it is computed in strips of about as many, without their halo.

As many as a batch has at most; a ResNet-18 makes about 0.6 GB of them.
"""
# Where strips and views begin and end; all strides of a trunk divide it.
_STEP = 64
# Length of what the reach is tried on: a trunk that sees half of it from one place gains nothing.
_TRIED = 16 * _STEP


class View(NamedTuple):
    """The part of a frame that is computed: what lies outside of it tells nothing."""

    rows: slice
    columns: slice
    """In pixels."""
    beside: tuple[int, int, int, int]
    """Places of the map that are left out: on the left, the right, above and below."""

    def of_frame(self, images: Tensor) -> Tensor:
        """Give the part of images, [..., S, T]."""
        return images[..., self.rows, self.columns]

    def of_map(self, places: Tensor) -> Tensor:
        """Give the part of a map, [h, w, ...]."""
        left, right, above, below = self.beside
        return places[above : places.shape[0] - below, left : places.shape[1] - right]


@torch.no_grad()
def reach_of(trunk: nn.Module) -> int | None:
    """Give how many pixels beyond an edge its layers see, rounded up; None if there is no end.

    Found with a block of NaN, which nothing that looks at it can hide. (In double precision, for
    which there are no convolutions that compute tiles: in these it would spread.)
    """
    image = torch.zeros(1, 3, _STEP, _TRIED, dtype=torch.float64)
    begin = _TRIED // 2 - _STEP
    end = begin + _STEP
    image[..., begin:end] = torch.nan
    reach = 0
    for each in copy.deepcopy(trunk).double().eval()(image).values():
        stride = round(_TRIED / each.shape[3])
        (hit,) = each.isnan().any(2).any(1)[0].nonzero(as_tuple=True)
        first, last = int(hit.min()), int(hit.max())
        if first == 0 or last == each.shape[3] - 1 or _STEP % stride:
            return None
        reach = max(reach, begin - stride * first, stride * (last + 1) - end)
    return _STEP * math.ceil(reach / _STEP)


def strips_of(shape: Sequence[int]) -> int:
    """Give how many strips a frame of ``shape`` is computed in; 1: in one piece."""
    return math.ceil(math.prod(shape) / STRIP_PIXELS)


def in_strips(trunk: nn.Module, images: Tensor, reach: int | None) -> dict[str, Tensor]:
    """Give the maps that ``trunk`` makes of images, [N, 3, S, T]; in strips where they are large.

    A trunk without an end of its ``reach`` takes all in one piece.
    """
    count = strips_of(images.shape[2:])
    along = 2 if images.shape[2] >= images.shape[3] else 3
    length = images.shape[along]
    edges = [_STEP * round(length * each / count / _STEP) for each in range(count)] + [length]
    if reach is None or count == 1:
        maps: dict[str, Tensor] = trunk(images)
        return maps
    strips: list[dict[str, Tensor]] = []
    for begin, end in pairwise(edges):
        first, last = max(0, begin - reach), min(length, end + reach)
        maps = trunk(images.narrow(along, first, last - first))
        for name, each in maps.items():
            stride = round((last - first) / each.shape[along])
            before = (begin - first) // stride
            kept = each.shape[along] - before if end == length else (end - begin) // stride
            maps[name] = each.narrow(along, before, kept)
        strips.append(maps)
    return {name: torch.cat([each[name] for each in strips], along) for name in strips[0]}


def said_whole(source: str, shape: Sequence[int], reach: int | None) -> str:
    """Say that a trunk computes a large frame in one piece; empty if it does not."""
    if reach is not None or strips_of(shape) == 1:
        return ""
    return (
        f"{source} sees the whole frame from each place: {shape[1]} x {shape[0]} pixels are "
        "computed in one piece, not in strips, and take more memory"
    )


def view_of(touched: Tensor, shape: tuple[int, int], margin: int) -> View | None:
    """Give the part of a frame of ``shape`` that places, bool [h, w], and a ``margin`` lie in.

    The margin is in pixels. None if it is all of it.
    """

    def along(axis: int) -> tuple[slice, int, int]:
        side, stride = shape[axis], shape[axis] // touched.shape[axis]
        (hit,) = touched.any(1 - axis).nonzero(as_tuple=True)
        first, last = int(hit.min()) * stride - margin, (int(hit.max()) + 1) * stride + margin
        begin = max(0, _STEP * (first // _STEP))
        end = min(side, _STEP * math.ceil(last / _STEP))
        return slice(begin, end), begin // stride, (side - end) // stride

    (rows, above, below), (columns, left, right) = along(0), along(1)
    view = View(rows, columns, (left, right, above, below))
    return view if any(view.beside) else None
