"""What each latent dimension of a trained model carries, as CSV and as a picture (matplotlib)."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from anomaly_vae.latent.collapse import LatentUse
from anomaly_vae.outputs import write_text

matplotlib.use("Agg")

_ACTIVE, _ASLEEP = "#2b6cb0", "#dd6b20"  # apart for the colour-blind too
_NAMED = 40  # dimensions that have room for their number


def save_latent_table(use: LatentUse, path: Path) -> None:
    """Write KL, activity, and whether it is active, of each latent dimension as CSV.

    Raises:
        OutputError: the file cannot be written.
    """
    columns = {
        "dimension": range(len(use.kl)),
        "kl": use.kl,
        "activity": use.activity,
        "active": use.active,
    }
    write_text(path, pd.DataFrame(columns).to_csv(index=False, float_format="%.9g"))


def save_latent_use(use: LatentUse, path: Path) -> None:
    """Draw the KL of each latent dimension, the largest first."""
    kl, active = np.array(use.kl), np.array(use.active)
    order = np.argsort(-kl, kind="stable")
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    for state, color, name in ((True, _ACTIVE, "active"), (False, _ASLEEP, "not active")):
        shown = np.flatnonzero(active[order] == state)
        if len(shown):
            axes.bar(shown, kl[order][shown], color=color, label=f"{name} ({len(shown)})")
    named = [str(each) for each in order] if len(order) <= _NAMED else []
    axes.set_xticks(range(len(named)), named, fontsize=8)
    axes.set(title="KL divergence of each latent dimension", xlabel="dimension", ylabel="nats")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
