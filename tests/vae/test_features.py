"""Pixels and trunks: layers, weights, and what is refused."""

import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torchvision.models import WeightsEnum, resnet18
from torchvision.models.feature_extraction import create_feature_extractor

from anomaly_vae.errors import ConfigError, WeightsError
from anomaly_vae.settings.schema import FeatureSettings
from anomaly_vae.vae.features import PixelFeatures
from anomaly_vae.vae.maps import mean_and_std, within_photographs
from anomaly_vae.vae.trunk import TrunkFeatures, build_features
from anomaly_vae.vae.weights import load_trunk_weights


def images(count: int = 2, size: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def trunk(size: int = 64, border: int = 0, **settings: object) -> TrunkFeatures:
    torch.manual_seed(0)
    features = build_features(FeatureSettings(border=border, **settings), (size, size))
    assert isinstance(features, TrunkFeatures)
    return features.eval()


def test_pixels_are_standardised_each_by_itself() -> None:
    features = build_features(FeatureSettings(source="pixels"), (64, 64))
    picture = images()
    torch.testing.assert_close(features(picture), picture)
    stored = np.random.default_rng(1).random((40, 3, 64, 64), dtype=np.float32)
    features.fit(stored)
    mean, std = stored.mean(0), stored.std(0)[:, 9:12, 19:22].mean((1, 2))
    expected = (picture[0, :, 10, 20].numpy() - mean[:, 10, 20]) / std
    np.testing.assert_allclose(features(picture)[0, :, 10, 20], expected, rtol=1e-4)


def test_luminance_is_that_of_bt_601() -> None:
    features = PixelFeatures(FeatureSettings(source="pixels", color=False), (64, 64))
    picture = torch.eye(3).reshape(1, 3, 1, 3)
    picture = features.raw(picture)
    torch.testing.assert_close(picture.flatten(), torch.tensor([0.299, 0.587, 0.114]))


@pytest.mark.parametrize(
    ("source", "layers", "channels"),
    [
        ("resnet18", ("layer1", "layer2", "layer3"), 448),
        ("mobilenet_v2", ("features.3", "features.6", "features.13"), 152),
        ("mobilenet_v3_small", ("features.1", "features.3", "features.8"), 88),
        ("efficientnet_b0", ("features.2", "features.3", "features.5"), 176),
        ("shufflenet_v2_x0_5", ("maxpool", "stage2", "stage3"), 168),
        ("squeezenet1_1", ("features.4", "features.7", "features"), 896),
    ],
)
def test_default_layers_are_the_last_at_strides_4_8_16(
    source: str, layers: tuple[str, ...], channels: int
) -> None:
    features = trunk(128, source=source)
    assert (features.layers, features.raw_shape) == (layers, (channels,))
    assert features.item_shape == (min(channels, 256),)
    assert features(images(1, 128)).shape == (1, *features.map_shape, *features.item_shape)


def test_a_trunk_computes_what_torchvision_computes() -> None:
    features = trunk(local_mean=1, layers=("layer2",))
    reference = resnet18(weights=None).eval()
    reference.load_state_dict(features.trunk.state_dict(), strict=False)
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    inputs = (images() - mean) / torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    with torch.no_grad():
        expected = create_feature_extractor(reference, ["layer2"])(inputs)["layer2"]
        torch.testing.assert_close(features(images()), expected.permute(0, 2, 3, 1))


def test_the_local_mean_averages_what_lies_inside_the_map() -> None:
    plain, averaged = trunk(local_mean=1, layers=("layer2",)), trunk(layers=("layer2",))
    with torch.no_grad():
        fine, coarse = plain(images(1)), averaged(images(1))
    torch.testing.assert_close(coarse[0, 0, 0], fine[0, :2, :2].mean((0, 1)))
    torch.testing.assert_close(coarse[0, 3, 4], fine[0, 2:5, 3:6].mean((0, 1)))


def test_the_trunk_stays_in_evaluation_mode() -> None:
    features = trunk().train()
    assert not any(module.training for module in features.trunk.modules())
    assert not any(parameter.requires_grad for parameter in features.parameters())


def test_rows_are_standardised_like_maps() -> None:
    features = trunk()
    features.fit(np.random.default_rng(0).normal(size=(600, 448)).astype(np.float16))
    with torch.no_grad():
        maps = features(images(1))
        rows = features.standardised(features.raw(images(1)).reshape(-1, 448))
    torch.testing.assert_close(maps.reshape(-1, 256), rows)


def test_a_channel_that_never_varies_does_not_divide_by_zero() -> None:
    features = trunk()
    features.fit(np.ones((600, 448), np.float16))
    assert torch.isfinite(features(images(1))).all()


def test_weights_of_a_whole_model_fit(trunk_weights: Path) -> None:
    features = trunk()
    load_trunk_weights(features, trunk_weights)
    stored = load_file(trunk_weights)
    torch.testing.assert_close(features.trunk.state_dict()["conv1.weight"], stored["conv1.weight"])


def test_weights_that_end_after_the_last_layer_used_fit(
    trunk_weights: Path, tmp_path: Path
) -> None:
    state = load_file(trunk_weights)
    short = {n: v for n, v in state.items() if not n.startswith(("layer4", "fc"))}
    short = {n: v for n, v in short.items() if "num_batches_tracked" not in n}
    save_file(short, tmp_path / "short.safetensors")
    load_trunk_weights(trunk(), tmp_path / "short.safetensors")


def test_a_pth_file_of_tensors_fits(tmp_path: Path) -> None:
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    load_trunk_weights(trunk(), tmp_path / "resnet18.pth")


def test_weights_of_another_model_are_refused_by_name(trunk_weights: Path) -> None:
    with pytest.raises(WeightsError, match=r"missing: features.*unknown: bn1"):
        load_trunk_weights(trunk(source="mobilenet_v2"), trunk_weights)


def test_weights_of_a_network_that_is_not_named_say_so(trunk_weights: Path) -> None:
    with pytest.raises(WeightsError, match="name the network that they are of"):
        load_trunk_weights(trunk(source="embedded"), trunk_weights)


def test_weights_of_another_shape_are_refused_by_name(trunk_weights: Path, tmp_path: Path) -> None:
    state = load_file(trunk_weights)
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    save_file(state, tmp_path / "grey.safetensors")
    with pytest.raises(WeightsError, match=r"other shape: conv1\.weight"):
        load_trunk_weights(trunk(), tmp_path / "grey.safetensors")


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1/0",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"conv1.weight": Malicious()}))
    with pytest.raises(WeightsError, match="nothing but tensors"):
        load_trunk_weights(trunk(), tmp_path / "bad.pth")


@pytest.mark.parametrize("name", ["absent.safetensors", "text.safetensors", "text.pth"])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, name: str) -> None:
    for text in ("text.safetensors", "text.pth"):
        (tmp_path / text).write_text("not weights")
    with pytest.raises(WeightsError, match=name):
        load_trunk_weights(trunk(), tmp_path / name)


