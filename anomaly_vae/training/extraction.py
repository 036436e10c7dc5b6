"""What a VAE learns from, taken out of the good images once, before any training.

Letters: N images, B items (locations for ``PatchVAE``, images for the others).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.images.many import Chosen, at_once, let_go, room_for
from anomaly_vae.progress import Track
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import TrainingSettings
from anomaly_vae.vae.trunk import TrunkFeatures


class Store:
    """Where raw items lie: in memory up to ``cache_gib`` each, and beyond it in files."""

    def __init__(self, detector: Detector, folder: Path, settings: TrainingSettings) -> None:
        self.detector, self.folder, self.settings = detector, folder, settings
        self.per_image = self.kept = 0
        """Items that an image has, and those of them that are kept, drawn at random."""
        # Feature maps are kept in half precision: theirs is no better. Pixels need more, because
        # their noise is a small part of their range.
        trunk = isinstance(detector.features, TrunkFeatures)
        self.dtype: np.dtype[np.floating] = np.dtype(np.float16 if trunk else np.float32)

    def room(self, count: int) -> NDArray[np.floating]:
        """Make room for raw items, [count, *stored_shape]; see ``room_for``."""
        shape = (count, *self.detector.features.stored_shape)
        limit = self.settings.cache_gib * 2**30
        return room_for(shape, self.dtype, self.folder, limit=limit)

    def extract(
        self, groups: Sequence[NDArray[np.uint8] | Chosen], device: torch.device, track: Track
    ) -> tuple[NDArray[np.floating], list[NDArray[np.floating]]]:
        """Extract the raw items of groups of images, each uint8 [N, S, T, C], N at least 1.

        Gives those of all groups, [B, *stored_shape], and views of those of each.
        """
        count, rng = sum(map(len, groups)), np.random.default_rng(self.settings.seed)
        size = at_once(groups[0][:1].shape[1:])
        batches = [(group, begin) for group in groups for begin in range(0, len(group), size)]
        stored, filled = np.empty(0, self.dtype), 0
        for group, begin in track(batches, "Extracting features", len(batches)):
            images = group[begin : begin + size]
            with torch.no_grad():
                raw = self.detector.raw_items(torch.from_numpy(images).to(device))
            if not self.kept:
                self.per_image = len(raw) // len(images)
                self.kept = min(self.per_image, max(1, self.settings.places // count))
            if not filled:
                stored = self.room(self.kept * count)
            raw = self._drawn(raw, rng)
            stored[filled : filled + len(raw)] = raw.cpu().numpy()
            let_go(stored)
            filled += len(raw)
        ends = self.kept * np.cumsum([len(group) for group in groups])
        return stored, np.split(stored, ends[:-1])

    def _drawn(self, raw: Tensor, rng: np.random.Generator) -> Tensor:
        """Draw the items that are kept of each image from all of several, [B, *raw_shape]."""
        if self.kept == self.per_image:
            return raw
        firsts = range(0, len(raw), self.per_image)
        chosen = [first + rng.permutation(self.per_image)[: self.kept] for first in firsts]
        return raw[torch.from_numpy(np.sort(np.concatenate(chosen))).to(raw.device)]

    @property
    def note(self) -> str:
        """What is not learned from, in a line; empty where there is nothing."""
        if self.kept == self.per_image:
            return ""
        return (
            f"of each photograph {self.kept:,} of {self.per_image:,} places are learned from, "
            f"drawn at random: training.places = {self.settings.places:,}"
        )
