"""Parts at points of the latent space that a table names: what ``anomaly-vae decode`` does."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from anomaly_vae.errors import FolderError
from anomaly_vae.latent.space import decode
from anomaly_vae.outputs import Made, prepare_folder, refuse_folder
from anomaly_vae.reporting.pictures import save_grid, save_pictures
from anomaly_vae.texts import rows_of
from anomaly_vae.workflows.opening import open_pixel_model

GRID, PARTS = "grid.png", "parts"
_DECODED = Made("decode", (GRID, PARTS))


def decode_table(run: Path, table: Path, out: Path, *, overwrite: bool = False) -> int:
    """Draw the part at each row of a table of latents, in the order of its rows; gives how many.

    It is one that ``latents`` writes, perhaps changed by another program: what counts are the
    columns ``mean_0``, ``mean_1``, …

    Raises:
        FolderError: it is no such table, or of another model.
        ModelFileError, OutputError: the run or ``out`` cannot be used.
    """
    _, detector = open_pixel_model(run)
    refuse_folder(out, _DECODED, overwrite=overwrite)
    parts = decode(detector, read_latents(table, detector.model.latent_size))
    prepare_folder(out, _DECODED, overwrite=overwrite)
    save_grid(parts, out / GRID)
    save_pictures(parts, out / PARTS)
    return len(parts)


def read_latents(table: Path, size: int) -> Tensor:
    """Read the points, [N, D], of a table of latents, CSV or Parquet, with ``size`` dimensions.

    Raises:
        FolderError: it cannot be read, has no rows or other columns, or what are no numbers.
    """
    names = [f"mean_{number}" for number in range(size)]
    what = f"a table of 'anomaly-vae latents', of a model with {size} dimensions"
    if table.suffix == ".parquet":
        try:
            columns = pd.read_parquet(table, engine="pyarrow")
        except (OSError, ValueError) as error:
            raise FolderError(f"{table}: cannot be read; expected {what}") from error
    else:
        columns = pd.DataFrame(rows_of(table, names, what), dtype="str")
        columns = columns.replace(",", ".", regex=True)
    if not len(columns):
        raise FolderError(f"{table}: has no rows; expected {what}")
    if not set(names) <= set(columns) or f"mean_{size}" in columns:
        found = sum(str(each).startswith("mean_") for each in columns)
        raise FolderError(f"{table}: has {found} columns mean_0, mean_1, …; expected {what}")
    values = columns[names].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    wrong = np.flatnonzero(~np.isfinite(values).all(1))
    if len(wrong):
        raise FolderError(f"{table}: row {wrong[0] + 1} has a mean that is no number")
    return torch.tensor(values)
