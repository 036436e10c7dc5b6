"""What models said of good photographs that they had not seen, kept for ``refine``.

Letters: N images, n of them unseen, C channels.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import ModelFileError
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.outputs import write_bytes
from anomaly_vae.scoring.batches import in_batches
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.training.dataset import ImageSet
from anomaly_vae.training.split import Which

UNSEEN = "unseen.npz"
# Photographs that models are compared by.
_COMPARED = 50


@dataclass(frozen=True)
class UnseenGood:
    """Good photographs, each judged by a model that has not seen it: arrays of n."""

    path: NDArray[np.str_]
    sha256: NDArray[np.str_]
    score: NDArray[np.float32]
    reconstruction_error: NDArray[np.float32]
    kl: NDArray[np.float32]
    highest: NDArray[np.float32]
    """Highest value of the anomaly map."""
    described: NDArray[np.float32]
    """[n, C], ``Detector.described``."""
    known: NDArray[np.str_]
    """SHA-256 of all good photographs that were given to the training."""


class Descriptions:
    """What models say in which direction good photographs that they have not seen are unusual.

    Each model errs in its own direction, whatever it looks at, and that is no sign of a defect: so
    what is said is brought to the level of the last model, by photographs that both have seen.
    """

    def __init__(self, images: ImageSet) -> None:
        self._images, self._said = images, list[_Said]()
        count = len(images.paths)
        self._sample = np.zeros(count, np.bool_)
        self._sample[np.linspace(0, count - 1, min(count, _COMPARED)).round().astype(int)] = True

    def add(self, detector: Detector, unseen: Which, seen: Which) -> None:
        """Describe images that a model has not seen, and some that it has, both [N]."""
        if detector.model.kl_per_location:
            known = seen & self._sample
            self._said.append(
                _Said(unseen, self._by(detector, unseen), known, self._by(detector, known))
            )

    def of_last(self, detector: Detector) -> NDArray[np.float32] | None:
        """Give ``Detector.described`` at the level of a last model, [N, C]; NaN of all others.

        None of models that are not of single places.
        """
        if not self._said:
            return None
        compared = np.logical_or.reduce([each.known for each in self._said])
        last = self._by(detector, compared)
        described = np.full((len(compared), last.shape[1]), np.nan, np.float32)
        for each in self._said:
            shift = (last[each.known[compared]] - each.of_known).mean(0)
            described[each.unseen] = each.of_unseen + shift
        return described

    def _by(self, detector: Detector, which: Which) -> NDArray[np.float32]:
        (described,) = in_batches(detector, detector.described, self._images.chosen(which))
        array: NDArray[np.float32] = described.numpy()
        return array


class _Said(NamedTuple):
    """What a model says."""

    unseen: Which
    of_unseen: NDArray[np.float32]
    known: Which
    of_known: NDArray[np.float32]


def save_unseen(
    images: ImageSet,
    findings: Sequence[Finding],
    described: NDArray[np.float32] | None,
    path: Path,
) -> None:
    """Write what is known of the images that have a description, [N, C]: others' are not finite.

    Nothing is written where none was made.
    """
    if described is None:
        return
    known = np.flatnonzero(np.isfinite(described).all(1)).tolist()
    said = [findings[index] for index in known]
    columns: dict[str, NDArray[Any]] = {
        name: np.array([getattr(each, name) for each in said], np.float32)
        for name in ("score", "reconstruction_error", "kl", "highest")
    }
    columns["path"] = np.array([images.paths[index] for index in known])
    columns["sha256"] = np.array([images.digests[index] for index in known])
    columns |= {"described": described[known], "known": np.array(images.digests)}
    file = io.BytesIO()
    np.savez_compressed(file, **columns)  # type: ignore[arg-type]
    write_bytes(path, file.getvalue())


def load_unseen(run: Path) -> UnseenGood:
    """Read what ``save_unseen`` wrote into a run folder.

    Raises:
        ModelFileError: it is not there, or damaged.
    """
    path = run / UNSEEN
    if not path.is_file():
        raise ModelFileError(
            f"{path}: is not there; 'refine' needs what 'train' keeps of good photographs "
            "('calibrate --fit-kl-weight' and earlier versions do not): train again"
        )
    try:
        with np.load(path) as kept:
            return UnseenGood(**{each.name: kept[each.name] for each in fields(UnseenGood)})
    except (OSError, KeyError, ValueError) as error:
        raise ModelFileError(f"{path}: damaged ({error}); train again") from error
