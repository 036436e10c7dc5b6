"""What is written of each image that is inspected: rows, pictures, drift; at the end a summary."""

import math
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image

from anomaly_vae import __version__
from anomaly_vae.calibration.drift import DriftMonitor, Shift
from anomaly_vae.calibration.metadata import ModelCard
from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.images.files import stamp_in_time
from anomaly_vae.images.stacks import side_by_side
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.outputs import write_json
from anomaly_vae.remote import at
from anomaly_vae.reporting.gallery import Gallery, Picture, draw_picture, seen
from anomaly_vae.reporting.heatmaps import (
    LARGEST,
    draw_heatmap,
    on_photo,
    picture_path,
    remove_picture,
    save_picture,
    shown_photo,
)
from anomaly_vae.reporting.results import Results
from anomaly_vae.reporting.rows import Cell, image_row, region_rows, utc
from anomaly_vae.reporting.sheets import laid_out, sheet_of
from anomaly_vae.reporting.summary import Summary
from anomaly_vae.reporting.tally import Passing
from anomaly_vae.reporting.writing import Drawing

Heatmaps = Literal["none", "defects", "all"]
_HEATMAPS = "heatmaps"


Told = Callable[[list[Cell], list[list[Cell]]], None]


class Pictures:
    """Which images will be in pictures: in heat maps, and in the gallery of the page."""

    def __init__(self, heatmaps: Heatmaps, gallery: Gallery | None) -> None:
        self._heatmaps, self._gallery = heatmaps, gallery

    def show(self, score: float) -> bool:
        """Whether the map of an image that passes with this score will be seen."""
        return self._heatmaps == "all" or self.keep(score)

    def keep(self, score: float) -> bool:
        """Whether the page takes a picture with this score."""
        return self._gallery is not None and self._gallery.takes(score)

    def draw(self, finding: Finding) -> bool:
        """Whether an image has a heat map."""
        return self._heatmaps == "all" or (self._heatmaps == "defects" and bool(finding.regions))


