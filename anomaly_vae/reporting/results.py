"""A folder of results that can be left at any moment, and gone on with.

Rows begin to be written ``PAUSE`` seconds of their table after they were found, or sooner; see
``writing.py`` and ``journal.py``.
"""

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anomaly_vae.errors import ImageReadError, OutputError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.files import Stamp, digest, digest_in_time, stamp
from anomaly_vae.images.quality import STATISTICS
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.outputs import Made, make_folder, refuse_folder, remove
from anomaly_vae.remote import at
from anomaly_vae.reporting.gallery import Gallery, Picture
from anomaly_vae.reporting.journal import FILE as JOURNAL
from anomaly_vae.reporting.journal import Done, Journal
from anomaly_vae.reporting.rows import SCHEMA_VERSION, Cell, Report, utc
from anomaly_vae.reporting.tables import CsvReport
from anomaly_vae.reporting.tally import Tally
from anomaly_vae.reporting.writing import Drawing, Entry, Writer

OWN = (
    *("images.csv", "defects.csv", "images.parquet", "defects.parquet"),
    *("summary.json", "report.html", "report.xlsx", "heatmaps"),
)
INSPECTION = Made("inspect", OWN, known=lambda out: (out / JOURNAL).is_file())
# Made of complete tables: while rows are added, it would tell half of them.
_MADE_LAST = ("report.html", "report.xlsx", "summary.json")
_MOST_WAITING = 10_000  # rows in memory
_COMPARED = 64  # files that are looked at ahead


