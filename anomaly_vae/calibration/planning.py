"""How many images it takes to promise an error rate."""

import math
from dataclasses import dataclass

from anomaly_vae.calibration.intervals import fewest_images
from anomaly_vae.errors import CalibrationError


@dataclass(frozen=True)
class Plan:
    """Numbers of images, none of which may have been trained on."""

    good_on_average: int
    """Good images with which a limit from good images alone keeps the rate on average."""
    good_for_sure: int
    """Good images with which it does so with the confidence asked for (its highest score)."""
    good_test: tuple[int, ...]
    """Good images that prove the rate when 0, 1, 2, … of them are rejected."""
    defective_test: tuple[int, ...]
    """Defective images that prove the escape rate when 0, 1, 2, … of them escape."""


def plan_samples(
    false_alarm_rate: float, escape_rate: float, confidence: float, *, most_cases: int = 3
) -> Plan:
    """Say how many images it takes to promise these rates with this confidence.

    Raises:
        CalibrationError: a share is not between 0 and 1.
    """
    shares = {
        "false-alarm-rate": false_alarm_rate,
        "escape-rate": escape_rate,
        "confidence": confidence,
    }
    for name, share in shares.items():
        if not 0 < share < 1:
            raise CalibrationError(f"--{name} {share:g}: expected a share between 0 and 1")
        if min(share, 1 - share) < 1e-7:
            raise CalibrationError(f"--{name} {share:g}: expected 1e-7 or more away from 0 and 1")
    cases = range(most_cases + 1)
    return Plan(
        good_on_average=math.ceil(1 / false_alarm_rate - 1 - 1e-9),
        # The highest of n scores is exceeded by a share of Beta(1, n): as with no case among n.
        good_for_sure=fewest_images(false_alarm_rate, 0, confidence),
        good_test=tuple(fewest_images(false_alarm_rate, k, confidence) for k in cases),
        defective_test=tuple(fewest_images(escape_rate, k, confidence) for k in cases),
    )
