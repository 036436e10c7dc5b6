"""Rate against distortion over many trainings: means over seeds, and the Pareto front."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

# In models that differ in these, a nat of the distortion is about something else.
_APART = ("images.", "features.", "model.likelihood")


def summarise(done: pd.DataFrame, keys: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """Give mean and standard deviation over the seeds of each setting, and the Pareto front.

    ``done`` has a row per training, the varied settings ``keys`` and the ``measures``, among them
    ``bits_per_image`` and ``distortion``. A deviation of one seed is not a number.
    """
    groups = done.groupby(list(keys), sort=False)
    summary = groups.size().rename("runs").to_frame()
    for name in measures:
        summary[f"{name}_mean"] = groups[name].mean()
        summary[f"{name}_std"] = groups[name].std()
    summary = summary.reset_index()
    summary.insert(len(keys) + 1, "pareto", _optimal(summary, apart(keys)))
    return summary


def apart(keys: Iterable[str]) -> list[str]:
    """Give those of the settings between whose values rate and distortion do not compare."""
    return [key for key in keys if key.startswith(_APART)]


def _optimal(summary: pd.DataFrame, keys: list[str]) -> NDArray[np.bool_]:
    """Find the Pareto front of each set of settings that compare, i.e. are alike in ``keys``."""
    alike = np.zeros(len(summary), int)
    if keys:
        alike = summary.groupby(keys, sort=False).ngroup().to_numpy()
    optimal = np.zeros(len(summary), bool)
    for number in range(alike.max() + 1):
        group = summary[alike == number]
        optimal[alike == number] = pareto_front(group.bits_per_image_mean, group.distortion_mean)
    return optimal


def pareto_front(rates: ArrayLike, distortions: ArrayLike) -> NDArray[np.bool_]:
    """Say of which points, [N], no other has a lower rate or distortion without more of the other.

    Of equal points all are on the front.
    """
    points = np.c_[rates, distortions]
    no_worse = (points[:, None] <= points).all(-1)
    better = (points[:, None] < points).any(-1)
    front: NDArray[np.bool_] = ~(no_worse & better).any(0)
    return front
