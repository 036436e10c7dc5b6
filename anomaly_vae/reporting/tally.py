"""What an inspection found, counted."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from anomaly_vae.images.files import Stamp
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.reporting.rows import spelled

_WORST = 5


@dataclass
class Tally:
    """What was found, in short, over all times that the inspection was gone on with."""

    verdicts: Counter[str] = field(default_factory=Counter)
    quality: int = 0
    """Number of photographs that are unlike all good ones apart from their part."""
    worst: list[tuple[float, str, str]] = field(default_factory=list)
    """Score, verdict and path of the images with the highest scores."""

    def add(self, path: str, verdict: str, score: float | None, quality: str) -> None:
        """Count a row."""
        self.verdicts[verdict] += 1
        self.quality += bool(quality)
        if score is not None:
            self.worst = sorted([*self.worst, (score, verdict, path)], key=lambda e: -e[0])[:_WORST]

    def add_finding(self, finding: Finding) -> None:
        """Count a file."""
        score = None if finding.verdict == "error" else finding.score
        self.add(spelled(finding.path), finding.verdict, score, finding.quality)

    def copy(self) -> "Tally":
        """Give one that counts on from here."""
        return Tally(self.verdicts.copy(), self.quality, self.worst.copy())


class Passing:
    """Counts what passes through, and keeps nothing."""

    out = None
    skipped = renewed = 0

    def __init__(self) -> None:
        self.tally = Tally()

    def __enter__(self) -> "Passing":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def is_done(self, _path: str, _now: Stamp | None) -> bool:
        """Nothing ever is."""
        return False

    def statistics(self) -> Iterator[list[tuple[float, ...]]]:
        """There were no photographs before."""
        return iter(())

    def add(self, finding: Finding, *_: object) -> None:
        """Count a file."""
        self.tally.add_finding(finding)

    def commit(self) -> None:
        """There is nothing to write."""
