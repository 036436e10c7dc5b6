"""What is counted in places keeps its meaning where there are more of them."""

import pytest
import torch

from anomaly_vae.scoring.factory import build_detector, finer
from anomaly_vae.settings.files import load_config

SMALL = ("images.size=64", "model.latent_size=3", "model.hidden_size=8", "features.components=8")


def test_without_detail_nothing_changes() -> None:
    config = load_config(None, SMALL)
    assert finer(config) == config


@pytest.mark.parametrize("detail", [2, 3, 2.5])
def test_a_finer_map_is_judged_by_the_same_strip_and_as_many_places(detail: float) -> None:
    top = "scoring.top_fraction=0.1"
    usual = build_detector(load_config(None, [*SMALL, top]))
    fine = build_detector(load_config(None, [*SMALL, top, f"images.detail={detail}"]))
    share = usual.features.border / usual.features.grid[0]
    # to the next place
    assert abs(fine.features.border / fine.features.grid[0] - share) <= 0.5 / fine.features.grid[0]
    counts = [
        each.highest(torch.zeros(1, *each.features.map_shape)).shape[1] for each in (usual, fine)
    ]
    # As many at the least: the border takes less of a finer map, by its rounding alone.
    assert counts[0] <= counts[1] <= 2 * counts[0]


def test_what_is_usual_is_averaged_as_far_as_parts_move() -> None:
    detector = build_detector(load_config(None, [*SMALL, "images.detail=2"]))
    one = torch.zeros(detector.features.map_shape)
    one[5, 5] = 25
    expected = torch.zeros_like(one)
    expected[3:8, 3:8] = 1  # two places on each side are what one is without detail
    assert torch.allclose(detector._smooth(one), expected)


def test_the_level_of_a_finer_map_counts_no_more_for_being_steadier() -> None:
    usual, fine = (
        build_detector(load_config(None, [*SMALL, f"images.detail={detail}"])) for detail in (1, 2)
    )
    rng = torch.Generator().manual_seed(0)
    weights = []
    for each in (usual, fine):
        error = torch.randn(400, *each.features.map_shape, generator=rng)
        each.standardise(error, torch.zeros_like(error))
        weights.append(float(each.whole_weight))
    assert weights[0] > 0
    assert weights[1] == pytest.approx(weights[0], rel=0.5)


def test_the_mean_of_the_map_stays_the_mean() -> None:
    config = load_config(None, [*SMALL, "scoring.top_fraction=1", "images.detail=2"])
    assert finer(config).scoring.top_fraction == 1
