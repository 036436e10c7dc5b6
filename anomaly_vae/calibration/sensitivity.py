"""What share of drawn defects would be found, by size and contrast.

Drawn defects are not those that a line makes: the shares say what a model can see on these parts,
and what certainly escapes it. Nothing is learned from them, and no limit is set with them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anomaly_vae.calibration.intervals import Rate, rate
from anomaly_vae.errors import CalibrationError

FOUND = 0.9
"""Share from which on defects of a size and contrast count as found."""


@dataclass(frozen=True)
class DrawnScore:
    """What a model says of a photograph with a drawn defect."""

    kind: str
    size: float
    """Class of its size: diameter of the circle of the same area, in pixels of the photograph."""
    contrast: float
    """Class of its contrast: mean change, in grey levels of 255."""
    score: float


@dataclass(frozen=True)
class Cell:
    """Drawn defects that have something in common, and how many of them are found."""

    kind: str
    """Empty: all kinds."""
    size: float | None
    """In pixels; None: all sizes."""
    contrast: float | None
    """In grey levels; None: all contrasts."""
    failed: Rate
    """Share above the threshold."""
    found: Rate
    """Share that fails or is for review."""


@dataclass(frozen=True)
class Sensitivity:
    """What share of drawn defects is found at the limits of a model."""

    cells: tuple[Cell, ...]
    """All together; each kind; each size and contrast; each kind of each size and contrast. What
    was not drawn is missing."""
    sizes: tuple[float, ...]
    """Ascending, in pixels of the photograph."""
    contrasts: tuple[float, ...]
    """Ascending, in grey levels of 255."""
    photographs: int
    """Different good photographs that were drawn on."""
    left_out: int = 0
    """Defects that no photograph allowed."""
    part: str = ""
    """Where they were drawn, in words."""

    @property
    def overall(self) -> Cell:
        """All drawn defects together."""
        return self.cells[0]

    def cell(self, size: float | None, contrast: float | None, kind: str = "") -> Cell | None:
        """Give the share of some drawn defects; None if there are none of them."""
        wanted = (kind, size, contrast)
        return next((c for c in self.cells if (c.kind, c.size, c.contrast) == wanted), None)

    def smallest(self, contrast: float) -> float | None:
        """Give the size in pixels from which on all sizes of this contrast are found.

        Found is a share of ``FOUND``, as measured: with a dozen defects each, its interval is wide.
        None, if not even the largest are.
        """
        found = None
        for size in reversed(self.sizes):
            cell = self.cell(size, contrast)
            if cell is None or cell.found.value < FOUND:
                break
            found = size
        return found

    def __str__(self) -> str:
        found, failed = self.overall.found, self.overall.failed
        return (
            f"of {found.of} drawn defects {found.value:.0%} would be found "
            f"[{found.low:.0%}, {found.high:.0%}], {failed.value:.0%} fail"
        )


def sensitivity(
    drawn: Sequence[DrawnScore],
    threshold: float,
    review: float | None = None,
    *,
    photographs: int,
    left_out: int = 0,
    part: str = "",
) -> Sensitivity:
    """Count which drawn defects fail (score above ``threshold``) or are for review (``review``).

    Intervals are those of Clopper and Pearson (1934), as if each defect were on a photograph of its
    own.

    Raises:
        CalibrationError: there are none, or a score is not finite.
    """
    if not drawn:
        raise CalibrationError(
            "no defect could be drawn on these photographs; expected one or more"
        )
    if not all(math.isfinite(each.score) for each in drawn):
        raise CalibrationError("a score of a drawn defect is not finite")
    lower = threshold if review is None else min(review, threshold)
    groups: dict[tuple[str, float | None, float | None], list[float]] = {}
    for each in drawn:
        for key in (
            ("", None, None),
            (each.kind, None, None),
            ("", each.size, each.contrast),
            (each.kind, each.size, each.contrast),
        ):
            groups.setdefault(key, []).append(each.score)
    cells = (
        Cell(*key, failed=_above(scores, threshold), found=_above(scores, lower))
        for key, scores in sorted(groups.items(), key=lambda item: _place(*item[0]))
    )
    return Sensitivity(
        tuple(cells),
        tuple(sorted({each.size for each in drawn})),
        tuple(sorted({each.contrast for each in drawn})),
        photographs,
        left_out,
        part,
    )


def _place(kind: str, size: float | None, contrast: float | None) -> tuple[bool, str, float, float]:
    """Sort cells: all together, each kind, sizes and contrasts, these of each kind."""
    return size is not None, kind, contrast or 0.0, size or 0.0


def _above(scores: Iterable[float], limit: float) -> Rate:
    above = [score > limit for score in scores]
    return rate(sum(above), len(above))
