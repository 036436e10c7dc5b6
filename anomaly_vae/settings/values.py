"""Kinds of values that settings have, checked when they are made."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator

from anomaly_vae.settings.masks import mask_from_text

FULL_RANGE = 65535
"""Highest number of 16 bits."""
MOST_SLICES = 1024
"""Of a part that is a stack of them."""


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("input should be an odd number")
    return number


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


def _mask(text: str) -> str:
    if text:
        mask_from_text(text)
    return text


def _frame(sides: tuple[int, ...]) -> tuple[int, ...]:
    if sides and (len(sides) != 2 or min(sides) < 16):
        raise ValueError("expected [height, width], each 16 pixels or more, or nothing")
    return sides


def _polygon(corners: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if len(corners) < 3:
        raise ValueError("a polygon needs 3 corners or more, each [x, y]")
    return corners


def _white(level: object) -> object:
    whole = isinstance(level, int) and not isinstance(level, bool)
    if level != "auto" and not (whole and 255 <= int(str(level)) <= FULL_RANGE):
        raise ValueError(f"input should be auto, or a whole number from 255 to {FULL_RANGE}")
    return level


def _slices(count: object) -> object:
    whole = isinstance(count, int) and not isinstance(count, bool)
    if count != "auto" and not (whole and int(str(count)) in (0, *range(2, MOST_SLICES + 1))):
        raise ValueError(
            f"input should be auto, 0 for photographs, or a whole number from 2 to {MOST_SLICES}"
        )
    return count


OddNumber = Annotated[int, AfterValidator(_odd)]
Pattern = Annotated[str, AfterValidator(_pattern)]
MaskText = Annotated[str, AfterValidator(_mask)]
WhiteLevel = Annotated[int | Literal["auto"], PlainValidator(_white)]
Slices = Annotated[int | Literal["auto"], PlainValidator(_slices)]
Frame = Annotated[tuple[int, ...], AfterValidator(_frame)]
Share = Annotated[float, Field(ge=0, le=1)]
Polygon = Annotated[tuple[tuple[Share, Share], ...], AfterValidator(_polygon)]