class Results:
    """The tables of a folder and what is needed to go on; use it in a ``with`` statement.

    Paths of images are relative to ``folder``. ``identity`` says what may not change between the
    times: names and values. With ``renew``, a file that has changed since it was done loses its
    row; without, it gets another one. With ``move``, files are remembered as to be moved.

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
        move: bool = False,
    ) -> None:
        refuse_folder(out, INSPECTION, overwrite=overwrite, resume=resume)
        self.out, self.folder, self._kind = out, folder, report
        self.renew, self._move = renew, move
        self._identity = {"version": str(SCHEMA_VERSION), "format": report.FORMAT, **identity}
        self.skipped, self.renewed = 0, 0
        self._begun: set[str] = set()
        self.gallery = Gallery()
        make_folder(out, INSPECTION)  # nothing is removed before the folder is ours
        self._journal = Journal(out, anew=overwrite)
        try:
            if overwrite:
                self._journal.clear()
            facts = self._journal.facts
            self.key: str = facts.get("key", uuid.uuid4().hex)
            """Of this report, and no other."""
            self.begun: str = facts.get("begun", utc(datetime.now(UTC)))
            """When it was begun, ISO 8601."""
            self._open(facts)
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
            self._writer.close()
            self._report.close()
            self._journal.close()

    @property
    def tally(self) -> Tally:
        """What was found so far."""
        return self._writer.tally

    def is_done(self, path: str, now: Stamp | None) -> bool:
        """Whether a file was inspected before, and has not changed since; if not, it is begun.

        A list may name a file twice: it has one row.
        """
        if path in self._begun:
            return True
        done = self.done(path, now) is not None
        self.skipped += done
        if not done:
            self._begun.add(path)
        return done

    def done(self, path: str, now: Stamp | None) -> Done | None:
        """Give what was done of the very photograph that is there now; of none if it is new."""
        known = self._journal.known(path, now)
        return next((each for each in known if self._is_same(each, now, digest_in_time)), None)

    def put_back(self, path: str) -> None:
        """Take back that a file was begun: it is not done, and comes again."""
        self._begun.discard(path)

    def add(
        self,
        finding: Finding,
        image: list[Cell],
        regions: Iterable[list[Cell]],
        drawing: Drawing | None = None,
    ) -> None:
        """Note the row of a file, the rows of its regions and its picture, to be written at once.

        All of it, or after an interruption nothing, is written at the next commit. ``drawing`` is
        what ``draw`` gave.

        Raises:
            OutputError: what was added before cannot be written.
        """
        row_id, statistics = str(image[-1]), None
        if finding.image:
            seen = finding.image.statistics
            statistics = (finding.score, *(getattr(seen, name) for name in STATISTICS))
        done = Done(row_id, finding.path, finding.stamp, finding.verdict, statistics, self._move)
        self._writer.add(Entry(done, image, list(regions), drawing))
        late = time.monotonic() - self._begun_writing > self._report.PAUSE
        if (late and self._writer.idle) or self._writer.waiting >= _MOST_WAITING:
            self._end_writing()
            self._begin_writing()

    def draw(self, work: Callable[[], Picture | None]) -> Drawing:
        """Let a picture be drawn on another thread; the row that it is added with waits for it."""
        return self._writer.draw(work)

    def commit(self) -> None:
        """Bring everything to the disk, for good, before this returns.

        Raises:
            OutputError: it cannot be written; it is tried again at the next commit.
        """
        self._end_writing()
        self._begin_writing()
        self._end_writing()
        while self._writer.waiting:
            self._begin_writing()
            self._end_writing()

    def waiting(self) -> list[Done]:
        """Give what is still to be moved."""
        return self._journal.waiting()

    def moved(self, ids: Collection[str]) -> None:
        """Note that photographs are where their verdict belongs."""
        self._journal.moved(ids)

    def images(self) -> Iterator[dict[str, Any]]:
        """Read the rows of all images back, as they were committed."""
        return self._kind.rows(self.out)

    def regions(self) -> Iterator[dict[str, Any]]:
        """Read the rows of all regions back."""
        return self._kind.rows(self.out, 1)

    def picture(self, row_id: str) -> Picture | None:
        """Give the picture of a row."""
        return self._journal.picture(row_id)

    def sha256(self, row_id: str) -> str:
        """Give the digest of the file that a row tells of."""
        return self._journal.sha256(row_id)

    def statistics(self) -> Iterator[list[tuple[float, ...]]]:
        """Yield score and statistics of all photographs that were read and have a row."""
        return self._journal.statistics()

    def _begin_writing(self) -> None:
        self._begun_writing = time.monotonic()
        self._writer.begin(self.gallery.dropped.copy())

    def _end_writing(self) -> None:
        """Wait for what is being written, and take note of it."""
        if written := self._writer.end():
            self.gallery.dropped -= written.dropped
            self._begun.difference_update(each.done.path for each in written.entries)

    def _open(self, facts: dict[str, Any]) -> None:
        """Begin, or go on with what the journal knows."""
        if facts:
            tables = self._known(facts)
        else:
            remove(self.out, OWN)
            tables = None
        self._report = self._kind(self.out, tables)
        known = {"identity": self._identity, "key": self.key, "begun": self.begun}
        self._writer = Writer(self._report, self._journal, tables, known)
        try:
            self.gallery = self._journal.gallery()
            self.commit()  # cuts off what came after the last commit
            for row in self.images():
                self._writer.count(row["path"], row["verdict"], row["score"], row["quality"])
        except BaseException:
            self._writer.close()
            self._report.close()
            raise

    def _known(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Give the tables to go on with; rows of files that have changed are taken out of them."""
        self._check(facts["identity"])
        if facts.get("replacing"):
            self._replace()
        tables: dict[str, Any] = facts["tables"]
        self._kind(self.out, tables).close()  # they are as they were left
        changed = self._changed() if self.renew else []
        remove(self.out, _MADE_LAST)  # not before all is known to go on
        if changed:
            tables = self._kind.without(self.out, set(changed))
            # From here on the new tables are the true ones, wherever they stand.
            self._journal.forget(changed, tables=tables, replacing=True)
            self._replace()
            self.renewed = len(changed)
        return tables

    def _changed(self) -> list[str]:
        """Give the ids of what is done whose file has changed since.

        Raises:
            OutputError: a drive does not answer, so that nobody knows.
        """
        changed = []
        compared = read_ahead(
            self._journal.all(),
            lambda each: self._is_same(each, stamp(at(self.folder, each.path))),
            workers=1,
            ahead=_COMPARED,
        )
        for each, same in compared:
            if isinstance(same, ImageReadError):
                file = at(self.folder, each.path)
                raise OutputError(
                    f"{file}: {same}, so nobody knows whether it has changed; "
                    "give --resume again when its drive answers"
                )
            changed += [] if same else [each.id]
        return changed

    def _is_same(
        self, done: Done, now: Stamp | None, sha256: Callable[[Path], str] = digest
    ) -> bool:
        """Whether a photograph is the one that was done; one that is gone keeps its row.

        Where a drive numbers its files anew, their content tells.
        """
        if now is None or done.stamp is None:
            return now is None
        if now.facts == done.stamp.facts:
            return True
        known = done.stamp.sha256
        same = now.facts[:2] == done.stamp.facts[:2] and known
        return bool(same) and sha256(at(self.folder, done.path)) == known

    def _replace(self) -> None:
        self._kind.replace(self.out)
        self._journal.commit((), replacing=False)

    def _check(self, before: dict[str, str]) -> None:
        for name, value in self._identity.items():
            if before.get(name) != value:
                raise OutputError(
                    f"{self.out}: was begun with another {name.replace('_', ' ')} "
                    f"({before.get(name)}, now {value}); choose another --out, or give --overwrite"
                )
