"""Trunks over strips and over a part of a frame: the same maps as of the whole."""

import numpy as np
import pytest
import torch

from anomaly_vae.exporting.folding import folded
from anomaly_vae.exporting.graph import to_onnx
from anomaly_vae.scoring.batches import parts_of_images, score_images
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.files import load_config
from anomaly_vae.vae import pieces
from anomaly_vae.vae.maps import place_codes
from anomaly_vae.vae.networks import build_network, cut_network, default_layers
from anomaly_vae.vae.pieces import in_strips, reach_of

CORNER = "images.inspect=[[[0.0, 0.0], [0.1, 0.0], [0.1, 0.3], [0.0, 0.3]]]"
SETTINGS = ("images.frame=[64, 768]", "model.latent_size=3", "scoring.window=3")


def cut(source: str) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_network(source)
    return cut_network(network, source, default_layers(source, network))


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of 64 x 768 pixels are cut into three strips."""
    monkeypatch.setattr(pieces, "STRIP_PIXELS", 2**14)


def detector(*settings: str) -> Detector:
    model = build_detector(load_config(None, [*SETTINGS, *settings])).eval()
    error, kl = parts_of_images(model, pictures(4, seed=1))
    model.learn_places(error, kl)
    model.standardise(error, kl)
    return model


def pictures(count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 64, 768, 3), dtype=np.uint8)


@pytest.mark.parametrize(("source", "reach"), [("resnet18", 128), ("embedded", 128)])
def test_layers_see_as_far_as_was_tried_out_and_no_further(
    source: str, reach: int, small_strips: None
) -> None:
    network, image = cut(source), torch.rand(1, 3, 64, 768)
    assert reach_of(network) == reach
    with torch.no_grad():
        whole = network(image)
        same, others = (in_strips(network, image, each) for each in (reach, reach - 64))
    for name, expected in whole.items():
        torch.testing.assert_close(same[name], expected, rtol=1e-4, atol=1e-5)
    assert not all(torch.allclose(others[name], whole[name], 1e-4, 1e-5) for name in whole)


def test_a_network_that_sees_everything_is_not_cut_and_says_so(small_strips: None) -> None:
    settings = ("features.source=efficientnet_b0", "features.layers=[]", "features.components=8")
    seen = build_detector(load_config(None, [*SETTINGS, *settings])).features
    assert "768 x 64 pixels are computed in one piece" in seen.note
    assert not build_detector(load_config(None, SETTINGS)).features.note
    network, image = cut("efficientnet_b0"), torch.rand(1, 3, 64, 768)
    assert reach_of(network) is None
    with torch.no_grad():
        whole, same = network(image), in_strips(network, image, None)
    assert all(torch.equal(same[name], whole[name]) for name in whole)


def test_strips_score_as_the_whole_in_torch_and_in_the_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = detector()
    monkeypatch.setattr(pieces, "STRIP_PIXELS", 2**14)
    strips = build_detector(load_config(None, SETTINGS)).eval()
    strips.load_state_dict(whole.state_dict())
    given, expected = score_images(strips, pictures(3)), score_images(whole, pictures(3))
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-3)
    graph = to_onnx(strips, (64, 768, 3)).graph
    weights = [each.name for each in graph.initializer if each.name.endswith("conv1.weight")]
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(weights) == len(set(weights)) and len(convolutions) > 3 * len(weights)


@pytest.mark.parametrize("settings", [(), ("features.components=0",)])
def test_a_region_of_interest_is_computed_alone(settings: tuple[str, ...]) -> None:
    model = detector(CORNER, *settings)
    view = model.features.view
    assert view is not None
    # 10 of 96 places, one of them by the window; what layers see, their mean and an enlarged place.
    assert view.columns == slice(0, 256) and view.rows == slice(0, 64)
    with torch.no_grad():
        alone = model(torch.from_numpy(pictures(3))), folded(model)(torch.from_numpy(pictures(3)))
        learned = model.raw_items(torch.from_numpy(pictures(2)))
    # The same, computed as a whole.
    model.features.view, model.features.map_shape = None, (6, 94)
    model.features.codes = place_codes(8, 96)
    model.learned = model.learned + 64 * (model.learned // 32)  # type: ignore[operator]
    with torch.no_grad():
        expected = model(torch.from_numpy(pictures(3)))
        torch.testing.assert_close(learned, model.raw_items(torch.from_numpy(pictures(2))))
    for given in alone:
        torch.testing.assert_close(tuple(given[:4]), tuple(expected), rtol=1e-4, atol=1e-3)
