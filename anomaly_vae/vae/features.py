"""What the VAE sees of an image: the contract, and its pixels; ``trunk`` has the other.

Letters: N images, S x T pixels of the frame, C channels, h x w locations of the feature map, b
of its border on each side.
All extractors take RGB images in [0, 1] and contain all further normalisation.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from anomaly_vae.settings.schema import FeatureSettings
from anomaly_vae.vae.maps import local_mean, luminance, mean_and_std, unit_range, within_photographs
from anomaly_vae.vae.pieces import View


class FeatureExtractor(nn.Module, ABC):
    """Images in, items for the VAE out, standardised by what ``fit`` has learned.

    An item is what one latent vector describes: the principal components [C] at one location of
    a trunk, or all pixels [C, S, T]. It is made of a raw item, of which ``mean`` and ``std`` have
    the shape; 0 and 1 until ``fit``.
    """

    mean: Tensor
    std: Tensor
    border = 0
    """How many locations around those that are judged have raw items, too."""
    padded = False
    """Whether photographs need not fill the frame; then items have that border, too."""
    code_size = 0
    """How many numbers behind those of an item tell where in the frame it is."""
    slices = 1
    """How many slices of a stack lie one below the other in the frame, and in the map."""
    view: View | None = None
    """The part of the frame that has items; none where all of it has."""
    note = ""
    """What a person should know of how a frame is computed, in a line."""

    def __init__(self, raw_shape: tuple[int, ...], map_shape: tuple[int, int]) -> None:
        super().__init__()
        self.raw_shape, self.item_shape, self.map_shape = raw_shape, raw_shape, map_shape
        self.register_buffer("mean", torch.zeros(raw_shape))
        self.register_buffer("std", torch.ones(raw_shape))

    @property
    def neutral(self) -> Tensor | float:
        """What is least seen, beside a photograph that does not fill the frame; in [0, 1]."""
        return 0.0

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of a raw item, with its codes."""
        first, *others = self.raw_shape
        return first + self.code_size, *others

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the map with its border."""
        height, width = self.map_shape
        return height + 2 * self.border, width + 2 * self.border

    def pixels(self, images: Tensor) -> Tensor:
        """Turn stored images, uint8 [N, S, T, 3 or 4], into [0, 1], [N, 3, S, T].

        Where padded, whatever is stored beside a photograph changes nothing.
        """
        if not self.padded:
            return unit_range(images)
        return torch.where(images[..., 3][:, None] > 0, unit_range(images[..., :3]), self.neutral)

    def look_at(self, touched: Tensor, around: int) -> Tensor:  # noqa: ARG002
        """Give items near ``touched`` places of the map, [h + 2 b, w + 2 b], if not of others.

        That is, there and ``around`` so many places. Gives the touched ones of those with items.
        """
        return touched

    def viewed(self, images: Tensor) -> Tensor:
        """Give the part of images, [..., S, T], that has items."""
        return images if self.view is None else self.view.of_frame(images)

    def whole(self, maps: Tensor) -> Tensor:
        """Give maps of the whole frame, [N, h, w], of those of what has items; 0 elsewhere."""
        return maps if self.view is None else pad(maps, self.view.beside)

    def averaged(self, maps: Tensor, window: int) -> Tensor:
        """Average maps, [N, h, w], over a window of places, of a stack over slices, too."""
        return local_mean(maps[:, None], window, self.slices)[:, 0]

    def of_photographs(self, items: Tensor, images: Tensor, border: int) -> Tensor:
        """Give the items of photographs, where padded those alone; see ``within_photographs``."""
        return within_photographs(items, images, border) if self.padded else items

    def forward(self, images: Tensor) -> Tensor:
        """Give items to be judged, [N, …, *item_shape], of images in [0, 1], [N, 3, S, T]."""
        return self.standardised(self.raw(images))

    @abstractmethod
    def raw(self, images: Tensor) -> Tensor:
        """Give the raw items, [N, …, *raw_shape]."""

    def with_codes(self, items: Tensor) -> Tensor:
        """Put behind items, [N, ...], raw or not, the codes of where they are, if they have any."""
        return items

    def standardised(self, items: Tensor) -> Tensor:
        """Make items of raw ones; codes behind them stay as they are."""
        return (items - self.mean) / self.std

    @property
    def noise(self) -> Tensor:
        """Variance of items, [*item_shape], that comes from how photographs are taken and stored.

        The last bit of a camera, JPEG and resizing change a photograph of the very same part: no
        spread among good parts is taken for less.
        """
        return torch.zeros(self.item_shape)

    def fit(self, *items: NDArray[np.floating]) -> None:
        """Learn mean and standard deviation from pieces of raw items, [B, *raw_shape] each."""
        mean, std = mean_and_std(*items)
        self.mean.copy_(mean)
        self.std.copy_(self._usable(std))

    def _usable(self, std: Tensor) -> Tensor:
        """Keep what hardly varies from being divided by nearly nothing."""
        return std.clamp_min(1e-6)


class PixelFeatures(FeatureExtractor):
    """The pixels themselves, in [0, 1]: three channels, or one of luminance (ITU-R BT.601)."""

    # One of 255 grey levels: rounding to 8 bits errs by 0.3 (1 / sqrt(12)), and drawn parts of
    # 256 x 256 pixels stored as JPEG (quality 95, 90, 75) and made smaller differ by 0.8, 0.9 and
    # 1.1 of a level (root mean square) from what they were.
    _NOISE = 1 / 255
    # 2.5 of 255 grey levels, after averaging over 3 x 3: a pixel that never changes must not get
    # an unlimited weight.
    _SMALLEST_STD = 0.01

    def __init__(self, settings: FeatureSettings, shape: tuple[int, int], slices: int = 1) -> None:
        super().__init__((3 if settings.color else 1, *shape), shape)
        self.color, self.slices = settings.color, slices

    def raw(self, images: Tensor) -> Tensor:
        """Give the pixels, [N, 3 or 1, S, T]."""
        return images if self.color else luminance(images)

    @property
    def noise(self) -> Tensor:
        """See ``FeatureExtractor``; [3 or 1, S, T]."""
        return (self._NOISE / self.std).square()

    def restored(self, items: Tensor) -> Tensor:
        """Undo ``standardised``."""
        return items * self.std + self.mean

    def _usable(self, std: Tensor) -> Tensor:
        return local_mean(std[None], 3, self.slices)[0].clamp_min(self._SMALLEST_STD)
