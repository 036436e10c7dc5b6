"""The latent space in pictures: what lies at a point of it, and what its dimensions mean.

Pictures are uint8 [N, S, T, 3], as the model sees parts: turned onto the mean good one, and with
three equal channels where it sees luminance only. They are not turned back, so that a pixel means
the same place of the part in all of them.

Letters: N images, S x T pixels, h x w places of a trunk's map and b of its border on each side, D
latent dimensions, T values of a dimension or frames of a path.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from anomaly_vae.errors import FolderError, ModelFileError
from anomaly_vae.scoring.batches import in_batches
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.vae.architectures import QuantisedVAE
from anomaly_vae.vae.features import PixelFeatures
from anomaly_vae.vae.maps import with_border
from anomaly_vae.vae.model import Posterior, kl_divergence

Pictures = NDArray[np.uint8]
Plane = Literal["pca", "tsne"]

_FEWEST = 3
# What a mean that varies by 0.01, the bound of Burda et al. (2016) for active dimensions, costs
# where the posterior is right: (0.01 + 0.99 - log 0.99 - 1) / 2.
_ACTIVE_NATS = 0.005
_BATCH = 16


class Traversal(NamedTuple):
    """What single latent dimensions do to one part, a row for each of some dimensions."""

    dimensions: list[int]
    """The active ones, the one with the largest KL or effect first."""
    kl: list[float]
    """Of this image, in nats; of a model of places the mean over them."""
    effect: list[float]
    """Mean ``difference`` between its ends."""
    own: NDArray[np.float32]
    """[rows] or [rows, h + 2 b, w + 2 b], where the image itself lies, in standard deviations of
    the prior."""
    values: list[float]
    """What each dimension is set to."""
    frames: NDArray[Any]
    """Pictures, uint8 [rows, T, S, T, 3]; of a model of trunk features, which cannot draw, the
    ``difference`` to the image itself, float32 [rows, T, h + 2 b, w + 2 b]."""


def pixel_features(detector: Detector) -> PixelFeatures:
    """Give the features of a model that can decode pictures.

    Raises:
        ModelFileError: it is a model of trunk features.
    """
    if not isinstance(detector.features, PixelFeatures):
        raise ModelFileError(
            "this model sees features of a trunk and cannot draw pictures; train one with "
            "--features pixels for that"
        )
    return detector.features


def encode(detector: Detector, images: Pictures) -> Posterior:
    """Give mean and log-variance, both [N, D], of images, uint8 [N, S, T, 3].

    A model of trunk features has a posterior at each location: both are averaged over the map.
    """

    def averaged(batch: Tensor) -> tuple[Tensor, ...]:
        found = _posterior(detector, batch)
        if not detector.model.kl_per_location:
            return found
        return tuple(each.flatten(1, -2).mean(1) for each in found)

    return Posterior(*in_batches(detector, averaged, images))


def _posterior(detector: Detector, images: Tensor) -> Posterior:
    """Encode a batch of images, uint8 [N, S, T, 3]; at each location if the model does so."""
    return detector.model.encode(detector.features(detector.aligned(images)[0]))


@torch.no_grad()
def decode(detector: Detector, z: Tensor) -> Pictures:
    """Draw the parts at ``z``, [N, D].

    Raises:
        ModelFileError: see ``pixel_features``.
    """
    features = pixel_features(detector)
    detector.eval()
    batches = torch.split(z.to(detector.center), _BATCH)
    return to_pictures(
        torch.cat([features.restored(detector.model.expected(each)) for each in batches])
    )


@torch.no_grad()
def redrawn(detector: Detector, items: Tensor) -> tuple[Pictures, Pictures]:
    """Give items that a model of pixels learns from, [N, C, S, T], and their reconstructions."""
    seen = to_pictures(pixel_features(detector).restored(items))
    detector.eval()
    return seen, decode(detector, detector.model.encode(items).mean)


@torch.no_grad()
def as_seen(detector: Detector, images: Pictures) -> Pictures:
    """Give images, uint8 [N, S, T, 3], as the model sees them."""
    aligned, _ = detector.aligned(torch.from_numpy(images).to(detector.center.device))
    features = detector.features
    return to_pictures(features.raw(aligned) if isinstance(features, PixelFeatures) else aligned)


@torch.no_grad()
def difference(detector: Detector, one: Tensor, other: Tensor) -> Tensor:
    """Give how far apart what two sets of latents, [N, D] or [N, h, w, D], stand for is.

    For each pixel, [N, S, T], the mean over channels, as a share of white. With trunk features, for
    each place, [N, h, w], the root mean square over channels, in standard deviations of good parts.
    """
    detector.eval()
    features = detector.features
    one, other = (detector.model.expected(each) for each in (one, other))
    if isinstance(features, PixelFeatures):
        one, other = (features.restored(each).clamp(0, 1) for each in (one, other))
        return (one - other).abs().mean(1)
    return (one - other).square().mean(-1).sqrt()


def to_pictures(pixels: Tensor) -> Pictures:
    """Make pictures of pixels in [0, 1], [N, 1 or 3, S, T]; what lies outside is clipped."""
    shown = (pixels.clamp(0, 1) * 255).round().byte().expand(-1, 3, -1, -1)
    pictures: Pictures = shown.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pictures


def unevenness(frames: Pictures) -> float:
    """Give the largest step between neighbouring frames, [T, S, T, 3], over the mean step.

    A step is a root mean square difference of pixels; 1 is perfectly even.
    """
    steps = np.sqrt(np.square(np.diff(frames.astype(np.float64), axis=0)).mean((1, 2, 3)))
    return float(steps.max() / steps.mean()) if steps.any() else 1.0


def _active_dimensions(detector: Detector, image: Pictures) -> tuple[Tensor, Tensor, Tensor]:
    """Give the posterior mean of one image, the KL of each dimension, and those that say much."""
    if isinstance(detector.model, QuantisedVAE):
        raise ModelFileError(
            "this model has a codebook: single dimensions of a code mean nothing; train one of "
            "another model.kind to traverse its latent space"
        )
    detector.eval()
    posterior = _posterior(detector, torch.from_numpy(image[None]).to(detector.center.device))
    kl = kl_divergence(posterior).flatten(0, -2).mean(0).cpu()
    active = (kl > _ACTIVE_NATS).nonzero()[:, 0]
    if not len(active):
        raise ModelFileError(
            "posterior collapse: no latent dimension says anything about this part; train again "
            "with a lower model.beta"
        )
    return posterior.mean, kl, active


def _at(mean: Tensor, dimension: Tensor, values: Tensor) -> Tensor:
    """Give latents of an image, one for each of ``values``, with a dimension set to it."""
    z = mean.repeat(len(values), *[1] * (mean.dim() - 1))
    z[..., dimension] = values.to(z).reshape(-1, *[1] * (mean.dim() - 2))
    return z


@torch.no_grad()
def traverse(
    detector: Detector, image: Pictures, *, steps: int, most: int, by_effect: bool = False
) -> Traversal:
    """Set each active dimension of one image, uint8 [S, T, 3], to values from -3 to 3.

    They are standard deviations of the prior; all other dimensions stay as they are. A model of
    places has its dimension set at all of them. At most ``most`` dimensions are shown, those with
    the largest KL or the largest effect first.

    Raises:
        ModelFileError: no dimension is active, or none has a meaning.
    """
    mean, kl, active = _active_dimensions(detector, image)

    def effect(dimension: Tensor) -> float:
        low, high = (_at(mean, dimension, torch.tensor([end])) for end in (-3.0, 3.0))
        return difference(detector, low, high).mean().item()

    def frames(z: Tensor) -> NDArray[Any]:
        if isinstance(detector.features, PixelFeatures):
            return decode(detector, z)
        return with_border(difference(detector, mean, z), detector.features.border).cpu().numpy()

    shown = active[kl[active].argsort(descending=True, stable=True)]
    effects = torch.tensor([effect(each) for each in (shown if by_effect else shown[:most])])
    if by_effect:
        order = effects.argsort(descending=True, stable=True)
        shown, effects = shown[order], effects[order]
    shown, effects = shown[:most], effects[:most]
    values = torch.linspace(-3, 3, steps)
    own = mean[0].movedim(-1, 0).cpu()[shown]
    return Traversal(
        shown.tolist(),
        kl[shown].tolist(),
        effects.tolist(),
        (own if own.dim() == 1 else with_border(own, detector.features.border)).numpy(),
        values.tolist(),
        np.stack([frames(_at(mean, each, values)) for each in shown]),
    )


def plane(means: Tensor, method: Plane = "pca") -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Give coordinates, [N, 2], of posterior means, [N, D], in a plane, and names of its axes.

    Two dimensions are shown as they are; more by their principal components, whose distances mean
    something, or by t-SNE (van der Maaten and Hinton, JMLR 2008), which keeps neighbours together
    and nothing else.

    Raises:
        FolderError: there are too few images for a plane.
    """
    if len(means) < _FEWEST:
        raise FolderError(
            f"the folder holds {len(means)} readable images; expected {_FEWEST} or more"
        )
    rows = means.double().numpy()
    if rows.shape[1] == 1:
        return np.c_[rows, np.zeros(len(rows))], ("z0", "")
    if rows.shape[1] == 2:
        return rows, ("z0", "z1")
    if method == "tsne":
        # A perplexity above a third of the images would have everybody for a neighbour.
        fitted = TSNE(2, perplexity=min(30, (len(rows) - 1) / 3), init="pca", random_state=0)
        return fitted.fit_transform(rows).astype(np.float64), ("t-SNE 1", "t-SNE 2")
    pca = PCA(2).fit(rows)
    first, second = (f"{share:.0%} of the variance" for share in pca.explained_variance_ratio_)
    names = f"principal component 1 ({first})", f"principal component 2 ({second})"
    return pca.transform(rows), names
