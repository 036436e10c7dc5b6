"""What held-out good images tell: scales for the score, and the threshold.

Letters: N images, h x w places of a map.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from heapq import nlargest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.calibration.conformal import good_only_threshold
from anomaly_vae.calibration.evidence import Evidence
from anomaly_vae.calibration.metadata import ModelCard
from anomaly_vae.inspection.finding import Finding, map_maxima, profile_of
from anomaly_vae.reporting.suspects import SHOWN
from anomaly_vae.scoring.batches import parts_of_images
from anomaly_vae.scoring.detector import SCALES, Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import ImageSet
from anomaly_vae.training.folds import FoldModel
from anomaly_vae.training.split import CALIBRATION, STOPPING, Split, group_keys
from anomaly_vae.vae.model import Parts
from anomaly_vae.workflows.unseen import Descriptions


class HeldOut:
    """Says of good images what models say that have not seen them, as inspection would.

    Maps are kept of the first images ``shown``, and of the most unusual ones: those of thousands
    do not fit into memory.
    """

    def __init__(self, images: ImageSet, split: Split, *, shown: int) -> None:
        self.images, self.split = images, split
        self._shown = set(np.flatnonzero(split.calibration)[:shown].tolist())
        self._said: dict[int, Finding] = {}
        self.descriptions = Descriptions(images)

    @property
    def findings(self) -> list[Finding]:
        """What is said of each image, in the order of their paths."""
        return [self._said[index] for index in sorted(self._said)]

    def cross(self, detector: Detector, folds: Sequence[FoldModel]) -> "Unseen":
        """Judge each fold by scales from the others, and set those of ``detector`` from all.

        Leaves the detector on the CPU. Gives what judges other pictures as each fold was judged.

        Raises:
            TrainingError: the scores of the images are all the same.
        """
        detector.cpu()
        judges = Unseen(detector, folds)
        for number, (name, fold) in enumerate(zip(self.split.names, folds, strict=True)):
            others = _joined([each.said for other, each in enumerate(folds) if other != number])
            detector.learn_places(*others)
            detector.standardise(*others)
            judges.scales.append({scale: getattr(detector, scale).clone() for scale in SCALES})
            self._hear(detector, self.split.of(name), fold.said)
        everything = _joined([each.said for each in folds])
        detector.learn_places(*everything)
        detector.standardise(*everything)
        for number, name in enumerate(self.split.names):
            which = self.split.of(name)
            self.descriptions.add(judges.detector(number), which, ~which)
        return judges

    def split_once(self, detector: Detector) -> None:
        """Set scales by the images of a single split that are held out, and judge those.

        Leaves the detector on the CPU.

        Raises:
            TrainingError: their scores are all the same.
        """
        stopping, calibration = (self._parts(detector, part) for part in (STOPPING, CALIBRATION))
        detector.cpu()
        detector.learn_places(*stopping)
        detector.standardise(*calibration)
        for part, said in ((STOPPING, stopping), (CALIBRATION, calibration)):
            self._hear(detector, self.split.of(part), said)
        self.descriptions.add(detector, self.split.calibration, self.split.training)

    def known(self, detector: Detector, part: str) -> None:
        """Write down what ``detector`` says of the images of a part that it has learned from."""
        self._hear(detector, self.split.of(part), self._parts(detector, part))

    def _hear(self, detector: Detector, which: NDArray[np.bool_], said: Sequence[Tensor]) -> None:
        """Write down what a detector with scales makes of ``Detector.parts`` of some images."""
        rows = zip(*(column.numpy() for column in detector.join(*said)), strict=True)
        for index, (score, error, kl, anomaly_map) in zip(
            which.nonzero()[0].tolist(), rows, strict=True
        ):
            image = self.images.photographs[index]
            self._said[index] = Finding(
                self.images.paths[index],
                "pass",
                score=float(score),
                reconstruction_error=float(error),
                kl=float(kl),
                width=image.width,
                height=image.height,
                image=image,
                anomaly_map=anomaly_map,
                highest=float(anomaly_map.max()),
            )
        kept = self._shown.union(nlargest(SHOWN, self._said, lambda each: self._said[each].score))
        for other in self._said.keys() - kept:
            self._said[other] = replace(self._said[other], anomaly_map=None)

    def _parts(self, detector: Detector, part: str) -> list[Tensor]:
        return parts_of_images(detector, self.images.chosen(self.split.of(part)))


class Unseen:
    """Judges pictures by the models of folds: none has seen the photographs of its fold."""

    def __init__(self, detector: Detector, folds: Sequence[FoldModel]) -> None:
        self._detector, self._folds = deepcopy(detector), folds
        self.scales: list[dict[str, Tensor]] = []
        """Of each fold, from the others."""

    def scores(self, squares: NDArray[np.uint8], fold: int) -> NDArray[np.float32]:
        """Give the scores, [N], of squares, uint8 [N, S, S, 3], by the model of a fold."""
        detector, shift = self.detector(fold), self._folds[fold].shift
        error, kl = parts_of_images(detector, squares)
        return detector.join(error + shift.reconstruction_error, kl + shift.kl).score.numpy()

    def detector(self, fold: int) -> Detector:
        """Give what has not seen the images of a fold; it is another one at the next call."""
        self._detector.load_state_dict(self._folds[fold].state | self.scales[fold], strict=False)
        return self._detector


def _joined(folds: Sequence[Parts]) -> Parts:
    return Parts(*(torch.cat(column) for column in zip(*folds, strict=True)))


def with_threshold(
    card: ModelCard, calibration: Sequence[Finding], digests: Sequence[str], config: Config
) -> ModelCard:
    """Set the threshold of a card from images held out, and their SHA-256."""
    pattern = config.split.group_by
    evidence = Evidence(
        np.array([finding.score for finding in calibration]),
        map_maxima(calibration),
        group_keys([finding.path for finding in calibration], digests, pattern),
        of_parts=bool(pattern),
        folds=config.split.folds,
        refitted=config.training.refit,
        robust=config.scoring.robust,
    )
    threshold = good_only_threshold(
        evidence, fail_rate=config.scoring.fail_rate, review_rate=config.scoring.review_rate
    )
    different = dict(zip(digests, calibration, strict=True))  # copies count once
    profile = replace(profile_of(list(different.values())), group_scores=evidence.group_scores)
    return card.calibrated(threshold, profile, digests=digests)
