"""Everything that inspection needs, as one ``model.onnx``, checked before it is kept.

Letters: N images, S x S pixels, h x w map.
"""

import io
import logging
import warnings
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from anomaly_vae.calibration.metadata import METADATA_KEY, RECONSTRUCTION, ModelCard, card_to_json
from anomaly_vae.errors import ExportError, ModelFileError
from anomaly_vae.outputs import write_bytes
from anomaly_vae.scoring.batches import score_images
from anomaly_vae.scoring.detector import Detector, Scores
from anomaly_vae.scoring.drawing import Drawing
from anomaly_vae.vae.features import PixelFeatures

OPSET = 18
TOLERANCE = 1e-4
"""Largest accepted difference of a score or its parts to torch, relative to max(1, |value|).

Of the parts, relative to the scale that they are divided by in the score, too, where that is more.
"""
MAP_TOLERANCE = 1e-3
"""The same for a single value of an anomaly map: a score averages many of them."""
_CHECKED_BATCHES = (1, 5)
_MOST_ROUNDING = 1e-3


@dataclass(frozen=True)
class Parity:
    """How far the exported model is from the trained one."""

    images: int
    largest: float
    """Largest relative difference of the scores and their parts, see ``TOLERANCE``, less what
    torch's own rounding moves them by."""
    largest_in_map: float
    """The same over all values of the anomaly maps."""


def export_model(
    detector: Detector, card: ModelCard, path: Path, check: NDArray[np.uint8]
) -> Parity:
    """Write ``detector`` and ``card`` to ``path``, if it computes what torch computes.

    ``check`` are good images not trained on, uint8 [N, S, S, 3], compared in batches of 1 and 5.

    Raises:
        ExportError: an output differs from torch's by more than the tolerance.
        OutputError: the file cannot be written.
    """
    model = to_onnx(detector.cpu().eval(), size=check.shape[1])
    set_card(model, card)
    data = model.SerializeToString()
    parity = _compare(detector, data, check)
    write_bytes(path, data)
    return parity


def replace_card(path: Path, card: ModelCard) -> None:
    """Give the model at ``path`` another card; its graph stays as it is.

    Raises:
        ModelFileError: ``path`` is not an ONNX file.
        OutputError: the file cannot be written.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's own exceptions differ between its implementations
        raise ModelFileError(f"{path}: not an ONNX model ({type(error).__name__})") from error
    set_card(model, card)
    write_bytes(path, model.SerializeToString())


def to_onnx(detector: Detector, size: int) -> onnx.ModelProto:
    """Give the graph of a detector on the CPU, for squares of ``size`` pixels; not yet checked.

    A model of pixels has a further output, uint8 [N, S, S, 3]: what it expects to see.

    Raises:
        ExportError: torch cannot export it.
    """
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    draws = isinstance(detector.features, PixelFeatures)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's notes concern its own developers
        program = torch.onnx.export(
            Drawing(detector).eval() if draws else detector,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=[*Scores._fields, *([RECONSTRUCTION] if draws else [])],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch gave no ONNX program")
    return program.model_proto


def set_card(model: onnx.ModelProto, card: ModelCard) -> None:
    """Write ``card`` into the metadata of ``model``, in place."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: card_to_json(card)})
    model.producer_name = "anomaly-vae"
    model.producer_version = card.program_version


def _compare(detector: Detector, data: bytes, check: NDArray[np.uint8]) -> Parity:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    given = {size: _by_batches(lambda x: session.run(None, {"images": x}), check, size)
             for size in _CHECKED_BATCHES}  # fmt: skip
    trained = {size: _by_batches(lambda x: score_images(detector, x), check, size)
               for size in _CHECKED_BATCHES}  # fmt: skip
    largest = dict.fromkeys(Scores._fields, 0.0)
    in_score = max(1.0, float(detector.scale))
    # In a plain autoencoder nothing holds the KL: a small difference of large sums.
    counts = detector.settings.kl_weight != 0
    least = {"reconstruction_error": in_score, "kl": in_score if counts else np.inf}
    for index, name in enumerate(largest):
        one, other = (trained[size][index] for size in _CHECKED_BATCHES)
        # The order in which torch sums depends on the batch: what that moves is nobody's mistake.
        rounding = np.minimum(np.abs(one - other).max(), _MOST_ROUNDING)
        for size in _CHECKED_BATCHES:
            expected = trained[size][index]
            apart = np.abs(given[size][index] - expected)
            # Unlike max(), these keep what is not a number.
            size_of = np.maximum(least.get(name, 1.0), np.abs(expected))
            relative = np.maximum(apart - rounding, 0) / size_of
            largest[name] = float(np.maximum(largest[name], relative.max()))
    in_map = largest.pop("anomaly_map")
    parity = Parity(len(check), float(np.max(list(largest.values()))), in_map)
    if not (parity.largest <= TOLERANCE and in_map <= MAP_TOLERANCE):
        raise ExportError(
            f"the exported model differs from torch by {parity.largest:.2g} in scores and "
            f"{in_map:.2g} in maps, more than {TOLERANCE:g} and {MAP_TOLERANCE:g}; nothing was "
            "written: please report it with your configuration"
        )
    return parity


def _by_batches(
    run: Callable[[NDArray[np.uint8]], Iterable[Any]], images: NDArray[np.uint8], size: int
) -> list[NDArray[np.float32]]:
    """Give all outputs of ``run`` on batches of ``size`` images, each as one array."""
    batches = [run(images[begin : begin + size]) for begin in range(0, len(images), size)]
    return [np.concatenate([np.asarray(each) for each in column])
            for column in zip(*batches, strict=True)]  # fmt: skip
