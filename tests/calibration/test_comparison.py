"""Two models on the same images: against scikit-learn, exhaustive permutation, and simulation."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, rankdata
from sklearn.metrics import roc_auc_score

from anomaly_vae.calibration.comparison import compare_models
from anomaly_vae.errors import CalibrationError

DEFECTIVE = np.array([False] * 5 + [True] * 5)


def test_areas_and_verdicts_are_those_of_each_model() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=10) + DEFECTIVE, np.round(rng.normal(size=10), 1)
    result = compare_models(first, second, DEFECTIVE, (0.5, 0.0))
    assert result.auroc == pytest.approx(roc_auc_score(DEFECTIVE, first), abs=1e-12)
    assert result.other_auroc == pytest.approx(roc_auc_score(DEFECTIVE, second), abs=1e-12)
    assert result.difference == pytest.approx(result.auroc - result.other_auroc)
    right, other = (first > 0.5) == DEFECTIVE, (second > 0) == DEFECTIVE
    assert result.only_first_right == (right & ~other).sum()
    assert result.only_other_right == (other & ~right).sum()


def test_the_p_value_is_that_of_all_exchanges() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=10) + 2 * DEFECTIVE, rng.normal(size=10)
    ranks = np.stack([rankdata(first), rankdata(second)])
    observed = roc_auc_score(DEFECTIVE, first) - roc_auc_score(DEFECTIVE, second)
    as_large = []
    for swap in product([False, True], repeat=10):
        a, b = np.where(np.array(swap), ranks[::-1], ranks)
        difference = roc_auc_score(DEFECTIVE, a) - roc_auc_score(DEFECTIVE, b)
        as_large.append(abs(difference) >= abs(observed) - 1e-12)
    exact = np.mean(as_large)
    result = compare_models(first, second, DEFECTIVE, (1, 1))
    assert result.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 2000))


def test_mcnemar_is_a_binomial_test_of_the_disagreements() -> None:
    truth = np.array([False] * 10 + [True] * 10)
    first, second = truth.astype(float), truth.astype(float)
    second[[0, 1, 2, 11, 12]] = 1 - second[[0, 1, 2, 11, 12]]
    result = compare_models(first, second, truth, (0.5, 0.5))
    assert (result.only_first_right, result.only_other_right) == (5, 0)
    assert result.verdict_p_value == pytest.approx(binomtest(5, 5).pvalue)


def test_a_model_against_itself_is_no_better() -> None:
    scores = np.random.default_rng(0).normal(size=10)
    result = compare_models(scores, scores, DEFECTIVE, (0, 0))
    assert (result.difference, result.p_value, result.verdict_p_value) == (0, 1, 1)


def test_a_clearly_better_model_is_found_better() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(200) < 100
    result = compare_models(
        rng.normal(size=200) + 2 * truth, rng.normal(size=200) + 0.3 * truth, truth, (1, 1)
    )
    assert result.p_value < 0.01
    assert result.difference_interval[0] > 0


@pytest.mark.parametrize("truth", [np.zeros(10, bool), np.ones(10, bool)])
def test_one_class_alone_is_refused(truth: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match="expected both"):
        compare_models(np.arange(10.0), np.arange(10.0), truth, (0, 0))


@pytest.mark.slow
def test_equal_models_are_called_different_as_rarely_as_the_level_says() -> None:
    rng, runs = np.random.default_rng(2), 100
    truth = np.arange(60) < 40
    small = 0
    for _ in range(runs):
        shared = rng.normal(size=60) + 1.5 * truth
        scores = [shared + 0.7 * rng.normal(size=60) for _ in range(2)]
        small += compare_models(*scores, truth, (1, 1)).p_value <= 0.1
    assert small / runs <= 0.1 + 3 * math.sqrt(0.09 / runs)
