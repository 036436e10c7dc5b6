"""Images that a threshold may be set on: new to the model, and each of them once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.calibration.profile import GoodProfile
from anomaly_vae.errors import CalibrationError
from anomaly_vae.workflows.labelled import LabelledFolder, Photographs, seen_before


@dataclass(frozen=True)
class Examples:
    """The images of one class, without those that prove nothing."""

    used: LabelledFolder
    digests: list[str]
    """SHA-256 of each that is used."""
    learned: list[str]
    """Left out, because the model has learned from them: they seem better than new ones."""
    copies: int
    """Left out, because they are copies of others."""

    @property
    def photographs(self) -> Photographs:
        """Where those that are used lie."""
        return Photographs(self.used.folder, tuple(each.path for each in self.used.findings))


def usable(card: ModelCard, given: LabelledFolder) -> Examples:
    """Leave out what the model of ``card`` has learned from, and copies.

    Raises:
        CalibrationError: nothing is left.
    """
    learned = seen_before(card, given, calibrated=False)
    known = set(learned)
    new = [
        pair
        for pair in zip(given.digests, given.findings, strict=True)
        if pair[1].path not in known
    ]
    if not new:
        raise CalibrationError(
            f"{given.folder}: the model has learned from all {len(learned)} images in it; expected "
            "others, which tell how it judges new ones"
        )
    kept = dict(reversed(new))  # the first of each content
    findings = sorted(kept.values(), key=lambda finding: finding.path)
    digests = sorted(kept, key=lambda digest: kept[digest].path)
    return Examples(replace(given, findings=findings), digests, learned, len(new) - len(kept))


def caveats(card: ModelCard, sets: Sequence[Examples]) -> list[str]:
    """Say what a reader of a promise that rests on these images has to know."""
    learned, copies = sum(len(each.learned) for each in sets), sum(each.copies for each in sets)
    said = []
    if learned:
        said.append(f"{learned} images were left out: the model has learned from them")
    if copies:
        said.append(f"{copies} copies of others were left out")
    if not card.learned_from:
        said.append("whether the model has learned from some of them is not known")
    return said


def doubtful(limit: Threshold, good: GoodProfile, defective: LabelledFolder) -> list[str]:
    """Say how many defective images do not pass for their photograph alone."""
    count = sum(
        limit.verdict(each.score) != limit.verdict(each.score, good.objections(each.image))
        for each in defective.findings
        if each.image
    )
    if not count:
        return []
    return [
        f"{count} of the defective images that pass by their score are for review: their "
        "photographs are unlike all good ones"
    ]
