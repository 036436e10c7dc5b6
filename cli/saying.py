"""What several commands say: thresholds, and images that are not what they seem."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .console import talk

if TYPE_CHECKING:
    from anomaly_vae.calibration.drift import Shift
    from anomaly_vae.calibration.metadata import Threshold
    from anomaly_vae.reporting.summary import Summary

_COLORS = {"pass": "blue", "review": "yellow", "fail": "red", "error": "magenta"}
_LONGEST = 58  # characters of a path, of 80 columns


def say_threshold(limit: "Threshold") -> None:
    """Say what will happen at the limits, how sure that is, and what would make it better."""
    band = f", for review above {limit.review:.4g}" if limit.review is not None else ""
    say_filled(f"fails above {limit.score:.4g}{band}: {limit.promise}")
    for word, text in (("how sure", limit.assurance), ("better with", limit.advice)):
        if text:
            say_filled(f"  {word}: {text}", "    ")


def say_filled(text: str, indent: str = "  ") -> None:
    """Say a text on lines of 79 characters, all but the first of them indented."""
    talk.say(textwrap.fill(text, 79, subsequent_indent=indent))


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


def warn_unreadable(paths: Iterable[str]) -> None:
    """Say which images could not be read."""
    for path in paths:
        talk.warn(f"{path} could not be read and is left out")


def warn_notes(notes: Iterable[str]) -> None:
    """Say what a person should know of the images."""
    for note in notes:
        talk.warn(note)


def warn_seen(paths: list[str], so: str, *, which: str = "the model") -> None:
    """Say that images are not new to a model, and what follows from it."""
    if paths:
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        talk.warn(f"{paths[0]}{others}: {which} was made with these very images, {so}")


def with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """Write a value and its interval."""
    return f"{value:.4f} [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else f"{value:.4f}"


def say_inspection(summary: "Summary", out: Path | None) -> None:
    """Say how many images passed and failed, the worst, and where the report is."""
    tally = summary.tally
    counts = ", ".join(
        _styled(name, f"{tally.verdicts[name]} {name}", bool(tally.verdicts[name]))
        for name in ("pass", "review", "fail", "error")
        if name != "review" or tally.verdicts[name]
    )
    if summary.skipped or summary.renewed:
        talk.say(
            f"{summary.skipped} images were done before; "
            f"{summary.renewed} have changed since then and were inspected again"
        )
    talk.say(f"{summary.images} images: {counts} ({summary.images_per_second:.1f} images/s)")
    if tally.worst:
        talk.say("\n     score  verdict  image")
    for score, verdict, path in tally.worst:
        talk.say(f"{score:10.3f}  {_styled(verdict, f'{verdict:7s}')}  {shortened(path)}")
    for trouble in summary.unlisted:
        talk.warn(f"{trouble}: its images were not inspected; mend it and give --resume")
    if tally.quality:
        talk.warn(
            f"photographs that are unlike all good ones, apart from their part: {tally.quality}; "
            "the column quality says in what"
        )
    warn_shifts(summary.shifts, "these images")
    if out:
        talk.say(f"\nreport: {out}")
        page = out / "report.html"
        if page.is_file():
            talk.say(f"  to look through: {page}")


def _styled(verdict: str, text: str, strong: bool = True) -> str:
    """Colour a text by a verdict."""
    return typer.style(text, fg=_COLORS[verdict], bold=True) if strong else text


def shortened(path: str) -> str:
    """Cut the beginning of a path off that is too long for a line."""
    return path if len(path) <= _LONGEST else f"…{path[1 - _LONGEST :]}"
