"""The command that follows a folder: watch."""

import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import Overwrite, app
from .console import talk
from .inspecting import (
    Device,
    Heatmaps,
    MinArea,
    MmPerPixel,
    Model,
    OnDevice,
    say_inspection,
)

if TYPE_CHECKING:
    from anomaly_vae.inspection import Finding


@app.command()
def watch(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Folder that photographs are written into.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables; one begun before goes on.")],
    device: OnDevice = Device.AUTO,
    heatmaps: Annotated[
        Heatmaps, typer.Option(help="Which images get a picture.")
    ] = Heatmaps.DEFECTS,
    min_area: MinArea = 0.0,
    mm_per_pixel: MmPerPixel = None,
    move_to: Annotated[
        Path | None, typer.Option(help="Move each photograph there, below pass, fail, ...")
    ] = None,
    polling: Annotated[
        bool, typer.Option("--polling", help="Look every second: for network drives.")
    ] = False,
    idle: Annotated[
        float | None, typer.Option(min=0.1, help="End after so many seconds without an image.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Inspect photographs as they are written, until Ctrl-C."""
    from anomaly_vae.errors import OutputError
    from anomaly_vae.inspection import Inspector
    from anomaly_vae.reading import stamp
    from anomaly_vae.reporting.folder import Recorder, identity
    from anomaly_vae.reporting.results import Results
    from anomaly_vae.watching import Arrivals

    if move_to and folder.resolve() in (move_to.resolve(), *move_to.resolve().parents):
        raise OutputError(f"--move-to {move_to}: lies in the watched folder; choose another")
    inspector = Inspector(model, device=device.value, min_area=min_area, told=talk.warn)
    same = identity(inspector, f"watching {folder.resolve()}", mm_per_pixel)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how services are stopped
    with (
        Arrivals(folder, skip=out, polling=polling) as arrivals,
        Results(
            out, folder, same, overwrite=overwrite, resume=not overwrite, renew=False
        ) as results,
    ):
        recorder = Recorder(
            inspector, folder, results, heatmaps=heatmaps.value, mm_per_pixel=mm_per_pixel
        )
        talk.say(f"watching {folder}, until Ctrl-C")
        try:
            for paths in arrivals.batches(idle):
                new = [path for path in paths if not results.is_done(path, stamp(folder / path))]
                findings = []
                for finding in inspector.inspect(folder, new, recorder.shows):
                    if finding.verdict == "error" and arrivals.again(finding.path):
                        results.put_back(finding.path)
                    else:
                        findings.append(finding)
                        recorder.record(finding)
                results.commit()  # before a photograph is moved away
                for finding in findings:
                    _tell(finding)
                    _move(folder, finding, move_to)
        except KeyboardInterrupt:
            pass
        summary = recorder.finish()
    say_inspection(summary, out)


def _tell(finding: "Finding") -> None:
    number = "" if finding.verdict == "error" else f"{finding.score:.3f}"
    reason = f": {finding.error}" if finding.error else ""
    talk.say(f"{number:>9s}  {finding.verdict:6s}  {finding.path}{reason}")


def _move(folder: Path, finding: "Finding", move_to: Path | None) -> None:
    """Move a photograph below its verdict; one of that name there keeps its place."""
    if move_to is None:
        return
    target = move_to / finding.verdict / finding.path
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{Path(finding.path).stem}-{number}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / finding.path, target)
    except OSError as error:
        talk.warn(f"{finding.path} could not be moved to {target}: {error.strerror}")
