"""A patch model as it runs fastest: channels first throughout, and what is linear folded together.

What is computed is the same, but for rounding:

- what pixels are divided by is in the kernel of the first convolution; their mean is still taken
  off before, for that convolution pads with zero, which is the mean colour then;
- whitened components are measured in the spread that the VAE expects of their reconstruction, and
  what comes from them or goes to them is measured likewise: so no place is divided by it;
- the minus of (item - reconstruction) is in the last layer of the decoder;
- all layers of the VAE are 1 x 1 convolutions, so that nothing is transposed;
- what the VAE makes of the codes of places is a constant, in the place of a bias;
- layers of the size of the grid are averaged where they are judged only, not on its border;
- the linear head of our own trunk is in whitening, which is linear, too;
- the soft bounds of the variance of a latent are one formula, in single precision.

Whitening is not folded into the encoder's first layer: its result is what is reconstructed, so that
it is needed in any case, and from raw channels that layer would take more products, not fewer.

Letters: N images, S x S pixels, C channels, h x w places.
"""

import copy
import math
from functools import reduce
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.functional import avg_pool2d, interpolate, pad

from anomaly_vae.scoring.detector import Detector
from anomaly_vae.vae.alignment import inverse, warp
from anomaly_vae.vae.maps import local_mean, without_border
from anomaly_vae.vae.model import POSTERIOR_RANGE, Posterior, bounded
from anomaly_vae.vae.networks import cut_network
from anomaly_vae.vae.patch import PatchVAE
from anomaly_vae.vae.pieces import in_strips
from anomaly_vae.vae.student import EMBEDDED, HEADED, LAYERS, WINDOW
from anomaly_vae.vae.trunk import TrunkFeatures

_WHITE = 255


def folded(detector: Detector) -> nn.Module:
    """Give what computes the scores of ``detector`` so; itself where it is no such model."""
    features, model = detector.features, detector.model
    if not (
        type(detector) is Detector
        and type(model) is PatchVAE
        and isinstance(features, TrunkFeatures)
        and isinstance(model.encoder, nn.Sequential)
        and isinstance(model.decoder, nn.Sequential)
    ):
        return detector
    layers = [*model.encoder, *model.decoder]
    usual = (
        features.whitened
        and not features.padded
        and features.slices == 1
        and model.variance != "decoded"
        and all(isinstance(each, nn.Linear | nn.ReLU) for each in layers)
        and model.item_shape == features.item_shape
        and _first_convolution(features.trunk) is not None
    )
    return FoldedPatch(detector, features).eval() if usual else detector


