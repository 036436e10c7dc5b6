"""Kinds of defects: the rule by hand, and what it says of itself on drawn directions."""

import math

import numpy as np
import pytest

from anomaly_vae.calibration.kinds import UNKNOWN, Kinds, directions, learn_kinds


def drawn(kinds: int, each: int, noise: float, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Directions around one axis for each kind."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"kind {number}" for number in range(kinds)], each)
    axes = np.repeat(np.eye(60)[:kinds], each, 0)
    return directions(axes + noise * rng.standard_normal(axes.shape)), names.tolist()


def test_the_rule_by_hand() -> None:
    kinds = Kinds(
        names=("a", "b"), examples=(5, 10), means=((1.0, 0.0), (0.0, 1.0)), spread=0.5,
        sharpness=2.0, limit=1.5, left_out=((5, 0, 0), (0, 9, 1)), right=15, strangers=(5, 9),
    )  # fmt: skip
    near = 0.02 / 0.5 - 1 / 5  # squared distances in the spread, less 1 / n of it
    far = (0.9**2 + 0.9**2) / 0.5 - 1 / 10
    name, probability = kinds.named(np.array([0.9, 0.1]))
    assert name == "a"
    assert probability == pytest.approx(1 / (1 + math.exp(-2 * (far - near))))
    name, probability = kinds.named(np.array([-1.0, -1.0]))
    assert name == UNKNOWN
    assert math.isnan(probability)
    assert kinds.unsure == 1


def test_kinds_apart_are_told_apart_and_strangers_are_unknown() -> None:
    described, names = drawn(4, 5, 0.05)
    kinds = learn_kinds(described, names)
    assert (kinds.right, kinds.strangers, kinds.unsure) == (20, (5, 5, 5, 5), 0)
    assert [row[:4] for row in kinds.left_out] == [tuple(row) for row in 5 * np.eye(4, dtype=int)]
    others, true = drawn(5, 20, 0.05, seed=1)
    called = [kinds.named(each) for each in others]
    assert [name for name, _ in called[:80]] == true[:80]
    assert {name for name, _ in called[80:]} == {UNKNOWN}
    # Twenty that are all right promise no certainty.
    assert 0.9 < min(probability for _, probability in called[:80]) < 1


def test_left_out_examples_are_judged_as_new_ones_are() -> None:
    """Also where kinds have few examples, and those of others are many."""
    right, new = [], []
    for seed in range(30):
        described, names = drawn(3, 15, 0.35, seed)
        shown = [*range(5), *range(15, 45)]
        kinds = learn_kinds(described[shown], [names[each] for each in shown])
        right.append(kinds.right / 35)
        own = [kinds.named(each)[0] for each in described[5:15]]
        known = [name for name in own if name != UNKNOWN]
        new += [name == "kind 0" for name in known]
    assert np.mean(right) == pytest.approx(np.mean(new), abs=0.1)


def test_a_direction_has_the_length_one() -> None:
    assert directions(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]
