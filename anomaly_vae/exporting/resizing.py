"""A photograph of any size becomes the frame of a model inside its graph, to the bit as in Pillow.

Pillow computes in whole numbers: it averages blocks of pixels where a photograph is much larger
than the frame, then resizes along rows and along columns, by weights of 22 bits, and rounds to 8
bits each time. Here the weights are matrices whose size follows from the photograph, in doubles, by
which such sums are exact. ONNX's own ``Resize`` rounds otherwise, and has no Lanczos.

Letters: H x W are the pixels of the photograph, S x T those of the frame that the model sees.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from anomaly_vae.exporting.nodes import DOUBLE, FLOAT, INT64, UINT8, Graph, Value
from anomaly_vae.exporting.region import inspected_in
from anomaly_vae.images.decoding import AVERAGED
from anomaly_vae.settings.images import Filter, ImageSettings

_BITS = 2.0**22
_PLACES, _MOST_BANDS = 32, 16


def framed(graph: Graph, image: Value, settings: ImageSettings) -> Value:
    """Give the frame, uint8 [1, S, T, 3 or 4], of a photograph, uint8 [H, W, 3]."""
    shape = graph.of("Shape", image).cast(DOUBLE)
    sides = [graph.of("Gather", shape, graph.value(np.array(axis))) for axis in (0, 1)]
    if settings.restricted:
        kept = inspected_in(graph, sides, settings).shaped(*sides, 1)
        image = image.where(kept, graph.value(np.uint8(0)))
    sizes, offsets = _placed(graph, sides, settings)
    averaged, lengths, counts = _averaged(graph, image, sides, sizes, settings)
    rows, columns = (
        _bands(*each, settings.filter)
        for each in zip(settings.shape, lengths, counts, sizes, offsets, strict=True)
    )
    channels = averaged.turned(2, 0, 1)
    frame = graph.either(
        _columns_first(counts, sizes),
        lambda: _along_rows(_along_columns(channels, rows), columns),
        lambda: _along_columns(_along_rows(channels, columns), rows),
    )
    frame = frame.turned(1, 2, 0)
    if settings.padded:
        places = zip(settings.shape, sizes, offsets, strict=True)
        upright, across = (_within(_places(graph, range(n)), *each) for n, *each in places)
        alpha = (upright & across.turned(1, 0)).cast(UINT8).shaped(*settings.shape, 1)
        frame = graph.of("Concat", frame, alpha * graph.value(np.uint8(255)), axis=2)
    return frame.shaped(1, *settings.input_shape)


def _placed(
    graph: Graph, sides: Sequence[Value], settings: ImageSettings
) -> tuple[list[Value], list[Value]]:
    """Give height and width of the photograph in the frame, and what is above and beside it."""
    frame = [graph.value(side) for side in settings.shape]
    none = [graph.value(0), graph.value(0)]
    letterbox = settings.fit == "letterbox"
    if not (settings.padded or letterbox):
        return frame, none
    if letterbox:
        scale = frame[0] / sides[0].most(sides[1])
    else:
        scale = (frame[0] / sides[0]).least(frame[1] / sides[1])
    sizes = [graph.of("Round", side * scale).most(1) for side in sides]
    if letterbox:
        return sizes, [((side - size) / 2).floor() for side, size in zip(frame, sizes, strict=True)]
    return sizes, none


def _averaged(
    graph: Graph,
    image: Value,
    sides: Sequence[Value],
    sizes: Sequence[Value],
    settings: ImageSettings,
) -> tuple[Value, list[Value], list[Value]]:
    """Average whole blocks of a photograph, uint8 [H, W, 3]; see ``Image.reduce`` of Pillow.

    Gives uint8; how long the photograph is in blocks, along both sides, and how many there are: the
    last one may be cut.
    """
    if settings.filter == "bilinear":
        return image, list(sides), list(sides)
    pairs = [*zip(sides, sizes, strict=True)]
    factors = [(side / size / AVERAGED).floor().most(1) for side, size in pairs]
    rows, columns = (side / factor for side, factor in zip(sides, factors, strict=True))
    counts = [graph.of("Ceil", each) for each in (rows, columns)]
    averaged = graph.either(
        factors[0] * factors[1] >= 2,
        lambda: _blocks(graph, image, sides, factors, counts),
        lambda: graph.of("Identity", image),
    )
    # It takes the sides of what is resized in single precision.
    return averaged, [each.cast(FLOAT).cast(DOUBLE) for each in (rows, columns)], counts


def _blocks(
    graph: Graph,
    image: Value,
    sides: Sequence[Value],
    factors: Sequence[Value],
    counts: Sequence[Value],
) -> Value:
    """Average blocks, ``factors`` pixels long, of which there are so many ``counts``."""
    three = [*zip(sides, factors, counts, strict=True)]
    missing = [(n * f - side).cast(INT64).shaped(1) for side, f, n in three]
    pads = graph.of("Concat", graph.value([0, 0, 0]), *missing, graph.value([0]), axis=0)
    sums = graph.of("Pad", image, pads).cast(FLOAT).shaped(counts[0], factors[0], -1).sum(1)
    sums = sums.shaped(*counts, factors[1], 3).sum(2).cast(DOUBLE)
    high, wide = ((side - graph.range(n) * f).least(f) for side, f, n in three)
    pixels = high.shaped(counts[0], 1, 1) * wide.shaped(1, counts[1], 1)
    # Pillow divides by a product and a shift of 24 bits, whose factor it finds in single precision.
    share = (graph.value(np.float32(2**24)) / pixels.cast(FLOAT)).floor().cast(DOUBLE)
    return ((sums + (pixels / 2).floor()) * share / 2.0**24).floor().cast(UINT8)


class _Band(NamedTuple):
    """How some places beside each other in the frame are made, along one of its sides."""

    weights: Value
    """[places, pixels], in units of 22 bits."""
    first: Value
    """Of the pixels, int64 [1]."""
    end: Value
    """Behind the last of them, int64 [1]."""


def _bands(
    places: int, length: Value, count: Value, size: Value, offset: Value, kind: Filter
) -> list[_Band]:
    """Give how much each of ``count`` pixels counts in each place of a side of the frame.

    The photograph, as long as ``length`` pixels, lies at ``offset``, ``size`` places long. A place
    is made of pixels near it: so one matrix of all would be nearly empty.
    """
    graph, (radius, curve) = size.graph, _CURVES[kind]
    scale = length / size
    wide = scale.most(1)
    reach, bands = wide * radius, list[_Band]()
    step = max(_PLACES, math.ceil(places / _MOST_BANDS))
    for begin in range(0, places, step):
        place = _places(graph, range(begin, min(begin + step, places)))
        middle = (place - offset + 0.5) * scale
        first = (middle - reach + 0.5).floor().most(0)
        end = (middle + reach + 0.5).floor().least(count)
        ends = first.lowest().least(count - 1), end.highest()
        ends = ends[0], ends[1].most(ends[0] + 1)  # beside the photograph there would be none
        pixel = graph.of("Range", *ends, graph.value(1))
        seen = (pixel >= first) & (pixel < end) & _within(place, size, offset)
        raw = curve((pixel - middle + 0.5) * (graph.value(1) / wide)).where(seen)
        total = raw.sum(1, keep=True)
        exact = raw / total.where(_within(place, size, offset), 1.0) * _BITS
        rounded = (exact + 0.5).floor().where(exact >= 0, graph.of("Ceil", exact - 0.5))
        bands.append(_Band(rounded, *(each.cast(INT64).shaped(1) for each in ends)))
    return bands


def _places(graph: Graph, places: range) -> Value:
    return graph.value(np.array(places, dtype=np.float64)[:, None])


def _within(place: Value, size: Value, offset: Value) -> Value:
    """Say which places, [n, 1], show the photograph."""
    return (place >= offset) & (place < offset + size)


def _columns_first(counts: Sequence[Value], sizes: Sequence[Value]) -> Value:
    """Say whether Pillow resizes along columns first, which newer versions do if it saves work."""
    rows, columns = (count - size for count, size in zip(counts, sizes, strict=True))
    if not _saves_work():
        return rows.graph.value(np.bool_(False))
    return columns.most(0) * 2 < rows


@cache
def _saves_work() -> bool:
    """Try it: enlarged along rows first, grey 0 and 255 would be cut off elsewhere."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 8), dtype=np.uint8))
    kind = Image.Resampling.LANCZOS
    in_steps = image.resize((8, 16), kind).resize((16, 16), kind)
    return in_steps.tobytes() == image.resize((16, 16), kind).tobytes()


