"""Photographs as they arrive, inspected and sorted: what ``anomaly-vae watch`` does."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path

from anomaly_vae.errors import OutputError
from anomaly_vae.images.ahead import PATIENCE, Pool
from anomaly_vae.images.files import stamp, stamp_in_time
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.watching import Arrivals
from anomaly_vae.reporting.results import Results
from anomaly_vae.workflows.moving import Mover
from anomaly_vae.workflows.recorder import Recorder

_FAREWELL = 5.0  # seconds that a drive has to answer at the end
_HANGING = 0.5  # seconds for a drive that has not answered the last time
_PAUSE = 10.0  # seconds before a target with trouble is tried again


def refuse_target(folder: Path, move_to: Path | None) -> None:
    """Make sure that what is moved away does not arrive again.

    Raises:
        OutputError: ``move_to`` lies in the watched folder.
    """
    if move_to and folder.resolve() in (move_to.resolve(), *move_to.resolve().parents):
        raise OutputError(f"--move-to {move_to}: lies in the watched folder; choose another")


class Watch:
    """Inspects what arrives in a folder; ``told`` hears of each image, ``warned`` of troubles."""

    def __init__(
        self,
        inspector: Inspector,
        folder: Path,
        results: Results,
        recorder: Recorder,
        *,
        move_to: Path | None,
        told: Callable[[Finding], None],
        warned: Callable[[str], None],
    ) -> None:
        self._inspector, self._folder, self._results = inspector, folder, results
        self._recorder, self._told, self._warned = recorder, told, warned
        self._mover = Mover(folder, move_to, warned) if move_to else None
        # Judged and written down, but not moved yet; some of it before this start.
        self._to_move = {each.id: each for each in results.waiting()} if move_to else {}
        self._try_again, self._trouble = 0.0, ""
        # On one thread, in order: whatever hangs there is neither begun twice nor waited for long.
        self._pool = Pool(self._mover.move, 1) if self._mover else None
        self._moving, self._hangs = dict[str, Future[None]](), False

    def follow(self, arrivals: Arrivals, idle: float | None) -> None:
        """Inspect what arrives, until nothing has for ``idle`` seconds."""
        arrivals.is_known = self._needs_nothing
        self._move_all()
        for paths in arrivals.batches(idle):
            findings = self._inspect(arrivals, paths)
            self._results.commit()  # before a photograph is moved away
            for finding in findings:
                self._told(finding)
            if self._mover:
                self._note([finding.path for finding in findings])
                self._move_all()

    def finish(self) -> None:
        """Move what is judged and not moved yet, if that goes now; say what stays."""
        if self._mover:  # Ctrl-C may have come between a row and its photograph
            self._results.commit()
            self._to_move = {each.id: each for each in self._results.waiting()}
        self._try_again = 0.0
        self._move_all(_FAREWELL)
        if self._pool:
            self._pool.close()
        if self._to_move:
            self._warned(
                f"{len(self._to_move)} photographs are judged, but still in {self._folder} "
                f"({self._trouble}); they are moved when watch is started again"
            )

    def _inspect(self, arrivals: Arrivals, paths: list[str]) -> list[Finding]:
        """Inspect and record what is new; what is still being written is put back."""
        folder, results = self._folder, self._results
        new = [path for path in paths if not results.is_done(path, stamp_in_time(folder / path))]
        if self._mover:
            self._note(set(paths) - set(new))
        findings = []
        for finding in self._inspector.inspect_files(folder, new, self._recorder.shows):
            if finding.verdict == "error" and arrivals.again(finding.path):
                results.put_back(finding.path)
            else:
                findings.append(finding)
                self._recorder.record(finding)
        return findings

    def _note(self, paths: Iterable[str]) -> None:
        """Note what is to be moved of the photographs that are at these paths now."""
        for path in paths:
            done = self._results.done(path, stamp_in_time(self._folder / path))
            if done is None:
                self._warned(f"{path}: was replaced or taken away before it could be moved")
            elif done.to_move:
                self._to_move[done.id] = done

    def _needs_nothing(self, path: str) -> bool:
        done = self._results.done(path, stamp(self._folder / path))
        return done is not None and not (self._mover and done.to_move)

    def _move_all(self, patience: float = PATIENCE) -> None:
        """Move what is to be moved; if a drive has trouble, not before a while."""
        if not (self._pool and self._to_move) or time.monotonic() < self._try_again:
            return
        for each in self._to_move.values():
            if each.id not in self._moving:
                self._moving[each.id] = self._pool.submit(each)
        moved, trouble = [], ""
        for row_id, moving in list(self._moving.items()):
            try:
                moving.result(_HANGING if self._hangs else patience)
                moved.append(row_id)
            except OSError as error:  # also where it is not done in time
                trouble = f"{error.filename or self._folder}: {error.strerror or 'no answer'}"
            self._hangs = not moving.done()
            if self._hangs:
                break
            del self._moving[row_id]
        if trouble:
            self._try_again = time.monotonic() + _PAUSE
        if moved:
            self._results.moved(moved)
        for row_id in moved:
            del self._to_move[row_id]
        if trouble and trouble != self._trouble:
            self._warned(f"photographs cannot be moved now ({trouble}); this is tried again")
        self._trouble = trouble
