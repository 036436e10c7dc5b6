"""The VAEs: formulas against torch.distributions and hand-worked numbers."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.distributions import Bernoulli, LowRankMultivariateNormal, Normal
from torch.distributions import kl_divergence as reference_kl

from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config, FeatureSettings, ModelSettings
from anomaly_vae.vae.architectures import build_model
from anomaly_vae.vae.model import (
    VAE,
    Posterior,
    kl_divergence,
    sample,
)
from anomaly_vae.vae.patch import PatchVAE


def make(kind: str, size: int = 32, channels: int = 3, **settings: object) -> VAE:
    torch.manual_seed(0)
    config = Config(
        images=ImageSettings(size=size),
        features=FeatureSettings(source="resnet18" if kind == "patch" else "pixels"),
        model=ModelSettings(kind=kind, latent_size=4, hidden_size=16, base_channels=2, **settings),
    )
    shape = (channels,) if kind == "patch" else (channels, size, size)
    return build_model(config.model, shape).eval()


def test_kl_equals_the_closed_form_of_torch() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    expected = reference_kl(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(Posterior(mean, log_variance)), expected)


def test_kl_equals_a_monte_carlo_estimate() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.tensor([0.7]), torch.tensor([-1.2])
    posterior = Normal(mean, (0.5 * log_variance).exp())
    z = posterior.sample((200_000,))
    estimate = (posterior.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).mean()
    assert kl_divergence(Posterior(mean, log_variance)).item() == pytest.approx(
        estimate.item(), abs=0.01
    )


def test_kl_of_the_prior_itself_is_zero() -> None:
    assert kl_divergence(Posterior(torch.zeros(2), torch.zeros(2))).tolist() == [0, 0]


def test_samples_have_the_moments_of_the_posterior() -> None:
    posterior = Posterior(torch.full((100_000,), 2.0), torch.full((100_000,), math.log(0.25)))
    z = sample(posterior, torch.Generator().manual_seed(0))
    assert z.mean().item() == pytest.approx(2, abs=0.01)
    assert z.std().item() == pytest.approx(0.5, abs=0.01)


def test_the_prior_has_the_temperature_for_its_standard_deviation() -> None:
    model = make("dense")
    drawn = model.draw_prior(5_000, temperature=0.5, seed=1)
    assert drawn.shape == (5_000, 4)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(drawn, model.draw_prior(5_000, temperature=0.5, seed=1))
    assert not model.draw_prior(2, temperature=0, seed=1).any()


def test_the_gradient_passes_through_the_sample() -> None:
    mean = torch.zeros(3, requires_grad=True)
    sample(Posterior(mean, torch.zeros(3)), None).sum().backward()
    assert mean.grad is not None
    assert mean.grad.tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [32, 48, 64])
@pytest.mark.parametrize("kind", ["linear", "image", "dense", "ladder", "vq"])
def test_image_models_give_an_error_per_pixel_and_a_kl_per_image(kind: str, size: int) -> None:
    parts = make(kind, size)(torch.rand(2, 3, size, size))
    assert parts.reconstruction_error.shape == (2, size, size)
    assert parts.kl.shape == (2,)


def test_the_classic_dense_model_has_the_sizes_of_the_paper() -> None:
    config = Config(
        images=ImageSettings(size=28),
        features=FeatureSettings(source="pixels", color=False),
        model=ModelSettings(kind="dense", latent_size=20, hidden_size=400, likelihood="bernoulli"),
    )
    model = build_model(config.model, (1, 28, 28))
    # 784 -> 400 -> 2 x 20, 20 -> 400 -> 784, weights and biases.
    assert sum(p.numel() for p in model.parameters()) == (
        784 * 400 + 400 + 400 * 40 + 40 + 20 * 400 + 400 + 400 * 784 + 784
    )


def test_a_patch_model_treats_every_location_alone() -> None:
    model = make("patch", channels=6)
    items = torch.randn(2, 3, 5, 6)
    whole = model(items)
    single = model(items.reshape(-1, 6))
    assert whole.reconstruction_error.shape == whole.kl.shape == (2, 3, 5)
    torch.testing.assert_close(whole.reconstruction_error.flatten(), single.reconstruction_error)
    torch.testing.assert_close(whole.kl.flatten(), single.kl)


@pytest.mark.parametrize(
    ("variance", "expected"), [("unit", 1.0), ("shared", 0.25), ("channel", 0.25)]
)
def test_the_gaussian_error_uses_the_learned_variance(variance: str, expected: float) -> None:
    model = make("patch", channels=2, variance=variance)
    with torch.no_grad():
        model.log_variance.fill_(math.log(expected))
    x, z = torch.randn(4, 2), torch.randn(4, 4)
    mean = model.decode(z)
    density = Normal(mean, math.sqrt(expected)).log_prob(x).sum(-1)
    torch.testing.assert_close(model.error(x, mean), -density, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", ["patch", "linear"])
@pytest.mark.parametrize("variance", ["channel", "element"])
def test_the_gaussian_error_uses_each_variance_where_it_belongs(kind: str, variance: str) -> None:
    model = make(kind, channels=3, variance=variance)
    with torch.no_grad():
        model.log_variance.normal_(std=0.3)
    x = torch.randn(4, *model.item_shape)
    mean, log_variance = model.decode(torch.randn(4, 4)), model.log_variance
    density = Normal(mean, (0.5 * log_variance).exp()).log_prob(x).sum(model.channel_dim)
    torch.testing.assert_close(model.error(x, mean), -density, rtol=2e-3, atol=2e-3)


def test_a_decoded_variance_is_an_output_of_the_decoder() -> None:
    model = make("image", variance="decoded")
    output = model.decode(torch.randn(2, 4))
    assert output.shape == (2, 6, 32, 32)
    mean, log_variance = output.chunk(2, 1)
    x = torch.rand(2, 3, 32, 32)
    expected = -Normal(mean, (0.5 * log_variance).exp()).log_prob(x).sum(1)
    torch.testing.assert_close(model.error(x, output), expected, rtol=1e-2, atol=1e-2)


def test_the_bernoulli_error_is_minus_the_log_probability() -> None:
    model = make("dense", likelihood="bernoulli")
    x = (torch.rand(2, 3, 32, 32) > 0.5).float()
    logits = model.decode(torch.randn(2, 4))
    expected = -Bernoulli(logits=logits).log_prob(x).sum(1)
    torch.testing.assert_close(model.error(x, logits), expected)


def test_reconstructions_of_a_bernoulli_model_are_probabilities() -> None:
    reconstruction = make("image", likelihood="bernoulli").reconstruct(torch.rand(1, 3, 32, 32))
    assert reconstruction.shape == (1, 3, 32, 32)
    assert 0 <= reconstruction.min() <= reconstruction.max() <= 1


@pytest.mark.parametrize("variance", ["shared", "channel", "decoded"])
def test_the_evidence_bound_has_right_gradients(variance: str) -> None:
    model = make("patch", channels=3, variance=variance).double()
    x = torch.randn(2, 3, dtype=torch.double, requires_grad=True)

    def bound(x: torch.Tensor) -> torch.Tensor:
        terms = model.sampled(x, torch.Generator().manual_seed(1))
        return terms.error + terms.kl.sum(-1)

    assert torch.autograd.gradcheck(bound, (x,))


def test_the_evidence_bound_is_below_an_importance_weighted_estimate_and_that_below_the_truth() -> (
    None
):
    torch.manual_seed(0)
    settings = ModelSettings(kind="linear", latent_size=3, variance="unit")
    model = build_model(settings, (1, 6, 6)).eval()
    x = torch.randn(20, 3) @ torch.randn(3, 36) + torch.randn(20, 36)
    images = x.reshape(20, 1, 6, 6)
    model.start_from(images)
    count, generator = 500, torch.Generator().manual_seed(1)
    with torch.no_grad():
        drawn = [model.sampled(images, generator) for _ in range(count)]
        bounds = -torch.stack([error + kl.sum(-1) for error, kl in drawn])
        mean, log_variance = model.encode(images)
        posterior = Normal(mean, (0.5 * log_variance).exp())
        z = posterior.sample((count,))
        decoded = model.decode(z.flatten(0, 1)).reshape(count, 20, 36)
        weights = Normal(decoded, 1.0).log_prob(x).sum(-1)
        weights += (Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)).sum(-1)
        estimate = weights.logsumexp(0) - math.log(count)
        offset, axes = model.decode(torch.zeros(1, 3)), model.decode(torch.eye(3))
        axes = (axes - offset).flatten(1).T
        truth = LowRankMultivariateNormal(offset.flatten(), axes, torch.ones(36)).log_prob(x)
    bound, error = bounds.mean(0), bounds.std(0) / math.sqrt(count)
    assert (bound <= estimate + 3 * error).all()
    assert (estimate <= truth + 0.3).all()
    assert (truth - estimate).mean() < 0.5 * (truth - bound).mean()


def test_the_score_at_the_mean_is_deterministic() -> None:
    model = make("patch", channels=3)
    assert isinstance(model, PatchVAE)
    x = torch.randn(5, 3)
    assert torch.equal(model(x).reconstruction_error, model(x).reconstruction_error)


def test_a_linear_model_starts_at_the_principal_components() -> None:
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(2, 3 * 32 * 32))
    images = rng.normal(size=(30, 2)) @ shapes + 0.01 * rng.normal(size=(30, 3 * 32 * 32))
    x = torch.from_numpy(images - images.mean(0)).float().reshape(30, 3, 32, 32)
    model = make("linear", variance="element")
    model.start_from(x)
    scores = PCA(4).fit(x.flatten(1).numpy()).transform(x.flatten(1).numpy())
    z = model.encode(x).mean.detach().numpy()
    for mine, theirs in zip(z.T[:2], scores.T[:2], strict=True):
        assert abs(np.corrcoef(mine, theirs)[0, 1]) > 0.9999
    torch.testing.assert_close(model.reconstruct(x), x, atol=0.1, rtol=0)


def test_a_start_with_fewer_images_than_latents_is_possible() -> None:
    model = make("linear", variance="element")
    model.start_from(torch.randn(3, 3, 32, 32))
    assert torch.isfinite(model(torch.randn(1, 3, 32, 32)).reconstruction_error).all()
