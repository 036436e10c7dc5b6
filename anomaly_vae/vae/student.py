"""The small trunk that this project trains itself: plain 3 x 3 convolutions, nothing else.

Letters: N images, H x W pixels, C channels, K components. Images are RGB in [0, 1]; there is no
further normalisation, so that none has to be computed at inspection.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from anomaly_vae.vae.maps import local_mean

EMBEDDED = "embedded"
"""What ``features.source`` calls it."""
Widths = tuple[tuple[int, ...], ...]
WIDTHS: Widths = ((16, 32), (64, 64), (96, 96, 96, 96, 96))
"""Channels of each convolution that ends at stride 2 or 4, 8, and 16.

A location at stride 8 sees 31 x 31 pixels, one at stride 16 175 x 175; with fewer, wider ones at
stride 16 it learned less of the teacher in the same time.
"""
COMPONENTS = 192
"""Number of components of the teacher that are predicted."""
LAYERS = ("components",)
"""What a VAE sees of it."""
HEADED = ("fine", "coarse")
"""What its head sees, averaged over ``WINDOW`` x ``WINDOW`` places; the bias is of the first."""
WINDOW = 3
"""As that over which a teacher's maps are averaged."""


class Convolution(nn.Module):
    """A 3 x 3 convolution and a ReLU, as one kernel with a bias where it only runs.

    In training there is batch normalisation between them, and where the shapes allow it the
    kernel is the identity plus what is learned: a plain network then trains like a residual one,
    with nothing to add up when it runs (Zagoruyko and Komodakis, DiracNets, 2017; the branches of
    RepVGG, Ding et al., CVPR 2021, do the same at the price of several more maps in training).
    """

    identity: Tensor

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(made, given, 3, 3))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        identity = torch.zeros(made, given, 3, 3)
        if given == made and stride == 1:
            nn.init.dirac_(identity)
        self.register_buffer("identity", identity, persistent=False)
        self.norm = nn.BatchNorm2d(made)

    def forward(self, maps: Tensor) -> Tensor:
        """Give maps, [N, made, H / stride, W / stride], of maps, [N, given, H, W]."""
        kernel = self.weight + self.identity
        made: Tensor = self.norm(conv2d(maps, kernel, stride=self.stride, padding=1))
        return made.relu()

    @torch.no_grad()
    def plain(self) -> tuple[Tensor, Tensor]:
        """Give kernel, [made, given, 3, 3], and bias, [made], that do the same in evaluation."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None  # noqa: S101 - it keeps statistics
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        kernel = (self.weight + self.identity) * scale[:, None, None, None]
        return kernel, self.norm.bias - mean * scale

    @torch.no_grad()
    def start_from(self, kernel: Tensor, bias: Tensor, maps: Tensor) -> Tensor:
        """Compute what ``plain`` gave, in training too, and give what it makes of ``maps``."""
        self.weight.copy_(kernel - self.identity)
        made = conv2d(maps, kernel, stride=self.stride, padding=1)
        variance, mean = torch.var_mean(made, (0, 2, 3), correction=0)
        for old, new in (
            (self.norm.running_mean, mean),
            (self.norm.running_var, variance),
            (self.norm.weight, (variance + self.norm.eps).sqrt()),
            (self.norm.bias, bias + mean),
        ):
            assert old is not None  # noqa: S101 - it keeps statistics
            old.copy_(new)
        return (made + bias[:, None, None]).relu()


class PlainConvolution(nn.Sequential):
    """What a ``Convolution`` is when it has learned."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__(nn.Conv2d(given, made, 3, stride, padding=1), nn.ReLU())


class Student(nn.Module):
    """The components of a teacher's maps at stride 8, of images in [0, 1].

    A linear head makes them of maps at strides 8 (``fine``) and 16 (``coarse``), each averaged
    over its neighbours: as what the teacher's components are made of, which is why there is no
    more averaging at inspection (features.local_mean is 1). ``learning`` says which of the two
    forms its convolutions have.
    """

    def __init__(
        self, widths: Widths = WIDTHS, components: int = COMPONENTS, *, learning: bool = False
    ) -> None:
        super().__init__()
        stem, fine, coarse = widths
        self.stem = _chain(3, stem, (2,) * len(stem), learning)
        self.fine = _chain(stem[-1], fine, (2,) + (1,) * (len(fine) - 1), learning)
        self.coarse = _chain(fine[-1], coarse, (2,) + (1,) * (len(coarse) - 1), learning)
        self.head = nn.ModuleDict(
            {
                "fine": nn.Conv2d(fine[-1], components, 1),
                "coarse": nn.Conv2d(coarse[-1], components, 1, bias=False),
            }
        )
        self.components = nn.Identity()  # a name for what comes out

    def forward(self, images: Tensor) -> Tensor:
        """Give the components, [N, K, H / 8, W / 8], of images, [N, 3, H, W]."""
        fine = self.fine(self.stem(images))
        coarse = self.head["coarse"](local_mean(self.coarse(fine), WINDOW))
        fine = self.head["fine"](local_mean(fine, WINDOW))
        made: Tensor = self.components(fine + interpolate(coarse, fine.shape[2:], mode="bilinear"))
        return made

    def weights(self) -> dict[str, Tensor]:
        """Give the state dictionary of a student that only runs and computes the same."""
        found = self.head.state_dict(prefix="head.")
        for name, module in self.named_modules():
            if isinstance(module, Convolution):
                found[f"{name}.0.weight"], found[f"{name}.0.bias"] = module.plain()
        return found

    def start_from(self, weights: Mapping[str, Tensor], images: Tensor) -> None:
        """Begin a training with what ``weights`` gave, images giving the statistics it needs."""
        maps = images
        for name, module in self.named_modules():  # in the order in which they are computed
            if isinstance(module, Convolution):
                kernel, bias = weights[f"{name}.0.weight"], weights[f"{name}.0.bias"]
                maps = module.start_from(kernel, bias, maps)
        self.head.load_state_dict(
            {name: weights[f"head.{name}"] for name in self.head.state_dict()}
        )


def _chain(given: int, widths: Sequence[int], strides: Sequence[int], learning: bool) -> nn.Module:
    kind = Convolution if learning else PlainConvolution
    steps = zip((given, *widths), widths, strides, strict=False)
    return nn.Sequential(*(kind(*step) for step in steps))
