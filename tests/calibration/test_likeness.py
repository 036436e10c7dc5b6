"""What marked defects have in common is learned, and kept only where it helps to find others."""

import numpy as np
import pytest

from anomaly_vae.calibration.likeness import BEYOND, WEIGHT, added_unseen, learn_direction, left_out

ALONG = np.array([3.0, 0, 0, 0, 0, 0, 0, 0])
NAMES = [str(number) for number in range(100)]


@pytest.fixture
def good() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(100, 8))


def defects(count: int, along: np.ndarray, seed: int = 1) -> np.ndarray:
    return along + np.random.default_rng(seed).normal(size=(count, 8))


def test_the_direction_is_that_of_the_defects_in_the_spread_of_good_ones(good: np.ndarray) -> None:
    direction = learn_direction(good, defects(10, ALONG))
    assert np.abs(direction.weights).argmax() == 0
    assert np.median(direction.of(good)) == pytest.approx(0)
    assert 1.4826 * np.median(np.abs(direction.of(good))) == pytest.approx(1)
    # What lies the other way, as a defect of another kind may, loses nothing.
    assert direction.added(-ALONG[None]) == 0
    assert direction.added(ALONG[None]) == pytest.approx(
        WEIGHT * (direction.of(ALONG[None]) - BEYOND)
    )


def test_it_helps_where_left_out_defects_are_like_the_others(good: np.ndarray) -> None:
    scores, bad_scores = (
        np.random.default_rng(seed).normal(size=n) for seed, n in ((2, 100), (3, 10))
    )
    alike = left_out(good, defects(10, ALONG), NAMES, scores, bad_scores + 1)
    assert alike.helps
    assert alike.told_apart > 0.9
    assert alike.joint.auroc > alike.joint.other_auroc
    by_chance = left_out(good, defects(10, 0 * ALONG), NAMES, scores, bad_scores + 1)
    assert not by_chance.helps
    assert by_chance.p_value > 0.025
    # Nothing can be gained where all are found without it.
    assert not left_out(good, defects(10, ALONG), NAMES, scores, bad_scores + 20).helps


def test_a_dozen_good_photographs_suffice(good: np.ndarray) -> None:
    gained = left_out(good[:12], defects(5, ALONG), NAMES[:12], np.zeros(12), np.zeros(5))
    assert gained.found.of == 5


def test_copies_of_a_photograph_are_left_out_together(good: np.ndarray) -> None:
    """One that is a defect but for its label pulls the direction away from its copies."""
    good[:2] = 2 * ALONG
    bad = defects(10, ALONG)
    apart = added_unseen(good, bad, NAMES)
    together = added_unseen(good, bad, ["0", "0", *NAMES[2:]])
    assert together[0] == together[1]
    assert together[0] != apart[0]