def test_without_a_network_the_message_says_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fail)
    with pytest.raises(WeightsError, match=r"--weights FILE.*--features pixels"):
        load_trunk_weights(trunk(), None)


def test_downloaded_weights_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    state = resnet18(weights=None).state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
    features = trunk()
    load_trunk_weights(features, None)
    assert torch.equal(features.trunk.state_dict()["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize("source", ["vit_b_16", "swin_t"])
def test_models_without_maps_are_refused(source: str) -> None:
    with pytest.raises(ConfigError, match="no maps at strides"):
        trunk(source=source)


def test_unknown_sources_and_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match="'resnet19'.*such as resnet18"):
        trunk(source="resnet19")
    with pytest.raises(ConfigError, match="layer9.*layer1, layer2, layer3"):
        trunk(layers=("layer9",))
    with pytest.raises(ConfigError, match="not all maps"):
        trunk(layers=("layer1", "fc"))


def test_mean_and_std_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(3, 2, (1000, 5))
    mean, std = mean_and_std(values)
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, values.std(0), rtol=1e-6)


def correlated_rows() -> NDArray[np.float32]:
    """Rows of 448 channels that all share one strong direction."""
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 448))
    return (5 + 3 * (common + own)).astype(np.float32)


def test_each_channel_of_a_trunk_is_standardised() -> None:
    features, rows = trunk(components=0), correlated_rows()
    features.fit(rows)
    given = features.standardised(torch.from_numpy(rows))
    np.testing.assert_allclose(given, (rows - rows.mean(0)) / rows.std(0), atol=1e-4)


def test_the_strongest_components_of_a_trunk_are_made_equally_strong() -> None:
    features, rows = trunk(components=40), correlated_rows()
    features.fit(rows)
    given = features.standardised(torch.from_numpy(rows)).numpy()
    standardised = (rows - rows.mean(0)) / rows.std(0)
    before = np.linalg.eigvalsh(np.cov(standardised.T))[::-1][:40]
    assert before[0] > 100  # the common direction has half of all variance
    expected = np.diag(before / (before + 0.01))
    np.testing.assert_allclose(np.cov(given.T), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("source", "layers", "size"),
    [
        ("resnet18", (), 64),
        ("resnet18", (), 72),  # layer1 is not twice as fine, layer3 not half
        ("resnet18", ("layer3",), 64),
        ("resnet18", ("layer3", "layer1"), 64),
        ("mobilenet_v2", (), 64),
    ],
)
@pytest.mark.parametrize("components", [0, 40])
@pytest.mark.parametrize("border", [0, 1])
def test_whitening_each_layer_where_it_is_coarse_gives_the_same_items(
    source: str, layers: tuple[str, ...], size: int, components: int, border: int
) -> None:
    features = trunk(source=source, layers=layers, components=components, size=size, border=border)
    pictures = images(3, size)
    with torch.no_grad():
        raw = features.raw(pictures)
        features.fit(raw.flatten(0, 2).numpy())
        judged = raw[:, border : raw.shape[1] - border, border : raw.shape[2] - border]
        given, expected = features(pictures), features.standardised(judged)
    assert given.shape == expected.shape == (3, *features.map_shape, *features.item_shape)
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-3)


