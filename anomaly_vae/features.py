"""What the VAE sees of an image: its pixels, or the feature maps of a frozen trunk.

Letters: N images, S x S pixels of the square, C channels, h x w locations of the feature map, b
of its border on each side.
Both extractors take RGB images in [0, 1] and contain all further normalisation.
"""

import math
import re
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from anomaly_vae.errors import ConfigError, WeightsError
from anomaly_vae.quality import LUMINANCE
from anomaly_vae.settings import FeatureSettings

# What torchvision's ImageNet weights were trained on.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_STRIDES = (4, 8, 16)
_HEADS = ("classifier", "fc", "head", "heads")  # what torchvision calls the layers after the maps


class FeatureExtractor(nn.Module):
    """Images in, items for the VAE out, standardised by what ``fit`` has learned.

    An item is what one latent vector describes: the principal components [C] at one location of
    a trunk, or all pixels [C, S, S]. It is made of a raw item, of which ``mean`` and ``std`` have
    the shape; 0 and 1 until ``fit``.
    """

    mean: Tensor
    std: Tensor
    border = 0
    """How many locations around those that are judged have raw items, too."""

    def __init__(self, raw_shape: tuple[int, ...], map_shape: tuple[int, int]) -> None:
        super().__init__()
        self.raw_shape, self.item_shape, self.map_shape = raw_shape, raw_shape, map_shape
        self.register_buffer("mean", torch.zeros(raw_shape))
        self.register_buffer("std", torch.ones(raw_shape))

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the map with its border."""
        height, width = self.map_shape
        return height + 2 * self.border, width + 2 * self.border

    def forward(self, images: Tensor) -> Tensor:
        """Give items to be judged, [N, …, *item_shape], of images in [0, 1], [N, 3, S, S]."""
        return self.standardised(self.raw(images))

    def raw(self, images: Tensor) -> Tensor:
        """Give the raw items, [N, …, *raw_shape]."""
        raise NotImplementedError

    def standardised(self, items: Tensor) -> Tensor:
        """Make items of raw ones."""
        return (items - self.mean) / self.std

    def fit(self, items: NDArray[np.floating]) -> None:
        """Learn mean and standard deviation from raw training items, [B, *raw_shape]."""
        mean, std = mean_and_std(items)
        self.mean.copy_(mean)
        self.std.copy_(self._usable(std))

    def _usable(self, std: Tensor) -> Tensor:
        """Keep what hardly varies from being divided by nearly nothing."""
        return std.clamp_min(1e-6)


class PixelFeatures(FeatureExtractor):
    """The pixels themselves, in [0, 1]: three channels, or one of luminance (ITU-R BT.601)."""

    # 2.5 of 255 grey levels, after averaging over 3 x 3: a pixel that never changes must not get
    # an unlimited weight.
    _SMALLEST_STD = 0.01

    def __init__(self, settings: FeatureSettings, size: int) -> None:
        super().__init__((3 if settings.color else 1, size, size), (size, size))
        self.color = settings.color

    def raw(self, images: Tensor) -> Tensor:
        """Give the pixels, [N, 3 or 1, S, S]."""
        return images if self.color else luminance(images)

    def restored(self, items: Tensor) -> Tensor:
        """Undo ``standardised``."""
        return items * self.std + self.mean

    def _usable(self, std: Tensor) -> Tensor:
        return local_mean(std[None], 3)[0].clamp_min(self._SMALLEST_STD)


class TrunkFeatures(FeatureExtractor):
    """Layers of a frozen torchvision trunk, joined at the resolution of the second of them.

    Each layer is averaged over a small window first, so that a location knows its surroundings
    (as in PatchCore, Roth et al., CVPR 2022). Then the principal components of the channels are
    made equally strong: defects show in directions in which good parts hardly vary (Rippel et
    al., ICPR 2020), which a squared error over correlated channels would drown.

    The outermost locations are learned from, as surroundings of the others, but not judged. They
    see the zeros that convolutions put around an image, light that falls off, and what reaches into
    the picture a little more or less, so that good images differ there more than by many a defect
    (reports/ablation.md). It is 1 part in 40 on each side; PatchCore and PaDiM as published cut 1
    in 16 off the image itself.
    """

    image_mean: Tensor
    image_std: Tensor
    components: Tensor
    """[raw channels, C], from standardised channels to whitened components."""
    # Added to the variances of the components, of channels of variance 1: what is below is
    # rounding, not signal.
    _SMALLEST_VARIANCE = 0.01
    _WHITENING_ITEMS = 100_000

    def __init__(self, settings: FeatureSettings, size: int) -> None:
        trunk = _build_trunk(settings.source)
        layers = settings.layers or default_layers(settings.source, trunk)
        extractor = _cut(trunk, settings.source, layers)
        with torch.no_grad():
            maps = extractor(torch.zeros(1, 3, size, size))
        shapes = [tuple(maps[layer].shape) for layer in layers]
        if any(len(shape) != 4 for shape in shapes):
            raise ConfigError(f"features.layers: {layers} of {settings.source} are not all maps")
        grid = shapes[min(1, len(shapes) - 1)][2:]
        height, width = (side - 2 * settings.border for side in grid)
        if min(height, width) < 1:
            raise ConfigError(
                f"images.size = {size} gives a map of {grid[0]} x {grid[1]} locations; "
                f"features.border = {settings.border} leaves none of them; expected more pixels"
            )
        super().__init__((sum(shape[1] for shape in shapes),), (height, width))
        self.border = settings.border
        self.source, self.layers, self.window = settings.source, layers, settings.local_mean
        self.trunk = extractor
        self.whitened = settings.components > 0
        if self.whitened:
            self.item_shape = (min(settings.components, *self.raw_shape),)
            self.register_buffer("components", torch.eye(self.raw_shape[0], self.item_shape[0]))
        self.register_buffer("image_mean", torch.tensor(_IMAGENET_MEAN).reshape(3, 1, 1), False)
        self.register_buffer("image_std", torch.tensor(_IMAGENET_STD).reshape(3, 1, 1), False)
        for parameter in self.trunk.parameters():
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> "TrunkFeatures":  # noqa: ARG002
        """Stay in evaluation mode: the trunk is frozen, its batch normalisation included."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Give the items that are judged, [N, h, w, C], of images in [0, 1], [N, 3, S, S].

        Whitening and resampling are linear: each layer is whitened where it has fewer places.
        """
        if not self.whitened:
            return self.standardised(self._joined(images, self.border))
        maps = self._averaged(images)
        weights = self.components / self.std[:, None]
        parts = torch.split(weights.T[:, :, None, None], [each.shape[1] for each in maps], 1)
        items = -(self.mean @ weights)[:, None, None]
        for each, part in zip(maps, parts, strict=True):
            if each.shape[2] < self.grid[0]:
                items = items + self._resampled(conv2d(each, part), self.border)
            else:
                items = items + conv2d(self._resampled(each, self.border), part)
        return items.permute(0, 2, 3, 1)

    def raw(self, images: Tensor) -> Tensor:
        """Give the joined maps of the trunk, border and all, [N, h + 2 b, w + 2 b, C]."""
        return self._joined(images, 0)

    def _joined(self, images: Tensor, border: int) -> Tensor:
        """Give the joined maps of the trunk without so much of a border, channels last."""
        maps = [self._resampled(each, border) for each in self._averaged(images)]
        return torch.cat(maps, 1).permute(0, 2, 3, 1)

    def _averaged(self, images: Tensor) -> list[Tensor]:
        """Give the map of each layer, [N, channels, height, width], averaged over the window."""
        maps = self.trunk((images - self.image_mean) / self.image_std)
        return [local_mean(maps[name], self.window) for name in self.layers]

    def standardised(self, items: Tensor) -> Tensor:
        """Make items, [..., C], of raw ones: standardised channels, or whitened components."""
        if not self.whitened:
            return super().standardised(items)
        return (items - self.mean) @ (self.components / self.std[:, None])

    def fit(self, items: NDArray[np.floating]) -> None:
        """Learn mean, standard deviation and components from raw training items, [B, C]."""
        super().fit(items)
        if self.whitened:
            every = math.ceil(len(items) / self._WHITENING_ITEMS)
            rows = torch.from_numpy(items[::every]).to(self.mean.device).float()
            rows = super().standardised(rows)
            variances, axes = torch.linalg.eigh((rows.T @ rows / len(rows)).double())
            (kept,) = self.item_shape
            scale = (variances.clamp_min(0) + self._SMALLEST_VARIANCE).rsqrt()
            self.components.copy_((axes * scale).flip(1)[:, :kept])

    def _resampled(self, maps: Tensor, border: int) -> Tensor:
        """Bring maps, [N, channels, ...], to the grid, and leave so much of a border out."""
        (height, width), (wanted_height, wanted_width) = maps.shape[2:], self.grid
        if height > wanted_height and height % wanted_height == 0 and width % wanted_width == 0:
            maps = avg_pool2d(maps, (height // wanted_height, width // wanted_width))
        else:
            maps = interpolate(maps, self.grid, mode="bilinear", align_corners=False)
        return without_border(maps, border)


def without_border(maps: Tensor, width: int) -> Tensor:
    """Cut off ``width`` locations around maps, [..., h, w]."""
    return maps[..., width : maps.shape[-2] - width, width : maps.shape[-1] - width]


def with_border(maps: Tensor, width: int) -> Tensor:
    """Put ``width`` locations around maps, [N, h, w], with the values of the nearest ones."""
    return pad(maps[:, None], (width,) * 4, mode="replicate")[:, 0] if width else maps


def local_mean(maps: Tensor, window: int) -> Tensor:
    """Average maps, [N, C, h, w], over ``window`` x ``window`` locations, as far as they exist."""
    if window == 1:
        return maps
    return avg_pool2d(maps, window, 1, window // 2, count_include_pad=False)


def mean_and_std(items: NDArray[np.floating]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the first dimension, summed in double precision."""
    total, squares = np.zeros(items.shape[1:]), np.zeros(items.shape[1:])
    step = max(1, 2**22 // math.prod(items.shape[1:]))
    for begin in range(0, len(items), step):
        chunk = items[begin : begin + step].astype(np.float64)
        total += chunk.sum(0)
        squares += np.square(chunk).sum(0)
    mean = total / len(items)
    std = np.sqrt(np.maximum(squares / len(items) - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()


def unit_range(images: Tensor) -> Tensor:
    """Turn stored images, uint8 [N, S, S, 3], into what extractors take: [0, 1], [N, 3, S, S]."""
    return images.permute(0, 3, 1, 2).float() / 255


def luminance(images: Tensor) -> Tensor:
    """Give the luminance (ITU-R BT.601), [N, 1, S, S], of RGB images, [N, 3, S, S]."""
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    return LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue


def build_features(settings: FeatureSettings, size: int) -> FeatureExtractor:
    """Make the extractor that ``settings`` name, for squares of ``size`` pixels.

    A trunk has random weights until ``load_trunk_weights`` or a state dictionary fills it.

    Raises:
        ConfigError: the source is not known, or has no such layers.
    """
    if settings.source == "pixels":
        return PixelFeatures(settings, size)
    return TrunkFeatures(settings, size)


def load_trunk_weights(features: TrunkFeatures, file: Path | None) -> None:
    """Fill the trunk from ``file``, or from torchvision's download when there is none.

    ``file`` is ``.safetensors``, or ``.pth``/``.pt`` read with ``weights_only=True``. Layers
    that are not used may be missing.

    Raises:
        WeightsError: no such file, no network, or the names or shapes do not fit.
    """
    state = _read_weights(file) if file else _download_weights(features.source)
    # torchvision's published DenseNets carry old names, which it changes on loading.
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    state = {old.sub(r"\1\2", name): value for name, value in state.items()}
    origin = str(file) if file else f"torchvision's weights of {features.source}"
    wanted = features.trunk.state_dict()
    # Counters of training batches: not used in evaluation, and often not stored.
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = sorted(wanted.keys() - state.keys() - optional)
    with torch.device("meta"):  # only the names are wanted
        known = _build_trunk(features.source).state_dict().keys()
    foreign = sorted(state.keys() - known)
    wrong = sorted(n for n in wanted.keys() & state.keys() if wanted[n].shape != state[n].shape)
    problems = [
        f"{what}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unknown", foreign), ("other shape", wrong))
        if names
    ]
    if problems:
        raise WeightsError(f"{origin} does not fit {features.source}: {'; '.join(problems)}")
    features.trunk.load_state_dict(
        {n: state[n] for n in wanted.keys() & state.keys()}, strict=False
    )


def default_layers(source: str, trunk: nn.Module) -> tuple[str, ...]:
    """Find the last layer at each of the strides 4, 8 and 16, by running the trunk once.

    One rule for all families instead of a table: it gives ``layer1`` to ``layer3`` of a ResNet
    and the last block before each halving in MobileNet, EfficientNet, ConvNeXt, VGG or DenseNet.
    """
    side, found = 128, dict[int, str]()

    def remember(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.dim() == 4:
                height, width = output.shape[2:]
                # To the nearest power of two: some families lose a border (31 for 128 / 4).
                stride = 2 ** round(math.log2(side / height))
                if height == width and stride in _STRIDES:
                    found[stride] = name

        return hook

    handles = [
        module.register_forward_hook(remember(name))
        for name, module in trunk.named_modules()
        if name and name.count(".") < 2 and name.split(".")[0] not in _HEADS
    ]
    try:
        with torch.no_grad():
            trunk(torch.zeros(1, 3, side, side))
    except (AssertionError, RuntimeError):
        found.clear()  # a transformer that insists on its own image size
    finally:
        for handle in handles:
            handle.remove()
    layers = tuple(found[stride] for stride in _STRIDES if stride in found)
    if len(layers) < 2:
        raise ConfigError(
            f"features.source {source!r} has no maps at strides 4, 8 or 16; expected a "
            "convolutional network such as resnet18, or its layers in features.layers"
        )
    return layers


def _build_trunk(source: str) -> nn.Module:
    names = models.list_models(module=models)
    if source not in names:
        raise ConfigError(
            f"features.source = {source!r}: expected 'pixels' or a classification model of "
            f"torchvision, such as resnet18, wide_resnet50_2, mobilenet_v2 or efficientnet_b0"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some families announce a change of their random weights
        return cast(nn.Module, models.get_model(source, weights=None).eval())


def _cut(trunk: nn.Module, source: str, layers: tuple[str, ...]) -> nn.Module:
    """Keep only what is needed to compute ``layers``."""
    try:
        return cast(nn.Module, create_feature_extractor(trunk, list(layers)).eval())
    except ValueError as error:
        known = ", ".join(default_layers(source, trunk))
        raise ConfigError(
            f"features.layers = {list(layers)}: not all are layers of {source}; default: {known}"
        ) from error


def _read_weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise WeightsError(f"{file}: no such file; expected weights as .safetensors or .pth")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a foreign file
        raise WeightsError(
            f"{file}: not a weights file ({type(error).__name__}); expected .safetensors, or a "
            ".pth that holds nothing but tensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{file}: expected a dictionary of tensors (a state_dict)")
    return state


def _download_weights(source: str) -> dict[str, Tensor]:
    try:
        weights = models.get_model_weights(source)["DEFAULT"]
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights of {source} could not be downloaded ({error}); without a network, copy "
            "them here and give --weights FILE, or use --features pixels, which needs none"
        ) from error