class FoldedPatch(nn.Module):
    """From pixels to scores; ``detector`` makes these of error and KL."""

    shift: Tensor
    """[3, 1, 1], the mean of pixels."""

    @torch.no_grad()
    def __init__(self, detector: Detector, features: TrunkFeatures) -> None:
        super().__init__()
        self.detector, model = detector, detector.model
        self.grid, self.border = features.grid, features.border
        self.reach = features.reach
        self.resampled, self.viewed = features.resampled, features.viewed  # they have no weights
        self.half_precision, self.shifted = False, features.source != EMBEDDED
        log_variance = model._gaussian(torch.zeros(features.item_shape))[1]
        log_variance = log_variance.expand(features.item_shape)
        self.constant = float(0.5 * (log_variance + torch.tensor(2 * torch.pi).log()).sum())
        # Half of the squares over the variances is the sum of squares of what is measured in these.
        unit = (-0.5 * log_variance).exp() / 2**0.5
        seen = _without_head(features) or _Seen.of(features)
        self.layers, self.window = seen.layers, seen.window
        self.register_buffer("shift", self._taken_into(seen.trunk, features))
        # Called as in the detector: so the graph says which of its nodes are whose.
        self.features = nn.ModuleDict({"trunk": seen.trunk, "whitening": seen.whitened(unit)})
        codes = features.inner_codes if model.told else None
        self.model = nn.ModuleDict(
            {
                "encoder": _as_convolutions(model.encoder, codes, takes=1 / unit),
                "decoder": _as_convolutions(model.decoder, codes, gives=-unit),
            }
        )

    def in_half_precision(self) -> "FoldedPatch":
        """Let all but the scoring compute in half precision."""
        self.features.half()
        self.model.half()
        self.shift, self.half_precision = self.shift.half(), True
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Score images, uint8 [N, S, S, 3] RGB.

        Gives ``Scores``, and behind them how far each component is from what is expected, in its
        spread, [N, C, h + 2 b, w + 2 b].
        """
        pixels, pose = self.viewed(images.permute(0, 3, 1, 2)), None
        if self.detector.alignment:
            pixels, pose = self.detector.aligned(images)
        residual, *parts = self.parts(pixels.half() if self.half_precision else pixels.float())
        scores = self.detector.join(*(self.detector.placed(each, pose) for each in parts))
        return *scores, self._laid(residual, pose)

    def parts(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Give residuals, [N, C, h, w], and ``Detector.parts``, [N, h, w] each.

        Takes pixels, [N, 3, S, S]; aligned ones in [0, 1].
        """
        pixels = pixels - self.shift if self.shifted else pixels
        maps = in_strips(self.features["trunk"], pixels, self.reach)
        layers = zip(self.layers, self.features["whitening"].children(), strict=True)
        items = reduce(torch.add, [self._whitened(maps[name], layer) for name, layer in layers])
        mean, log_variance = self.model["encoder"](items).chunk(2, 1)
        rest = (items + self.model["decoder"](mean)).float()
        # The formula overflows in half precision, which TensorRT may choose for all of such a file.
        bound = bounded if self.half_precision else _bounded
        posterior = Posterior(mean.float(), bound(log_variance.float(), *POSTERIOR_RANGE))
        kl = self.detector.model.divergences(posterior).sum(1)
        error, residual = rest.square().sum(1) + self.constant, 2**0.5 * rest
        if self.detector.likeness is None:
            return residual, error, kl
        return residual, error, kl, self.detector.likeness(residual.movedim(1, -1))

    def _laid(self, maps: Tensor, pose: Tensor | None) -> Tensor:
        """Lay maps, [N, C, h, w], where they are in the photograph, with their border."""
        features = self.detector.features
        maps = pad(features.whole(maps), (features.border,) * 4, mode="replicate")
        return maps if pose is None else warp(maps, inverse(pose))

    def _whitened(self, maps: Tensor, whiten: nn.Module) -> Tensor:
        """Give what a layer adds to the items, [N, C, h, w]."""
        margin, (height, _) = self.window // 2 - self.border, self.grid
        if maps.shape[2:] == self.grid and self.window > 1 and margin >= 0:
            maps = avg_pool2d(maps, self.window, 1, margin, count_include_pad=False)
            return cast(Tensor, whiten(maps))
        maps = local_mean(maps, self.window)
        if maps.shape[2] < height:  # it is whitened where it has fewer places
            return without_border(_enlarged(whiten(maps), self.grid), self.border)
        return cast(Tensor, whiten(self.resampled(maps, self.border)))

    def _taken_into(self, trunk: nn.Module, features: TrunkFeatures) -> Tensor:
        """Bring what pixels are divided by into the first convolution; gives their mean."""
        white = 1 if self.detector.alignment else _WHITE
        convolution = _first_convolution(trunk)
        assert convolution is not None  # noqa: S101 - see ``folded``
        convolution.weight.div_(white * features.image_std if self.shifted else white)
        return white * features.image_mean


def _bounded(values: Tensor, low: float, high: float) -> Tensor:
    """Give what ``model.bounded`` gives, whose two Softplus are the slowest kernels of a CPU."""
    return low + (1 + math.exp(high - low) / (1 + (high - values).exp())).log()


