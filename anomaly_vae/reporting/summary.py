"""What an inspection found, in short."""

from dataclasses import asdict, dataclass, field
from typing import Any

from anomaly_vae.calibration.drift import Shift
from anomaly_vae.reporting.rows import SCHEMA_VERSION
from anomaly_vae.reporting.tally import Tally


@dataclass(frozen=True)
class Summary:
    """What an inspection found, in short."""

    tally: Tally
    seconds: float
    """Of this time; files that were done before took theirs."""
    skipped: int = 0
    """Number of files that were done before."""
    renewed: int = 0
    """Number of files that have changed since they were done, and were inspected again."""
    shifts: list[Shift] = field(default_factory=list)
    """How far the images as a whole are from the good ones."""
    unlisted: list[str] = field(default_factory=list)
    """What was wrong with each folder whose images could not be listed."""

    @property
    def images(self) -> int:
        """Number of images, readable or not."""
        return self.tally.verdicts.total()

    @property
    def images_per_second(self) -> float:
        """Of those that were inspected this time."""
        return (self.images - self.skipped) / max(self.seconds, 1e-9)

    @property
    def clean(self) -> bool:
        """Whether every image was found, read and passed."""
        return self.images == self.tally.verdicts["pass"] and not self.unlisted

    def as_dict(self, model_id: str) -> dict[str, Any]:
        """Give everything as plain values."""
        worst = [{"path": path, "score": score} for score, _, path in self.tally.worst]
        return {
            "schema_version": SCHEMA_VERSION,
            "model_id": model_id,
            "images": self.images,
            "verdicts": dict(self.tally.verdicts),
            "quality": self.tally.quality,
            "drift": [asdict(shift) for shift in self.shifts],
            "worst": worst,
            "folders_not_listed": self.unlisted,
            "seconds": self.seconds,
        }
