"""Figures of the training side: curves, histograms, reconstructions (matplotlib)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

matplotlib.use("Agg")

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
    scores: Mapping[str, NDArray[np.floating]], threshold: float, path: Path, *, title: str
) -> None:
    """Draw a histogram of the scores of each class, and the threshold."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    everything = np.concatenate(list(scores.values()))
    # A few extreme defects would squeeze all the rest into one bar.
    upper = min(everything.max(), max(4 * threshold, np.quantile(everything, 0.9)))
    bins = np.linspace(everything.min(), max(upper, everything.min() + 1e-6), 41).tolist()
    for (name, values), color in zip(scores.items(), (_GOOD, _BAD), strict=False):
        shown = np.clip(values, bins[0], bins[-1])
        axes.hist(shown, bins, color=color, alpha=0.75, label=f"{name} ({len(values)})")
    axes.axvline(threshold, color=_LIMIT, linewidth=1.5, label=f"threshold {threshold:.3g}")
    axes.set(title=title, xlabel="score (last bar: this and higher)", ylabel="images")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def save_roc(
    good: NDArray[np.floating], defective: NDArray[np.floating], threshold: float, path: Path
) -> None:
    """Draw the ROC curve of the scores and the point of the threshold on it."""
    labels = np.r_[np.zeros(len(good)), np.ones(len(defective))]
    alarms, recalls, _ = roc_curve(labels, np.r_[good, defective], drop_intermediate=False)
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=":")
    axes.step(alarms, recalls, where="post", color=_GOOD)
    point = (good > threshold).mean(), (defective > threshold).mean()
    axes.plot(*point, "o", color=_BAD, label=f"threshold {threshold:.3g}")
    axes.annotate(
        f"recall {point[1]:.3f}\nfalse alarms {point[0]:.3f}", point, (12, -34),
        textcoords="offset points",
    )  # fmt: skip
    axes.set(xlabel="false-alarm rate", ylabel="recall", title="ROC", aspect="equal")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


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
