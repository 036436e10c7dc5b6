"""The photographs that an improved model learns from, gathered in its run folder.

Each improved model has a folder of its own, ``photographs/NUMBER``: so it can be made again, and an
auditor sees what it has learned from. Files are linked where the drive can do so, else copied.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from anomaly_vae.errors import FolderError, ModelFileError, OutputError
from anomaly_vae.images.files import digest, list_images
from anomaly_vae.outputs import remove_path
from anomaly_vae.reporting.trained import NORMALS, load_normals
from anomaly_vae.workflows.labelled import Photographs
from anomaly_vae.workflows.log import log_length

PHOTOGRAPHS = "photographs"
GOOD, DEFECTIVE = "good", "defective"


@dataclass(frozen=True)
class Gathered:
    """Where the photographs of an improved model lie."""

    folder: Path
    added: int
    """Good photographs that are new."""
    defective: int
    notes: tuple[str, ...]
    """What was left out, each a line."""

    @property
    def good(self) -> Path:
        """Folder of the good ones."""
        return self.folder / GOOD

    @property
    def bad(self) -> Photographs | None:
        """The defective ones, if there are any."""
        return Photographs(self.folder / DEFECTIVE) if self.defective else None


def gather(
    run: Path, good: Path | None, normal: Photographs | None, bad: Photographs | None
) -> Gathered:
    """Gather what ``run`` was trained on, from ``good`` or where it was, and what was marked.

    Photographs that were marked for the present model are kept, but for those that are marked
    otherwise now: a defect of the training is taken out of the good ones. Each content counts once.

    Raises:
        FolderError: a photograph of the training is not there, or is another one now.
        ModelFileError: the run does not say what it was trained on.
        OutputError: the run cannot be written to.
    """
    table, source = _training(run, good)
    number = f"{log_length(run) + 1:04d}"
    folder = run / PHOTOGRAPHS / number
    ours = source.resolve().parent.parent == (run / PHOTOGRAPHS).resolve()
    known = {sha256: source / path for path, sha256 in table.items()}
    normal_files, bad_files = _contents(normal), _contents(bad)
    _refuse_both(normal_files, bad_files)
    before = _contents(Photographs(source.parent / DEFECTIVE)) if ours else {}
    dirty = known.keys() & bad_files.keys()
    added = {each: file for each, file in normal_files.items() if each not in known}
    kept = {each: file for each, file in before.items() if each not in normal_files}
    try:
        remove_path(folder)  # of a candidate that was not promoted
        for sha256, file in known.items():
            if sha256 not in dirty:
                place = file.relative_to(source)
                _link(file, folder / GOOD / (place if ours else Path("training") / place))
        for files, name in ((added, GOOD), (kept | bad_files, DEFECTIVE)):
            for sha256, file in files.items():
                _link(file, folder / name / f"marked-{number}" / f"{sha256[:16]}{file.suffix}")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); make room") from error
    counted = (
        (len(dirty), "photographs of the training are marked as defects now, and left out"),
        (len(normal_files) - len(added), "marked good ones were learned from before"),
        (len(before) - len(kept), "earlier defects are marked good now"),
        (len(kept), "defects marked earlier are used as well"),
    )
    notes = tuple(f"{count} {what}" for count, what in counted if count)
    return Gathered(folder, len(added), len(kept | bad_files), notes)


def _training(run: Path, good: Path | None) -> tuple[dict[str, str], Path]:
    """Give path and SHA-256 of each photograph of a training, and where they lie."""
    try:
        told = json.loads((run / "training.json").read_text("utf-8"))
        source = good or Path(told["folder"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{run}: does not say what it was trained on ({type(error).__name__}); train again"
        ) from error
    rows = load_normals(run)
    if not rows.held_out.any():
        raise ModelFileError(
            f"{run / NORMALS}: holds no scores of good photographs, which a candidate is compared "
            "by ('calibrate --fit-kl-weight' keeps none); train again"
        )
    table = dict(zip(rows.path, rows.sha256, strict=True))
    for path, sha256 in table.items():
        if digest(source / path) != sha256:
            raise FolderError(
                f"{source / path}: is not there, or not the photograph of the training any more; "
                "give the folder that holds them as --good"
            )
    return table, source


def _contents(photographs: Photographs | None) -> dict[str, Path]:
    """Give the file of each different content, by its SHA-256."""
    if photographs is None or not photographs.folder.is_dir():
        return {}
    paths = photographs.paths or list_images(photographs.folder)
    files = (photographs.folder / path for path in paths)
    return {digest(file): file for file in reversed([*files])}


def _refuse_both(normal: dict[str, Path], bad: dict[str, Path]) -> None:
    for sha256 in normal.keys() & bad.keys():
        raise FolderError(
            f"{normal[sha256]} and {bad[sha256]} are the same photograph, marked good and defect; "
            "expected one"
        )


def _link(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, place)
    except OSError:  # another drive, or one that has no links
        shutil.copy2(file, place)
