"""Which good images do what: folds, each held out from one model, or three parts.

Letters: N images.
"""

import hashlib
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anomaly_vae.errors import TrainingError
from anomaly_vae.images.many import in_pieces
from anomaly_vae.settings.schema import SplitSettings
from anomaly_vae.training.dataset import FEWEST_GOOD_IMAGES, ImageSet

TRAINING, STOPPING, CALIBRATION = PARTS = ("training", "stopping", "calibration")

# Of all images: the model that judges it learns from the others.
_LARGEST_FOLD = 2 / 3

Which = NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """What each good image is for; made once, before anything is looked at.

    With folds, the first is held out from the first training, which it stops, and each other one
    from a training of its own; every image so tells what is usual of new ones.
    """

    parts: NDArray[np.str_]
    """[N]: ``training``, ``stopping`` or ``calibration``; or ``fold 1``, ``fold 2``, …"""
    names: tuple[str, ...]
    """Of all parts, or all folds."""

    @property
    def folds(self) -> int:
        """How many folds there are; 1 for a single split."""
        return 1 if CALIBRATION in self.names else len(self.names)

    def __str__(self) -> str:
        if self.folds > 1:
            return f"{self.folds} folds of about {len(self.parts) // self.folds}"
        return ", ".join(f"{self.of(name).sum()} {name}" for name in self.names)

    def of(self, name: str) -> Which:
        """Say which images are of a part, [N]."""
        return np.asarray(self.parts == name)

    @property
    def training(self) -> Which:
        """Those that the first training learns from, [N]."""
        return self.of(TRAINING) if self.folds == 1 else ~self.stopping

    @property
    def stopping(self) -> Which:
        """Those that say when it has learned enough, [N]."""
        return self.of(STOPPING if self.folds == 1 else self.names[0])

    @property
    def calibration(self) -> Which:
        """Those that standardise the score and set the threshold, [N]."""
        return self.of(CALIBRATION) if self.folds == 1 else np.ones(len(self.parts), np.bool_)


def split_images(images: ImageSet, settings: SplitSettings, *, seed: int) -> Split:
    """Divide good images, each different one by chance.

    Images with the same content, or the same match of ``settings.group_by``, stay together:
    otherwise a model would be calibrated on what it was trained on.

    Raises:
        TrainingError: too few images or groups, or a path without a match.
    """
    count = len(images.paths)
    if count < FEWEST_GOOD_IMAGES:
        raise TrainingError(
            f"{images.folder}: {count} readable images; expected {FEWEST_GOOD_IMAGES} good ones "
            "or more (50 to 500 give a threshold worth having)"
        )
    contents = _first_of_same_pixels(images)
    keys = np.array(group_keys(images.paths, contents, settings.group_by))
    groups, fewest = np.unique(keys), max(settings.folds, len(PARTS))
    if len(groups) < fewest:
        raise TrainingError(
            f"split.group_by = {settings.group_by!r} gives {len(groups)} different groups; "
            f"expected {fewest} or more"
            if settings.group_by
            else f"{images.folder}: {len(groups)} different images, the others are copies; "
            f"expected {FEWEST_GOOD_IMAGES} different good ones or more"
        )
    shuffled = np.random.default_rng(seed).permutation(groups)
    split = (
        _in_parts(keys, shuffled, settings)
        if settings.folds == 1
        else _in_folds(keys, shuffled, settings.folds)
    )
    sizes = [split.of(name).sum() for name in split.names]
    if not all(sizes) or (settings.folds > 1 and max(sizes) > count * _LARGEST_FOLD):
        raise TrainingError(
            f"split.group_by = {settings.group_by!r} gives groups too large to be split; expected "
            "many groups of about the same size"
        )
    return split


def _in_parts(keys: NDArray[np.str_], shuffled: NDArray[np.str_], settings: SplitSettings) -> Split:
    """Give whole groups to calibration and stopping, until each has its share; train on others."""
    parts = np.full(len(keys), TRAINING, dtype=f"<U{len(CALIBRATION)}")
    left = deque(shuffled)
    for part, share in ((CALIBRATION, settings.calibration), (STOPPING, settings.stopping)):
        while left and (parts == part).sum() < max(1, round(share * len(keys))):
            parts[keys == left.popleft()] = part
    return Split(parts, PARTS)


def _in_folds(keys: NDArray[np.str_], shuffled: NDArray[np.str_], folds: int) -> Split:
    """Give each group, the largest first, to the fold with the fewest images."""
    names = tuple(f"fold {number}" for number in range(1, folds + 1))
    groups, which, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.searchsorted(groups, shuffled)
    filled, fold_of = np.zeros(folds, int), np.empty(len(groups), int)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return Split(np.array(names)[fold_of[which]], names)


def group_keys(paths: Sequence[str], digests: Sequence[str], pattern: str) -> list[str]:
    """Say which images, [N], belong together: the same content, or the same match of ``pattern``.

    A copy joins the groups that it lies in.

    Raises:
        TrainingError: a path has no match.
    """
    if not pattern:
        return list(digests)
    matches = [_match(pattern, path) for path in paths]
    names, groups = np.unique(matches, return_inverse=True)
    contents, which = np.unique(digests, return_inverse=True)
    shared = coo_array((np.ones(len(paths)), (groups, which)), (len(names), len(contents)))
    _, joined = connected_components(shared @ shared.T)
    # The first name of those joined: where nothing is copied, each group keeps its own.
    first = {label: str(name) for label, name in reversed(list(zip(joined, names, strict=True)))}
    return [first[joined[group]] for group in groups]


def _match(pattern: str, path: str) -> str:
    match = re.search(pattern, path)
    if match is None:
        raise TrainingError(
            f"split.group_by = {pattern!r} does not match {path!r}; name it as the others"
        )
    return str(match.groups()) if match.groups() else match.group(0)


def _first_of_same_pixels(images: ImageSet) -> list[str]:
    """Give the digest of the first file with the same pixels as each: a copy may be saved anew."""
    first: dict[bytes, str] = {}
    return [
        first.setdefault(hashlib.sha256(pixels.tobytes()).digest(), each)
        for pixels, each in zip(in_pieces(images.pixels), images.digests, strict=True)
    ]