def _enlarged(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring maps to the grid; by a whole number where it is one, which needs no look at a shape."""
    factors = [wanted // side for wanted, side in zip(grid, maps.shape[2:], strict=True)]
    if all(f * side == w for f, side, w in zip(factors, maps.shape[2:], grid, strict=True)):
        scale = [float(each) for each in factors]
        return interpolate(maps, scale_factor=scale, mode="bilinear", align_corners=False)
    return interpolate(maps, grid, mode="bilinear", align_corners=False)


def _first_convolution(trunk: nn.Module) -> nn.Conv2d | None:
    """Find the one module that takes the image, if it is a convolution."""
    if not isinstance(trunk, GraphModule):
        return None
    (image,) = (node for node in trunk.graph.nodes if node.op == "placeholder")
    users = [trunk.get_submodule(str(each.target)) for each in image.users
             if each.op == "call_module"]  # fmt: skip
    if len(users) != len(image.users) or len(users) != 1:
        return None
    (first,) = users
    while isinstance(first, nn.Sequential) and len(first):
        first = first[0]
    return first if isinstance(first, nn.Conv2d) and first.groups == 1 else None


class _Seen(NamedTuple):
    """Maps of which the items are sums, [N, channels, ...], and what makes items of them."""

    trunk: nn.Module
    layers: tuple[str, ...]
    window: int
    weights: tuple[Tensor, ...]
    """Of each layer, [C, channels]."""
    bias: Tensor
    """[C]."""

    @classmethod
    def of(cls, features: TrunkFeatures) -> "_Seen":
        """Give the layers that ``features`` join, and whitening."""
        weights = (features.components / features.std[:, None]).T
        return cls(
            copy.deepcopy(features.trunk), features.layers, features.window,
            torch.split(weights, features.widths, 1), -(weights @ features.mean),
        )  # fmt: skip

    def whitened(self, unit: Tensor) -> nn.ModuleList:
        """Give a 1 x 1 convolution for each layer; items, their sum, are measured in ``unit``."""
        first, *others = (unit[:, None] * each for each in self.weights)
        return nn.ModuleList([_convolution(first, unit * self.bias), *map(_convolution, others)])


def _without_head(features: TrunkFeatures) -> _Seen | None:
    """Give what the head of our own trunk sees, and head and whitening as one.

    None where there is no such head, or where its result is averaged once more.
    """
    if features.source != EMBEDDED or features.layers != LAYERS or features.window > 1:
        return None
    whole = _Seen.of(features)
    heads = [whole.trunk.get_submodule(f"head.{each}") for each in HEADED]
    (weights,), bias = whole.weights, cast(Tensor, heads[0].bias)
    return _Seen(
        cut_network(whole.trunk, EMBEDDED, HEADED), HEADED, WINDOW,
        tuple(weights @ cast(Tensor, each.weight)[..., 0, 0] for each in heads),
        whole.bias + weights @ bias,
    )  # fmt: skip


def _as_convolutions(
    perceptron: nn.Module,
    codes: Tensor | None,
    *,
    takes: Tensor | int = 1,
    gives: Tensor | int = 1,
) -> nn.Sequential:
    """Make linear layers 1 x 1 convolutions; what comes in and what goes out is multiplied.

    Where the first one is told ``codes``, [h, w, K], what it makes of them is the same for all
    images, and takes the place of its bias.
    """
    first, *others = perceptron.children()
    layers = _first(cast(nn.Linear, first), codes, takes)
    for each in others:
        if isinstance(each, nn.Linear):
            factor = gives if each is others[-1] else 1
            layers.append(_convolution((each.weight.T * factor).T, each.bias * factor))
        else:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _first(layer: nn.Linear, codes: Tensor | None, takes: Tensor | int) -> list[nn.Module]:
    """Make a layer a convolution of what comes in; what it is told besides is added."""
    if codes is None:
        return [_convolution(layer.weight * takes, layer.bias)]
    sizes = [layer.in_features - codes.shape[-1], codes.shape[-1]]
    seen, told = torch.split(layer.weight, sizes, 1)
    return [_convolution(seen * takes), _Added(codes @ told.T + layer.bias)]


class _Added(nn.Module):
    """What is added at each place, [h, w, C] given."""

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values.movedim(-1, 0)[None])

    def forward(self, maps: Tensor) -> Tensor:
        """Add it to maps, [N, C, h, w]."""
        return maps + self.values


def _convolution(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """Make a 1 x 1 convolution of a matrix, [made, given]."""
    made, given = weight.shape
    convolution = nn.Conv2d(given, made, 1, bias=bias is not None)
    convolution.weight.copy_(weight[..., None, None])
    if bias is not None and convolution.bias is not None:
        convolution.bias.copy_(bias)
    return convolution
