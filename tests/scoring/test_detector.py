"""The score: its formula by hand, and the exported graph against torch."""

import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from anomaly_vae.calibration.metadata import card_from_json, card_to_json
from anomaly_vae.errors import ExportError, ModelFileError, TrainingError
from anomaly_vae.exporting.graph import export_model, replace_card
from anomaly_vae.exporting.parity import TOLERANCE
from anomaly_vae.images.decoding import load_image
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.scoring.batches import parts_of_images, score_images
from anomaly_vae.scoring.detector import Detector, Scores
from anomaly_vae.scoring.drawing import reconstruct
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.vae.maps import luminance, unit_range

from ..small import card, detector, pictures


def flat(model: Detector, errors: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Parts of images with these reconstruction errors everywhere, and no KL."""
    maps = torch.tensor(errors)[:, None, None].expand(-1, *model.features.map_shape)
    kl = torch.zeros_like(maps if model.model.kl_per_location else maps[:, 0, 0])
    return maps, kl


def test_the_score_is_the_highest_value_of_the_map() -> None:
    scores = score_images(detector("patch", kl_weight=0.5, top_fraction=0.0), pictures())
    torch.testing.assert_close(scores.score, scores.anomaly_map.flatten(1).amax(1))


def test_the_top_fraction_of_the_map_is_averaged() -> None:
    scores = score_images(detector("patch", top_fraction=0.25), pictures())
    highest = np.sort(scores.anomaly_map.flatten(1).numpy(), axis=1)[:, -16:]
    np.testing.assert_allclose(scores.score, highest.mean(1), rtol=1e-6)


@pytest.mark.parametrize("align", [False, True])
def test_the_border_counts_in_no_score_and_looks_like_its_neighbours(align: bool) -> None:
    whole = detector("patch", kl_weight=0.5, top_fraction=0.1, align=align)
    model = detector("patch", kl_weight=0.5, top_fraction=0.1, align=align, border=2)
    model.load_state_dict(
        {k: v for k, v in whole.state_dict().items() if v.shape != (8, 8)}, strict=False
    )
    for each in (whole, model):
        if each.alignment is not None:
            light = luminance(unit_range(torch.from_numpy(pictures(6))))
            each.alignment.fit([light], [light])
    error, kl = parts_of_images(model, pictures(6))
    assert error.shape == kl.shape == (6, 4, 4)
    if not align:
        all_errors = parts_of_images(whole, pictures(6))[0]
        torch.testing.assert_close(error, all_errors[:, 2:6, 2:6])
    model.learn_places(error, kl)
    model.standardise(error, kl)
    scores = score_images(model, pictures(6))
    assert scores.anomaly_map.shape == (6, 8, 8)
    inner = scores.anomaly_map[:, 2:6, 2:6]
    expected = np.pad(inner.numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
    assert np.array_equal(scores.anomaly_map.numpy(), expected)
    highest = inner.flatten(1).topk(2).values.mean(1)  # a tenth of 16 places
    expected = highest + model.whole_weight * inner.mean((1, 2))
    offset = model.whole_weight * model.center / model.scale  # which has been taken off the map
    torch.testing.assert_close(scores.score, expected + offset, rtol=1e-4, atol=1e-4)
    learned = model.raw_items(torch.from_numpy(pictures(3)))
    assert learned.shape == (3 * 8 * 8, *model.features.stored_shape)


def test_the_kl_of_an_image_counts_in_its_score_but_in_no_place_of_its_map() -> None:
    model = detector("image", kl_weight=2.0)
    scores = score_images(model, pictures())
    highest = scores.anomaly_map.flatten(1).topk(41).values.mean(1)  # 1 % of 64 x 64
    torch.testing.assert_close(scores.score, highest + 2 * scores.kl)


@pytest.mark.parametrize("kind", ["image", "patch"])
def test_each_place_is_judged_by_what_is_usual_there(kind: str) -> None:
    model = detector(kind, kl_weight=0.5)
    error, kl = parts_of_images(model, pictures(6))
    model.learn_places(error, kl)
    joined = error + 0.5 * kl if kind == "patch" else error
    here = (slice(None), slice(2, 5), slice(4, 7))  # the neighbours of place 3, 5, and itself
    torch.testing.assert_close(model.usual_error[3, 5], error[here].mean())
    usual_kl = kl[here].mean() if kind == "patch" else kl.quantile(0.5)
    torch.testing.assert_close(
        model.usual_kl[3, 5] if kind == "patch" else model.usual_kl, usual_kl
    )
    spread = joined[here].std(0, correction=0).mean() + 3 * joined.std(correction=0)
    torch.testing.assert_close(model.spread[3, 5], spread)
    expected = (error[:, 3, 5] - model.usual_error[3, 5]) / model.spread[3, 5]
    if kind == "patch":
        expected += 0.5 * (kl[:, 3, 5] - model.usual_kl[3, 5]) / model.spread[3, 5]
    given_map = score_images(model, pictures(6)).anomaly_map
    torch.testing.assert_close(given_map[:, 3, 5], expected)


@pytest.mark.parametrize(("level", "counts"), [(0.3, True), (20.0, False)])
def test_a_faint_defect_everywhere_counts_where_good_maps_lie_alike(
    level: float, counts: bool
) -> None:
    """Good maps lie higher or lower as a whole by ``level``."""
    model = detector("patch", kl_weight=0.5, top_fraction=0.05)
    draw = torch.Generator().manual_seed(0)
    error, kl = (torch.randn(12, 8, 8, generator=draw) for _ in range(2))
    error[:, 3, 3] += 10 * torch.rand(12, generator=draw)  # what stands out varies
    error += level * torch.randn(12, 1, 1, generator=draw)
    model.learn_places(error, kl)
    model.standardise(error, kl)

    def means(error: torch.Tensor, kl: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        joined = (error - model.usual_error + 0.5 * (kl - model.usual_kl)) / model.spread
        values = joined.flatten(1)
        return values.topk(3).values.mean(1), values.mean(1)  # 5 % of 8 x 8

    highest, whole = means(error, kl)
    mads = [(v - v.quantile(0.5)).abs().quantile(0.5) for v in (highest - whole, whole)]
    weight = max(float(mads[0] / mads[1]) / 2 - 1, 0)
    assert (weight > 0) is counts
    spot, everywhere = error[:1].clone(), error[:1] + 3
    spot[0, 5, 5] += 20
    for defect in (spot, everywhere):
        highest, whole = means(defect, kl[:1])
        scores = model.join(defect, kl[:1])
        expected = (highest + weight * whole - model.center) / model.scale
        torch.testing.assert_close(scores.score, expected, rtol=1e-4, atol=1e-4)
        assert scores.score > model.join(error[:1], kl[:1]).score


def test_the_mean_of_the_map_may_be_left_out() -> None:
    model = detector("patch")
    error, kl = parts_of_images(model, pictures(6))
    model.learn_places(error, kl)
    model.standardise(error, kl)
    model.settings = replace(model.settings, whole_map=False)
    model.standardise(error, kl)  # nothing of the first time is left
    scores = model.join(error + 5 * error.std(), kl)
    highest = scores.anomaly_map.flatten(1).amax(1)  # 1 % of 64 places is one
    torch.testing.assert_close(scores.score, highest)


def test_places_may_count_alike() -> None:
    model = detector("patch", per_place=False, whole_map=False)
    before = score_images(model, pictures())
    model.learn_places(*parts_of_images(model, pictures(6)))
    torch.testing.assert_close(score_images(model, pictures()), before)


@pytest.mark.parametrize("kind", ["linear", "image", "dense", "patch"])
@pytest.mark.parametrize("weight", [-0.7, 0.0, 1.0])
def test_an_auditor_can_recompute_the_score_from_its_parts(kind: str, weight: float) -> None:
    model = detector(kind, kl_weight=weight, top_fraction=0.1, window=3)
    model.learn_places(*parts_of_images(model, pictures(4)))
    model.standardise(*flat(model, [10.0, 11.0, 13.0, 30.0]))
    scores = score_images(model, pictures())
    raw = scores.reconstruction_error + weight * scores.kl
    torch.testing.assert_close(scores.score, (raw - model.center) / model.scale)


def test_center_and_scale_are_median_and_scaled_mad() -> None:
    model = detector()
    model.standardise(*flat(model, [1.0, 2.0, 4.0, 7.0, 100.0]))
    assert model.center.item() == 4
    assert model.scale.item() == pytest.approx(1.4826 * 3)


def test_scores_that_do_not_vary_are_refused() -> None:
    model = detector()
    with pytest.raises(TrainingError, match="do not vary"):
        model.standardise(*flat(model, [3.0] * 5))


def test_the_window_averages_only_what_lies_inside_the_map() -> None:
    model = detector(window=3)
    maps = torch.arange(16.0).reshape(1, 4, 4)
    averaged = model.placed(maps, None)
    assert averaged[0, 0, 0].item() == pytest.approx((0 + 1 + 4 + 5) / 4)
    assert averaged[0, 1, 1].item() == pytest.approx(5)


def test_the_parts_have_one_kl_per_latent_vector() -> None:
    error, kl = detector("image").parts(torch.from_numpy(pictures()))
    assert (error.shape, kl.shape) == ((3, 64, 64), (3,))
    error, kl = detector("patch").parts(torch.from_numpy(pictures()))
    assert error.shape == kl.shape == (3, 8, 8)


@pytest.mark.parametrize("kind", ["image", "patch"])
def test_the_exported_model_computes_what_torch_computes(kind: str, tmp_path: Path) -> None:
    model = detector(kind, window=3, top_fraction=0.05)
    model.learn_places(*parts_of_images(model, pictures(4)))
    parity = export_model(model, card(), tmp_path / "model.onnx", pictures(6))
    assert parity.images == 6
    assert parity.largest <= TOLERANCE
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    inspector = Inspector(tmp_path / "model.onnx", device="cpu")
    for count in (1, 4):  # any number of images
        outputs, expected = inspector.run(pictures(count)), score_images(model, pictures(count))
        for name in Scores._fields:
            output, value = getattr(outputs, name), getattr(expected, name)
            np.testing.assert_allclose(output, value, rtol=1e-4, atol=1e-4)


def test_the_exported_file_is_what_the_design_says(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_model(detector(), card(), path, pictures(1))
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert model.opset_import[0].version >= 18
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type, entry.shape[1:]) == ("images", "tensor(uint8)", [64, 64, 3])
    assert isinstance(entry.shape[0], str)
    names = [output.name for output in session.get_outputs()]
    assert names == ["score", "reconstruction_error", "kl", "anomaly_map", "reconstruction"]


@pytest.mark.parametrize(("kind", "color", "align"), [
    ("image", True, False), ("linear", False, True), ("patch", True, False),
])  # fmt: skip
def test_a_model_of_pixels_draws_what_it_expects_to_see(
    tmp_path: Path, kind: str, color: bool, align: bool
) -> None:
    model = detector(kind, color=color, align=align)
    export_model(model, card(), tmp_path / "model.onnx", pictures(1))
    inspector = Inspector(tmp_path / "model.onnx", device="cpu")
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", ImageSettings(size=64))
    drawn = inspector.expected(image)
    if kind == "patch":
        assert drawn is None
        return
    assert drawn is not None
    assert (drawn.shape, drawn.dtype) == ((64, 64, 3), np.uint8)
    expected = np.clip(reconstruct(model, image.pixels[None].copy())[0] * 255, 0, 255)
    assert np.abs(drawn - expected).max() <= 0.51


def test_a_model_that_computes_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = detector()
    other.center.fill_(0.01)
    monkeypatch.setattr(
        "anomaly_vae.exporting.parity.score_images", lambda _, x: score_images(other, x)
    )
    with pytest.raises(ExportError, match="differs from torch"):
        export_model(detector(), card(), tmp_path / "model.onnx", pictures(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("moved", "accepted"), [(5e-4, True), (5e-3, False)])
def test_what_the_batch_moves_in_torch_itself_is_not_held_against_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: float, accepted: bool
) -> None:
    def rounded(model: Detector, images: NDArray[np.uint8]) -> Scores:
        scores = score_images(model, images)
        return scores._replace(score=scores.score + moved * (len(images) == 5))

    monkeypatch.setattr("anomaly_vae.exporting.parity.score_images", rounded)
    path = tmp_path / "model.onnx"
    with nullcontext() if accepted else pytest.raises(ExportError, match="differs from torch"):
        export_model(detector(), card(), path, pictures(5))
    assert path.exists() == accepted


@pytest.mark.parametrize(
    ("moved", "weight", "accepted"), [(5e-3, 1.0, True), (5e-2, 1.0, False), (5e-2, 0.0, True)]
)
def test_the_kl_is_compared_in_the_size_that_it_has_in_the_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: float, weight: float, accepted: bool
) -> None:
    def rounded(model: Detector, images: NDArray[np.uint8]) -> Scores:
        scores = score_images(model, images)
        return scores._replace(kl=scores.kl + moved)

    monkeypatch.setattr("anomaly_vae.exporting.parity.score_images", rounded)
    model = detector(kl_weight=weight)
    model.scale.fill_(100)
    with nullcontext() if accepted else pytest.raises(ExportError, match="differs from torch"):
        export_model(model, card(), tmp_path / "model.onnx", pictures(5))


def test_another_card_leaves_the_graph_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_model(detector(), card(), path, pictures(1))
    before = Inspector(path, device="cpu")
    replace_card(path, card(score=7.5))
    after = Inspector(path, device="cpu")
    assert after.card.threshold.score == 7.5
    assert after.model_id != before.model_id
    assert np.array_equal(after.run(pictures()).score, before.run(pictures()).score)


def test_a_card_survives_its_json() -> None:
    assert card_from_json(card_to_json(card(1 / 3)), origin="test") == card(1 / 3)


@pytest.mark.parametrize("text", ["{}", "no json", '{"schema_version": 99}'])
def test_a_card_of_another_version_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"old\.onnx.*export it again"):
        card_from_json(text, origin="old.onnx")


def test_no_spread_is_smaller_than_what_the_last_bit_of_a_camera_does() -> None:
    """Good parts that are all the same, but for one place: one grey level more is no defect."""
    model = detector("image")
    model.model.log_variance.data.fill_(-20)  # learned where nothing varies
    model.model.noise.copy_(model.features.noise)
    step = float(model.features.noise.flatten()[0])
    expected = 3 * 0.5 * step / (step + math.exp(-10))  # three channels; -10 is the least
    torch.testing.assert_close(
        model.model.noise_error(), torch.full((64, 64), expected), rtol=1e-3, atol=0
    )
    error, kl = torch.zeros(6, 64, 64), torch.zeros(6)
    error[:, 9, 9] = torch.arange(6.0) * 1e-3
    model.learn_places(error, kl)
    assert model.spread.min().item() == pytest.approx(expected, rel=1e-3)
    model.standardise(error, kl)
    # One level more everywhere raises each error by what the noise itself adds.
    more = model.join(error + expected, kl).score - model.join(error, kl).score
    assert more.abs().max() <= 1.01
