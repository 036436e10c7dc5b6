"""The loss: schedules at given steps, and hand-worked numbers of each form of the KL term."""

import pytest
import torch

from anomaly_vae.settings.schema import Config, ModelSettings, TrainingSettings
from anomaly_vae.vae.model import Posterior, kl_divergence
from anomaly_vae.vae.objective import Objective

ERROR = torch.tensor([10.0, 20.0])
# Two items, two latent dimensions: means over the batch 1.0 and 0.2, together 1.2 nats.
KL = torch.tensor([[0.2, 0.1], [1.8, 0.3]])


def objective(beta: float = 2.0, **settings: object) -> Objective:
    training = TrainingSettings(**{"epochs": 10, "steps_per_epoch": 10, **settings})
    return Objective(Config(model=ModelSettings(beta=beta), training=training))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kl_warmup": 0.0}, {0: 1, 50: 1, 99: 1}),
        ({"kl_warmup": 0.2}, {0: 0, 1: 0.05, 10: 0.5, 20: 1, 99: 1}),
        ({"kl_warmup": 1.0}, {0: 0, 50: 0.5, 99: 0.99}),
        # Four cycles of 25 steps, the first half of each rises.
        (
            {"kl_warmup": 0.5, "cycles": 4},
            {0: 0, 5: 0.4, 12: 0.96, 13: 1, 24: 1, 25: 0, 30: 0.4, 50: 0, 74: 1, 75: 0, 99: 1},
        ),
        # Three cycles of 33 steps and a third.
        ({"kl_warmup": 1.0, "cycles": 3}, {33: 0.99, 34: 0.02, 66: 0.98, 67: 0.01}),
    ],
)
def test_the_warm_up_at_given_steps(
    settings: dict[str, object], expected: dict[int, float]
) -> None:
    rises = objective(**settings)
    assert {step: rises.risen(step) for step in expected} == pytest.approx(expected)


def test_every_cycle_begins_anew_whatever_the_number_of_steps() -> None:
    for cycles, steps in ((3, 7), (49, 4), (10, 30), (6, 11)):
        rises = objective(epochs=cycles, steps_per_epoch=steps, cycles=cycles, kl_warmup=0.5)
        assert [rises.risen(cycle * steps) for cycle in range(cycles)] == [0.0] * cycles
        assert [rises.risen((cycle + 1) * steps - 1) for cycle in range(cycles)] == [1.0] * cycles


def test_plainly_it_is_the_evidence_bound_with_a_weight() -> None:
    assert objective()(ERROR, KL).item() == pytest.approx(15 + 2 * 1.2)
    assert objective()(ERROR, KL, 0.25).item() == pytest.approx(15 + 0.5 * 1.2)
    assert objective(beta=0.0)(ERROR, KL).item() == 15
    assert objective().per_item(ERROR, KL, 0.5).tolist() == pytest.approx([10.3, 22.1])


def test_free_bits_count_in_the_mean_over_the_batch() -> None:
    # max(1.0, 0.5) + max(0.2, 0.5); the maximum item by item would be 0.5 + 1.8 in the first.
    assert objective(free_bits=0.5)(ERROR, KL).item() == pytest.approx(15 + 2 * 1.5)
    assert objective(free_bits=0.5)(ERROR, KL, 0.5).item() == pytest.approx(15 + 1.5)
    assert objective(free_bits=0.1)(ERROR, KL).item() == pytest.approx(15 + 2 * 1.2)


def test_a_capacity_is_the_distance_to_a_target_that_rises() -> None:
    assert objective(capacity=3.0)(ERROR, KL).item() == pytest.approx(15 + 2 * 1.8)
    assert objective(capacity=3.0)(ERROR, KL, 0.5).item() == pytest.approx(15 + 2 * 0.3)
    assert objective(capacity=3.0)(ERROR, KL, 0.1).item() == pytest.approx(15 + 2 * 0.9)
    assert objective(capacity=3.0).per_item(ERROR, KL).tolist() == [10, 20]


def slopes(loss: Objective, mean: list[float]) -> list[float]:
    """How the loss changes with the means of one item whose variances are those of the prior."""
    means = torch.tensor([mean], requires_grad=True)
    loss(torch.zeros(1), kl_divergence(Posterior(means, torch.zeros(1, len(mean))))).backward()
    assert means.grad is not None
    return means.grad[0].tolist()


def test_only_what_is_above_the_free_bits_is_punished() -> None:
    # KL of a mean m at the variance of the prior is m² / 2, which has the slope m.
    assert slopes(objective(), [0.4, 2.0]) == pytest.approx([0.8, 4.0])
    assert slopes(objective(free_bits=0.5), [0.4, 2.0]) == pytest.approx([0.0, 4.0])


def test_below_its_capacity_the_kl_is_pulled_up() -> None:
    # 0.08 + 2 nats: below 3, above 1.
    assert slopes(objective(capacity=3.0), [0.4, 2.0]) == pytest.approx([-0.8, -4.0])
    assert slopes(objective(capacity=1.0), [0.4, 2.0]) == pytest.approx([0.8, 4.0])
