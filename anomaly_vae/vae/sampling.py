"""Points of the latent space: drawn from where good parts lie, or on a path.

Letters: N images, D latent dimensions, T steps of a path.
"""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score
from torch import Tensor

from anomaly_vae.errors import FolderError

FEWEST = 10
"""Good images that tell where good parts lie."""
_MIXTURES = (("diag", 1), ("diag", 2), ("diag", 4), ("full", 1), ("full", 2), ("full", 4))
_FOLDS = 5
# Added to the variances of a mixture, of latents whose prior has variance 1.
_SMALLEST_VARIANCE = 1e-3


def refuse_few(means: Tensor) -> None:
    """Refuse latents, [N, D], of too few good images.

    Raises:
        FolderError: they are.
    """
    if len(means) < FEWEST:
        raise FolderError(
            f"--good holds {len(means)} readable images; expected {FEWEST} or more "
            "to know where good parts lie (--from prior needs none)"
        )


def fit_mixture(means: Tensor) -> GaussianMixture:
    """Fit a Gaussian mixture to the posterior means, [N, D], of good images.

    Ex-post density estimation (Ghosh et al., From Variational to Deterministic Autoencoders, ICLR
    2020): samples keep to where good parts really lie, instead of filling the holes between them.
    Number and shape of the components are those with the highest cross-validated likelihood.

    Raises:
        FolderError: there are too few images.
    """
    refuse_few(means)
    rows = means.double().numpy()
    candidates = [
        GaussianMixture(count, covariance_type=shape, reg_covar=_SMALLEST_VARIANCE, random_state=0)
        for shape, count in _MIXTURES
        if shape == "diag" or rows.shape[1] < len(rows)  # fewer rows determine no covariance
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is judged by what it gives
        likelihoods = [cross_val_score(each, rows, cv=_FOLDS).mean() for each in candidates]
        return candidates[int(np.argmax(likelihoods))].fit(rows)


def draw_from_mixture(
    mixture: GaussianMixture, count: int, *, temperature: float, seed: int
) -> Tensor:
    """Draw latents, [count, D]; ``temperature`` scales their distance to their component."""
    mixture.random_state = seed
    drawn, component = mixture.sample(count)
    centers = mixture.means_[component]
    return torch.from_numpy(centers + temperature * (drawn - centers)).float()


def linear_path(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Give ``steps`` points, [T, D], on the line between two latents, [D], ends included."""
    share = torch.linspace(0, 1, steps)[:, None]
    return (1 - share) * start + share * end


def spherical_path(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Give points, [T, D], on the arc between two latents, [D], ends included.

    Spherical interpolation (Shoemake 1985; White, Sampling Generative Networks, 2016): in many
    dimensions a Gaussian lies near a sphere, and the line between two of its points leaves it.
    The direction turns at constant speed, the length changes linearly.
    """
    lengths = torch.stack([start.norm(), end.norm()])
    if lengths.min() == 0:
        return linear_path(start, end, steps)
    first, last = start / lengths[0], end / lengths[1]
    angle = torch.acos((first @ last).clamp(-1, 1))
    if angle.sin() < 1e-3:  # no arc, or no single one
        return linear_path(start, end, steps)
    share = torch.linspace(0, 1, steps)[:, None]
    arc = ((1 - share) * angle).sin() * first + (share * angle).sin() * last
    return arc / angle.sin() * ((1 - share) * lengths[0] + share * lengths[1])
