"""Whether an exported model computes what the trained one does.

Letters: N images, S x S pixels, h x w map.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.errors import ExportError
from anomaly_vae.images.many import at_once
from anomaly_vae.scoring.batches import parts_of_images, score_images
from anomaly_vae.scoring.detector import Detector, Scores

TOLERANCE = 1e-4
"""Largest accepted difference of a score or its parts to torch, relative to max(1, |value|).

Of the parts, relative to the scale that they are divided by in the score, too, where that is more.
"""
MAP_TOLERANCE = 1e-3
"""The same for a single value of an anomaly map: a score averages many of them."""
_CHECKED, _FEWEST_CHECKED, _CHECKED_PIXELS = 20, 4, 2**24
_LARGEST_BATCH = 5
_MOST_ROUNDING = 1e-3
# Of a value, what the last digits of single precision and of its standardisation are.
_ROUNDING = 1e-6

Outputs = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Parity:
    """How far the exported model is from the trained one."""

    images: int
    largest: float
    """Largest relative difference of the scores and their parts, see ``TOLERANCE``, less what
    torch's own rounding moves them by, and which of several equal places a part is read at."""
    largest_in_map: float
    """The same over all values of the anomaly maps."""


def checked(shape: tuple[int, ...]) -> int:
    """Give how many images of a shape, [S, T, ...], are compared: 20, of large ones fewer."""
    return min(_CHECKED, max(_FEWEST_CHECKED, _CHECKED_PIXELS // math.prod(shape[:2])))


def check_parity(detector: Detector, data: bytes, images: NDArray[np.uint8]) -> Parity:
    """Compare the model ``data`` with ``detector``, on uint8 [N, S, T, C], singly and in batches.

    Batches are of 5 images, of large ones fewer.

    Raises:
        ExportError: an output differs by more than the tolerance, or the model does not start.
    """
    given = _run(data, images)
    trained = _in_both_batches(lambda x: score_images(detector, x), images)
    play = _play(detector, images, given, trained)
    largest = dict.fromkeys(Scores._fields, 0.0)
    in_score = max(1.0, float(detector.scale))
    # In a plain autoencoder nothing holds the KL: a small difference of large sums.
    counts = detector.settings.kl_weight != 0
    least = {"reconstruction_error": in_score, "kl": in_score if counts else np.inf}
    for index, name in enumerate(largest):
        one, other = (each[index] for each in trained)
        free = play.get(name, np.float32(0))
        # The order in which torch sums depends on the batch: what that moves is nobody's mistake.
        rounding = np.minimum(np.maximum(np.abs(one - other) - free, 0).max(), _MOST_ROUNDING)
        for found, expected in zip(given, trained, strict=True):
            apart = np.abs(found[index] - expected[index]) - free
            # Unlike max(), these keep what is not a number.
            size_of = np.maximum(least.get(name, 1.0), np.abs(expected[index]))
            relative = np.maximum(apart - rounding, 0) / size_of
            largest[name] = float(np.maximum(largest[name], relative.max()))
    in_map = largest.pop("anomaly_map")
    parity = Parity(len(images), float(np.max(list(largest.values()))), in_map)
    if not (parity.largest <= TOLERANCE and in_map <= MAP_TOLERANCE):
        raise ExportError(
            f"the exported model differs from torch by {parity.largest:.2g} in scores and "
            f"{in_map:.2g} in maps, more than {TOLERANCE:g} and {MAP_TOLERANCE:g}: please report "
            "it with your configuration"
        )
    return parity


def _run(data: bytes, images: NDArray[np.uint8]) -> list[Outputs]:
    """Give what the model ``data`` says; the memory it takes is free again before torch runs."""
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # which grows by doubling: gigabytes, with large frames
    try:
        session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions have no common base
        raise ExportError(f"ONNX Runtime does not take the exported model ({error})") from error
    names = list(Scores._fields)
    return _in_both_batches(lambda x: session.run(names, {"images": x}), images)


def _play(
    detector: Detector, images: NDArray[np.uint8], given: list[Outputs], trained: list[Outputs]
) -> dict[str, NDArray[np.float32]]:
    """Give how much the parts of each image may differ where places of its map tie, [N].

    Places can change their order where they lie within twice of what the maps differ by.
    """
    at = Scores._fields.index("anomaly_map")
    apart = [np.abs(each[at] - trained[0][at]).max((1, 2)) for each in (*given, *trained)]
    parts = _by_batches(lambda x: parts_of_images(detector, x), images, 1)
    near = torch.from_numpy(2 * np.max(apart, axis=0))
    play = free_play(detector, near, [torch.from_numpy(each) for each in parts])
    return {"reconstruction_error": play[0].numpy(), "kl": play[1].numpy()}


def free_play(detector: Detector, near: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Give how far apart the reported error and KL of images, [N] each, could be.

    They are read where the map is highest, and which of several equal places that is, no library
    promises. Equal are those within ``near``, [N], in the unit of the score, and rounding. Takes
    what ``Detector.parts`` gave.
    """
    error, kl, joined = detector.judged(*parts[:2])
    counted = detector.counted(joined)
    count = detector.highest(joined).shape[1]
    limit = counted.topk(count).values[:, -1:]
    near = near[:, None] * detector.scale + _ROUNDING * (limit.abs() + detector.center.abs())
    tied, above = (counted - limit).abs() <= near, counted > limit + near

    def play(maps: Tensor) -> Tensor:
        taken = zip(detector.counted(maps), tied, count - above.sum(1), strict=True)
        ranked = [(row[among].sort().values, int(left)) for row, among, left in taken]
        return torch.stack([row[-n:].sum() - row[:n].sum() for row, n in ranked]) / count

    in_error = play(error) + sum(play(each) for each in parts[2:])  # and likeness, where taught
    return in_error, play(kl) if detector.model.kl_per_location else torch.zeros_like(kl)


def _in_both_batches(
    run: Callable[[NDArray[np.uint8]], Iterable[Any]], images: NDArray[np.uint8]
) -> list[Outputs]:
    most = max(2, min(_LARGEST_BATCH, at_once(images.shape[1:])))
    return [_by_batches(run, images, size) for size in (1, most)]


def _by_batches(
    run: Callable[[NDArray[np.uint8]], Iterable[Any]], images: NDArray[np.uint8], size: int
) -> Outputs:
    """Give all outputs of ``run`` on batches of ``size`` images, each as one array."""
    batches = [run(images[begin : begin + size]) for begin in range(0, len(images), size)]
    return [np.concatenate([np.asarray(each) for each in column])
            for column in zip(*batches, strict=True)]  # fmt: skip
