"""Measures how well a model tells kinds of defects apart, and writes ``kinds.md``.

    python reports/kinds.py RUN=DATA ... [--out FILE]

RUN is a run folder of 'train' with the features of a trunk; DATA its data set in the layout of
MVTec AD. Examples are the defective test images in which the model finds a region. Five of each
kind, drawn 20 times, are shown; the others are named. Then each kind is left out in turn, and all
of its images are named, and the others of the kinds that were shown. Beside what the program does,
other ways are measured on the same draws.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from tables import with_interval

from anomaly_vae.calibration.kinds import UNKNOWN, learn_kinds
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.progress import untracked
from anomaly_vae.workflows.kinds import Examples, named_by_folder

REPORT = Path(__file__).with_suffix(".md")
DRAWS, SHOWN = 20, 5
Floats = NDArray[np.floating]
Names = NDArray[np.str_]


class Set(NamedTuple):
    """A run, and the test images in which it finds a region, as it describes them."""

    name: str
    described: Floats
    kinds: Names
    passed: int

    @property
    def names(self) -> Names:
        """The kinds, in alphabetical order."""
        return np.unique(self.kinds)

    def drawn(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw the examples that are shown, five of each kind."""
        shown = np.zeros(len(self.kinds), np.bool_)
        for name in self.names:
            shown[rng.permutation(np.flatnonzero(self.kinds == name))[:SHOWN]] = True
        return shown


def read(run: Path, data: Path) -> Set:
    """Describe all defective test images of a data set."""
    named = named_by_folder(data / "test")
    examples = Examples(named)
    inspector = Inspector(run / "model.onnx", device="cpu", threads=1)
    described = np.array(list(examples.described_by(inspector, untracked)))
    return Set(run.name, described, np.array(examples.kinds), len(named.kinds) - len(described))


def named(shown: Floats, kinds: Names, others: Floats) -> Names:
    """Name others as the program does."""
    learned = learn_kinds(shown, kinds.tolist())
    return np.array([learned.named(each)[0] for each in others])


def by_shrunk_covariance(shown: Floats, kinds: Names, others: Floats) -> Names:
    """The nearest mean under the covariance of all kinds, shrunk (Ledoit and Wolf 2004)."""
    names, which = np.unique(kinds, return_inverse=True)
    means = np.stack([shown[which == index].mean(0) for index in range(len(names))])
    learned = LedoitWolf(assume_centered=True).fit(shown - means[which])
    apart = others[:, None] - means
    distances = np.einsum("ikc,cd,ikd->ik", apart, learned.precision_, apart)
    nearest: Names = names[distances.argmin(1)]
    return nearest


def by_neighbour(shown: Floats, kinds: Names, others: Floats) -> Names:
    """The kind of the nearest example."""
    nearest: Names = kinds[(others @ shown.T).argmax(1)]
    return nearest


WAYS: dict[str, Callable[[Floats, Names, Floats], Names]] = {
    "nearest mean, shrunk covariance": by_shrunk_covariance,
    "nearest example": by_neighbour,
}


def told_apart(each: Set) -> str:
    """Give a row: how often left-out examples, and others, get their kind."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(DRAWS):
        shown = each.drawn(rng)
        x, y, others, true = (
            each.described[shown], each.kinds[shown], each.described[~shown], each.kinds[~shown]
        )  # fmt: skip
        kinds = learn_kinds(x, y.tolist())
        told = [kinds.named(one) for one in others]
        called = np.array([name for name, _ in told])
        known = called != UNKNOWN
        sure = np.array([probability for _, probability in told])[known]
        ways = [(way(x, y, others) == true).mean() for way in WAYS.values()]
        rows.append(
            (kinds.right / len(y), (kinds.nearest(others) == true).mean(), (~known).mean(),
             (called == true)[known].mean(), sure.mean(), *ways)
        )  # fmt: skip
    cells = " | ".join(with_interval(column, 3) for column in np.array(rows).T)
    return f"| `{each.name}` | {len(each.kinds)} of {len(each.kinds) + each.passed} | {cells} |"


def left_out(each: Set) -> list[str]:
    """Give a row for each kind: how often it is unknown where it was not shown, and others are."""
    lines, all_unknown = [], []
    for name in each.names:
        rng, rows = np.random.default_rng(0), []
        for _ in range(DRAWS):
            drawn, this = each.drawn(rng), each.kinds == name
            shown, others = drawn & ~this, ~drawn & ~this
            both = np.r_[each.described[this], each.described[others]]
            unknown = named(each.described[shown], each.kinds[shown], both) == UNKNOWN
            rows.append((unknown[: this.sum()].mean(), unknown[this.sum() :].mean()))
        all_unknown.append(rows)
        cells = " | ".join(with_interval(column, 3) for column in np.array(rows).T)
        lines.append(f"| `{each.name}` | {name} | {cells} |")
    means = " | ".join(with_interval(column, 3) for column in np.mean(all_unknown, 0).T)
    return [*lines, f"| `{each.name}` | **mean** | {means} |"]


def confusion(each: Set) -> list[str]:
    """Give a table: what other examples are called, in shares, over all draws."""
    columns = [*each.names, UNKNOWN]
    counts, rng = np.zeros((len(each.names), len(columns))), np.random.default_rng(0)
    for _ in range(DRAWS):
        shown = each.drawn(rng)
        called = named(each.described[shown], each.kinds[shown], each.described[~shown])
        for true, name in zip(each.kinds[~shown], called, strict=True):
            counts[each.names.tolist().index(true), columns.index(name)] += 1
    shares = counts / counts.sum(1, keepdims=True)
    return [
        *("", f"### `{each.name}`", ""),
        f"| | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
        *(f"| {name} | {' | '.join(f'{share:.2f}' for share in row)} |"
          for name, row in zip(each.names, shares, strict=True)),
    ]  # fmt: skip


def main(
    runs: Annotated[list[str], typer.Argument(help="RUN=DATA")],
    out: Annotated[Path, typer.Option(help="Report to write.")] = REPORT,
) -> None:
    """Measure all runs, and write the report."""
    sets = [read(*map(Path, each.split("=", 1))) for each in runs]
    lines = [
        *("# Which defect is it?", ""),
        "`python reports/kinds.py RUN=DATA ...` writes this; its first lines say how it measures.",
        "Means over 20 draws of five examples of each kind, and the 95 % interval of the mean over",
        "draws (not over other parts).",
        *("", "## Five examples of each kind", ""),
        "Of those that are called by a kind at all, the share that is right stands beside the mean",
        "probability that was given. The last columns are other ways, without an answer `unknown`.",
        "",
        "| run | region found | left-out examples right | others right | of these `unknown` | "
        f"right where named | probability given | {' | '.join(WAYS)} |",
        "|---" * (7 + len(WAYS)) + "|",
        *(told_apart(each) for each in sets),
        *("", "## A kind that was never shown", ""),
        "Each kind is left out in turn. Its images should be `unknown`, others of the kinds that",
        "were shown should not.",
        "",
        "| run | kind left out | its images `unknown` | others `unknown` |",
        "|---|---|---|---|",
        *(line for each in sets for line in left_out(each)),
        *("", "## What others are called, as shares"),
        *(line for each in sets for line in confusion(each)),
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
