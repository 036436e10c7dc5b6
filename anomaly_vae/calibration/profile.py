"""What held-out good images look like: the part of a model card that others are compared with."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TypeVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.images.quality import STATISTICS

T = TypeVar("T")

# The range of a few images says little: it is widened on both sides by itself, of five images
# twice, and by at least this share of the typical value.
_LEAST_WIDENED = 0.1
_WORDS = {
    "brightness": ("darker", "brighter"),
    "contrast": ("less contrast", "more contrast"),
    "sharpness": ("blurred", "sharper, or noisy"),
}


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class GoodProfile:
    """Held-out good images: their scores and simple statistics, each in ascending order."""

    scores: tuple[float, ...]
    brightness: tuple[float, ...]
    contrast: tuple[float, ...]
    sharpness: tuple[float, ...]
    color: bool
    """Whether any of them has a colour."""
    size: tuple[int, int] | None
    """Width and height of the photographs in pixels, if all have the same."""
    reconstruction_error: tuple[float, ...] = ()
    kl: tuple[float, ...] = ()
    """What their scores are made of; older models do not know it."""
    centre_x: tuple[float, ...] = ()
    centre_y: tuple[float, ...] = ()
    """Where their edges have their centre, as shares of the sides; older models do not know it."""
    group_scores: tuple[float, ...] = ()
    """The highest score of each group, in ascending order, where views of one part count once."""

    def p_value(self, score: float) -> float:
        """Give the conformal p-value of a score: the share of good images at least as unusual.

        (1 + number of the n good scores >= ``score``) / (n + 1), of groups where these count. Among
        good images values of at most p come with probability p at most (Bates et al., Annals of
        Statistics 51, 2023).
        """
        scores = self.group_scores or self.scores
        return (1 + len(scores) - bisect_left(scores, score)) / (len(scores) + 1)

    def objections(self, image: LoadedImage) -> str:
        """Say in what a photograph is unlike all good ones; empty if in nothing."""
        found = []
        if self.size not in (None, (image.width, image.height)):
            assert self.size is not None  # noqa: S101 - for the type checker
            found.append(f"{image.width} x {image.height} pixels, not {_times(self.size)}")
        if image.statistics.color and not self.color:
            found.append("in colour, not grey")
        for name in STATISTICS:
            value = getattr(image.statistics, name)
            low, high = self._limits[name]
            if not low <= value <= high:
                word = _WORDS[name][int(value > high)]
                found.append(f"{word} ({name} {value:.3g}, good {low:.3g} to {high:.3g})")
        return "; ".join(found)

    @cached_property
    def _limits(self) -> dict[str, tuple[float, float]]:
        """Between what each of the statistics is as usual: asked for each photograph."""
        return {name: _widened(getattr(self, name)) for name in STATISTICS}


def good_profile(
    scores: Iterable[float],
    images: Sequence[LoadedImage],
    *,
    reconstruction_error: Iterable[float] = (),
    kl: Iterable[float] = (),
) -> GoodProfile:
    """Make the profile of held-out good images and their scores."""
    sizes = {(image.width, image.height) for image in images}
    centres = [image.centre for image in images if image.centre]
    return GoodProfile(
        scores=tuple(sorted(scores)),
        color=any(image.statistics.color for image in images),
        size=sizes.pop() if len(sizes) == 1 else None,
        reconstruction_error=tuple(sorted(reconstruction_error)),
        kl=tuple(sorted(kl)),
        centre_x=tuple(sorted(x for x, _ in centres)),
        centre_y=tuple(sorted(y for _, y in centres)),
        **{
            name: tuple(sorted(getattr(image.statistics, name) for image in images))
            for name in STATISTICS
        },
    )


def _widened(values: Sequence[float]) -> tuple[float, float]:
    low, high = values[0], values[-1]
    margin = max((1 + 5 / len(values)) * (high - low), _LEAST_WIDENED * values[len(values) // 2])
    return low - margin, high + margin


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
