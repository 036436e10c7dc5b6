"""Which kind of defect a region shows: learned of a few named examples of each.

A region is described by the mean residual of its places, brought to length 1: in which direction it
is unusual, however strongly. It has the kind of the nearest class mean (Mensink et al., TPAMI 35,
2013; Snell et al., NeurIPS 2017), under one variance for all kinds and components. A shrunk
covariance (Ledoit and Wolf 2004) names others slightly better (reports/kinds.md), but what it made
of five examples fits these too well: left-out ones lie far off, and neither limit nor probability
could be set by them. A mean of n examples lies by 1 / n of the variance too far from everything;
that is taken off, so that kinds with few examples, and those with one left out, are judged alike.

The probability of a kind is the softmax of the distances, as sharp as left-out examples support
(temperature scaling: Guo et al., ICML 2017; targets as in Platt 1999, so that a few examples that
are all right promise no certainty). A region is ``unknown`` where it is farther from the nearest
mean than a limit: each kind is left out in turn, as if it had never been shown, and the limit is
where as large a share of such strangers is taken for known as of left-out examples for strangers;
or nearer, where else fewer than three in four strangers would be ``unknown``.

Letters: m examples, K kinds, C components.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

UNKNOWN = "unknown"
FEWEST = 5
"""Examples of a kind; fewer say too little of others."""
_MISTAKEN = 0.25
_SHARPNESS = np.geomspace(0.1, 1000, 81)
_DIGITS = 6  # of a unit vector

Floats = NDArray[np.floating]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Kinds:
    """The kinds of defects that a model tells apart, and how well."""

    names: tuple[str, ...]
    examples: tuple[int, ...]
    """How many of each it was shown, [K]."""
    means: tuple[tuple[float, ...], ...]
    """Of their descriptions, [K, C]."""
    spread: float
    """Mean squared distance of an example from the mean of its kind."""
    sharpness: float
    """Of the softmax, per ``spread``."""
    limit: float
    """A region that is farther from all means is ``unknown``; squared, in ``spread``."""
    left_out: tuple[tuple[int, ...], ...]
    """How many examples of each kind are called what, each left out in turn, [K, K + 1]."""
    right: int
    """Of how many of them their own kind is the nearest, be it near enough or not."""
    strangers: tuple[int, ...]
    """How many of each kind are ``unknown`` where it was not shown at all, [K]."""

    @property
    def unsure(self) -> int:
        """How many examples are ``unknown``, though their kind was shown."""
        return sum(row[-1] for row in self.left_out)

    def named(self, described: Floats) -> tuple[str, float]:
        """Name the kind of a region, [C], and its probability among all; NaN of ``unknown``."""
        distances = self._from(described[None])[0]
        nearest = int(distances.argmin())
        if distances[nearest] > self.limit:
            return UNKNOWN, float("nan")
        weights = np.exp(-self.sharpness * (distances - distances[nearest]))
        return self.names[nearest], float(1 / weights.sum())

    def nearest(self, described: Floats) -> NDArray[np.str_]:
        """Give the nearest kind of each region, [m, C], however far it is, [m]."""
        names: NDArray[np.str_] = np.array(self.names)[self._from(described).argmin(1)]
        return names

    def _from(self, described: Floats) -> NDArray[np.float64]:
        means, counts = np.array(self.means), np.array(self.examples)
        return _distances(described, means, counts, self.spread)


def directions(described: Floats) -> NDArray[np.float64]:
    """Bring descriptions, [..., C], to length 1."""
    lengths = np.linalg.norm(described, axis=-1, keepdims=True)
    made: NDArray[np.float64] = described / np.maximum(lengths, 1e-12).astype(np.float64)
    return made


def learn_kinds(described: Floats, kinds: Sequence[str]) -> Kinds:
    """Learn from descriptions of examples, [m, C], and their kinds, [m]: two or more of each."""
    names, which = np.unique(kinds, return_inverse=True)
    means, counts, spread = _means(described, which)
    left_out = np.array([_of_left_out(described, which, each) for each in range(len(which))])
    own, nearest = left_out[np.arange(len(which)), which], left_out.argmin(1)
    strangers = np.full(len(which), np.inf)
    for kind in range(len(names)):
        others, out = which != kind, which == kind
        shown, as_numbered = described[others], np.unique(which[others], return_inverse=True)[1]
        strangers[out] = _distances(described[out], *_means(shown, as_numbered)).min(1)
    limit = _limit(left_out.min(1), strangers)
    called = np.where(left_out.min(1) > limit, len(names), nearest)
    table = np.zeros((len(names), len(names) + 1), int)
    np.add.at(table, (which, called), 1)
    found = np.bincount(which[strangers > limit], minlength=len(names))
    return Kinds(
        tuple(names.tolist()),
        tuple(counts.tolist()),
        tuple(tuple(row) for row in means.round(_DIGITS).tolist()),
        spread,
        _sharpness(left_out - own[:, None]),
        limit,
        tuple(tuple(row) for row in table.tolist()),
        int((nearest == which).sum()),
        tuple(found.tolist()),
    )


def _means(described: Floats, which: NDArray[np.intp]) -> tuple[Floats, NDArray[np.intp], float]:
    """Give the mean of each kind, [K, C], how many made it, [K], and their spread around it."""
    counts = np.bincount(which)
    means = np.stack([described[which == kind].mean(0) for kind in range(len(counts))])
    squares = np.square(described - means[which]).sum(1)
    spread = squares.sum() / max(1, len(which) - len(counts))
    return means, counts, max(float(spread), 1e-9)


def _distances(
    described: Floats, means: Floats, counts: NDArray[np.intp], spread: float
) -> NDArray[np.float64]:
    """Give squared distances, [m, K], in the spread, less what the means themselves err by."""
    squares = np.square(described[:, None] - means).sum(-1)
    distances: NDArray[np.float64] = squares / spread - 1 / counts
    return distances


def _of_left_out(described: Floats, which: NDArray[np.intp], out: int) -> NDArray[np.float64]:
    """Give the distances of an example, [K], from means that were made without it."""
    kept = np.arange(len(which)) != out
    distances: NDArray[np.float64] = _distances(
        described[[out]], *_means(described[kept], which[kept])
    )[0]
    return distances


def _limit(known: Floats, strangers: Floats) -> float:
    """Give the distance at which the larger of both errors is smallest, or a nearer one."""
    seen = np.unique(np.r_[known, strangers])
    between = (seen[1:] + seen[:-1]) / 2 if len(seen) > 1 else seen
    errors = [max((known > each).mean(), (strangers <= each).mean()) for each in between]
    return float(min(between[int(np.argmin(errors))], np.quantile(strangers, _MISTAKEN)))


def _sharpness(beyond: Floats) -> float:
    """Choose the softmax; takes how much farther left-out ones are from each, [m, K]."""
    count, kinds = beyond.shape
    wrong = 1 / (count + 2)

    def loss(sharpness: float) -> float:
        logits = -sharpness * beyond
        log_sum = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
        # The own kind has the logit 0; all others share what is held back from it.
        others = logits.sum(1) / max(1, kinds - 1)
        return float((log_sum - wrong * others).mean())

    return float(min(_SHARPNESS, key=loss))
