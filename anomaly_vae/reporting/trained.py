"""What a training leaves beside its model: scores of its good images, and figures."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.errors import ModelFileError
from anomaly_vae.images.stacks import side_by_side
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.outputs import write_text
from anomaly_vae.reporting import figures
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.texts import named
from anomaly_vae.training.dataset import ImageSet

S = TypeVar("S", bound=np.generic)

NORMALS = "normals.csv"
SHOWN_IMAGES = 6


def save_normals(
    images: ImageSet,
    parts: NDArray[np.str_],
    seen: NDArray[np.bool_],
    findings: Sequence[Finding],
    path: Path,
) -> None:
    """Write what each good image was for, whether it was learned from, and what was found, as CSV.

    All are of N images.

    Raises:
        OutputError: the file cannot be written.
    """
    columns = {
        "path": [spelled(each) for each in images.paths],
        "part": parts,
        "seen": seen,
        "score": [finding.score for finding in findings],
        "reconstruction_error": [finding.reconstruction_error for finding in findings],
        "kl": [finding.kl for finding in findings],
        "sha256": images.digests,
    }
    write_text(path, pd.DataFrame(columns).to_csv(index=False, float_format="%.9g"))


def load_normals(run: Path) -> pd.DataFrame:
    """Read what ``save_normals`` wrote into a run folder, and a column ``held_out`` besides.

    It says whether there is a score of a model that has learned nothing from the image.

    Raises:
        ModelFileError: it is not there, or damaged.
    """
    path = run / NORMALS
    types = {"path": "str", "part": "str", "score": "float", "sha256": "str"}
    try:
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values={"score": [""]})
        unseen = table.part.str.startswith("fold") | (table.part == "calibration")
        table["held_out"] = unseen & table.score.notna()
        table["path"] = [named(each, run) for each in table.path]
        return table[[*types, "held_out"]]
    except (OSError, AttributeError, KeyError, ValueError) as error:
        raise ModelFileError(
            f"{path}: is missing or damaged ({type(error).__name__}); train again"
        ) from error


def save_held_out(
    calibration: Sequence[Finding],
    limit: Threshold,
    pixels: NDArray[np.uint8],
    reconstructions: NDArray[np.float32] | None,
    folder: Path,
) -> None:
    """Draw the scores of the images set aside for calibration, and the first of them.

    ``pixels`` are these first ones, uint8 [N, S, T, 3]; ``reconstructions`` [N, S, T, C], or None
    for a model of features.
    """
    scores = np.array([finding.score for finding in calibration])
    title = "Good images set aside for calibration"
    figures.save_scores({"held-out good": scores}, limit, folder / "scores.png", title=title)
    shown = calibration[: len(pixels)]
    slices = [each.image.slices if each.image else 0 for each in shown]

    def laid_out(sheets: Iterable[NDArray[S]]) -> NDArray[S]:
        return np.stack([side_by_side(*each) for each in zip(sheets, slices, strict=True)])

    figures.save_reconstructions(
        laid_out(pixels),
        None if reconstructions is None else laid_out(reconstructions),
        laid_out(each.anomaly_map for each in shown if each.anomaly_map is not None),
        limit.anomaly_map,
        folder / "reconstructions.png",
    )
