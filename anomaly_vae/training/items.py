"""What a VAE learns from: single places of images, or whole ones, drawn in batches.

Letters: B items; *stored_shape* and *item_shape* are those of the extractor.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.images.many import in_pieces, let_go
from anomaly_vae.vae.features import FeatureExtractor

_SAMPLED_ITEMS = 2**15
_COPIED_AT_ONCE = 2**16
_SHARE = 0.5
"""Of what is free on a graphics card: the rest is for trunk and training."""


class Items:
    """The items that batches are drawn from: raw ones are stored, and standardised on demand.

    Those of a fold that is held out are left out: the rows of ``gap``, [begin, end). ``resident``
    are the same on the device, where batches are then drawn.
    """

    def __init__(
        self,
        stored: NDArray[np.floating],
        features: FeatureExtractor,
        device: torch.device,
        gap: tuple[int, int] = (0, 0),
        resident: Tensor | None = None,
    ) -> None:
        self.stored, self.features, self.device, self.gap = stored, features, device, gap
        self.resident = resident

    def __len__(self) -> int:
        begin, end = self.gap
        return len(self.stored) - (end - begin)

    def without(self, begin: int, end: int) -> "Items":
        """Give the same items without those from ``begin`` on and before ``end``."""
        return Items(self.stored, self.features, self.device, (begin, end), self.resident)

    def become(self, stored: NDArray[np.floating]) -> None:
        """Let these be all of its items."""
        self.stored, self.gap, self.resident = stored, (0, 0), None

    @property
    def raw(self) -> tuple[NDArray[np.floating], ...]:
        """The raw items in one or two pieces, [B, *stored_shape] each, which are no copies."""
        begin, end = self.gap
        return tuple(each for each in (self.stored[:begin], self.stored[end:]) if len(each))

    def draw(self, indices: NDArray[np.int64]) -> Tensor:
        """Give the items at ``indices`` as the model takes them, float32 [B, *item_shape]."""
        begin, end = self.gap
        rows = np.where(indices < begin, indices, indices + (end - begin))
        if self.resident is None:
            items = torch.from_numpy(self.stored[rows]).to(self.device)
            let_go(self.stored)
        else:
            items = self.resident[torch.from_numpy(rows).to(self.device)]
        with torch.no_grad():
            return self.features.standardised(items.float())

    def sample(self, batch_size: int = 4096) -> Iterator[Tensor]:
        """Give what stands for all of them, in batches: at most 32,768, the same each time.

        A third of what the default draws in an epoch, so that judging it costs little.
        """
        shuffled = np.random.default_rng(0).permutation(len(self))
        chosen = np.sort(shuffled[:_SAMPLED_ITEMS])  # in the order of the disk
        for begin in range(0, len(chosen), batch_size):
            yield self.draw(chosen[begin : begin + batch_size])


def resident_on(device: torch.device, stored: NDArray[np.floating]) -> Tensor | None:
    """Copy items to a graphics card, where they take at most half of what is free; else none."""
    if device.type != "cuda" or stored.nbytes > _SHARE * torch.cuda.mem_get_info(device)[0]:
        return None
    kind = torch.from_numpy(stored[:0]).dtype
    resident, done = torch.empty(stored.shape, dtype=kind, device=device), 0
    for piece in in_pieces(stored, _COPIED_AT_ONCE):
        resident[done : done + len(piece)] = torch.from_numpy(piece)
        done += len(piece)
    return resident
