"""Rows, pictures and journal on their way to the disk, while the inspection goes on.

Pictures are drawn on some threads. Rows wait until theirs are there, and are then brought to the
disk by one thread, many at once. Only who adds rows changes what counts as written: a writing that
was cut off is done again from where it began, which changes nothing that was done.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from operator import itemgetter
from typing import Any, NamedTuple

from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.reporting.gallery import Picture
from anomaly_vae.reporting.journal import Done, Journal
from anomaly_vae.reporting.rows import IMAGE_COLUMNS, Cell, Report
from anomaly_vae.reporting.tally import Tally

Drawing = Future[Picture | None]

_COUNTED = itemgetter(
    *(list(IMAGE_COLUMNS).index(name) for name in ("path", "verdict", "score", "quality"))
)
_DRAWINGS_EACH = 4  # that wait for a thread: each keeps the pixels of its photograph


class Entry(NamedTuple):
    """All that is to be written of a file, at once."""

    done: Done
    image: list[Cell]
    regions: list[list[Cell]]
    drawing: Drawing | None


class _Written(NamedTuple):
    tables: dict[str, Any]
    entries: list[Entry]
    dropped: set[str]


class _State(NamedTuple):
    """What is on the disk, and what is not yet: one value, so that it changes as a whole."""

    tables: dict[str, Any] | None
    """Up to where the tables count."""
    tally: Tally
    waiting: list[Entry]


class Writer:
    """Brings entries to the disk; ``facts`` stand in the journal with them."""

    def __init__(
        self, report: Report, journal: Journal, tables: dict[str, Any] | None, facts: dict[str, Any]
    ) -> None:
        self._report, self._journal, self._facts = report, journal, facts
        self._state = _State(tables, Tally(), [])
        self._under_way: Future[_Written] | None = None
        self._drawn: deque[Drawing] = deque()
        drawers = usable_cores()
        self._most_drawn = _DRAWINGS_EACH * drawers
        self._drawers = ThreadPoolExecutor(drawers, "draw")
        self._thread = ThreadPoolExecutor(1, "write")

    def close(self) -> None:
        """End the threads; what has not begun is left undone."""
        for pool in (self._drawers, self._thread):
            pool.shutdown(cancel_futures=True)

    @property
    def waiting(self) -> int:
        """Number of entries that are not yet known to be on the disk."""
        return len(self._state.waiting)

    @property
    def tally(self) -> Tally:
        """What was found so far."""
        return _counted(self._state.tally, self._state.waiting)

    def count(self, path: str, verdict: str, score: float | None, quality: str) -> None:
        """Count a row that was on the disk before."""
        self._state.tally.add(path, verdict, score, quality)

    def draw(self, work: Callable[[], Picture | None]) -> Drawing:
        """Let a picture be drawn; waits while there are many to be drawn."""
        while len(self._drawn) >= self._most_drawn:
            wait([self._drawn.popleft()])
        drawing = self._drawers.submit(work)
        self._drawn.append(drawing)
        return drawing

    def add(self, entry: Entry) -> None:
        """Note an entry, to be written at once."""
        self._state.waiting.append(entry)

    @property
    def idle(self) -> bool:
        """Whether nothing is being written."""
        return self._under_way is None or self._under_way.done()

    def begin(self, dropped: set[str]) -> None:
        """Write what waits, behind what is under way; pictures of rows ``dropped`` go.

        Raises:
            OutputError: what was under way could not be written.
        """
        self._under_way = self._thread.submit(
            self._write, self._state.tables, self._state.waiting.copy(), dropped
        )

    def end(self) -> _Written | None:
        """Wait for what is under way; gives what is on the disk since.

        Raises:
            OutputError: it could not be written.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is None:
            return None
        written = under_way.result()
        tally = _counted(self._state.tally, written.entries)
        left = self._state.waiting[len(written.entries) :]
        self._state = _State(written.tables, tally, left)
        return written

    def _write(
        self, tables: dict[str, Any] | None, waiting: list[Entry], dropped: set[str]
    ) -> _Written:
        """Bring the rows to the disk first, then in one step of the journal that they count.

        Those behind a picture that cannot be drawn wait: they have their turn, and it its error.
        """
        entries, pictures = list[Entry](), list[Picture]()
        for entry in waiting:
            try:
                picture = entry.drawing.result() if entry.drawing else None
            except Exception:
                if not entries:
                    raise
                break
            entries.append(entry)
            pictures += [picture] if picture else []
        rows = [entry.image for entry in entries]
        regions = [region for entry in entries for region in entry.regions]
        tables = self._report.write(tables, rows, regions)
        done = [entry.done for entry in entries]
        self._journal.commit(done, pictures, dropped, tables=tables, **self._facts)
        return _Written(tables, entries, dropped)


def _counted(tally: Tally, entries: list[Entry]) -> Tally:
    """Give a tally with these entries beside what it counts."""
    tally = tally.copy()
    for entry in entries:
        tally.add(*_COUNTED(entry.image))
    return tally
