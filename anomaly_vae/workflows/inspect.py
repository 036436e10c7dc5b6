"""A folder of images in, a folder of results out: what ``anomaly-vae inspect`` does."""

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.files import stamp
from anomaly_vae.images.sources import Source
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting.summary import Summary
from anomaly_vae.workflows.recorder import Recorder


def inspect_images(
    inspector: Inspector, source: Source, recorder: Recorder, track: Track = untracked
) -> Summary:
    """Inspect the images of ``source`` and record them; what is done is not done again.

    Raises:
        OutputError: the results cannot be written.
    """
    folder, results = source.folder, recorder.results
    # A drive may stall here, too; of what cannot be looked at in time, the reading is tried.
    seen = read_ahead(source.paths, lambda path: stamp(folder / path), workers=1, ahead=1)
    waiting = (
        path
        for path, now in seen
        if not results.is_done(path, None if isinstance(now, ImageReadError) else now)
    )

    def left() -> int | None:
        total = source.total() if callable(source.total) else source.total
        return None if total is None else total - results.skipped

    findings = inspector.inspect_files(folder, waiting, recorder.shows)
    for finding in track(findings, "Inspecting", left):
        if finding.image and finding.image.narrow:
            source.narrow.append(finding.path)
        recorder.record(finding)
    return recorder.finish(unlisted=source.unlisted)


def identity(
    inspector: Inspector, source: str, mm_per_pixel: float | None = None
) -> dict[str, str]:
    """Say what may not change when an inspection is gone on with; ``source`` names the images."""
    return {
        "model": inspector.model_id,
        "source": source,
        "min_area": str(inspector.min_area),
        "mm_per_pixel": str(mm_per_pixel),
    }
