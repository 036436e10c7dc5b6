"""The region of interest: what lies outside cannot move anything."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from anomaly_vae.errors import ConfigError, ImageReadError
from anomaly_vae.exporting.graph import export_model, to_onnx
from anomaly_vae.exporting.parity import TOLERANCE
from anomaly_vae.images.decoding import inspected_frame, load_image
from anomaly_vae.images.masks import read_roi
from anomaly_vae.images.regions import find_regions
from anomaly_vae.images.roi import inspected, inspected_share
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.scoring.batches import parts_of_images, score_images
from anomaly_vae.scoring.detector import Detector, Scores
from anomaly_vae.scoring.factory import build_detector, inspected_places
from anomaly_vae.settings.files import config_from_dict, config_to_dict, config_to_yaml, load_config
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.masks import LONGEST, filled, mask_from_text, mask_to_text
from anomaly_vae.settings.schema import Config, FeatureSettings, ModelSettings, ScoringSettings
from anomaly_vae.vae.maps import luminance, unit_range, without_border

from ..small import Given, card, pictures

Mask = NDArray[np.bool_]
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
UPPER_HALF = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))
RIGHT_HALF = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))


def disc(width: int, height: int) -> Mask:
    y, x = np.mgrid[:height, :width]
    return np.hypot((x + 0.5) / width - 0.4, (y + 0.5) / height - 0.5) < 0.3


def noise(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    shape = (size[1], size[0], 3)
    return np.random.default_rng(seed).integers(1, 256, shape, dtype=np.uint8)


# --- masks and polygons


@pytest.mark.parametrize("seed", range(6))
def test_a_polygon_is_filled_as_matplotlib_does(seed: int) -> None:
    corners = np.random.default_rng(seed).random((3 + seed, 2))
    if seed > 2:  # a star-shaped polygon: without it, edges cross and the rules may differ
        angles = np.sort(np.random.default_rng(seed).random(3 + seed)) * 2 * np.pi
        corners = 0.5 + 0.45 * np.c_[np.cos(angles), np.sin(angles)] * corners[:, :1]
    centres = np.stack(np.meshgrid((np.arange(50) + 0.5) / 50, (np.arange(40) + 0.5) / 40), -1)
    expected = Outline(np.vstack([corners, corners[:1]])).contains_points(centres.reshape(-1, 2))
    given = filled([(float(x), float(y)) for x, y in corners], 50, 40)
    assert given.any()
    assert np.array_equal(given, expected.reshape(40, 50))


def test_a_pixel_belongs_to_the_polygon_that_holds_its_centre() -> None:
    assert filled(LEFT_HALF, 4, 1).tolist() == [[True, True, False, False]]
    assert filled(LEFT_HALF, 5, 1).tolist() == [[True, True, False, False, False]]
    assert filled([(0.2, 0.0), (0.8, 0.0), (0.8, 1.0), (0.2, 1.0)], 4, 1).tolist() == [
        [False, True, True, False]
    ]
    assert filled([(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)], 3, 3).tolist() == [
        [False, False, False], [True, False, False], [True, True, False],
    ]  # fmt: skip


def test_a_mask_survives_its_text() -> None:
    mask = disc(LONGEST, 300)
    text = mask_to_text(mask)
    assert np.array_equal(mask_from_text(text), mask)
    assert len(text) < 3000


def test_a_large_mask_is_stored_smaller_by_majority() -> None:
    mask = np.zeros((600, 2048), dtype=bool)
    mask[:, :1024] = True
    mask[0:4, 1024:1027] = True  # three quarters of a stored pixel
    mask[0:4, 2000:2001] = True  # a quarter
    stored = mask_from_text(mask_to_text(mask))
    expected = np.zeros((150, 512), dtype=bool)
    expected[:, :256] = True
    expected[0, 256] = True
    assert np.array_equal(stored, expected)


def png(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no base64!", "expected the text"),
        ("aGVsbG8=", "expected the text"),
        (png(Image.new("1", (9, 9), 1))[:-36], "expected the text"),
        (png(Image.new("L", (9, 9), 255)), "1 bit"),
        (png(Image.new("1", (513, 9), 1)), "at most 512 pixels"),
        (png(Image.new("1", (9, 9))), "wholly black"),
    ],
)
def test_a_text_that_is_no_mask_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"images.roi = .*{expected}"):
        config_from_dict({"images": {"roi": text}}, origin="here")


# --- what is inspected


def test_what_is_inspected_lies_in_the_mask_and_a_polygon_and_in_nothing_to_ignore() -> None:
    mask = np.ones((4, 4), dtype=bool)
    mask[0] = False
    settings = ImageSettings(
        roi=mask_to_text(mask), inspect=(LEFT_HALF, UPPER_HALF),
        ignore=(((0.0, 0.5), (0.25, 0.5), (0.25, 1.0), (0.0, 1.0)),),
    )  # fmt: skip
    expected = [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [0, 1, 0, 0]]
    assert inspected(settings, 4, 4).astype(int).tolist() == expected
    assert inspected(settings, 8, 8)[::2, ::2].astype(int).tolist() == expected
    assert inspected_share(settings) == 6 / 16


def test_without_a_region_of_interest_all_is_inspected() -> None:
    assert inspected_share(ImageSettings()) == 1
    assert inspected_frame(ImageSettings()) is None
    assert inspected_share(ImageSettings(ignore=(RIGHT_HALF,))) == 0.5


def test_the_region_lies_in_the_square_where_the_photograph_lies() -> None:
    mask = np.zeros((20, 60), dtype=bool)
    mask[:, :30] = True
    settings = ImageSettings(size=30, fit="letterbox", roi=mask_to_text(mask))
    expected = np.zeros((30, 30), dtype=bool)
    expected[10:20, :15] = True
    for size in (None, (60, 20), (600, 200)):
        assert np.array_equal(inspected_frame(settings, size), expected)


# --- photographs


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(90, 60), (300, 200), (24, 20)])
def test_what_lies_outside_cannot_move_a_pixel(
    tmp_path: Path, fit: str, size: tuple[int, int]
) -> None:
    settings = ImageSettings(size=32, min_size=2, fit=fit, roi=mask_to_text(disc(*size)))  # type: ignore[arg-type]
    one, other = noise(size), noise(size, 1)
    other[disc(*size)] = one[disc(*size)]
    loaded = []
    for name, pixels in (("a.png", one), ("b.png", other)):
        Image.fromarray(pixels).save(tmp_path / name)
        loaded.append(load_image(tmp_path / name, settings))
    assert np.array_equal(loaded[0].pixels, loaded[1].pixels)
    assert loaded[0].statistics == loaded[1].statistics
    plain = load_image(tmp_path / "a.png", replace(settings, roi=""))
    kept = loaded[0].inspected
    assert kept is not None and 0 < kept.sum() < kept.size
    assert (loaded[0].pixels[kept] > 0).any()
    # The filter reaches over three pixels of the frame, or of a photograph that is enlarged.
    reach = -(-3 * 32 // min(*size, 32))
    far = plain.pixels.any(-1) & ~binary_dilation(kept, np.ones((3, 3)), reach)
    assert far.any() and not loaded[0].pixels[far].any()


def test_a_large_jpeg_is_not_decoded_smaller_across_the_edge(tmp_path: Path) -> None:
    # Blocks of 16 pixels that are either inside or outside: JPEG itself mixes none of them.
    size, inside = (640, 640), np.zeros((640, 640), dtype=bool)
    inside[:, :336] = True  # 10.5 of the 32 pixels of the square: one is half inside
    settings = ImageSettings(size=32, inspect=(((0, 0), (0.525, 0), (0.525, 1), (0, 1)),))
    pixels = np.full((*size, 3), 100, dtype=np.uint8)
    loaded = []
    for name, outside in (("a.jpg", 0), ("b.jpg", 255)):
        pixels[~inside] = outside
        Image.fromarray(pixels).save(tmp_path / name, quality=95, subsampling=0)
        loaded.append(load_image(tmp_path / name, settings))
    assert np.array_equal(loaded[0].pixels, loaded[1].pixels)


def test_the_statistics_are_those_of_what_is_inspected(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (200, 100, 50)).save(tmp_path / "a.png")
    plain = load_image(tmp_path / "a.png", ImageSettings(size=40))
    half = load_image(tmp_path / "a.png", ImageSettings(size=40, inspect=(LEFT_HALF,)))
    assert half.statistics.brightness == pytest.approx(plain.statistics.brightness)
    assert half.statistics.contrast == pytest.approx(0, abs=1e-6)
    assert half.statistics.sharpness == pytest.approx(0, abs=1e-6)


def test_a_photograph_of_other_proportions_is_not_read(tmp_path: Path) -> None:
    settings = ImageSettings(size=32, roi=mask_to_text(disc(512, 341)))
    for name, size in (("a.png", (1800, 1200)), ("b.png", (1800, 1300))):
        Image.new("RGB", size).save(tmp_path / name)
    assert load_image(tmp_path / "a.png", settings).inspected is not None
    with pytest.raises(ImageReadError, match="1800 x 1300 pixels do not have the proportions"):
        load_image(tmp_path / "b.png", settings)


@pytest.mark.parametrize(("mode", "white"), [("1", 1), ("L", 1), ("RGB", (0, 0, 9)), ("I;16", 1)])
def test_anything_but_black_in_a_mask_is_inspected(
    tmp_path: Path, mode: str, white: object
) -> None:
    mask = Image.new(mode, (20, 10))
    mask.paste(white, (0, 0, 10, 10))  # type: ignore[arg-type]
    mask.save(tmp_path / "mask.png")
    stored = mask_from_text(read_roi(tmp_path / "mask.png"))
    assert stored.tolist() == [[True] * 10 + [False] * 10] * 10


# --- regions


def test_regions_never_lie_outside(tmp_path: Path) -> None:
    Image.fromarray(noise((64, 64))).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", ImageSettings(size=64, inspect=(LEFT_HALF,)))
    values = np.zeros((64, 64), dtype=np.float32)
    values[10:20, 28:50], values[40:44, 50:60] = 5, 9
    (region,) = find_regions(values, image, 1)
    assert (region.x, region.y, region.width, region.height) == (28, 10, 4, 10)
    (region,) = find_regions(values, image, 20)  # nothing is above: around the peak that counts
    assert (region.x, region.width, region.peak) == (28, 4, 5)


# --- scores


def config(kind: str, *, images: ImageSettings | None = None, **scoring: object) -> Config:
    return Config(
        images=images or ImageSettings(size=64, inspect=(LEFT_HALF,)),
        features=FeatureSettings(source="resnet18" if kind == "patch" else "pixels"),
        model=ModelSettings(kind=kind, latent_size=3, hidden_size=8, base_channels=2),  # type: ignore[arg-type]
        scoring=ScoringSettings(**scoring),  # type: ignore[arg-type]
    )


def learned(settings: Config) -> Detector:
    detector = build_detector(settings).eval()
    if detector.alignment:
        seen = unit_range(torch.from_numpy(pictures(6)))
        detector.alignment.fit([luminance(seen)], [luminance(seen)])
        detector.alignment.set_backdrop([seen])
    detector.learn_places(*parts_of_images(detector, pictures(6)))
    detector.standardise(*parts_of_images(detector, pictures(5)))
    return detector


def test_a_place_is_inspected_if_any_part_of_it_is() -> None:
    square = torch.zeros(64, 64, dtype=torch.bool)
    square[8:32, 7:24] = True  # from the last column of the first cell on
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[1:4, 0:3] = True
    features = Given((4,), (8, 8))
    assert torch.equal(inspected_places(square, features), expected)
    assert inspected_places(torch.ones(64, 64, dtype=torch.bool), features) is None
    features = Given((4,), (6, 6))
    features.border = 1
    assert torch.equal(inspected_places(square, features), expected)


@pytest.mark.parametrize("kind", ["image", "patch"])
def test_the_score_is_that_of_the_inspected_places_alone(kind: str) -> None:
    detector = learned(config(kind, kl_weight=0.5, top_fraction=0.1))
    error, kl = parts_of_images(detector, pictures(4))
    half = detector.features.map_shape[1] // 2
    spread = detector.spread[:, :half]
    errors = ((error - detector.usual_error) / detector.spread)[..., :half].flatten(1)
    if kind == "image":
        joined, of_image = errors, 0.5 * (kl - detector.usual_kl) / spread.mean()
    else:
        kls = ((kl - detector.usual_kl) / detector.spread)[..., :half].flatten(1)
        joined, of_image = errors + 0.5 * kls, torch.zeros(4)
    highest = joined.topk(round(0.1 * joined.shape[1])).values.mean(1)
    raw = highest + detector.whole_weight * joined.mean(1) + of_image
    scores = detector.join(error, kl)
    torch.testing.assert_close(scores.score, (raw - detector.center) / detector.scale)
    maps = without_border(scores.anomaly_map, detector.features.border)
    inner = maps[..., :half]
    torch.testing.assert_close(inner.flatten(1), (joined - detector.center) / detector.scale)
    lowest = inner.flatten(1).amin(1)
    assert (maps[..., half:] == lowest[:, None, None]).all()


@pytest.mark.parametrize("kind", ["image", "patch"])
def test_what_is_learned_of_places_outside_moves_no_score(kind: str) -> None:
    detector = learned(config(kind, kl_weight=0.5, top_fraction=0.1, per_place=True))
    parts = [parts_of_images(detector, pictures(count)) for count in (6, 5, 4)]
    half = detector.features.map_shape[1] // 2

    def scores(parts: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        detector.center.zero_(), detector.scale.fill_(1), detector.whole_weight.zero_()
        detector.learn_places(*parts[0])
        detector.standardise(*parts[1])
        return list(detector.join(*parts[2]))

    before = scores(parts)
    for batch in parts:
        for values in batch:
            if values.dim() == 3:
                values[..., half:] = torch.randn_like(values[..., half:]) * 100
    assert all(torch.equal(one, other) for one, other in zip(before, scores(parts), strict=True))


@pytest.mark.parametrize("kind", ["linear", "patch"])
def test_the_exported_model_computes_what_torch_computes(kind: str, tmp_path: Path) -> None:
    mask = ImageSettings(size=64, roi=mask_to_text(disc(64, 64)))
    settings = config(kind, images=mask, top_fraction=0.1, window=3)
    if kind == "linear":
        settings = replace(settings, features=replace(settings.features, align=True))
    detector = learned(settings)
    path = tmp_path / "model.onnx"
    parity = export_model(detector, replace(card(), images=mask), path, pictures(6))
    assert parity.largest <= TOLERANCE
    inspector = Inspector(path, device="cpu")
    assert inspector.card.images == mask
    given, expected = inspector.run(pictures(4)), score_images(detector, pictures(4))
    for name in Scores._fields:
        np.testing.assert_allclose(getattr(given, name), getattr(expected, name), 1e-3, 1e-3)


def test_without_a_region_of_interest_nothing_is_added_to_the_graph() -> None:
    plain, whole = ImageSettings(size=64), ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    half = replace(plain, inspect=(LEFT_HALF,))
    detectors = [build_detector(config("image", images=each)).eval() for each in (plain, half)]
    without, added = (
        [node.op_type for node in to_onnx(each, (64, 64, 3)).graph.node] for each in detectors
    )
    for operator in ("Gather", "ReduceMin", "Where"):
        assert added.count(operator) > without.count(operator), operator
    assert "ReduceMin" not in without
    # A region that leaves nothing out takes the same way.
    everything = build_detector(config("image", images=replace(plain, inspect=(whole,))))
    assert everything.places is everything.inside is detectors[0].places is None
    assert everything.state_dict().keys() == detectors[1].state_dict().keys()


def test_a_patch_model_learns_from_the_inspected_places() -> None:
    detector = build_detector(config("patch")).eval()
    images = torch.from_numpy(pictures(2))
    expected = detector.features.raw(detector.aligned(images)[0])[:, :, :4]  # with its border
    learned = detector.raw_items(images)[:, : expected.shape[-1]]  # behind it: where they are
    assert torch.equal(learned, expected.reshape(2 * 8 * 4, -1))
    whole = build_detector(config("image"))
    assert whole.raw_items(images).shape == (2, 3, 64, 64)


# --- settings


def test_regions_of_interest_are_written_so_that_they_read_as_the_same(tmp_path: Path) -> None:
    circle = tuple((0.5 + 0.4 * np.cos(a), 0.5 + 0.4 * np.sin(a)) for a in np.linspace(0, 6, 90))
    many = tuple((float(x), float(y)) for x, y in circle)
    given = Config(
        images=ImageSettings(
            roi=mask_to_text(disc(500, 400)), inspect=(LEFT_HALF, many), ignore=(UPPER_HALF,)
        )
    )
    path = tmp_path / "settings.yaml"
    path.write_text(config_to_yaml(given), encoding="utf-8")
    assert load_config(path) == given
    assert config_from_dict(config_to_dict(given), origin="here") == given


def test_a_card_of_an_earlier_version_means_what_it_meant() -> None:
    import json

    from anomaly_vae.calibration.metadata import card_from_json, card_to_json

    data = json.loads(card_to_json(card()))
    for name in ("roi", "inspect", "ignore", "filter"):
        del data["images"][name]
    images = replace(card().images, filter="bilinear")
    assert card_from_json(json.dumps(data), origin="old.onnx") == replace(card(), images=images)
