"""Shares of drawn defects, counted by hand."""

import pytest

from anomaly_vae.calibration.intervals import rate
from anomaly_vae.calibration.sensitivity import DrawnScore, sensitivity
from anomaly_vae.errors import CalibrationError


def drawn(size: float, contrast: float, *scores: float, kind: str = "spot") -> list[DrawnScore]:
    return [DrawnScore(kind, size, contrast, score) for score in scores]


EVERYTHING = [
    *drawn(2, 10, 0.0, 1.5),
    *drawn(4, 10, 2.5, 1.5, kind="stain"),
    *drawn(2, 20, 0.5, 3.0),
    *drawn(4, 20, 2.0, 9.0),
]


def test_shares_are_counted_at_both_limits() -> None:
    found = sensitivity(EVERYTHING, 2.0, 1.0, photographs=8, left_out=3, part="p")
    # A score of exactly the threshold does not fail.
    assert found.overall.failed == rate(3, 8)
    assert found.overall.found == rate(6, 8)
    assert (found.sizes, found.contrasts) == ((2, 4), (10, 20))
    assert (found.photographs, found.left_out, found.part) == (8, 3, "p")
    cell = found.cell(2, 10)
    assert cell is not None
    assert (cell.found, cell.failed) == (rate(1, 2), rate(0, 2))
    stains = found.cell(None, None, "stain")
    assert stains is not None
    assert (stains.found, stains.failed) == (rate(2, 2), rate(1, 2))
    assert found.cell(2, 10, "stain") is None
    assert str(found) == "of 8 drawn defects 75% would be found [35%, 97%], 38% fail"


def test_without_a_limit_for_review_only_what_fails_is_found() -> None:
    assert sensitivity(EVERYTHING, 2.0, photographs=8).overall.found == rate(3, 8)


def test_the_smallest_size_that_is_found_has_no_larger_one_that_escapes() -> None:
    given = [
        *drawn(1, 10, 0.0, 9.0), *drawn(2, 10, *[9.0] * 9, 0.0), *drawn(4, 10, 9.0, 9.0),
        *drawn(1, 20, 9.0, 9.0), *drawn(2, 20, 0.0, 9.0), *drawn(4, 20, 9.0),
        *drawn(1, 30, 9.0), *drawn(4, 30, 0.0),
    ]  # fmt: skip
    found = sensitivity(given, 1.0, photographs=9)
    assert [found.smallest(contrast) for contrast in (10, 20, 30)] == [2, 4, None]


@pytest.mark.parametrize(("given", "message"), [
    ([], "no defect could be drawn"),
    (drawn(2, 10, float("nan")), "not finite"),
])  # fmt: skip
def test_what_cannot_be_counted_is_refused(given: list[DrawnScore], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        sensitivity(given, 2.0, photographs=1)
