"""Figures of a study: what a setting does, and what it costs to say more (matplotlib)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.use("Agg")

_PANELS = {
    "reconstruction_error": "reconstruction error, nats per item",
    "kl": "KL divergence, nats per item",
    "active_latents": "active latent dimensions",
    "auroc": "image AUROC",
    "squared_error": "mean squared error, standardised",
}
_BETA = "model.beta"
_SHOWN_PANELS = 4
_MOST_NAMES = 16  # more would hide the points
_LONGEST = 24
_FRONT = "#d55e00"  # apart from the other colours for the colour-blind too
_WIDE = 30.0  # rates that differ by more are drawn on a logarithmic scale


def save_settings(
    table: pd.DataFrame, summary: pd.DataFrame, keys: Sequence[str], path: Path
) -> None:
    """Draw the measures over the setting with the most values, a line for each of the others.

    Dots are single seeds, of ``table``; the lines join their means, of ``summary``. The values
    stand at equal distances: they may be names, and often span decades.
    """
    along, *others = sorted(keys, key=lambda key: -table[key].nunique())
    shown = [name for name in _PANELS if table[name].notna().any()][:_SHOWN_PANELS]
    places = {value: place for place, value in enumerate(_in_order(table[along]))}
    figure = Figure(figsize=(9.4, 6.4), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True)
    for axes, name in zip(grid.flat, shown, strict=True):
        for (label, color, means), (_, _, seeds) in zip(
            _lines(summary, others), _lines(table, others), strict=True
        ):
            axes.plot(seeds[along].map(places), seeds[name], ".", color=color, alpha=0.5)
            ordered = means.assign(place=means[along].map(places)).sort_values("place")
            axes.plot(ordered.place, ordered[f"{name}_mean"], "o-", color=color, label=label)
        axes.set(title=_PANELS[name], xticks=list(places.values()))
        axes.set_xticklabels([_text(value) for value in places], rotation=30 * (len(places) > 6))
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[1]:
        axes.set_xlabel(along)
    if others and len(summary) // len(places) <= _MOST_NAMES:
        figure.legend(*grid[0, 0].get_legend_handles_labels(), frameon=False,
                      loc="outside right upper", title=_text(", ".join(others)))  # fmt: skip
    figure.savefig(path, dpi=110)


def save_rate_distortion(summary: pd.DataFrame, keys: Sequence[str], path: Path) -> None:
    """Draw rate over distortion, a point per setting, joined in the order of beta.

    The plane of Alemi et al. (Fixing a Broken ELBO, ICML 2018); bars are standard deviations over
    seeds, rings the Pareto front: nothing else says less and is as true.
    """
    figure = Figure(figsize=(7.4, 5.2), layout="constrained")
    axes = figure.subplots()
    joined = _BETA in keys
    others = [key for key in keys if key != _BETA] if joined else []
    for label, color, group in _lines(summary, others):
        ordered = group.sort_values(_BETA) if joined else group
        axes.errorbar(
            ordered.distortion_mean, ordered.bits_per_image_mean,
            ordered.bits_per_image_std, ordered.distortion_std,
            fmt="o-" if joined else "o", color=color, elinewidth=0.8, label=label,
        )  # fmt: skip
    front = summary[summary.pareto]
    axes.plot(front.distortion_mean, front.bits_per_image_mean, "o", ms=12, mfc="none",
              mec=_FRONT, mew=1.5, label="Pareto front")  # fmt: skip
    _name_points(axes, summary, [_BETA] if joined else keys)
    rates = summary.bits_per_image_mean
    if rates.min() > 0 and rates.max() > _WIDE * rates.min():
        axes.set_yscale("log")
    axes.set(xlabel="distortion, nats per item", ylabel="rate, bits per image",
             title="Rate and distortion on held-out good images")  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) <= _MOST_NAMES:
        figure.legend(handles, labels, frameon=False, loc="outside right upper",
                      title=_text(", ".join(others)))  # fmt: skip
    figure.savefig(path, dpi=110)


def _lines(summary: pd.DataFrame, keys: list[str]) -> Iterator[tuple[str, Any, pd.DataFrame]]:
    """Give label, colour and rows of each combination of the values of ``keys``."""
    if not keys:
        yield "mean over seeds", "#0072b2", summary
        return
    groups = list(summary.groupby(keys, sort=False))
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(groups)))
    for (values, rows), color in zip(groups, colors, strict=True):
        yield ", ".join(map(_text, values)), color, rows


def _name_points(axes: Axes, summary: pd.DataFrame, keys: Sequence[str]) -> None:
    if len(summary) > _MOST_NAMES:
        return
    for _, row in summary.iterrows():
        name = f"{'beta ' * (keys == [_BETA])}{', '.join(_text(row[key]) for key in keys)}"
        place = row.distortion_mean, row.bits_per_image_mean
        axes.annotate(name, place, (8, 5), textcoords="offset points", fontsize=8)


def _in_order(values: "pd.Series[Any]") -> list[Any]:
    """Give each value once: numbers in their order, others as they come."""
    once = list(dict.fromkeys(values))
    numbers = all(isinstance(value, int | float) for value in once)
    return sorted(once) if numbers else once


def _text(value: object) -> str:
    """Write a value so that matplotlib takes nothing in it for a formula."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return text.replace("$", r"\$")
