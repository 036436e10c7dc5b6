"""A folder of images in, a folder of results out: what ``anomaly-vae inspect`` does."""

import hashlib
import math
import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from anomaly_vae.drift import DriftMonitor, Shift
from anomaly_vae.errors import ImageReadError
from anomaly_vae.images import list_images
from anomaly_vae.inspection import Finding, Inspector
from anomaly_vae.outputs import prepare_folder, write_json
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting.heatmaps import save_heatmap
from anomaly_vae.reporting.tables import DefectReport, spelled

Heatmaps = Literal["none", "defects", "all"]
_LONGEST_NAME = 240  # bytes, of the 255 that file systems take
RESULTS = ("images.csv", "defects.csv", "summary.json", "report.html", "heatmaps", ".state")


@dataclass
class Summary:
    """What an inspection found, in short."""

    verdicts: Counter[str] = field(default_factory=Counter)
    worst: list[Finding] = field(default_factory=list)
    """The five images with the highest scores, without their pixels."""
    quality: int = 0
    """Number of photographs that are unlike all good ones apart from their part."""
    shifts: list[Shift] = field(default_factory=list)
    """How far the images as a whole are from the good ones."""
    seconds: float = 0.0

    @property
    def images(self) -> int:
        """Number of images, readable or not."""
        return self.verdicts.total()

    @property
    def shifted(self) -> list[Shift]:
        """The statistics in which the images are not like the good ones."""
        return [shift for shift in self.shifts if shift.shifted]

    @property
    def clean(self) -> bool:
        """Whether every image was read and passed."""
        return self.images == self.verdicts["pass"]

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self.verdicts[finding.verdict] += 1
        if finding.verdict != "error":
            self.quality += bool(finding.quality)
            slim = replace(finding, image=None, anomaly_map=None)
            self.worst = sorted([*self.worst, slim], key=lambda each: -each.score)[:5]

    def as_dict(self, model_id: str) -> dict[str, Any]:
        """Give everything as plain values."""
        worst = [{"path": each.path, "score": each.score} for each in self.worst]
        return {
            "model_id": model_id,
            "images": self.images,
            "verdicts": dict(self.verdicts),
            "quality": self.quality,
            "drift": [asdict(shift) for shift in self.shifts],
            "worst": worst,
            "seconds": self.seconds,
        }


def inspect_folder(
    inspector: Inspector,
    folder: Path,
    out: Path,
    *,
    heatmaps: Heatmaps = "defects",
    drift_window: int | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> Summary:
    """Inspect all images below ``folder`` and write tables and pictures to ``out``.

    With ``drift_window`` each row says whether the last so many images look like the good ones.

    Raises:
        FolderError: ``folder`` is missing or holds no images.
        OutputError: ``out`` is not empty, or cannot be written to.
    """
    paths = list_images(folder, skip=out)
    prepare_folder(out, RESULTS, overwrite=overwrite)
    threshold, good = inspector.card.threshold, inspector.card.good
    summary, start = Summary(), time.perf_counter()
    monitor = DriftMonitor(good, threshold.score) if good else None
    recent = DriftMonitor(good, threshold.score, drift_window) if good and drift_window else None
    with DefectReport(out, model_id=inspector.model_id, threshold=threshold) as report:
        findings = inspector.inspect(folder, paths)
        for finding in track(findings, "Inspecting", len(paths)):
            for each in (monitor, recent):
                if each and finding.image:
                    each.add(finding.score, finding.image.statistics)
            report.add(finding, recent.p_value() if recent and finding.image else math.nan)
            summary.add(finding)
            if _wants_heatmap(finding, heatmaps):
                target = heatmap_path(out, finding.path)
                # A file that vanished in the meantime has its row; only the picture is missing.
                with suppress(ImageReadError):
                    save_heatmap(
                        finding,
                        folder,
                        target,
                        settings=inspector.card.images,
                        threshold=threshold.anomaly_map,
                    )
    summary.shifts = monitor.shifts() if monitor else []
    summary.seconds = time.perf_counter() - start
    write_json(out / "summary.json", summary.as_dict(inspector.model_id))
    return summary


def heatmap_path(out: Path, path: str) -> Path:
    """Where the picture of the image at ``path`` goes: its whole name, so that none collide."""
    *folders, name = spelled(path).split("/")
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f"{name[:60]}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    return out.joinpath("heatmaps", *folders, f"{name}.jpg")


def _wants_heatmap(finding: Finding, heatmaps: Heatmaps) -> bool:
    if finding.verdict == "error" or heatmaps == "none":
        return False
    return heatmaps == "all" or bool(finding.regions)
