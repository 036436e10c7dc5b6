"""The exported form of a patch model: the same scores, nothing transposed, nothing cast inside."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from anomaly_vae.exporting.folding import FoldedPatch, _bounded, folded
from anomaly_vae.exporting.graph import to_onnx
from anomaly_vae.exporting.precision import in_half_precision
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.files import load_config
from anomaly_vae.vae.maps import without_border
from anomaly_vae.vae.model import POSTERIOR_RANGE, bounded

from ..small import detector, pictures

EMBEDDED = ("features.source=embedded",)


def learned(*settings: str) -> Detector:
    """A detector all of whose weights are drawn, as if it had learned something."""
    usual = ["features.source=resnet18", "images.size=64", "model.latent_size=3"]
    config = load_config(None, [*usual, *settings])
    model, generator = build_detector(config).eval(), torch.Generator().manual_seed(0)
    components = [model.features.components] if model.features.whitened else []
    with torch.no_grad():
        for each in [*model.model.parameters(), model.features.mean, *components]:
            each.copy_(0.2 * torch.randn(each.shape, generator=generator))
        for each in (model.features.std, model.spread, model.scale):
            each.copy_(0.5 + torch.rand(each.shape, generator=generator))
    return model


@pytest.mark.parametrize("settings", [
    (), ("features.align=true",), ("model.variance=unit",), ("model.variance=shared",),
    ("model.position=true",), ("features.border=0", "model.position=true"),
    ("features.local_mean=1",), EMBEDDED, (*EMBEDDED, "features.border=0"),
    (*EMBEDDED, "features.border=2"), (*EMBEDDED, "features.local_mean=3"),
    ("features.source=mobilenet_v2", "features.local_mean=5"),
])  # fmt: skip
def test_what_is_folded_scores_alike(settings: tuple[str, ...]) -> None:
    model = learned(*settings)
    images = torch.from_numpy(pictures())
    before = [each.clone() for each in model.state_dict().values()]
    same = folded(model)
    assert isinstance(same, FoldedPatch)
    with torch.no_grad():
        *scores, residual = same(images)
        items, pose = model._items(images)
        expected = model.model.residual(items).movedim(-1, 1)
        torch.testing.assert_close(tuple(scores), tuple(model(images)), rtol=1e-4, atol=1e-4)
    border = model.features.border
    assert residual.shape[2:] == scores[3].shape[1:]
    if pose is None:
        inner = without_border(residual, border)
        torch.testing.assert_close(inner, expected, rtol=1e-3, atol=1e-2)
    assert all(map(torch.equal, before, model.state_dict().values()))


@pytest.mark.parametrize(("mean", "maps"), [(1, ("fine", "coarse")), (3, ("components",))])
def test_the_head_of_our_trunk_is_whitened_away_unless_it_is_averaged(
    mean: int, maps: tuple[str, ...]
) -> None:
    same = folded(learned(*EMBEDDED, f"features.local_mean={mean}"))
    assert isinstance(same, FoldedPatch)
    assert same.layers == maps
    heads = [name for name, _ in same.features.named_modules() if "head" in name]
    assert bool(heads) == (mean == 3)


@pytest.mark.parametrize("value", [-200.0, -12.0, -3.0, 0.0, 4.9, 5.0, 200.0])
def test_the_soft_bounds_are_those_of_the_model(value: float) -> None:
    values = torch.tensor([value])
    expected = bounded(values.double(), *POSTERIOR_RANGE).float()
    torch.testing.assert_close(_bounded(values, *POSTERIOR_RANGE), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("settings", [
    ("features.components=0",), ("model.variance=decoded", "model.position=true"),
])  # fmt: skip
def test_what_is_not_usual_is_left_as_it_is(settings: tuple[str, ...]) -> None:
    model = learned(*settings)
    assert folded(model) is model
    data = to_onnx(model, (64, 64, 3)).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for count in (1, 3):
        with torch.no_grad():
            expected = model(torch.from_numpy(pictures(count))).score.numpy()
        (score,) = session.run(["score"], {"images": pictures(count)})
        np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-4)


def test_a_model_of_pixels_is_left_as_it_is() -> None:
    model = detector("image")
    assert folded(model) is model


def around(graph: onnx.GraphProto) -> tuple[set[str], set[str]]:
    """The names of nodes that lie behind a convolution, and before one."""
    behind, before = set[str](), set[str]()
    made = dict.fromkeys((each for node in graph.node for each in node.output), False)
    for node in graph.node:
        if any(made.get(each, False) for each in node.input):
            behind.add(node.name)
        after = node.op_type == "Conv" or node.name in behind
        made.update(dict.fromkeys(node.output, after))
    needed = set[str]()
    for node in reversed(graph.node):
        if needed & set(node.output):
            before.add(node.name)
        if node.op_type == "Conv" or node.name in before:
            needed.update(node.input)
    return behind, before


@pytest.fixture(scope="module")
def graphs() -> dict[str, onnx.GraphProto]:
    model = learned()
    return {
        "fp32": to_onnx(model, (64, 64, 3)).graph,
        "fp16": to_onnx(in_half_precision(model), (64, 64, 3)).graph,
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["Transpose", "Cast"])
def test_inside_trunk_and_vae_nothing_is_transposed_or_cast(
    graphs: dict[str, onnx.GraphProto], precision: str, kind: str
) -> None:
    behind, before = around(graphs[precision])
    nodes = [node for node in graphs[precision].node if node.op_type == kind]
    assert nodes  # the pixels at least
    assert not [node.name for node in nodes if node.name in behind & before]


def test_nothing_is_left_to_be_normalised(graphs: dict[str, onnx.GraphProto]) -> None:
    kinds = [node.op_type for node in graphs["fp32"].node]
    assert kinds[: kinds.index("Conv")] == ["Transpose", "Cast", "Sub"]
    assert "BatchNormalization" not in kinds
