"""Feature maps of a frozen trunk: layers of a torchvision network, joined and whitened.

Letters: N images, S x T pixels of the frame, C channels, h x w locations of the feature map, b
of its border on each side.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from anomaly_vae.errors import ConfigError
from anomaly_vae.images.many import in_pieces
from anomaly_vae.settings.schema import FeatureSettings
from anomaly_vae.vae.features import FeatureExtractor, PixelFeatures
from anomaly_vae.vae.maps import CODE_SIZE, local_mean, place_codes, stacked, without_border
from anomaly_vae.vae.networks import build_network, cut_network, default_layers
from anomaly_vae.vae.pieces import in_strips, reach_of, said_whole, strips_of, view_of
from anomaly_vae.vae.student import EMBEDDED

# What torchvision's ImageNet weights were trained on.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_ROWS = 1024


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
    codes: Tensor
    """[h + 2 b, w + 2 b, code_size], where places are in their slice; see ``place_codes``."""
    components: Tensor
    """[raw channels, C], from standardised channels to whitened components."""
    # Added to the variances of the components, of channels of variance 1: what is below is
    # rounding, not signal.
    _SMALLEST_VARIANCE = 0.01
    _WHITENING_ITEMS = 100_000
    # Of the root mean square of all activations. JPEG of quality 95 changes half of the channels
    # of a ResNet-18 by more than 0.013 of it (bottles) and 0.024 (solar cells).
    _NOISE = 0.01

    def __init__(
        self,
        settings: FeatureSettings,
        shape: tuple[int, int],
        *,
        padded: bool = False,
        coded: bool = False,
        slices: int = 1,
    ) -> None:
        shape = shape[0] // slices, shape[1]
        trunk = build_network(settings.source)
        layers = settings.layers or default_layers(settings.source, trunk)
        extractor = cut_network(trunk, settings.source, layers)
        self.reach = reach_of(extractor) if strips_of(shape) > 1 else None
        self.note = said_whole(settings.source, shape, self.reach)
        with torch.no_grad():
            maps = in_strips(extractor, torch.zeros(1, 3, *shape), self.reach)
        shapes = [tuple(maps[layer].shape) for layer in layers]
        if any(len(shape) != 4 for shape in shapes):
            raise ConfigError(f"features.layers: {layers} of {settings.source} are not all maps")
        grid = shapes[min(1, len(shapes) - 1)][2:]
        height, width = (side - 2 * settings.border for side in grid)
        if min(height, width) < 1:
            raise ConfigError(
                f"images of {shape[0]} x {shape[1]} pixels give a map of {grid[0]} x {grid[1]} "
                f"locations; features.border = {settings.border} leaves none of them; "
                "expected a larger images.size"
            )
        widths: list[int] = [shape[1] for shape in shapes]
        super().__init__((sum(widths),), (slices * height, width))
        self.slices = slices
        self.widths = widths
        """Channels of each layer."""
        self.frame, self.shapes = shape, [tuple(each[2:]) for each in shapes]
        self.border, self.padded = settings.border, padded
        self.source, self.layers, self.window = settings.source, layers, settings.local_mean
        self.trunk = extractor
        self.whitened = settings.components > 0
        if self.whitened:
            self.item_shape = (min(settings.components, *self.raw_shape),)
            self.register_buffer("components", torch.eye(self.raw_shape[0], self.item_shape[0]))
        self.code_size = CODE_SIZE if coded else 0
        codes = place_codes(*self.slice_grid).repeat(slices, 1, 1)
        self.register_buffer("codes", codes[..., : self.code_size], False)
        self.register_buffer("image_mean", torch.tensor(_IMAGENET_MEAN).reshape(3, 1, 1), False)
        self.register_buffer("image_std", torch.tensor(_IMAGENET_STD).reshape(3, 1, 1), False)
        for parameter in self.trunk.parameters():
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> "TrunkFeatures":  # noqa: ARG002
        """Stay in evaluation mode: the trunk is frozen, its batch normalisation included."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Give the items that are judged, [N, h, w, C], of images in [0, 1], [N, 3, S, T].

        Of padded images those of the border, too: each photograph has its own.

        Whitening and resampling are linear: each layer is whitened where it has fewer places.
        """
        border = 0 if self.padded else self.border
        if not self.whitened:
            return self._standardised(self._joined(images, border))
        maps = self._averaged(images)
        weights = self.components / self.std[:, None]
        parts = torch.split(weights.T[:, :, None, None], [each.shape[1] for each in maps], 1)
        items = -(self.mean @ weights)[:, None, None]
        for each, part in zip(maps, parts, strict=True):
            if each.shape[2] < self.slice_grid[0]:
                items = items + self.resampled(conv2d(each, part), border)
            else:
                items = items + conv2d(self.resampled(each, border), part)
        return self._sheets(items.permute(0, 2, 3, 1))

    def look_at(self, touched: Tensor, around: int) -> Tensor:
        """See ``FeatureExtractor``; what cannot be computed by parts is computed as a whole."""
        reach = reach_of(self.trunk) if self.reach is None else self.reach
        if self.padded or reach is None or not self._even:
            return touched
        stride = self.frame[0] // self.grid[0]
        # Beyond what the layers see: their local mean, and the next place where one is enlarged.
        coarsest = max(self.frame[0] // height for height, _ in self.shapes)
        margin = reach + coarsest * (self.window // 2 + 1) + around * stride
        self.view = view_of(touched, self.frame, margin)
        if self.view is None:
            return touched
        touched, self.codes = self.view.of_map(touched), self.view.of_map(self.codes)
        height, width = touched.shape
        self.map_shape = height - 2 * self.border, width - 2 * self.border
        return touched

    @property
    def slice_grid(self) -> tuple[int, int]:
        """Height and width of the map of one slice with its border; of a photograph the grid."""
        return self.grid[0] // self.slices, self.grid[1]

    @property
    def _even(self) -> bool:
        """Whether all maps are enlarged or averaged by whole numbers: so are parts of them."""
        return all(
            side % places == 0 and max(places, wanted) % min(places, wanted) == 0
            for shape in self.shapes
            for side, places, wanted in zip(self.frame, shape, self.grid, strict=True)
        )

    @property
    def neutral(self) -> Tensor | float:
        """See ``FeatureExtractor``: what convolutions pad with."""
        return 0.0 if self.source == EMBEDDED else self.image_mean

    def normalised(self, images: Tensor) -> Tensor:
        """Make of images in [0, 1] what the trunk takes; our own takes them as they are."""
        if self.source == EMBEDDED:
            return images
        return (images - self.image_mean) / self.image_std

    def raw(self, images: Tensor) -> Tensor:
        """Give the joined maps of the trunk, border and all, [N, h + 2 b, w + 2 b, C]."""
        return self._joined(images, 0)

    def _joined(self, images: Tensor, border: int) -> Tensor:
        """Give the joined maps of the trunk without so much of a border, channels last."""
        maps = [self.resampled(each, border) for each in self._averaged(images)]
        return self._sheets(torch.cat(maps, 1).permute(0, 2, 3, 1))

    def _averaged(self, images: Tensor) -> list[Tensor]:
        """Give the map of each layer, [N, channels, height, width], averaged over the window.

        Of stacks each slice is an image of its own, until ``_sheets``: none sees the next one.
        """
        images = self.viewed(images)
        if self.slices > 1:
            images = stacked(images, self.slices).transpose(1, 2).flatten(0, 1)
        maps = in_strips(self.trunk, self.normalised(images), self.reach)
        return [local_mean(maps[name], self.window) for name in self.layers]

    def _sheets(self, items: Tensor) -> Tensor:
        """Put items of slices, [N D, h, w, C], one below the other, [N, D h, w, C]."""
        if self.slices == 1:
            return items
        return items.reshape(-1, self.slices * items.shape[1], *items.shape[2:])

    def with_codes(self, items: Tensor) -> Tensor:
        """See ``FeatureExtractor``; of items of the grid, or without its border."""
        if not self.code_size:
            return items
        codes = self.codes if items.shape[1] == self.grid[0] else self.inner_codes
        # Not by ``len``, which an exporter takes for the number of all batches to come.
        return torch.cat([items, codes.to(items).expand(items.shape[0], -1, -1, -1)], -1)

    @property
    def inner_codes(self) -> Tensor:
        """Codes of the places that are judged, [h, w, code_size]."""
        return without_border(self.codes.movedim(-1, 0), self.border).movedim(0, -1)

    def standardised(self, items: Tensor) -> Tensor:
        """Make items, [..., C], of raw ones: standardised channels, or whitened components."""
        (channels,) = self.raw_shape
        made = self._standardised(items[..., :channels])
        return torch.cat([made, items[..., channels:]], -1) if self.code_size else made

    def _standardised(self, items: Tensor) -> Tensor:
        if not self.whitened:
            return super().standardised(items)
        return (items - self.mean) @ (self.components / self.std[:, None])

    @property
    def noise(self) -> Tensor:
        """See ``FeatureExtractor``; [C]."""
        channels = (self._raw_noise / self.std).square()
        return channels @ self.components.square() if self.whitened else channels

    @property
    def _raw_noise(self) -> Tensor:
        """Standard deviation of the noise of a channel; one number."""
        return self._NOISE * (self.mean.square() + self.std.square()).mean().sqrt()

    def _usable(self, std: Tensor) -> Tensor:
        """A channel that good parts leave alone would else be divided by nearly nothing."""
        self.std.copy_(std)
        return std.maximum(self._raw_noise)

    def fit(self, *items: NDArray[np.floating]) -> None:
        """Learn mean, standard deviation and components from pieces of raw items, [B, C] each."""
        (channels,) = self.raw_shape
        items = tuple(each[:, :channels] for each in items)  # whatever they are told of their place
        super().fit(*items)
        if self.whitened:
            every = math.ceil(sum(map(len, items)) / self._WHITENING_ITEMS)
            chosen = np.concatenate(
                [
                    rows[::every].copy()
                    for piece in items
                    for rows in in_pieces(piece, _ROWS * every)
                ]
            )
            rows = torch.from_numpy(chosen).to(self.mean.device).float()
            rows = super().standardised(rows)
            variances, axes = torch.linalg.eigh((rows.T @ rows / len(rows)).double())
            (kept,) = self.item_shape
            scale = (variances.clamp_min(0) + self._SMALLEST_VARIANCE).rsqrt()
            self.components.copy_((axes * scale).flip(1)[:, :kept])

    def resampled(self, maps: Tensor, border: int) -> Tensor:
        """Bring maps, [N, channels, ...], to the grid, and leave so much of a border out."""
        (height, width), (wanted_height, wanted_width) = maps.shape[2:], self.slice_grid
        if (height, width) == self.slice_grid:
            return without_border(maps, border)
        if height > wanted_height and height % wanted_height == 0 and width % wanted_width == 0:
            maps = avg_pool2d(maps, (height // wanted_height, width // wanted_width))
        else:
            maps = interpolate(maps, self.slice_grid, mode="bilinear", align_corners=False)
        return without_border(maps, border)


def build_features(
    settings: FeatureSettings,
    shape: tuple[int, int],
    *,
    padded: bool = False,
    coded: bool = False,
    slices: int = 1,
) -> FeatureExtractor:
    """Make the extractor that ``settings`` name, for frames of ``shape``, which may be padded.

    They hold ``slices`` of a stack, one below the other, or a photograph. Items of a trunk that are
    ``coded`` tell where they are.

    A trunk has random weights until ``load_trunk_weights`` or a state dictionary fills it.

    Raises:
        ConfigError: the source is not known, or has no such layers.
    """
    if settings.source == "pixels":
        return PixelFeatures(settings, shape, slices)
    return TrunkFeatures(settings, shape, padded=padded, coded=coded, slices=slices)
