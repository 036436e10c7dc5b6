"""Which part of a photograph of any size is inspected, inside the graph of a model.

Letters: H x W pixels of the photograph.
"""

from collections.abc import Sequence

import numpy as np

from anomaly_vae.exporting.nodes import BOOL, DOUBLE, INT32, INT64, Graph, Value
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.masks import mask_from_text


def inspected_in(graph: Graph, sides: Sequence[Value], settings: ImageSettings) -> Value:
    """Give what is inspected of a photograph with such ``sides``, bool [H, W].

    See ``images.roi.inspected``.
    """
    parts = [_filled(graph, polygon, sides) for polygon in settings.inspect]
    kept = parts[0] if parts else None
    for each in parts[1:]:
        kept = graph.of("Or", kept, each) if kept else each
    if settings.roi:
        mask = graph.value(mask_from_text(settings.roi))
        for axis, side in enumerate(sides):
            mask = graph.of("Gather", mask, _nearest(graph, mask, axis, side), axis=axis)
        kept = kept & mask if kept else mask
    for polygon in settings.ignore:
        outside = graph.of("Not", _filled(graph, polygon, sides))
        kept = kept & outside if kept else outside
    assert kept is not None  # noqa: S101 - something restricts
    return kept


def _nearest(graph: Graph, mask: Value, axis: int, side: Value) -> Value:
    """Give the pixel of a mask that each of a photograph is in; Pillow adds step by step."""
    shape = graph.of("Shape", mask).cast(DOUBLE)
    step = graph.of("Gather", shape, graph.value(np.array(axis))) / side
    steps = (graph.range(side) * 0 + 1) * step
    first = graph.range(side) < 1
    places = graph.of("CumSum", (steps * 0.5).where(first, steps), graph.value(np.array(0)))
    return places.cast(INT64)


def _filled(graph: Graph, polygon: Sequence[tuple[float, float]], sides: Sequence[Value]) -> Value:
    """Give the pixels whose centres lie in a polygon, bool [H, W]; see ``masks.filled``.

    Along a row, each edge that is crossed turns outside into inside, or back.
    """
    height, width = sides
    corners = np.array(polygon)
    ends = np.roll(corners, -1, axis=0)
    (x0, y0), (x1, y1) = (
        (graph.value(each[:, 0]) * width, graph.value(each[:, 1]) * height)
        for each in (corners, ends)
    )
    centre = (graph.range(height) + 0.5).shaped(height, 1)
    crossed = graph.of("Xor", centre < y0, centre < y1)
    flat = graph.of("Equal", y0, y1)
    crossing = x0 + (centre - y0) * (x1 - x0) / graph.value(1).where(flat, y1 - y0)
    column = graph.of("Ceil", crossing - 0.5).most(0).least(width).where(crossed, width)
    none = (graph.range(height).shaped(height, 1) + graph.range(width + 1)) * 0
    ones = column * 0 + 1
    turns = graph.of(
        "ScatterElements", none.cast(INT32), column.cast(INT64), ones.cast(INT32),
        axis=1, reduction="add",
    )  # fmt: skip
    passed = graph.of("CumSum", turns, graph.value(np.array(1)))
    inside = graph.of("Mod", passed, graph.value(np.int32(2))).cast(BOOL)
    beyond = width.cast(INT64).shaped(1)
    return graph.of("Slice", inside, graph.value([0]), beyond, graph.value([1]))
