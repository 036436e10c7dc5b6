"""Which parts of a detector may compute in lower precision, and how they are made to.

Trunk and VAE are rounded; to 16 bits also the whitening between them, so that nothing is cast from
where pixels come in to where the VAE has done. All that makes a score of the VAE's outputs stays in
single precision: error per location, join, reduction, standardisation.

Letters: N images, S x S pixels.
"""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static
from onnxruntime.quantization.quant_utils import QuantType
from torch import Tensor, nn

from anomaly_vae.errors import ExportError
from anomaly_vae.exporting.folding import FoldedPatch, folded
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.vae.trunk import TrunkFeatures

_SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter says which module made a node
_TRUNK, _VAE = "features.trunk", ("model.encoder", "model.decoder")


class _Half(nn.Module):
    """A part that takes and gives single precision, and computes in half."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part.half()

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        output: Tensor | dict[str, Tensor] = self.part(x.half())
        if isinstance(output, dict):  # the layers of a trunk
            return {name: value.float() for name, value in output.items()}
        return output.float()


def in_half_precision(detector: Detector) -> Detector | FoldedPatch:
    """Give what computes the scores of ``detector``, trunk and VAE in half precision.

    Cast here, before the export, every other node stays in single precision by construction; the
    converters of finished graphs have to be told node by node.
    """
    model = folded(detector)
    if isinstance(model, FoldedPatch):
        return model.in_half_precision()
    half = copy.deepcopy(detector)
    if isinstance(half.features, TrunkFeatures):
        half.features.trunk = _Half(half.features.trunk)
    half.model.encoder, half.model.decoder = _Half(half.model.encoder), _Half(half.model.decoder)
    return half.eval()


def in_eight_bits(model: onnx.ModelProto, images: NDArray[np.uint8]) -> onnx.ModelProto:
    """Give ``model`` with the deeper convolutions of its trunk and its VAE's products in 8 bits.

    Ranges are those of good ``images``, uint8 [N, S, S, 3].

    Raises:
        ExportError: the graph was not made by torch's exporter.
    """
    return quantised(model, images, _quantisable(model))


def quantised(
    model: onnx.ModelProto, images: NDArray[np.uint8], nodes: list[onnx.NodeProto]
) -> onnx.ModelProto:
    """Give ``model`` with some ``nodes`` in 8 bits, and Q/DQ pairs around them.

    Weights have a scale per output channel and 7 bits: on processors without VNNI the sums of
    8-bit products overflow. The range of an activation is the mean of those of the images, which a
    single outlier moves less than their union, and which needs no memory, unlike histograms.
    """
    with TemporaryDirectory() as folder, _silent():
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)  # given as a file: the quantiser changes a model that it is given
        quantize_static(
            before,
            after,
            _Images(images),
            nodes_to_quantize=[node.name for node in nodes],
            op_types_to_quantize=sorted({node.op_type for node in nodes}),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},
        )
        return onnx.load(after)


def _quantisable(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Give the products of the VAE, and the trunk's convolutions no finer than the anomaly map.

    The finer ones come first: what they lose goes through all that follow.
    """
    height = {
        info.name: info.type.tensor_type.shape.dim[1].dim_value
        for info in [*model.graph.input, *model.graph.output]
        if len(info.type.tensor_type.shape.dim) > 1
    }
    finest = height["images"] // height["anomaly_map"]
    scopes = [
        "".join(entry.value for entry in node.metadata_props if entry.key == _SCOPES)
        for node in model.graph.node
    ]
    # Beside a trunk, the products of the VAE are convolutions: see ``folding``.
    products = {"MatMul", "Gemm", *(["Conv"] if any(_TRUNK in each for each in scopes) else [])}
    found, strides = [], dict[str, int]()  # of maps, which may be those of strips
    for node, scope in zip(model.graph.node, scopes, strict=True):
        stride = max((strides.get(name, 1) for name in node.input), default=1)
        stride *= next((each.ints[0] for each in node.attribute if each.name == "strides"), 1)
        strides.update(dict.fromkeys(node.output, stride))
        if node.op_type == "Conv" and _TRUNK in scope:
            chosen = strides[node.output[0]] >= finest
        else:
            chosen = node.op_type in products and any(part in scope for part in _VAE)
        found += [node] if chosen else []
    if not found:  # the quantiser would take everything
        raise ExportError("the graph does not say which of its nodes are the VAE's: export it anew")
    return found


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """One image after the other, as inputs of the graph."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._rest = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._rest, None)
        return None if image is None else {"images": image[None]}


@contextmanager
def _silent() -> Iterator[None]:
    """Keep back advice that the quantiser logs, which concerns graphs of other exporters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
