"""Images that a threshold may be set on: new to the model, and each of them once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from anomaly_vae.calibration.days import Day, judge_day
from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.calibration.profile import GoodProfile
from anomaly_vae.errors import CalibrationError
from anomaly_vae.inspection.finding import profile_of
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


def usable(card: ModelCard, given: LabelledFolder, known_before: Collection[str] = ()) -> Examples:
    """Leave out what the model of ``card`` has learned from, and copies.

    Copies are those of others among them, too, and of the images with the SHA-256 ``known_before``.

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
    kept = {digest: each for digest, each in kept.items() if digest not in known_before}
    if not kept:
        raise CalibrationError(
            f"{given.folder}: all {len(new)} images in it are copies of those of another --good; "
            "leave it out"
        )
    findings = sorted(kept.values(), key=lambda finding: finding.path)
    digests = sorted(kept, key=lambda digest: kept[digest].path)
    return Examples(replace(given, findings=findings), digests, learned, len(new) - len(kept))


@dataclass(frozen=True)
class Given:
    """What a calibration rests on, scored by the model that it sets the threshold of."""

    card: ModelCard
    days: list[Examples]
    """Good images, of one folder each."""
    bad: Examples | None

    @property
    def sets(self) -> list[Examples]:
        """The images of each day, then the defective ones."""
        return [*self.days, self.bad] if self.bad else self.days

    @property
    def good(self) -> Examples:
        """The good images of all days together."""
        first, *others = self.days
        if not others:
            return first
        findings = [finding for day in self.days for finding in day.used.findings]
        return replace(
            first,
            used=replace(first.used, findings=findings),
            digests=[digest for day in self.days for digest in day.digests],
        )


def given(card: ModelCard, good: Sequence[LabelledFolder], bad: LabelledFolder | None) -> Given:
    """Take what is usable of scored images; an image is good or defective, and of one day.

    Raises:
        CalibrationError: one is both, or nothing of a folder is left.
    """
    if bad:
        _refuse_both(good, bad)
    days: list[Examples] = []
    for each in good:
        known = {digest for day in days for digest in day.digests}
        days.append(usable(card, each, known))
    return Given(card, days, usable(card, bad) if bad else None)


def _refuse_both(good: Sequence[LabelledFolder], bad: LabelledFolder) -> None:
    """Refuse images that are good and defective."""
    both = {digest for each in good for digest in each.digests}.intersection(bad.digests)
    for finding, digest in zip(bad.findings, bad.digests, strict=True):
        if digest in both:
            raise CalibrationError(
                f"{bad.folder / finding.path} and {len(both) - 1} other images are in the "
                "good folder too; an image is either good or defective"
            )


def held_against(limit: Threshold, given: Given) -> tuple[Day, ...]:
    """Say what a limit does to the good images of each day."""
    known = given.card.good
    return tuple(
        judge_day(
            str(day.used.folder), day.used.scores, limit, profile_of(day.used.findings), known
        )
        for day in given.days
        if known
    )


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
