"""What several commands say: thresholds, and images that are not what they seem."""

import textwrap
from typing import TYPE_CHECKING

from .console import talk

if TYPE_CHECKING:
    from anomaly_vae.drift import Shift
    from anomaly_vae.metadata import Threshold


def say_threshold(limit: "Threshold") -> None:
    """Say the threshold and what it promises."""
    band = f" (review from {limit.review:.4g})" if limit.review is not None else ""
    text = f"threshold {limit.score:.4g}{band}: {limit.promise}"
    talk.say(textwrap.fill(text, 79, subsequent_indent="  "))


def warn_shifts(shifts: list["Shift"], which: str) -> None:
    """Say in what images are not like the good ones that the threshold was set on."""
    moved = [
        f"{shift.statistic} has median {shift.median:.3g}, there {shift.good_median:.3g} "
        f"(p = {shift.p_value:.1g}, stability index {shift.stability_index:.2g})"
        for shift in shifts
        if shift.shifted
    ]
    if moved:
        talk.warn(
            f"{which} are not like those the threshold was set on: {'; '.join(moved)}. If lamp, "
            "camera or lot have changed, calibrate again"
        )


def warn_unreadable(paths: list[str]) -> None:
    """Say which images could not be read."""
    for path in paths:
        talk.warn(f"{path} could not be read and is left out")


def warn_seen(paths: list[str], so: str) -> None:
    """Say that images are not new to the model, and what follows from it."""
    if paths:
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        talk.warn(f"{paths[0]}{others}: the model was made with these very images, {so}")
