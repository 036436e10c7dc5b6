"""What a threshold is to do best."""

import math
from dataclasses import dataclass
from typing import Literal

from anomaly_vae.calibration.conformal import DEFAULT_FALSE_ALARM_RATE
from anomaly_vae.errors import CalibrationError

Criterion = Literal["youden", "f1", "cost", "false-alarm-rate", "recall"]
_DEFAULT_TARGETS = {"false-alarm-rate": DEFAULT_FALSE_ALARM_RATE, "recall": 0.99}


@dataclass(frozen=True)
class Costs:
    """What wrong verdicts cost, in any one currency."""

    escape: float
    """Cost of one defective part that passes."""
    overkill: float
    """Cost of one good part that fails."""
    defect_rate: float
    """Share of defective parts in production, which test folders do not tell."""

    def __post_init__(self) -> None:
        """Refuse what is no cost or no share.

        Raises:
            CalibrationError: a number is out of range.
        """
        if not (0 <= self.escape < math.inf and 0 <= self.overkill < math.inf):
            raise CalibrationError(
                f"--cost-escape {self.escape:g}, --cost-overkill {self.overkill:g}: expected "
                "numbers of 0 or more"
            )
        if not 0 < self.defect_rate < 1:
            raise CalibrationError(
                f"--defect-rate {self.defect_rate:g}: expected a share between 0 and 1"
            )

    def per_part(self, recall: float, false_alarm_rate: float) -> float:
        """Give the expected cost of wrong verdicts per part inspected."""
        escapes = self.defect_rate * (1 - recall)
        return self.escape * escapes + self.overkill * (1 - self.defect_rate) * false_alarm_rate


@dataclass(frozen=True)
class Goal:
    """What a threshold is to do best."""

    criterion: Criterion = "youden"
    target: float | None = None
    """The share to reach: false-alarm-rate (default 0.01) or recall (default 0.99)."""
    costs: Costs | None = None
    """For the criterion ``cost``."""

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            CalibrationError: a target or costs are missing, superfluous or out of range.
        """
        if self.target is not None and self.criterion not in _DEFAULT_TARGETS:
            raise CalibrationError(
                "--target goes with --criterion false-alarm-rate or recall, not with "
                f"{self.criterion}"
            )
        if self.target is not None and not 0 <= self.target <= 1:
            raise CalibrationError(f"--target {self.target:g}: expected a share between 0 and 1")
        if (self.criterion == "cost") != (self.costs is not None):
            raise CalibrationError(
                "--criterion cost goes with --cost-escape, --cost-overkill and --defect-rate"
            )

    @property
    def share(self) -> float:
        """The target of a criterion that has one, or its default."""
        return _DEFAULT_TARGETS[self.criterion] if self.target is None else self.target
