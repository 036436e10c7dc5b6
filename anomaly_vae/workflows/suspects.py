"""Photographs of a good folder that may not be good: ranked by models that have not seen them.

Letters: N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.calibration.profile import good_profile
from anomaly_vae.errors import FolderError
from anomaly_vae.images.regions import find_regions
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.reporting.suspects import Suspect
from anomaly_vae.texts import named, rows_of
from anomaly_vae.training.dataset import ImageSet
from anomaly_vae.workflows.marks import is_another

# Marks a person may write into the column ``exclude``.
_MARKED, _UNMARKED = ("x", "yes", "y", "1", "true", "ja", "defect"), ("", "no", "n", "0", "false")


def rank(images: ImageSet, findings: Sequence[Finding], limit: Threshold) -> list[Suspect]:
    """Rank all good images, [N], by their held-out scores, the most unusual first.

    Those that have a map are told where they are unusual, and in what their photograph is.
    """
    scores = np.array([finding.score for finding in findings])
    ascending = np.sort(scores)
    suspects = []
    for index in np.argsort(-scores, kind="stable").tolist():
        finding = findings[index]
        at_least = len(scores) - int(np.searchsorted(ascending, finding.score))
        suspect = Suspect(
            finding.path,
            finding.score,
            at_least / len(scores),
            limit.verdict(finding.score),
            images.digests[index],
        )
        if finding.anomaly_map is not None and finding.image is not None:
            shown = replace(finding.image, pixels=images.pixels[index])
            region = find_regions(finding.anomaly_map, shown, limit.anomaly_map)[0]
            others = [each for other, each in enumerate(images.photographs) if other != index]
            objection = good_profile([], others).objections(finding.image)
            suspect = replace(suspect, image=shown, region=region, objection=objection)
        suspects.append(suspect)
    return suspects


@dataclass(frozen=True)
class Exclusion:
    """A folder of good photographs, without those that a person leaves out."""

    folder: Path
    table: Path
    above: float | None
    paths: frozenset[str]
    gone: int = 0
    """Named in the table, but no longer there."""

    @property
    def options(self) -> list[str]:
        """Give the options of ``train`` that say the same."""
        given = ["--exclude", str(self.table)]
        return given if self.above is None else [*given, "--exclude-above", f"{self.above:g}"]

    @property
    def note(self) -> str:
        """Say so, in a line."""
        first = min(self.paths)
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        gone = f"; {self.gone} others of it are not there" if self.gone else ""
        return f"left out by {self.table}: {first}{more}{gone}"


def read_exclusion(table: Path, folder: Path, above: float | None = None) -> Exclusion:
    """Read which photographs below ``folder`` a person leaves out: ``suspicious.csv``, edited.

    Those marked in its column ``exclude``, or all with a score above ``above``. A photograph is
    what was judged, not another one of that name.

    Raises:
        FolderError: it is no such table, marks nothing, or names what is another photograph now.
    """
    columns = {"path", "score"} if above is not None else {"path", "exclude"}
    marked, gone = set(), 0
    for row in rows_of(table, columns, "suspicious.csv of a run"):
        if not (_is_above(table, row, above) if above is not None else _is_marked(table, row)):
            continue
        path = named(row["path"] or "", folder)
        if not (folder / path).is_file():
            gone += 1
            continue
        if is_another(folder / path, row):
            raise FolderError(
                f"{folder / path}: is not the photograph that {table} names, but another one of "
                "that name; take the line out, or train again without --exclude"
            )
        marked.add(path)
    if not marked:
        how = f"has a score above {above:g}" if above is not None else "is marked"
        missing = f" ({gone} that are named are not there)" if gone else ""
        raise FolderError(
            f"{table}: no photograph in {folder} {how}{missing}; write x into the column exclude "
            "of those to leave out, or give --exclude-above SCORE"
        )
    return Exclusion(folder, table, above, frozenset(marked), gone)


def _is_above(table: Path, row: dict[str, str | None], above: float) -> bool:
    text = (row["score"] or "").strip().replace(",", ".")
    try:
        return float(text) > above
    except ValueError as error:
        raise FolderError(f"{table}: score {text!r} of {row['path']} is not a number") from error


def _is_marked(table: Path, row: dict[str, str | None]) -> bool:
    mark = (row["exclude"] or "").strip().lower()
    if mark not in (*_MARKED, *_UNMARKED):
        raise FolderError(
            f"{table}: {row['path']} has {mark!r} in the column exclude; expected x, or nothing"
        )
    return mark in _MARKED
