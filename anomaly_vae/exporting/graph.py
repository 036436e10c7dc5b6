"""Everything that inspection needs, as one ``model.onnx``, checked before it is kept.

Letters: N images, S x S pixels, h x w map.
"""

import io
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from anomaly_vae.calibration.metadata import (
    METADATA_KEY,
    RECONSTRUCTION,
    RESIDUAL,
    ModelCard,
    card_to_json,
)
from anomaly_vae.errors import ExportError, ModelFileError
from anomaly_vae.exporting.folding import FoldedPatch, folded
from anomaly_vae.exporting.parity import Parity, check_parity
from anomaly_vae.outputs import write_bytes
from anomaly_vae.scoring.detector import Detector, Scores
from anomaly_vae.scoring.drawing import Drawing
from anomaly_vae.vae.features import PixelFeatures

OPSET = 18


def export_model(
    detector: Detector, card: ModelCard, path: Path, check: NDArray[np.uint8]
) -> Parity:
    """Write ``detector`` and ``card`` to ``path``, if it computes what torch computes.

    ``check`` are good images not trained on, uint8 [N, S, T, 3 or 4], compared one by
    one and in batches.

    Raises:
        ExportError: an output differs from torch's by more than the tolerance.
        OutputError: the file cannot be written.
    """
    model = to_onnx(detector.cpu().eval(), check.shape[1:])
    set_card(model, card)
    data = model.SerializeToString()
    parity = check_parity(detector, data, check)
    write_bytes(path, data)
    return parity


def replace_card(path: Path, card: ModelCard, out: Path | None = None) -> None:
    """Give the model at ``path`` another card, there or at ``out``; its graph stays as it is.

    Raises:
        ModelFileError: ``path`` is not an ONNX file.
        OutputError: the file cannot be written.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's own exceptions differ between its implementations
        raise ModelFileError(f"{path}: not an ONNX model ({type(error).__name__})") from error
    set_card(model, card)
    write_bytes(out or path, model.SerializeToString())


def to_onnx(detector: Detector | FoldedPatch, image: tuple[int, ...]) -> onnx.ModelProto:
    """Give the graph of a detector on the CPU, for images of a shape, [S, T, 3 or 4]; unchecked.

    It is folded, if it is not yet.

    A model of pixels has a further output, uint8 [N, S, T, 3]: what it expects to see. One that is
    folded has the residual. Inspection computes neither but where it asks for it.

    Raises:
        ExportError: torch cannot export it.
    """
    example = torch.zeros(2, *image, dtype=torch.uint8)
    draws = isinstance(detector.features, PixelFeatures)
    model: nn.Module = detector
    if isinstance(detector, Detector):
        model = Drawing(detector).eval() if draws else folded(detector)
    besides = [RECONSTRUCTION] if draws else [RESIDUAL] if isinstance(model, FoldedPatch) else []
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's notes concern its own developers
        try:
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                input_names=["images"],
                output_names=[*Scores._fields, *besides],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # anything that its passes may raise; none is the user's doing
            raise ExportError(f"torch cannot export it ({type(error).__name__})") from error
    if program is None:
        raise ExportError("torch gave no ONNX program")
    return program.model_proto


def set_card(model: onnx.ModelProto, card: ModelCard) -> None:
    """Write ``card`` into the metadata of ``model``, in place."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: card_to_json(card)})
    model.producer_name = "anomaly-vae"
    model.producer_version = card.program_version
