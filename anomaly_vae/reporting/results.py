"""A folder of results that can be left at any moment, and gone on with.

Every row is on the disk ``PAUSE`` seconds of its table after it was found; see ``journal.py``.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomaly_vae.errors import OutputError
from anomaly_vae.images.files import Stamp, stamp
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.outputs import prepare_folder, refuse_used
from anomaly_vae.reporting.gallery import Picture
from anomaly_vae.reporting.journal import FILE as JOURNAL
from anomaly_vae.reporting.journal import Journal
from anomaly_vae.reporting.rows import SCHEMA_VERSION, Cell, Report, spelled
from anomaly_vae.reporting.tables import CsvReport

OWN = (
    *("images.csv", "defects.csv", "images.parquet", "defects.parquet"),
    *("summary.json", "report.html", "report.xlsx", "heatmaps"),
)
# Made of complete tables: while rows are added, it would tell half of them.
_MADE_LAST = ("report.html", "report.xlsx")
_WORST = 5


@dataclass
class Tally:
    """What was found, in short, over all times that the inspection was gone on with."""

    verdicts: Counter[str] = field(default_factory=Counter)
    quality: int = 0
    """Number of photographs that are unlike all good ones apart from their part."""
    worst: list[tuple[float, str, str]] = field(default_factory=list)
    """Score, verdict and path of the images with the highest scores."""

    def add(self, path: str, verdict: str, score: float | None, quality: str) -> None:
        """Count a row."""
        self.verdicts[verdict] += 1
        self.quality += bool(quality)
        if score is not None:
            self.worst = sorted([*self.worst, (score, verdict, path)], key=lambda e: -e[0])[:_WORST]

    def add_finding(self, finding: Finding) -> None:
        """Count a file."""
        score = None if finding.verdict == "error" else finding.score
        self.add(spelled(finding.path), finding.verdict, score, finding.quality)


class Passing:
    """Counts what passes through, and keeps nothing."""

    out = None
    skipped = renewed = 0
    remembered = None

    def __init__(self) -> None:
        self.tally = Tally()
        self.memory: Callable[[], Any] = lambda: None

    def __enter__(self) -> "Passing":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def is_done(self, _path: str, _now: Stamp | None) -> bool:
        """Nothing ever is."""
        return False

    def add(self, finding: Finding, *_: object) -> None:
        """Count a file."""
        self.tally.add_finding(finding)

    def commit(self) -> None:
        """There is nothing to write."""


class Results:
    """The tables of a folder and what is needed to go on; use it in a ``with`` statement.

    Paths of images are relative to ``folder``. ``identity`` says what may not change between the
    times: names and values. ``memory`` may be set: what it gives (JSON values) is kept with the
    rows, and stands in ``remembered`` next time. With ``renew``, a file that has changed since it
    was done loses its row; without, it gets another one.

    Raises:
        OutputError: the folder is in use, or cannot be written to; without ``resume`` and
            ``overwrite``, it is not empty; with ``resume``, it is not what the same inspection
            left.
    """

    def __init__(
        self,
        out: Path,
        folder: Path,
        identity: dict[str, str],
        *,
        report: type[Report] = CsvReport,
        overwrite: bool = False,
        resume: bool = False,
        renew: bool = True,
    ) -> None:
        if not (overwrite or resume):
            refuse_used(out)
        if resume and not (out / JOURNAL).is_file():
            _refuse_foreign(out)
        self.out, self.folder, self._kind, self._renew = out, folder, report, renew
        self._identity = {"version": str(SCHEMA_VERSION), "format": report.FORMAT, **identity}
        self.tally, self.skipped, self.renewed = Tally(), 0, 0
        self.memory: Callable[[], Any] = lambda: self.remembered
        self._begun: set[str] = set()
        self._pending: dict[str, Stamp | None] = {}
        prepare_folder(out, (), resume=True)  # nothing is removed before the folder is ours
        self._journal = Journal(out, anew=overwrite)
        try:
            if overwrite:
                self._journal.clear()
                prepare_folder(out, OWN, overwrite=True)
            facts = self._journal.facts
            self.remembered = facts.get("memory")
            self._report = self._continued(facts) if facts else report(out)
            self.gallery = self._journal.gallery()
            self.commit()
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            # What was found before an interruption is found; but a full disk stays full.
            with suppress(OutputError) if error else nullcontext():
                self.commit()
        finally:
            self._report.close()
            self._journal.close()

    def is_done(self, path: str, now: Stamp | None) -> bool:
        """Whether a file was inspected before, and has not changed since; if not, it is begun.

        A list may name a file twice: it has one row.
        """
        if path in self._begun or path in self._pending:
            return True
        done = self._journal.is_done(path, now)
        self.skipped += done
        if not done:
            self._begun.add(path)
        return done

    def put_back(self, path: str) -> None:
        """Take back that a file was begun: it is not done, and comes again."""
        self._begun.discard(path)

    def add(self, finding: Finding, image: Iterable[Cell], regions: Iterable[list[Cell]]) -> None:
        """Write the row of a file and the rows of its regions."""
        self._report.add(image, regions)
        self.tally.add_finding(finding)
        self._pending[finding.path] = finding.stamp
        self._begun.discard(finding.path)
        if time.monotonic() - self._committed > self._report.PAUSE:
            self.commit()

    def commit(self) -> None:
        """Bring everything to the disk, for good."""
        tables = self._report.commit()
        facts = {"identity": self._identity, "tables": tables, "memory": self.memory()}
        self._journal.commit(self._pending, self.gallery, **facts)
        self._pending = {}
        self._committed = time.monotonic()

    def images(self) -> Iterator[dict[str, Any]]:
        """Read the rows of all images back, as they were committed."""
        return self._kind.rows(self.out)

    def regions(self) -> Iterator[dict[str, Any]]:
        """Read the rows of all regions back."""
        return self._kind.rows(self.out, 1)

    def picture(self, path: str) -> Picture | None:
        """Give the picture of an image, as its path is spelled in the tables."""
        return self._journal.picture(path)

    def _continued(self, facts: dict[str, Any]) -> Report:
        """Go on with what the journal knows; rows of files that have changed are taken out."""
        self._check(facts["identity"])
        prepare_folder(self.out, _MADE_LAST, overwrite=True)
        if facts.get("replacing"):
            self._replace()
        report = self._kind(self.out, facts["tables"])
        now = self._journal.changed(lambda path: stamp(self.folder / path))
        changed = set(now) if self._renew else set()
        if changed:
            report.close()
            tables = self._kind.without(self.out, {spelled(path) for path in changed})
            # From here on the new tables are the true ones, wherever they stand.
            self._journal.forget(changed, tables=tables, replacing=True)
            self._replace()
            report = self._kind(self.out, tables)
            self.renewed = len(changed)
        for row in self._kind.rows(self.out):
            self.tally.add(row["path"], row["verdict"], row["score"], row["quality"])
        return report

    def _replace(self) -> None:
        self._kind.replace(self.out)
        self._journal.commit({}, replacing=False)

    def _check(self, before: dict[str, str]) -> None:
        for name, value in self._identity.items():
            if before.get(name) != value:
                raise OutputError(
                    f"{self.out}: was begun with another {name.replace('_', ' ')} "
                    f"({before.get(name)}, now {value}); choose another --out, or give --overwrite"
                )


def _refuse_foreign(out: Path) -> None:
    """Make sure that there is nothing in ``out`` that is not an inspection to go on with."""
    try:
        refuse_used(out)
    except OutputError as error:
        raise OutputError(
            f"{out}: holds no inspection to go on with; choose another --out, or give --overwrite"
        ) from error
