"""A folder of images in, a folder of results out: what ``anomaly-vae inspect`` does."""

import hashlib
import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images import list_images
from anomaly_vae.inspection import Finding, Inspector
from anomaly_vae.outputs import prepare_folder
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting.heatmaps import save_heatmap
from anomaly_vae.reporting.tables import DefectReport, spelled

Heatmaps = Literal["none", "defects", "all"]
_LONGEST_NAME = 240  # bytes, of the 255 that file systems take
RESULTS = ("images.csv", "defects.csv", "report.html", "heatmaps", ".state")


@dataclass
class Summary:
    """What an inspection found, in short."""

    verdicts: Counter[str] = field(default_factory=Counter)
    worst: list[tuple[str, float]] = field(default_factory=list)
    """Path and score of the five images with the highest scores."""
    seconds: float = 0.0

    @property
    def images(self) -> int:
        """Number of images, readable or not."""
        return self.verdicts.total()

    @property
    def clean(self) -> bool:
        """Whether every image was read and passed."""
        return self.images == self.verdicts["pass"]

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self.verdicts[finding.verdict] += 1
        if finding.verdict != "error":
            self.worst.append((finding.path, finding.score))
            self.worst = sorted(self.worst, key=lambda row: -row[1])[:5]


def inspect_folder(
    inspector: Inspector,
    folder: Path,
    out: Path,
    *,
    heatmaps: Heatmaps = "defects",
    overwrite: bool = False,
    track: Track = untracked,
) -> Summary:
    """Inspect all images below ``folder`` and write tables and pictures to ``out``.

    Raises:
        FolderError: ``folder`` is missing or holds no images.
        OutputError: ``out`` is not empty, or cannot be written to.
    """
    paths = list_images(folder, skip=out)
    prepare_folder(out, RESULTS, overwrite=overwrite)
    threshold = inspector.card.threshold
    summary, start = Summary(), time.perf_counter()
    with DefectReport(out, model_id=inspector.model_id, threshold=threshold.score) as report:
        findings = inspector.inspect(folder, paths)
        for finding in track(findings, "Inspecting", len(paths)):
            report.add(finding)
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
    summary.seconds = time.perf_counter() - start
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
    return heatmaps == "all" or finding.verdict == "fail"
