"""A model for other programs: it takes one photograph of any size, and does all else itself."""

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from anomaly_vae.calibration.metadata import ANY_SIZE_KEY, RESIDUAL, ModelCard, card_to_json
from anomaly_vae.errors import ExportError
from anomaly_vae.exporting.nodes import UINT8, Graph
from anomaly_vae.exporting.resizing import framed
from anomaly_vae.scoring.detector import Scores

INPUT = "image"


def for_any_size(model: onnx.ModelProto, card: ModelCard) -> onnx.ModelProto:
    """Put before ``model`` what makes its frame of a photograph, uint8 [H, W, 3] RGB.

    Its outputs are those of ``model``, but for the residual, for this one photograph. Its metadata
    have the limits as plain numbers: ``threshold``, ``review`` (where there is one) and
    ``map_threshold``.
    """
    graph = Graph("photograph/")
    frame = framed(graph, graph.named(INPUT), card.images)
    joint = helper.make_node("Identity", [frame.name], ["images"], name="photograph/frame")
    taken = helper.make_tensor_value_info(INPUT, UINT8, ["H", "W", 3])
    made = onnx.ModelProto()
    made.CopyFrom(model)
    # Large, and of no use there.
    told = [each for each in model.graph.output if each.name != RESIDUAL]
    for old, new in (
        (made.graph.input, [taken]),
        (made.graph.output, told),
        (made.graph.node, [*graph.nodes, joint, *model.graph.node]),
        (made.graph.initializer, [*model.graph.initializer, *graph.constants]),
    ):
        del old[:]
        old.extend(new)
    limit = card.threshold
    numbers = {"threshold": limit.score, "review": limit.review, "map_threshold": limit.anomaly_map}
    plain = {name: repr(float(each)) for name, each in numbers.items() if each is not None}
    helper.set_model_props(made, {ANY_SIZE_KEY: card_to_json(card), **plain})
    return made


class AnySize:
    """Such a model, as another program runs it on a processor."""

    def __init__(self, data: bytes) -> None:
        try:
            self._session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions have no common base
            raise ExportError(f"ONNX Runtime does not take the exported model ({error})") from error

    def outputs(self, photograph: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Give all outputs for a photograph, uint8 [H, W, 3]: one score, one map."""
        names = list(Scores._fields)
        return dict(zip(names, self._session.run(names, {INPUT: photograph}), strict=True))