def test_whitening_looks_at_a_part_of_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrunkFeatures, "_WHITENING_ITEMS", 700)
    features, rows = trunk(), correlated_rows()
    features.fit(rows)
    given = features.standardised(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(given[::3].var(0), 1, atol=0.05)


@pytest.mark.parametrize("components", [0, 40])
def test_the_border_of_the_maps_is_learned_from_but_not_judged(components: int) -> None:
    whole, inner = trunk(components=components), trunk(components=components, border=1)
    assert (inner.border, inner.map_shape) == (1, tuple(side - 2 for side in whole.map_shape))
    torch.testing.assert_close(inner.raw(images()), whole.raw(images()))
    torch.testing.assert_close(inner(images()), whole(images())[:, 1:-1, 1:-1])


def test_a_border_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"4 x 4 locations; .*border = 2 leaves none"):
        trunk(32, border=2)


def test_a_channel_that_good_parts_leave_alone_is_not_divided_by_nearly_nothing() -> None:
    features = build_features(FeatureSettings(components=8), (64, 64))
    (channels,) = features.raw_shape
    items = np.random.default_rng(0).normal(2.0, 1.0, (500, channels)).astype(np.float32)
    items[:, 0] = 0.0
    features.fit(items)
    assert features.std[0].item() == pytest.approx(0.01 * 5**0.5, rel=0.02)  # of sqrt(2² + 1²)
    assert features.std[1].item() == pytest.approx(1, rel=0.2)
    # What noise of this size in all channels does to the items, drawn.
    level = 0.01 * 5**0.5
    noise = np.random.default_rng(1).normal(0, level, (4000, channels)).astype(np.float32)
    with torch.no_grad():
        moved = features.standardised(torch.from_numpy(noise)) - features.standardised(
            torch.zeros(channels)
        )
    torch.testing.assert_close(features.noise, moved.var(0), rtol=0.15, atol=0)


def test_the_noise_of_pixels_is_a_grey_level() -> None:
    features = build_features(FeatureSettings(source="pixels"), (16, 16))
    features.fit(np.zeros((4, 3, 16, 16), np.float32))
    with torch.no_grad():
        level = features.standardised(torch.full((3, 16, 16), 1 / 255))
    torch.testing.assert_close(features.noise, level**2)


# --- photographs that do not fill the frame


def padded(extents: list[tuple[int, int]], size: tuple[int, int]) -> torch.Tensor:
    """Images, uint8 [N, S, T, 4], of random photographs of these heights and widths."""
    shape = (len(extents), *size, 4)
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).byte()
    images[..., 3] = 0
    for image, (height, width) in zip(images, extents, strict=True):
        image[:height, :width, 3] = 255
    return images


def test_items_of_a_photograph_are_those_at_its_share_of_the_frame() -> None:
    images = padded([(64, 64), (32, 64), (24, 64), (64, 20)], (64, 64))
    grid = torch.arange(8)
    items = (10 * grid[:, None] + grid).expand(4, 8, 8)
    plain = within_photographs(items, images, 0)
    assert torch.equal(plain[0], items[0])
    assert (plain[1, :, 0] // 10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (plain[2, :, 0] // 10).tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    # 20 pixels: the place at 16 to 24 sees what is beside the photograph.
    assert (plain[3, 0] % 10).tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    bordered = within_photographs(items, images, 1)
    assert torch.equal(bordered[0], items[0, 1:-1, 1:-1])
    assert (bordered[1, :, 0] // 10).tolist() == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("source", ["resnet18", "embedded"])
def test_what_lies_beside_a_photograph_changes_no_bit(source: str) -> None:
    settings = FeatureSettings(source=source, components=8)
    features = build_features(settings, (64, 64), padded=True).eval()
    one = padded([(64, 24), (40, 64)], (64, 64))
    other = one.clone()
    other[one[..., 3] == 0] = torch.tensor([255, 0, 99, 0], dtype=torch.uint8)
    assert not torch.equal(one, other)
    seen = [features.of_photographs(features(features.pixels(x)), x, 1) for x in (one, other)]
    assert torch.equal(*seen)
    assert seen[0].shape == (2, *features.map_shape, *features.item_shape)
