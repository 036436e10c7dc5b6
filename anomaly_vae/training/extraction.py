"""What a VAE learns from, taken out of the good images once, before any training.

Letters: N images, B items (locations for ``PatchVAE``, images for the others).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anomaly_vae.images.many import Chosen, room_for
from anomaly_vae.progress import Track
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.vae.trunk import TrunkFeatures

_BATCH = 16


class Store:
    """Where raw items lie: in memory up to ``limit`` bytes each, and beyond it in files."""

    def __init__(self, detector: Detector, folder: Path, *, limit: float) -> None:
        self.detector, self.folder, self.limit = detector, folder, limit
        # Feature maps are kept in half precision: theirs is no better. Pixels need more, because
        # their noise is a small part of their range.
        trunk = isinstance(detector.features, TrunkFeatures)
        self.dtype: np.dtype[np.floating] = np.dtype(np.float16 if trunk else np.float32)

    def room(self, count: int) -> NDArray[np.floating]:
        """Make room for raw items, [count, *stored_shape]; see ``room_for``."""
        shape = (count, *self.detector.features.stored_shape)
        return room_for(shape, self.dtype, self.folder, limit=self.limit)

    def extract(
        self, groups: Sequence[NDArray[np.uint8] | Chosen], device: torch.device, track: Track
    ) -> tuple[NDArray[np.floating], list[NDArray[np.floating]]]:
        """Extract the raw items of groups of images, each uint8 [N, S, T, C], N at least 1.

        Gives those of all groups, [B, *stored_shape], and views of those of each.
        """
        batches = [(group, begin) for group in groups for begin in range(0, len(group), _BATCH)]
        stored = np.empty(0, self.dtype)
        filled = per_image = 0
        for group, begin in track(batches, "Extracting features", len(batches)):
            images = group[begin : begin + _BATCH]
            with torch.no_grad():
                raw = self.detector.raw_items(torch.from_numpy(images).to(device))
            if not per_image:
                per_image = len(raw) // len(images)
                stored = self.room(per_image * sum(len(group) for group in groups))
            stored[filled : filled + len(raw)] = raw.cpu().numpy()
            filled += len(raw)
        ends = per_image * np.cumsum([len(group) for group in groups])
        return stored, np.split(stored, ends[:-1])
