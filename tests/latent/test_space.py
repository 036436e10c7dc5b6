"""The latent space: encoding, paths, mixtures and planes against hand-worked numbers."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from anomaly_vae.errors import FolderError, ModelFileError
from anomaly_vae.latent import space as latent
from anomaly_vae.reporting.latents import save_table
from anomaly_vae.reporting.pictures import save_animation, save_grid, save_pictures
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.drawing import reconstruct
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config, FeatureSettings, ModelSettings
from anomaly_vae.vae.maps import unit_range
from anomaly_vae.vae.sampling import (
    draw_from_mixture,
    fit_mixture,
    linear_path,
    spherical_path,
)


def detector(kind: str = "dense", *, color: bool = True, latent_size: int = 3) -> Detector:
    source = "resnet18" if kind == "patch" else "pixels"
    config = Config(
        images=ImageSettings(size=32),
        features=FeatureSettings(source=source, color=color, components=0),
        model=ModelSettings(kind=kind, latent_size=latent_size, hidden_size=16, base_channels=2),
    )
    return build_detector(config).eval()


def photographs(count: int) -> latent.Pictures:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("kind", ["linear", "dense", "image", "ladder", "vq"])
def test_what_is_encoded_and_decoded_is_the_reconstruction(kind: str) -> None:
    model, images = detector(kind), photographs(18)
    posterior = latent.encode(model, images)
    assert posterior.mean.shape == posterior.log_variance.shape == (18, model.model.latent_size)
    pictures = latent.decode(model, posterior.mean)
    assert pictures.dtype == np.uint8
    expected = np.clip(reconstruct(model, images), 0, 1) * 255
    np.testing.assert_allclose(pictures, expected, atol=0.51)


def test_a_model_of_luminance_draws_in_grey() -> None:
    model = detector(color=False)
    pictures = latent.decode(model, torch.randn(2, 3))
    assert pictures.shape == (2, 32, 32, 3)
    assert (pictures == pictures[..., :1]).all()
    seen = latent.as_seen(model, photographs(2))
    expected = photographs(2) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(seen[..., 0], expected, atol=0.6)


def test_a_model_of_places_is_averaged_over_the_map() -> None:
    model, images = detector("patch"), photographs(2)
    with torch.no_grad():
        maps = model.model.encode(model.features(unit_range(torch.from_numpy(images))))
    assert maps.mean.dim() == 4
    found = latent.encode(model, images)
    torch.testing.assert_close(found.mean, maps.mean.mean((1, 2)))
    torch.testing.assert_close(found.log_variance, maps.log_variance.mean((1, 2)))
    with pytest.raises(ModelFileError, match="--features pixels"):
        latent.decode(model, found.mean)


def test_a_path_on_the_line_has_equal_steps_and_its_ends() -> None:
    path = linear_path(torch.tensor([0.0, 1.0]), torch.tensor([4.0, -1.0]), 5)
    assert path.tolist() == [[0, 1], [1, 0.5], [2, 0], [3, -0.5], [4, -1]]


def test_a_path_on_the_arc_turns_evenly_and_changes_its_length_evenly() -> None:
    start, end = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
    path = spherical_path(start, end, 3)
    half = 3 / math.sqrt(2)
    torch.testing.assert_close(path, torch.tensor([[2, 0], [half, half], [0, 4]]))


@pytest.mark.parametrize("end", [[0.0, 0.0], [2.0, 4.0], [-1.0, -2.0], [1.0, 2.0]])
def test_where_there_is_no_arc_the_path_is_the_line(end: list[float]) -> None:
    start = torch.tensor([1.0, 2.0])
    path = spherical_path(start, torch.tensor(end), 4)
    torch.testing.assert_close(path, linear_path(start, torch.tensor(end), 4))


def test_unevenness_is_the_largest_step_over_the_mean() -> None:
    frames = np.array([0, 10, 40], np.uint8)[:, None, None, None].repeat(3, -1)
    assert latent.unevenness(frames) == pytest.approx(30 / 20)
    assert latent.unevenness(frames[:1].repeat(3, 0)) == 1


def test_a_mixture_of_more_dimensions_than_images_has_no_full_covariance() -> None:
    mixture = fit_mixture(torch.randn(12, 40, generator=torch.Generator().manual_seed(0)))
    assert mixture.covariance_type == "diag"


def test_a_mixture_keeps_out_of_the_hole_between_two_groups() -> None:
    generator = torch.Generator().manual_seed(0)
    means = 0.3 * torch.randn(60, 2, generator=generator)
    means[:, 0] += torch.tensor([-2.0, 2.0]).repeat(30)
    mixture = fit_mixture(means)
    drawn = draw_from_mixture(mixture, 500, temperature=1, seed=3)
    assert (drawn[:, 0].abs() > 0.8).all()
    assert 150 < (drawn[:, 0] > 0).sum() < 350
    assert torch.equal(drawn, draw_from_mixture(mixture, 500, temperature=1, seed=3))
    centers = draw_from_mixture(mixture, 50, temperature=0, seed=3)
    assert len(centers.unique(dim=0)) == mixture.n_components


def test_a_mixture_of_more_dimensions_than_images_stays_as_wide_as_they_are() -> None:
    means = torch.randn(12, 40, generator=torch.Generator().manual_seed(0))
    drawn = draw_from_mixture(fit_mixture(means), 400, temperature=1, seed=0)
    assert drawn.std().item() == pytest.approx(1, abs=0.1)


def test_too_few_good_images_give_no_mixture() -> None:
    with pytest.raises(FolderError, match="9 readable images; expected 10"):
        fit_mixture(torch.randn(9, 2))


def test_traversals_move_one_dimension_and_are_sorted_by_kl() -> None:
    model, image = detector(latent_size=4), photographs(1)[0]
    with torch.no_grad():
        weight, bias = list(model.model.encoder.parameters())[-2:]
        weight.zero_()
        bias.copy_(torch.tensor([1.0, 3.0, 0.0, -2.0, 0, 0, 0, 0]))  # means, log-variances
    found = latent.traverse(model, image, steps=3, most=9)
    assert found.dimensions == [1, 3, 0]  # the third one is not active
    np.testing.assert_allclose(found.kl, [4.5, 2, 0.5], rtol=1e-4)
    np.testing.assert_allclose(found.own, [3, -2, 1], rtol=1e-4)
    assert found.values == [-3, 0, 3]
    expected = latent.decode(model, torch.tensor([[1.0, 3.0, 0.0, -3.0]]))
    assert np.array_equal(found.frames[1, 0], expected[0])
    by_effect = latent.traverse(model, image, steps=3, most=2, by_effect=True)
    assert by_effect.effect == sorted(found.effect, reverse=True)[:2]
    with torch.no_grad():
        bias.zero_()
    with pytest.raises(ModelFileError, match="posterior collapse"):
        latent.traverse(model, image, steps=3, most=9)


def test_a_model_of_places_is_traversed_at_all_of_them() -> None:
    model, image = detector("patch", latent_size=4), photographs(1)[0]
    with torch.no_grad():
        weight, bias = list(model.model.encoder.parameters())[-2:]
        weight[0] *= 30
        weight[1:] = 0
        bias.copy_(torch.tensor([0.0, 2, 0.2, 0, 0, 0, 0, 0]))
        posterior = model.model.encode(model.features(unit_range(torch.from_numpy(image[None]))))
        moved = posterior.mean.clone()
        moved[..., 1] = 3
        expected = model.model.expected(moved) - model.model.expected(posterior.mean)
    found = latent.traverse(model, image, steps=2, most=9)
    assert sorted(found.dimensions) == [0, 1, 2]  # the last says nothing
    assert found.kl == sorted(found.kl, reverse=True)
    varied, fixed = found.dimensions.index(0), found.dimensions.index(1)
    border, (height, width) = model.features.border, model.features.map_shape
    inner = (..., slice(border, border + height), slice(border, border + width))
    assert border and found.own.shape == (3, height + 2 * border, width + 2 * border)
    np.testing.assert_allclose(found.own[varied][inner], posterior.mean[0, ..., 0], rtol=1e-5)
    np.testing.assert_allclose(found.own[fixed], 2)
    np.testing.assert_allclose(found.kl[fixed], 2, rtol=1e-3)
    assert found.frames.shape == (3, 2, *found.own.shape[1:])
    np.testing.assert_allclose(
        found.frames[fixed, 1][inner], expected[0].square().mean(-1).sqrt(), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["dense", "patch"])
def test_latents_differ_by_what_they_stand_for(kind: str) -> None:
    model = detector(kind)
    shape = (2, 1, 1, 3) if kind == "patch" else (2, 3)
    one, other = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    found = latent.difference(model, one, other)
    if kind == "dense":
        drawn = [latent.decode(model, each).astype(float) / 255 for each in (one, other)]
        np.testing.assert_allclose(found, np.abs(drawn[0] - drawn[1]).mean(-1), atol=0.005)
    else:
        assert found.shape == (2, 1, 1)
    assert not latent.difference(model, one, one).any()


def test_the_dimensions_of_codes_are_not_traversed() -> None:
    with pytest.raises(ModelFileError, match="codebook: single dimensions"):
        latent.traverse(detector("vq"), photographs(1)[0], steps=3, most=3)


def test_a_plane_of_two_dimensions_is_these_and_of_more_the_widest() -> None:
    means = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [0.1, 3, 0.1, 1, 0.1]
    )
    points, _names = latent.plane(means[:, :2])
    np.testing.assert_allclose(points, means[:, :2])
    points, names = latent.plane(means)
    assert abs(np.corrcoef(points[:, 0], means[:, 1])[0, 1]) > 0.98
    assert abs(np.corrcoef(points[:, 1], means[:, 3])[0, 1]) > 0.98
    total = means.var(0, correction=0).sum().item()
    assert f"{points[:, 0].var() / total:.0%}" in names[0]
    assert latent.plane(means[:, :1])[0].shape == (30, 2)
    with pytest.raises(FolderError, match="2 readable images; expected 3"):
        latent.plane(means[:2])


@pytest.mark.parametrize("images", [3, 40])
def test_t_sne_keeps_neighbours_together(images: int) -> None:
    means = torch.randn(images, 5, generator=torch.Generator().manual_seed(0))
    means[images // 2 :] += 20
    points, names = latent.plane(means, "tsne")
    assert names == ("t-SNE 1", "t-SNE 2")
    assert points.shape == (images, 2)
    if images == 40:
        nearest = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(images)
        assert ((nearest.argmin(1) < 20) == (np.arange(images) < 20)).all()


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_the_table_has_a_row_per_image_and_no_formula(name: str, tmp_path: Path) -> None:
    mean, log_variance = np.array([[1.5, -2], [0, 1]]), np.array([[-1.0, -3], [-0.25, 0]])
    path = tmp_path / name
    save_table(["a/=1.png", "=b.png"], ["a", ""], np.array([3.5, -1]), mean, log_variance, path)
    if name == "t.csv":
        table = pd.read_csv(path, keep_default_na=False)
    else:
        pytest.importorskip("pyarrow", reason="is in the extra parquet")
        table = pd.read_parquet(path)
    assert table["path"].tolist() == ["a/=1.png", "./=b.png"]
    assert table["class"].tolist() == ["a", ""]
    assert table[["mean_0", "mean_1"]].to_numpy().tolist() == mean.tolist()
    assert table[["log_variance_0", "log_variance_1"]].to_numpy().tolist() == log_variance.tolist()


def test_pictures_are_written_as_they_are(tmp_path: Path) -> None:
    pictures = photographs(3)
    save_pictures(pictures, tmp_path / "parts")
    read = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "parts").iterdir())]
    assert np.array_equal(read, pictures)
    save_grid(np.repeat(pictures, 4, 1).repeat(4, 2), tmp_path / "grid.png")
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape == (260, 260, 3)
    assert np.array_equal(grid[132:, :128], pictures[2].repeat(4, 0).repeat(4, 1))


def test_an_animation_goes_there_and_back(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 5).astype(np.uint8)
    save_animation(np.tile(grey[:, None, None, None], (1, 32, 32, 3)), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.info["loop"] == 0
        seen = []
        for number in range(film.n_frames):
            film.seek(number)
            seen.append(np.asarray(film.convert("L")).mean())
    np.testing.assert_allclose(seen, grey[[0, 1, 2, 3, 4, 3, 2, 1]], atol=3)
