"""What a training learns from, made ready: images known again, alignment, drawn parts."""

import json
import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.errors import TrainingError
from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.images.many import Chosen, at_once
from anomaly_vae.outputs import write_json
from anomaly_vae.progress import Track
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.augmentation import draw_parts
from anomaly_vae.training.dataset import ImageSet, read_images, refuse_unusable
from anomaly_vae.training.extraction import Store
from anomaly_vae.training.folds import Fold
from anomaly_vae.training.items import Items, resident_on
from anomaly_vae.training.split import CALIBRATION, Split
from anomaly_vae.vae.maps import luminance, unit_range

_MOST_ALIGNED = 500


def read_good(
    folder: Path,
    settings: ImageSettings,
    *,
    skip: Path,
    without: Collection[str],
    scratch: Path,
    track: Track,
) -> ImageSet:
    """Read the good images, on all cores, and refuse those that nothing can be learned from.

    Raises:
        FolderError, TrainingError: see ``read_images`` and ``refuse_unusable``.
    """
    images = read_images(
        folder,
        settings,
        workers=usable_cores(),
        skip=skip,
        without=without,
        scratch=scratch,
        track=track,
    )
    refuse_unusable(images)
    return images


def remember_images(images: ImageSet, folder: Path, *, resumed: bool) -> None:
    """Write down in ``folder`` which images a training began with.

    Raises:
        TrainingError: one that is resumed began with others; their split would mix training and
            calibration.
    """
    path = folder / "images.json"
    if resumed and path.read_bytes() != (json.dumps(images.fingerprint) + "\n").encode():
        raise TrainingError(
            f"{images.folder}: not the images that the training in {folder.parent} began with; "
            "give the same folder and --exclude, or --overwrite"
        )
    write_json(path, images.fingerprint)


def fit_alignment(detector: Detector, images: ImageSet, split: Split, device: torch.device) -> None:
    """Set the mean good image that all others are turned onto, where that helps."""
    if detector.alignment is not None:
        training, stopping = images.chosen(split.training), images.chosen(split.stopping)
        light, held_out = (_Batches(each, device, luminance) for each in (training, stopping))
        detector.alignment.fit(light, held_out)
        detector.alignment.set_backdrop(_Batches(training, device))


class _Batches:
    """At most 500 of the images, evenly, in batches made when they are asked for.

    More do not change their mean.
    """

    def __init__(
        self, images: Chosen, device: torch.device, made: Callable[[Tensor], Tensor] = lambda x: x
    ) -> None:
        self._images, self._device, self._made = images, device, made

    def __iter__(self) -> Iterator[Tensor]:
        images, every = self._images, math.ceil(len(self._images) / _MOST_ALIGNED)
        step = every * at_once(images[0].shape)
        for begin in range(0, len(images), step):
            batch = torch.from_numpy(images[begin : begin + step : every])
            yield self._made(unit_range(batch.to(self._device)))


class Extracted:
    """The items of all images that any training learns from: each of its own, none copied."""

    def __init__(
        self,
        store: Store,
        images: ImageSet,
        split: Split,
        config: Config,
        device: torch.device,
        track: Track,
    ) -> None:
        names = [each for each in split.names if each != CALIBRATION or config.training.refit]
        groups = [images.chosen(split.of(name)) for name in names]
        stored, of_parts = store.extract(groups, device, track)
        features = store.detector.features
        self.everything = Items(stored, features, device, resident=resident_on(device, stored))
        self.folds: list[Fold] = []
        if split.folds > 1:
            ends = np.cumsum([len(each) for each in of_parts])
            for group, rows, end in zip(groups, of_parts, ends.tolist(), strict=True):
                known = self.everything.without(end - len(rows), end)
                self.folds.append(Fold(group, known))
            self.training, self.stopping = self.folds[0].known, Items(of_parts[0], features, device)
        else:
            self.training, self.stopping = (Items(rows, features, device) for rows in of_parts[:2])

    def forget(self) -> None:
        """Let go of what lies on disk."""
        known = [fold.known for fold in self.folds]
        for items in (self.training, self.stopping, self.everything, *known):
            items.become(np.empty(0))


def with_drawn_parts(
    training: Items, stopping: Items, store: Store, config: Config, *, resumed: bool, track: Track
) -> NDArray[np.floating]:
    """Give the raw training items, and behind them those that a first VAE draws, once."""
    path = store.folder / "samples.npy"
    if not resumed:
        first = store.folder / "first.safetensors"
        np.save(path, draw_parts(training, stopping, config, first, track))
    drawn = np.load(path, mmap_mode="r")
    items = store.room(len(training) + len(drawn))
    items[: len(training)], items[len(training) :] = training.stored, drawn
    return items