def _along_rows(channels: Value, bands: Sequence[_Band]) -> Value:
    made = [_rounded(_seen(channels, each, 2) @ each.weights.turned(1, 0)) for each in bands]
    return channels.graph.of("Concat", *made, axis=2)


def _along_columns(channels: Value, bands: Sequence[_Band]) -> Value:
    made = [_rounded(each.weights @ _seen(channels, each, 1)) for each in bands]
    return channels.graph.of("Concat", *made, axis=1)


def _seen(channels: Value, band: _Band, axis: int) -> Value:
    """Give the pixels that a band is made of, as doubles."""
    graph = channels.graph
    return graph.of("Slice", channels, band.first, band.end, graph.value([axis])).cast(DOUBLE)


def _rounded(sums: Value) -> Value:
    """Make uint8 of sums in units of 22 bits."""
    return ((sums + _BITS / 2) / _BITS).floor().most(0).least(255).cast(UINT8)


def _box(x: Value) -> Value:
    inside = (x.graph.value(-0.5) < x) & (x.graph.value(0.5) >= x)
    return x.graph.of("Cast", inside, to=DOUBLE)


def _bilinear(x: Value) -> Value:
    return (x.graph.value(1) - x.graph.of("Abs", x)).most(0)


def _bicubic(x: Value) -> Value:
    x = x.graph.of("Abs", x)
    near = (x * 1.5 - 2.5) * x * x + 1
    far = ((x - 5) * x + 8) * x * -0.5 + 2
    return near.where(x < 1, far.where(x < 2))


def _lanczos(x: Value) -> Value:
    def sinc(x: Value) -> Value:
        size, angle = x.graph.of("Abs", x), x * math.pi
        somewhere = size >= 1e-300
        quotient = x.graph.of("Sin", angle) / angle.where(somewhere, 1.0)
        return quotient.where(somewhere, 1.0)

    inside = (x >= -3) & (x < 3)
    return (sinc(x) * sinc(x / 3)).where(inside)


_CURVES: dict[Filter, tuple[float, Callable[[Value], Value]]] = {
    "box": (0.5, _box),
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
}
