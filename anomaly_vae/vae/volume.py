"""A VAE of stacks of slices: what lies above and below a place is seen, as well as beside it.

Letters: N stacks, C channels, D slices, H x W pixels of one; d x h x w places of the deepest map.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import pad

from anomaly_vae.settings.schema import ModelSettings
from anomaly_vae.vae.maps import stacked
from anomaly_vae.vae.model import VAE


class VolumeVAE(VAE):
    """One latent vector per stack; convolutions in three dimensions halve it several times.

    Items are sheets, [N, C, D H, W], the slices one below the other. Where the number of slices is
    no multiple of what the convolutions halve it to, the last one is repeated: what is decoded
    there is not compared.
    """

    channel_dim = 1

    def __init__(self, settings: ModelSettings, item_shape: tuple[int, ...], slices: int) -> None:
        super().__init__(settings, item_shape)
        channels, rows, columns = item_shape
        step = 2**settings.halvings
        self.batch_norm = settings.batch_norm
        widths = [settings.base_channels * 2**level for level in range(settings.halvings)]
        depth = -(-slices // step)
        deepest = widths[-1], depth, rows // slices // step, columns // step
        features, latent = math.prod(deepest), settings.latent_size
        self.encoder = nn.Sequential(
            _Stacked(slices, depth * step),
            *self._down([channels, *widths]),
            nn.Flatten(),
            nn.Linear(features, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, features),
            nn.Unflatten(1, deepest),
            nn.SiLU(),
            *self._up(widths[::-1]),
            _Sheet(slices),
        )

    def _down(self, widths: list[int]) -> Iterator[nn.Module]:
        """From a stack to the deepest map."""
        for inputs, outputs in pairwise(widths):
            yield from self._block(nn.Conv3d(inputs, outputs, 4, 2, 1, bias=not self.batch_norm))

    def _up(self, widths: list[int]) -> Iterator[nn.Module]:
        """From the deepest map to the parameters of p(x | z)."""
        for inputs, outputs in pairwise(widths):
            layer = nn.ConvTranspose3d(inputs, outputs, 4, 2, 1, bias=not self.batch_norm)
            yield from self._block(layer)
        yield nn.ConvTranspose3d(widths[-1], self.outputs, 4, 2, 1)

    def _block(self, layer: nn.Conv3d | nn.ConvTranspose3d) -> Iterator[nn.Module]:
        yield layer
        if self.batch_norm:
            yield nn.BatchNorm3d(layer.out_channels)
        yield nn.SiLU()


class _Stacked(nn.Module):
    """Make stacks, [N, C, D, H, W], of sheets; the last slice is repeated up to ``depth``."""

    def __init__(self, slices: int, depth: int) -> None:
        super().__init__()
        self.slices, self.more = slices, depth - slices

    def forward(self, sheets: Tensor) -> Tensor:
        """Take sheets, [N, C, D H, W]."""
        stacks = stacked(sheets, self.slices)
        return pad(stacks, (0, 0, 0, 0, 0, self.more), mode="replicate") if self.more else stacks


class _Sheet(nn.Module):
    """Undo ``_Stacked``."""

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.slices = slices

    def forward(self, stacks: Tensor) -> Tensor:
        """Take stacks, [N, C, D or more, H, W]."""
        return stacks[:, :, : self.slices].flatten(2, 3)