class Recorder:
    """Writes what was found about each image: its rows and its pictures; at the end a summary.

    With ``page`` also ``report.html``, which shows all of it. With ``drift_window`` each row says
    whether the last so many images look like the good ones, with ``mm_per_pixel`` the rows of
    regions have their sizes in millimetres, too. ``told`` is called with each row and the rows of
    its regions as soon as they are known.
    """

    def __init__(
        self,
        inspector: Inspector,
        folder: Path,
        results: Results | Passing,
        *,
        heatmaps: Heatmaps = "defects",
        page: bool = True,
        drift_window: int | None = None,
        mm_per_pixel: float | None = None,
        told: Told | None = None,
    ) -> None:
        self.results, self._folder, self._told = results, folder, told
        self._page = page
        self._pictures = Pictures("none", None)
        if isinstance(results, Results):
            self._pictures = Pictures(heatmaps, results.gallery if page else None)
        self._inspector = inspector
        self._sizes = {"min_area": inspector.min_area, "mm_per_pixel": mm_per_pixel}
        self._drift = _Drift(inspector.card, drift_window, results.statistics())
        # Where there are none yet, none is to be removed.
        self._drawn_before = results.out is not None and (results.out / _HEATMAPS).exists()
        self._start, self._seconds, self.command = time.perf_counter(), 0.0, ""
        """What was typed to come to these results."""

    def shows(self, score: float) -> bool:
        """Whether the map of an image that passes with this score will be in a picture."""
        return self._pictures.show(score)

    def record(self, finding: Finding) -> None:
        """Write the rows of an image, and its picture if it is wanted.

        Raises:
            OutputError: they cannot be written.
        """
        row = image_row(
            finding,
            model_id=self._inspector.model_id,
            model_name=self._inspector.name,
            threshold=self._inspector.card.threshold,
            drift=self._drift.add(finding),
        )
        regions = list(region_rows(finding, self._sizes["mm_per_pixel"]))
        self.results.add(finding, row, regions, self._drawing(finding, str(row[-1])))
        if self._told:
            self._told(row, regions)

    def stop(self) -> None:
        """End the time that the summary tells, if it is not to end with ``finish``."""
        self._seconds = time.perf_counter() - self._start

    def finish(self, unlisted: Sequence[FolderError] = ()) -> Summary:
        """Bring everything to the disk, and write the summary.

        Raises:
            OutputError: it cannot be written.
        """
        self.results.commit()
        summary = Summary(
            self.results.tally,
            self._seconds or time.perf_counter() - self._start,
            skipped=self.results.skipped,
            renewed=self.results.renewed,
            shifts=self._drift.shifts(),
            unlisted=[str(error) for error in unlisted],
        )
        if isinstance(self.results, Results):
            found = summary.as_dict(self._inspector.model_id) | self._sizes | self._journal()
            write_json(self.results.out / "summary.json", found)
            if self._page:
                from anomaly_vae.reporting.page import write_page  # noqa: PLC0415

                write_page(self.results, summary, self._inspector.card, self._inspector.model_id)
        return summary

    def _journal(self) -> dict[str, str]:
        """Say when, where and how the results came to be."""
        begun = self.results.begun if isinstance(self.results, Results) else ""
        return {
            "model_name": self._inspector.name,
            "program_version": __version__,
            "begin": begun,
            "end": utc(datetime.now(UTC)),
            "host": socket.gethostname(),
            "command": self.command,
        }

    def _drawing(self, finding: Finding, row_id: str) -> Drawing | None:
        """Say which pictures of an image are wanted, and let them be drawn."""
        results, image = self.results, finding.image
        if isinstance(results, Passing):
            return None
        drawn = self._pictures.draw(finding)
        target = None
        if drawn or self._drawn_before:
            # In a watched folder another photograph may have had this name before.
            suffix = ".jpg" if results.renew else f".{row_id}.jpg"
            target = picture_path(results.out / _HEATMAPS, finding.path, suffix)
        if target and (image is None or not drawn):
            remove_picture(target)  # of a photograph of this name that was defective
            target = None
        if image is None or not image.pixels.size:  # whoever left its pixels out wants no picture
            return None
        kept = self._pictures.keep(finding.score)
        enlarged = kept and results.gallery.enlarges(finding)
        if kept:
            results.gallery.keep(row_id, finding.score, enlarged=enlarged)
        elif not target:
            return None
        return results.draw(
            partial(self._draw, finding, image, row_id, target, kept=kept, enlarged=enlarged)
        )

    def _draw(
        self,
        finding: Finding,
        image: LoadedImage,
        row_id: str,
        file: Path | None,
        *,
        kept: bool,
        enlarged: bool,
    ) -> Picture | None:
        """Draw an image into a ``file``, and one that is ``kept`` for the page."""
        limit, large = self._inspector.card.threshold.anomaly_map, None
        stack, finding, image = image, laid_out(finding), sheet_of(image)
        if file or enlarged:
            photo = seen(image, LARGEST) if stack.slices else self._photo(finding, image)
            square, expected = self._inspector.expected(stack), None
            if square is not None:
                square = side_by_side(square, stack.slices)
                expected = on_photo(square, image, photo.size)
            large = photo, expected
            if file:
                save_picture(draw_heatmap(finding, photo, limit, expected), file)
        if not kept:
            return None
        return draw_picture(row_id, finding, image, limit, large if enlarged else None)

    def _photo(self, finding: Finding, image: LoadedImage) -> Image.Image:
        """Give a photograph to look at; if it is gone, or another one by now, as it was seen."""
        file = at(self._folder, finding.path)
        with suppress(ImageReadError, FolderError):
            photo = shown_photo(file, self._inspector.card.images)
            now = stamp_in_time(file)
            if now and finding.stamp and now.facts == finding.stamp.facts:
                return photo
        return seen(image)


class _Drift:
    """Whether the images look like the good ones: all of them, and if asked the last ones."""

    def __init__(
        self, card: ModelCard, window: int | None, before: Iterable[list[tuple[float, ...]]]
    ) -> None:
        good, limit = card.good, card.threshold.score
        self._all = DriftMonitor(good, limit) if good else None
        self._last = DriftMonitor(good, limit, window) if good and window else None
        # From what has a row, and from nothing else: so no photograph counts twice.
        if self._all:
            for rows in before:
                self._all.add_all(rows)

    def add(self, finding: Finding) -> float:
        """Count an image, and give the p-value of the last ones; NaN if nobody asked."""
        if finding.image is None:
            return math.nan
        for monitor in (self._all, self._last):
            if monitor:
                monitor.add(finding.score, finding.image.statistics)
        return self._last.p_value() if self._last else math.nan

    def shifts(self) -> list[Shift]:
        return self._all.shifts() if self._all else []
