"""Figures of the training side: curves, histograms, reconstructions (matplotlib)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import betabinom
from sklearn.metrics import precision_recall_curve, roc_curve

from anomaly_vae.calibration.metadata import Threshold

matplotlib.use("Agg")
Floats = NDArray[np.floating]

_GOOD, _BAD, _LIMIT = "#2b6cb0", "#dd6b20", "#222222"  # apart for the colour-blind too


def save_training(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw what the epochs did: losses and their parts, and active latent dimensions."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    losses, parts, active = figure.subplots(1, 3)
    epochs = [record["epoch"] for record in history]

    def column(name: str) -> list[float]:
        return [record[name] for record in history]

    losses.plot(epochs, column("loss"), color=_GOOD, label="training")
    losses.plot(epochs, column("stopping_loss"), color=_BAD, label="held out")
    best = min(history, key=lambda record: record["stopping_loss"])
    losses.axvline(best["epoch"], color=_LIMIT, linewidth=1, linestyle=":", label="best")
    losses.set(title="Loss", ylabel="nats per item")
    parts.plot(epochs, column("reconstruction_error"), color=_GOOD, label="reconstruction error")
    parts.set(title="Its two parts", ylabel="reconstruction error, nats")
    right = parts.twinx()
    right.plot(epochs, column("kl"), color=_BAD, label="KL divergence")
    right.set_ylabel("KL divergence, nats", color=_BAD)
    active.plot(epochs, column("active_latents"), color=_GOOD, drawstyle="steps-mid")
    active.set(title="Active latent dimensions", ylim=(0, None))
    losses.legend(frameon=False)
    for axes in (losses, parts, active):
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def save_scores(
    scores: Mapping[str, NDArray[np.floating]], limit: Threshold, path: Path, *, title: str
) -> None:
    """Draw a histogram of the scores of each class, the threshold, and where review begins."""
    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    axes = figure.subplots()
    everything = np.concatenate(list(scores.values()))
    # Extreme defects would squeeze all the rest, the first class being the good ones, into one bar.
    upper = min(everything.max(), max(6 * limit.score, 1.5 * next(iter(scores.values())).max()))
    bins = np.linspace(everything.min(), max(upper, everything.min() + 1e-6), 41).tolist()
    for (name, values), color in zip(scores.items(), (_GOOD, _BAD), strict=False):
        shown = np.clip(values, bins[0], bins[-1])
        axes.hist(shown, bins, color=color, alpha=0.75, label=f"{name} ({len(values)})")
    axes.axvline(limit.score, color=_LIMIT, linewidth=1.5, label=f"threshold {limit.score:.3g}")
    if limit.review is not None:
        label = f"review from {limit.review:.3g}"
        axes.axvline(limit.review, color=_LIMIT, linewidth=1.5, linestyle=":", label=label)
    axes.set(title=title, xlabel="score (last bar: this and higher)", ylabel="images")
    figure.legend(frameon=False, loc="outside right upper")  # clear of bars and lines
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def save_roc(good: Floats, defective: Floats, threshold: float, path: Path) -> None:
    """Draw the ROC curve of the scores, its 95 % band, and the point of the threshold on it."""

    def curve(good: Floats, defective: Floats) -> Floats:
        alarms, recalls, _ = roc_curve(*_labelled(good, defective), drop_intermediate=False)
        # At each false-alarm rate the highest recall, as the steps have it.
        return np.asarray(recalls[np.searchsorted(alarms, grid, side="right") - 1])

    grid = np.linspace(0, 1, 201)
    figure, axes = _square()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=":")
    axes.fill_between(grid, *_band(curve, good, defective), color=_GOOD, alpha=0.15, linewidth=0)
    alarms, recalls, _ = roc_curve(*_labelled(good, defective), drop_intermediate=False)
    axes.step(alarms, recalls, where="post", color=_GOOD)
    point = (good > threshold).mean(), (defective > threshold).mean()
    axes.plot(*point, "o", color=_BAD, label=f"threshold {threshold:.3g}")
    axes.annotate(
        f"recall {point[1]:.3f}\nfalse alarms {point[0]:.3f}", point, (12, -34),
        textcoords="offset points",
    )  # fmt: skip
    axes.set(xlabel="false-alarm rate", ylabel="recall", title="ROC")
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def save_precision_recall(good: Floats, defective: Floats, threshold: float, path: Path) -> None:
    """Draw precision over recall, its 95 % band, and the point of the threshold."""

    def curve(good: Floats, defective: Floats) -> Floats:
        precisions, recalls, _ = precision_recall_curve(*_labelled(good, defective))
        return np.asarray(precisions[::-1][np.searchsorted(recalls[::-1], grid)])

    grid = np.linspace(0, 1, 201)
    figure, axes = _square()
    axes.fill_between(grid, *_band(curve, good, defective), color=_GOOD, alpha=0.15, linewidth=0)
    precisions, recalls, _ = precision_recall_curve(*_labelled(good, defective))
    axes.step(recalls, precisions, where="pre", color=_GOOD)
    hits, alarms = (defective > threshold).sum(), (good > threshold).sum()
    if hits + alarms:
        point = hits / len(defective), hits / (hits + alarms)
        axes.plot(*point, "o", color=_BAD, label=f"threshold {threshold:.3g}")
    axes.set(
        xlabel="recall", ylabel="precision", ylim=(0, 1.04),
        title=f"Precision and recall ({len(defective)} of {len(good) + len(defective)} defective)",
    )  # fmt: skip
    if axes.get_legend_handles_labels()[0]:  # nothing is above the threshold
        axes.legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=110)


def save_p_values(p_values: Floats, known: int, path: Path) -> None:
    """Draw how often good images have p-values up to each level: the diagonal, if they hold.

    ``known`` is the number of good images that the p-values are shares of.
    """
    count = len(p_values)
    figure, axes = _square()
    # How many of ``count`` have a p-value of rank / (known + 1) or less: 19 times of 20 so many.
    ranks = np.arange(1, known + 1)
    low, high = (
        np.r_[0, betabinom.ppf(level, count, ranks, known + 1 - ranks) / count, 1]
        for level in (0.025, 0.975)
    )
    axes.fill_between(
        np.arange(known + 2) / (known + 1), low, high, step="post",
        color="#bbbbbb", alpha=0.4, linewidth=0, label="95 % of such samples, if they hold",
    )  # fmt: skip
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=":")
    axes.step(np.r_[0, np.sort(p_values), 1], np.r_[np.arange(count + 1), count] / count,
              where="post", color=_GOOD, label=f"{count} good test images")  # fmt: skip
    axes.set(
        xlabel="p-value", ylabel="share of good images at or below", title="Do the p-values hold?"
    )
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set_aspect("equal")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _labelled(good: Floats, defective: Floats) -> tuple[Floats, Floats]:
    return np.r_[np.zeros(len(good)), np.ones(len(defective))], np.r_[good, defective]


def _band(
    curve: Callable[[Floats, Floats], Floats], good: Floats, defective: Floats
) -> tuple[Floats, Floats]:
    """Pointwise 95 % band of a curve: stratified bootstrap, 200 draws."""
    rng = np.random.default_rng(0)
    curves = [
        curve(rng.choice(good, len(good)), rng.choice(defective, len(defective)))
        for _draw in range(200)
    ]
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    return low, high


def save_reconstructions(
    images: NDArray[np.uint8],
    reconstructions: NDArray[np.float32] | None,
    maps: NDArray[np.float32],
    threshold: float,
    path: Path,
) -> None:
    """Draw held-out good images, their reconstructions (pixel models) and anomaly maps.

    ``images`` are uint8 [N, S, S, 3]; ``reconstructions`` [N, S, S, C] in [0, 1], or None for a
    model of features, which has none; ``maps`` [N, h, w], on one scale up to the threshold.
    """
    low = min(float(np.quantile(maps, 0.01)), threshold - 1e-6)
    rows = [("input", list(images))]
    if reconstructions is not None:
        rows.append(("reconstruction", list(np.clip(reconstructions, 0, 1))))
    rows.append(("anomaly map", list(maps)))
    figure = Figure(figsize=(1.7 * len(images), 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for axes_row, (name, pictures) in zip(grid, rows, strict=True):
        lowest, highest = (low, threshold) if name == "anomaly map" else (0, 1)
        for axes, picture in zip(axes_row, pictures, strict=True):
            colors = "gray" if picture.shape[-1] == 1 else "inferno"
            axes.imshow(picture, cmap=colors, vmin=lowest, vmax=highest)
            axes.set(xticks=[], yticks=[])
        axes_row[0].set_ylabel(name)
    figure.savefig(path, dpi=110)
