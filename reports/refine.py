"""Measures what a few marked defects teach the score, and writes ``refine.md``.

    python reports/refine.py RUN=DATA ... [--out FILE]

RUN is a run folder of 'train' with the features of a trunk; DATA its data set in the layout of
MVTec AD. Ten defective test images, drawn 20 times, teach; all others are judged. Where there are
several kinds of defects, each is left out in turn, ten of the others teach, and it is judged.
Beside what the program does, other ways are measured on the same draws, each made of the same
descriptions, and joined with the score alike.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from tables import with_interval
from torch import Tensor

from anomaly_vae.calibration.conformal import good_only_limit
from anomaly_vae.calibration.likeness import (
    BEYOND,
    WEIGHT,
    Direction,
    added_unseen,
    learn_direction,
    left_out,
)
from anomaly_vae.calibration.metrics import areas_under_roc
from anomaly_vae.scoring.batches import in_batches, parts_of_images
from anomaly_vae.training.dataset import read_images
from anomaly_vae.workflows.runs import load_detector, saved_config
from anomaly_vae.workflows.unseen import UnseenGood, load_unseen

REPORT = Path(__file__).with_suffix(".md")
DRAWS, TAUGHT = 20, 10
Floats = NDArray[np.floating]
Way = Callable[[Floats, Floats], Callable[[Floats], Floats]]
change = partial(with_interval, sign="+")
"""Learns from good and defective descriptions what gives a number for others."""


class Set(NamedTuple):
    """A run, and its test images as it describes them."""

    name: str
    unseen: UnseenGood
    good: Floats
    good_scores: Floats
    bad: Floats
    bad_scores: Floats
    kinds: NDArray[np.str_]


def read(run: Path, data: Path) -> Set:
    """Describe all test images of a data set."""
    config = saved_config(run)
    detector = load_detector(run, config)
    detector.likeness = None
    described, scores, kinds = [], [], []
    for folder in sorted((data / "test").iterdir()):
        pixels = read_images(folder, config.images, workers=1).pixels
        described.append(in_batches(detector, detector.described, pixels)[0].numpy())
        scores.append(detector.join(*parts_of_images(detector, pixels)).score.numpy())
        kinds += [folder.name] * len(pixels)
    all_kinds, every, score = np.array(kinds), np.concatenate(described), np.concatenate(scores)
    good = all_kinds == "good"
    return Set(
        data.name, load_unseen(run), every[good], score[good], every[~good], score[~good],
        all_kinds[~good],
    )  # fmt: skip


def discriminant(good: Floats, bad: Floats) -> Callable[[Floats], Floats]:
    """What the program does."""
    return learn_direction(good, bad).of


def logistic(good: Floats, bad: Floats) -> Callable[[Floats], Floats]:
    """Logistic regression, both classes weighing the same."""
    model = LogisticRegression(C=1e-3, class_weight="balanced", max_iter=300)
    model.fit(np.r_[good, bad], np.r_[np.zeros(len(good)), np.ones(len(bad))])
    return lambda x: x @ model.coef_[0]


def ridge(good: Floats, bad: Floats) -> Callable[[Floats], Floats]:
    """Ridge regression on the class, both weighing the same."""
    weights = np.r_[np.full(len(good), 1 / len(good)), np.full(len(bad), 1 / len(bad))]
    model = Ridge(alpha=float(good.var(0).sum()) / 10)
    model.fit(np.r_[good, bad], np.r_[np.zeros(len(good)), np.ones(len(bad))], weights)
    return lambda x: x @ model.coef_


def deviation(good: Floats, bad: Floats) -> Callable[[Floats], Floats]:
    """Deviation loss (DevNet, Pang et al. 2019): defects 5 deviations from good ones, by a line."""
    return _descended(
        good, bad, 1, lambda g, b: g.abs().mean() + (5 - b).clamp_min(0).mean(), lambda z: z[:, 0]
    )


def pull_and_push(good: Floats, bad: Floats) -> Callable[[Floats], Floats]:
    """Deep SAD (Ruff et al. 2020) by one layer: good ones near a point, defects far from it."""
    return _descended(
        good, bad, 32,
        lambda g, b: g.square().sum(1).mean() + (1 / (b.square().sum(1) + 1e-6)).mean(),
        lambda z: z.square().sum(1),
    )  # fmt: skip


def _descended(
    good: Floats,
    bad: Floats,
    size: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    score: Callable[[Tensor], Tensor],
) -> Callable[[Floats], Floats]:
    """Learn a linear layer on standardised descriptions by 200 steps of Adam, with weight decay."""
    torch.manual_seed(0)
    mean, std = good.mean(0), good.std(0) + 1e-6

    def made(x: Floats) -> Tensor:
        return torch.from_numpy(((x - mean) / std).astype(np.float32))

    layer = torch.nn.Linear(good.shape[1], size, bias=False)
    torch.nn.init.normal_(layer.weight, std=0.01)
    adam = torch.optim.AdamW(layer.parameters(), lr=1e-2, weight_decay=0.1)
    g, b = made(good), made(bad)
    for _ in range(200):
        adam.zero_grad()
        loss(layer(g), layer(b)).backward()  # type: ignore[no-untyped-call]
        adam.step()

    def scored(x: Floats) -> Floats:
        with torch.no_grad():
            given: Floats = score(layer(made(x))).double().numpy()
        return given

    return scored


WAYS: dict[str, Way] = {
    "linear discriminant (`refine`)": discriminant,
    "logistic regression": logistic,
    "ridge regression": ridge,
    "deviation loss": deviation,
    "pull and push (Deep SAD)": pull_and_push,
}


def joined(way: Way, each: Set, taught: NDArray[np.intp]) -> Callable[[Floats], Floats]:
    """Give what is added to a score: what is beyond nearly all good ones, in their spread."""
    number = way(each.unseen.described, each.bad[taught])
    known = number(each.unseen.described)
    usual = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - usual)) + 1e-9
    return lambda x: WEIGHT * np.maximum((number(x) - usual) / spread - BEYOND, 0)


def auroc(good: Floats, bad: Floats) -> float:
    """Give the area under the ROC curve."""
    scores = np.r_[good, bad]
    return float(areas_under_roc(scores, np.arange(len(scores)) >= len(good)))


def ranking(each: Set) -> Iterator[str]:
    """Give a row for each way: the gain in AUROC on defects that it was not taught."""
    for name, way in WAYS.items():
        rng, gains = np.random.default_rng(0), []
        for _ in range(DRAWS):
            taught, others = np.split(rng.permutation(len(each.bad)), [TAUGHT])
            added = joined(way, each, taught)
            after = auroc(
                each.good_scores + added(each.good), (each.bad_scores + added(each.bad))[others]
            )
            gains.append(after - auroc(each.good_scores, each.bad_scores[others]))
        yield f"| `{each.name}` | {name} | {change(gains, 4)} |"


def limits(each: Set) -> str:
    """Give a row: what is found above limits from good photographs, and how often it is kept."""
    rng, rows = np.random.default_rng(0), []
    unseen = each.unseen
    for _ in range(DRAWS):
        taught, others = np.split(rng.permutation(len(each.bad)), [TAUGHT])
        bad = each.bad[taught]
        names, direction = unseen.sha256.tolist(), learn_direction(unseen.described, bad)
        known = unseen.score + added_unseen(unseen.described, bad, names)
        limit, before = (good_only_limit(scores, 0.05)[0] for scores in (known, unseen.score))
        now = each.bad_scores + direction.added(each.bad)
        gained = left_out(unseen.described, bad, names, unseen.score, each.bad_scores[taught])
        good = each.good_scores + direction.added(each.good)
        rows.append(
            (
                (each.bad_scores[others] > before).mean(),
                (now[others] > limit).mean() - (each.bad_scores[others] > before).mean(),
                (each.good_scores > before).mean(),
                (good > limit).mean(),
                gained.helps,
                gained.helps * (auroc(good, now[others])
                                - auroc(each.good_scores, each.bad_scores[others])),
            )
        )  # fmt: skip
    found, more, alarms, alarms_now, kept, gain = np.array(rows, float).T
    return (
        f"| `{each.name}` | {found.mean():.3f} | {change(more, 3)} | {alarms.mean():.3f} | "
        f"{alarms_now.mean():.3f} | {kept.mean():.0%} | {change(gain, 4)} |"
    )


def left_out_kinds(each: Set) -> Iterator[str]:
    """Give a row for each kind of defect: its AUROC where others taught, and the change."""
    for kind in np.unique(each.kinds):
        this, others = (np.flatnonzero(each.kinds == kind), np.flatnonzero(each.kinds != kind))
        before = auroc(each.good_scores, each.bad_scores[this])
        rng, changes = np.random.default_rng(0), []
        for _ in range(DRAWS):
            taught = rng.permutation(others)[:TAUGHT]
            direction: Direction = learn_direction(each.unseen.described, each.bad[taught])
            good = each.good_scores + direction.added(each.good)
            bad = each.bad_scores + direction.added(each.bad)
            changes.append(auroc(good, bad[this]) - before)
        yield f"| `{each.name}` | {kind} | {before:.4f} | {change(changes, 4)} |"


def main(
    runs: Annotated[list[str], typer.Argument(help="RUN=DATA")],
    out: Annotated[Path, typer.Option(help="Report to write.")] = REPORT,
) -> None:
    """Measure all runs, and write the report."""
    sets = [read(*map(Path, each.split("=", 1))) for each in runs]
    lines = [
        *("# What a few marked defects teach", ""),
        "`python reports/refine.py RUN=DATA ...` writes this; its first lines say how it measures.",
        "One seed. Means over 20 draws of ten defects and the 95 % interval of the mean.",
        *("", "## Gain in AUROC on defects that it was not taught", ""),
        *("| data | way | gain |", "|---|---|---|"),
        *(row for each in sets for row in ranking(each)),
        *("", "## At limits from good photographs alone", ""),
        "Limits promise that 1 in 20 good photographs is above them. `refine` keeps what it has",
        "learned only where defects left out of the ten are found better.",
        "",
        "| data | found | gain | good test images above | with it | kept | gain in AUROC as kept |",
        "|---|---|---|---|---|---|---|",
        *(limits(each) for each in sets),
        *("", "## A kind of defect that was never seen", ""),
        "Ten defects of other kinds teach, whether they would be kept or not.",
        "",
        *("| data | kind left out | AUROC | change |", "|---|---|---|---|"),
        *(r for each in sets if len(np.unique(each.kinds)) > 1 for r in left_out_kinds(each)),
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
