"""The architectures of the literature: sizes by hand, formulas against torch.distributions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from anomaly_vae.errors import ConfigError
from anomaly_vae.exporting.graph import export_model
from anomaly_vae.exporting.parity import TOLERANCE
from anomaly_vae.latent import space as latent
from anomaly_vae.scoring.batches import parts_of_images, score_images
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.files import config_to_dict, load_config, model_names
from anomaly_vae.settings.schema import Config, ModelSettings
from anomaly_vae.vae.architectures import LadderVAE, QuantisedVAE, build_model
from anomaly_vae.vae.model import VAE, Posterior

from ..small import card, pictures

SETTINGS = {
    "latent_size": 3, "local_latent_size": 2, "codes": 5, "base_channels": 4, "halvings": 3,
}  # fmt: skip


def make(kind: str, **settings: object) -> VAE:
    torch.manual_seed(0)
    model = build_model(ModelSettings(kind=kind, **(SETTINGS | settings)), (3, 32, 32)).eval()
    model.start_from(torch.randn(8, 3, 32, 32))
    return model


def ladder() -> LadderVAE:
    model = make("ladder")
    assert isinstance(model, LadderVAE)
    return model


def quantised(**settings: object) -> QuantisedVAE:
    model = make("vq", **settings)
    assert isinstance(model, QuantisedVAE)
    return model


def test_the_convolutional_model_has_the_sizes_of_the_tutorials() -> None:
    model = build_model(load_config(Path("convolutional")).model, (3, 64, 64))
    convolutions = 3 * 32 * 16 + 32 + 32 * 64 * 16 + 64 + 64 * 128 * 16 + 128
    mirrored = 128 * 64 * 16 + 64 + 64 * 32 * 16 + 32 + 32 * 3 * 16 + 3
    dense = (128 * 8 * 8 + 1) * 2 * 128 + (128 + 1) * 128 * 8 * 8
    assert sum(p.numel() for p in model.parameters()) == convolutions + mirrored + dense


@pytest.mark.parametrize("name", model_names())
def test_every_model_that_comes_with_the_program_scores_images(name: str) -> None:
    config = load_config(Path(name))
    images = np.random.default_rng(0).integers(0, 256, (3, *[config.images.size] * 2, 3), np.uint8)
    scores = score_images(build_detector(config), images)
    assert scores.score.shape == (3,)
    assert all(each.isfinite().all() for each in scores)


def test_a_model_is_named_instead_of_a_file_and_a_file_of_that_name_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("vq-vae"), ["model.codes=7"]).model.codes == 7
    Path("vq-vae").write_text("model: {beta: 0.5}")
    assert load_config(Path("vq-vae")).model.kind == Config().model.kind
    with pytest.raises(ConfigError, match=r"vq-vea: .*or a model that comes with .*vq-vae"):
        load_config(Path("vq-vea"))


def test_the_autoencoder_differs_from_the_convolutional_vae_in_the_kl_alone() -> None:
    baseline, vae = (config_to_dict(load_config(Path(n))) for n in ("autoencoder", "convolutional"))
    assert (baseline["model"]["beta"], baseline["scoring"]["kl_weight"]) == (0, 0)
    baseline["model"]["beta"], baseline["scoring"]["kl_weight"] = 1.0, 1.0
    assert baseline == vae


@pytest.mark.parametrize("kind", ["ladder", "vq"])
def test_the_exported_model_computes_what_torch_computes(kind: str, tmp_path: Path) -> None:
    settings = [f"model.{name}={value}" for name, value in SETTINGS.items()]
    config = load_config(None, ["features.source=pixels", "images.size=64", "features.align=false",
                                f"model.kind={kind}", "model.variance=unit", *settings])  # fmt: skip
    detector = build_detector(config)
    detector.learn_places(*parts_of_images(detector, pictures(4)))
    parity = export_model(detector, card(), tmp_path / "model.onnx", pictures(6))
    assert parity.largest <= TOLERANCE


def test_a_bernoulli_model_that_is_sure_is_exported_as_it_is(tmp_path: Path) -> None:
    config = load_config(Path("kingma-welling"), ["images.size=64", "features.align=false"])
    detector = build_detector(config)
    with torch.no_grad():
        for layer in (detector.model.decoder[0], detector.model.decoder[2]):
            layer.weight.mul_(40)
    detector.learn_places(*parts_of_images(detector, pictures(4)))
    z = latent.encode(detector, pictures(6)).mean
    assert detector.model.decode(z).min() < -30
    export_model(detector, card(), tmp_path / "model.onnx", pictures(6))


def test_a_ladder_has_a_latent_vector_for_the_part_and_one_for_each_place() -> None:
    model = ladder()
    assert model.latent_size == 3 + 2 * 4 * 4
    posterior = model.encode(torch.randn(2, 3, 32, 32))
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 35)
    # A change at one corner of the image leaves the latents of the opposite one as they are.
    x = torch.zeros(1, 3, 32, 32)
    other = x.clone()
    other[..., :4, :4] = 3
    moved = (model.encode(x).mean - model.encode(other).mean)[0, 3:].reshape(2, 4, 4) != 0
    assert moved[:, 0, 0].all()
    assert not moved[:, 3, 3].any()


def test_the_second_level_of_a_ladder_weighs_what_is_seen_with_the_prior() -> None:
    model, x = ladder(), torch.randn(2, 3, 32, 32)
    evidence, doubt = model.encoder.local(model.encoder.body(x)).flatten(1).chunk(2, 1)
    grid = torch.linspace(-30, 30, 200_001, dtype=torch.double)
    seen = Normal(evidence[0, 5].double(), (0.5 * doubt[0, 5].double()).exp())
    density = (seen.log_prob(grid) + Normal(0.0, 1.0).log_prob(grid)).softmax(0)
    mean = (grid * density).sum()
    variance = ((grid - mean) ** 2 * density).sum()
    posterior = model.encode(x)
    assert posterior.mean[0, 3 + 5].item() == pytest.approx(mean.item(), abs=1e-4)
    assert posterior.log_variance[0, 3 + 5].exp().item() == pytest.approx(variance.item(), rel=1e-2)


def test_the_kl_of_the_second_level_is_that_from_the_prior_which_the_first_puts_out() -> None:
    model, x = ladder(), torch.randn(2, 3, 32, 32)
    posterior = model.encode(x)
    mean, log_variance = (each[:, 3:] for each in posterior)
    context = model.decoder.top(posterior.mean[:, :3])
    center, spread = model.decoder.prior(context).flatten(1).chunk(2, 1)
    deviation = (0.5 * spread).exp()
    prior = Normal(center, deviation)
    given = Normal(center + deviation * mean, deviation * (0.5 * log_variance).exp())
    expected = reference_kl(given, prior)
    torch.testing.assert_close(model.divergences(posterior)[:, 3:], expected, rtol=1e-3, atol=1e-4)


def test_the_nearest_code_is_the_one_at_the_smallest_distance() -> None:
    model = quantised()
    z = torch.randn(6, model.latent_size)
    vectors = z.reshape(6, 3, 16).transpose(1, 2)
    expected = torch.cdist(vectors, model.codebook).argmin(-1)
    assert torch.equal(model.nearest(z), expected)


def test_what_is_decoded_are_codes_alone() -> None:
    model = quantised()
    z = torch.randn(2, model.latent_size)
    codes = model.codebook[model.nearest(z)].transpose(1, 2).flatten(1)
    assert not torch.equal(z, codes)
    assert torch.equal(model.decode(z), model.decode(codes))


def test_the_kl_is_minus_the_log_probability_of_the_codes() -> None:
    model = quantised()
    with torch.no_grad():
        model.code_logits.copy_(torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1]).log() + 3)
    z = torch.randn(2, model.latent_size)
    probabilities = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1])[model.nearest(z)]
    posterior = Posterior(z, torch.zeros_like(z))
    torch.testing.assert_close(model.kl(posterior), -probabilities.log().sum(1))
    assert model.divergences(posterior).shape == z.shape


def test_codes_and_encoder_draw_near_to_each_other_and_values_stay_as_they_are() -> None:
    model, x = quantised(), torch.randn(4, 3, 32, 32)
    terms = model.sampled(x, None)
    posterior = model.encode(x)
    torch.testing.assert_close(terms.error, model(x).reconstruction_error.flatten(1).sum(1))
    torch.testing.assert_close(terms.kl.sum(1), model.kl(posterior))
    seen = posterior.mean.detach().requires_grad_()
    error, kl = model.terms(x, posterior, seen)
    (from_error,) = torch.autograd.grad(error.sum(), seen, retain_graph=True)
    (from_kl,) = torch.autograd.grad(kl.sum(), seen)
    codes = model.codebook[model.nearest(seen)].transpose(1, 2).flatten(1).detach()
    torch.testing.assert_close(from_kl, 2 * (seen - codes))
    # The error reaches the encoder as if there were no codebook in between.
    through = codes.clone().requires_grad_()
    decoded = model.error(x, super(QuantisedVAE, model).decode(through)).sum()
    torch.testing.assert_close(from_error, torch.autograd.grad(decoded, through)[0])


def test_the_codebook_begins_with_what_training_images_have() -> None:
    torch.manual_seed(0)
    model = quantised()
    items = torch.randn(8, 3, 32, 32)
    model.start_from(items)
    model.train()
    seen = model.encoder(items).detach().reshape(8, 3, 16).transpose(1, 2).flatten(0, 1)
    assert torch.cdist(model.codebook, seen).amin(1).max() < 1e-3


def test_samples_of_the_prior_have_the_probabilities_of_the_codes() -> None:
    model = quantised()
    with torch.no_grad():
        model.code_logits.copy_(torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1]).log())
    drawn = model.draw_prior(2000, temperature=1, seed=1)
    shares = model.nearest(drawn).flatten().bincount() / (2000 * 16)
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1]), atol=0.02, rtol=0)
    assert torch.equal(drawn, model.draw_prior(2000, temperature=1, seed=1))
    cold = model.nearest(model.draw_prior(3, temperature=0, seed=1))
    assert (cold == 0).all()
