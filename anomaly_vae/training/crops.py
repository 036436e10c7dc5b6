"""Crops of pictures for a trunk to learn from, cut, turned and lit at random, all on one device.

Letters: N crops, S x S pixels of a crop, M pictures, B x B pixels of a picture in the bank.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

# Extent of a crop as a share of its picture: small ones are magnified, blurred edges and all.
_SMALLEST, _LARGEST = 0.2, 1.1
_STRETCH = 0.25  # of the logarithm of width over height


class Crops:
    """Draws crops out of a bank of pictures, uint8 [M, 3, B, B], which stays on its device."""

    def __init__(self, bank: Tensor, size: int, seed: int) -> None:
        self.bank, self.size = bank, size
        self.generator = torch.Generator(bank.device).manual_seed(seed)

    def draw(self, count: int) -> Tensor:
        """Give so many crops, float32 [N, 3, S, S] in [0, 1]."""
        crops = self._cut(count)
        return self._lit(self._pasted(self._mosaics(crops))).clamp(0, 1)

    def _uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers for so many crops, [N, 1, 1, 1]."""
        device = self.bank.device
        drawn = torch.rand(count, 1, 1, 1, device=device, generator=self.generator)
        return low + (high - low) * drawn

    def _some(self, count: int, share: float) -> Tensor:
        """Which of so many crops something happens to, bool [N, 1, 1, 1]."""
        return self._uniform(count) < share

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, device=self.bank.device, generator=self.generator)

    def _others(self, count: int) -> Tensor:
        return torch.randperm(count, device=self.bank.device, generator=self.generator)

    def _cut(self, count: int) -> Tensor:
        """Cut crops of all extents out of pictures, at any angle or a right one, mirrored or not.

        Beyond its edges, a picture goes on as its mirror image.
        """
        numbers = (self._uniform(count)[:, 0, 0, 0] for _ in range(8))
        which, extent, stretch, turn, right, flip, across, down = numbers
        rows = (which * len(self.bank)).long().clamp_max(len(self.bank) - 1)
        extent = torch.exp(math.log(_SMALLEST) + extent * math.log(_LARGEST / _SMALLEST))
        stretch = torch.exp(_STRETCH * (stretch - 0.5))
        turn = torch.where(right < 0.5, 2 * math.pi * turn, (4 * turn).floor() * math.pi / 2)
        cosine, sine = extent * turn.cos(), extent * turn.sin()
        mirrored = torch.where(flip < 0.5, stretch, -stretch)
        room = (1 - extent).clamp_min(0)
        along = [cosine * mirrored, -sine / stretch, room * (2 * across - 1)]
        below = [sine * mirrored, cosine / stretch, room * (2 * down - 1)]
        affine = torch.stack([torch.stack(along, 1), torch.stack(below, 1)], 1)
        grid = affine_grid(affine, [count, 3, self.size, self.size], align_corners=False)
        pictures = self.bank[rows].float() / 255
        return grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)

    def _mosaics(self, crops: Tensor) -> Tensor:
        """Replace one in four crops by four of them at half the size: more edges, finer detail."""
        count = len(crops)
        halves = avg_pool2d(crops, 2)
        upper, lower = (
            torch.cat([halves[self._others(count)], halves[self._others(count)]], 3)
            for _ in range(2)
        )
        return torch.where(self._some(count, 0.25), torch.cat([upper, lower], 2), crops)

    def _pasted(self, crops: Tensor) -> Tensor:
        """Paste a rounded patch of another crop into one in four, hard or soft at its edge."""
        count = len(crops)
        axis = torch.linspace(-1, 1, self.size, device=crops.device)
        column, row = axis[None, None, None], axis[None, None, :, None]
        across = (column - self._uniform(count, -1)) / self._uniform(count, 0.05, 0.6)
        down = (row - self._uniform(count, -1)) / self._uniform(count, 0.05, 0.6)
        square = torch.maximum(across.abs(), down.abs())
        rounded = torch.where(self._some(count, 0.5), across.square() + down.square(), square)
        cover = ((1 - rounded) * 10 ** self._uniform(count, 0.3, 2)).sigmoid()
        cover = cover * self._some(count, 0.25) * self._uniform(count, 0.2, 1.2).clamp_max(1)
        return torch.lerp(crops, crops[self._others(count)], cover)

    def _lit(self, crops: Tensor) -> Tensor:
        """Change sharpness, colour, contrast, brightness and gamma; add uneven light and noise."""
        count = len(crops)
        blurred = avg_pool2d(crops, 5, 1, 2, count_include_pad=False)
        crops = torch.lerp(crops, blurred, self._uniform(count, -0.5, 1) * self._some(count, 0.4))
        grey = crops.mean(1, keepdim=True)
        fade = torch.where(self._some(count, 0.3), 1.0, self._uniform(count, -0.3, 0.6))
        crops = torch.lerp(crops, grey.expand_as(crops), fade)
        crops = torch.where(self._some(count, 0.1), 1 - crops, crops)
        centre = crops.mean((1, 2, 3), keepdim=True)
        contrast = torch.exp(self._uniform(count, math.log(0.2), math.log(1.5)))
        contrast = torch.where(self._some(count, 0.3), 1.0, contrast)
        crops = centre + contrast * (crops - centre)
        crops = crops * (1 + 0.08 * self._normal(count, 3, 1, 1))
        light = interpolate(self._normal(count, 1, 3, 3), crops.shape[2:], mode="bilinear")
        crops = crops * (1 + self._uniform(count, 0, 0.3) * light * self._some(count, 0.4))
        crops = crops + self._uniform(count, -0.2, 0.2) * self._some(count, 0.6)
        gamma = torch.exp(self._uniform(count, -0.5, 0.5) * self._some(count, 0.5))
        crops = crops.clamp(1e-4, 1) ** gamma
        noise = self._uniform(count, 0, 0.06).square() / 0.06 * self._some(count, 0.5)
        return crops + noise * self._normal(*crops.shape)
