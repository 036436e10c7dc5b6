"""Which latents are in use: posteriors made by hand, of which everything is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from anomaly_vae.latent.collapse import LatentUse, latent_use, mutual_information, remedies
from anomaly_vae.settings.schema import Config, ModelSettings, TrainingSettings
from anomaly_vae.training.items import Items
from anomaly_vae.vae.model import VAE, Posterior, kl_divergence

from ..small import Given


def information(mean: Tensor, log_variance: Tensor) -> float:
    posterior = Posterior(mean.double(), log_variance.double())
    return mutual_information(posterior, torch.Generator().manual_seed(0))


def test_the_prior_itself_says_nothing() -> None:
    assert information(torch.zeros(50, 3), torch.zeros(50, 3)) == pytest.approx(0, abs=1e-9)


def test_posteriors_that_are_all_alike_say_nothing_however_far_from_the_prior() -> None:
    mean, log_variance = torch.full((50, 3), 2.0), torch.full((50, 3), -4.0)
    assert kl_divergence(Posterior(mean, log_variance)).sum(1).mean() > 10
    assert information(mean, log_variance) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("count", [2, 5, 300])
def test_separated_posteriors_tell_all_items_apart(count: int) -> None:
    mean = torch.stack([torch.arange(count) - count / 2, torch.zeros(count)], 1)
    found = information(mean, torch.full((count, 2), -10.0))
    assert found == pytest.approx(math.log(count), abs=1e-6)


def test_pairs_of_equal_posteriors_halve_what_can_be_told_apart() -> None:
    mean = torch.arange(8.0).repeat(2)[:, None]
    assert information(mean, torch.full((16, 1), -10.0)) == pytest.approx(math.log(8), abs=1e-6)


def test_a_gaussian_channel_has_the_information_of_the_closed_form() -> None:
    # Means of variance 1 - v and posteriors of variance v: together N(0, 1), I = -log(v) / 2.
    variances = torch.tensor([0.25, 0.6])
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(2000, 2, generator=generator) * (1 - variances).sqrt()
    expected = (-0.5 * variances.log()).sum().item()
    assert information(mean, variances.log().expand(2000, 2)) == pytest.approx(expected, abs=0.05)


class Known(VAE):
    """An encoder whose posterior has the items for means, and the variance of the prior."""

    def __init__(self, size: int) -> None:
        super().__init__(ModelSettings(latent_size=size), (size,))

    def encode(self, x: Tensor) -> Posterior:
        return Posterior(x, torch.zeros_like(x))


def test_each_dimension_has_its_kl_and_its_activity() -> None:
    rows = np.array([[1.0, 0.09, 3.0], [-1.0, -0.09, 3.0]], np.float32)
    use = latent_use(Known(3), Items(rows, Given((3,), (1, 1)), torch.device("cpu")), seed=0)
    assert use.kl == pytest.approx([0.5, 0.00405, 4.5], rel=1e-5)
    # Variance of the means; the third dimension is far from the prior but never moves.
    assert use.activity == pytest.approx([1.0, 0.0081, 0.0], rel=1e-5)
    assert use.active == [True, False, False]
    assert use.items == 2


def test_of_many_items_some_thousand_are_looked_at_from_first_to_last() -> None:
    rows = np.linspace(-1, 1, 5001, dtype=np.float32)[:, None]
    use = latent_use(Known(1), Items(rows, Given((1,), (1, 1)), torch.device("cpu")), seed=0)
    assert use.items == 2000
    assert use.activity[0] == pytest.approx(1 / 3, rel=0.01)


def use(activity: list[float], information: float = 3.1) -> LatentUse:
    return LatentUse([0.5] * len(activity), activity, information, 100, "images")


def test_the_summary_says_what_is_known() -> None:
    assert use([0.5] * 12 + [0.0] * 4).summary == (
        "12 of 16 latent dimensions are active, KL 8.0 nats, mutual information about 3.1 nats"
    )
    assert use([0.5], math.log(100) - 0.01).summary.endswith(
        "about 4.6 nats (all that 100 held-out images can show)"
    )


def test_latents_in_use_need_no_remedy() -> None:
    for active, size in ((2, 2), (1, 2), (2, 16), (4, 32), (1, 8)):
        assert remedies(use([0.5] * active + [0.0] * (size - active)), Config()) == ""


@pytest.mark.parametrize(
    ("beta", "training", "expected"),
    [
        (
            8.0,
            {"kl_warmup": 0.0},
            "lower model.beta (now 8), or lengthen training.kl_warmup (now 0), or do not punish "
            "the first nats (training.free_bits=0.1)",
        ),
        (
            8.0,
            {"kl_warmup": 0.5, "free_bits": 0.01},
            "lower model.beta (now 8), or repeat the warm-up (training.cycles=4), or raise "
            "training.free_bits (now 0.01 nats)",
        ),
        (
            8.0,
            {"kl_warmup": 0.5, "cycles": 3},
            "lower model.beta (now 8), or do not punish the first nats (training.free_bits=0.1)",
        ),
        (
            0.5,
            {"capacity": 0.1},
            "raise training.capacity (now 0.1 nats), or raise model.beta (now 0.5), which weighs "
            "the distance to it",
        ),
        (0.0, {}, "raise training.epochs (now 40), or training.learning_rate"),
    ],
)
def test_remedies_fit_the_settings(beta: float, training: dict[str, float], expected: str) -> None:
    config = Config(model=ModelSettings(beta=beta), training=TrainingSettings(**training))
    said = remedies(use([0.0] * 16, 0.01), config)
    what = "posterior collapse, or nearly: 0 of 16 latent dimensions are active and say 0.0 nats "
    assert said == what + "about what is seen; " + expected
    nearly = remedies(use([0.5] + [0.0] * 15, 0.7), config)
    assert "1 of 16 latent dimensions are active and say 0.7 nats" in nearly
    assert nearly.endswith(", or if so few are enough, lower model.latent_size (now 16)")


def test_active_dimensions_that_hardly_say_anything_are_not_enough() -> None:
    assert "2 of 4" in remedies(use([0.02, 0.02, 0, 0], 0.05), Config())


def test_of_a_single_image_nothing_can_be_said() -> None:
    assert remedies(LatentUse([3.0], [0.0], 0.0, 1, "images"), Config()) == ""
