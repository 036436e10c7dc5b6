"""The diffusion in the latent space: it draws what lies where the good images lie."""

import pytest
import torch

from anomaly_vae.errors import FolderError
from anomaly_vae.latent.diffusion import Diffusion, fit_diffusion
from anomaly_vae.vae.model import Posterior


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    """200 images of two kinds, which lie 6 apart, each within 0.2 of its middle."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.where(torch.arange(200)[:, None] % 2 > 0, 3.0, -3.0) * torch.tensor([1.0, 0.5])
    means = kinds + 0.2 * torch.randn(200, 2, generator=generator)
    return Posterior(means, torch.full((200, 2), -6.0))


@pytest.fixture(scope="module")
def diffusion(posterior: Posterior) -> Diffusion:
    return fit_diffusion(posterior)


def test_both_kinds_are_drawn_and_little_between_them(
    diffusion: Diffusion, posterior: Posterior
) -> None:
    drawn = diffusion.draw(500, temperature=1, seed=1)
    first = drawn[:, 0] > 0
    assert 0.35 < first.float().mean() < 0.65
    nearest = torch.cdist(drawn, posterior.mean).amin(1)
    # One Gaussian of their mean and covariance lies as near for a quarter of its draws.
    assert (nearest < 0.4).float().mean() > 0.85
    for kind, middle in ((first, 3.0), (~first, -3.0)):
        assert drawn[kind, 0].median() == pytest.approx(middle, abs=0.3)


def test_a_seed_draws_the_same_and_without_noise_there_is_one_part(diffusion: Diffusion) -> None:
    one, same, other = (diffusion.draw(3, temperature=1, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    usual = diffusion.draw(3, temperature=0, seed=4)
    assert torch.equal(usual[0], usual[1])


def test_a_few_images_do_not_tell_where_good_parts_lie(posterior: Posterior) -> None:
    with pytest.raises(FolderError, match="holds 9 readable images; expected 10"):
        fit_diffusion(Posterior(*(each[:9] for each in posterior)))
