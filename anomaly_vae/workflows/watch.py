"""Photographs as they arrive, inspected and sorted: what ``anomaly-vae watch`` does."""

import shutil
from collections.abc import Callable
from pathlib import Path

from anomaly_vae.errors import OutputError
from anomaly_vae.images.files import stamp
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.watching import Arrivals
from anomaly_vae.reporting.results import Results
from anomaly_vae.workflows.recorder import Recorder


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
        self._recorder, self._move_to = recorder, move_to
        self._told, self._warned = told, warned

    def follow(self, arrivals: Arrivals, idle: float | None) -> None:
        """Inspect what arrives, until nothing has for ``idle`` seconds."""
        for paths in arrivals.batches(idle):
            findings = self._inspect(arrivals, paths)
            self._results.commit()  # before a photograph is moved away
            for finding in findings:
                self._told(finding)
                self._move(finding)

    def _inspect(self, arrivals: Arrivals, paths: list[str]) -> list[Finding]:
        """Inspect and record what is new; what is still being written is put back."""
        folder, results = self._folder, self._results
        new = [path for path in paths if not results.is_done(path, stamp(folder / path))]
        findings = []
        for finding in self._inspector.inspect_files(folder, new, self._recorder.shows):
            if finding.verdict == "error" and arrivals.again(finding.path):
                results.put_back(finding.path)
            else:
                findings.append(finding)
                self._recorder.record(finding)
        return findings

    def _move(self, finding: Finding) -> None:
        """Move a photograph below its verdict; one of that name there keeps its place."""
        if self._move_to is None:
            return
        target = self._move_to / finding.verdict / finding.path
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{Path(finding.path).stem}-{number}{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self._folder / finding.path, target)
        except OSError as error:
            self._warned(f"{finding.path} could not be moved to {target}: {error.strerror}")
