"""The command that follows a folder."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import (
    ExitZero,
    Heatmaps,
    MinArea,
    MmPerPixel,
    Model,
    OnDevice,
    Overwrite,
    Pictures,
)
from ..saying import say_inspection

if TYPE_CHECKING:
    from anomaly_vae.inspection.finding import Finding
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.reporting.rows import Report


EXAMPLES = """
anomaly-vae watch run/model.onnx photos/today --out shift
anomaly-vae watch run/model.onnx inbox --out shift --move-to sorted
"""


def watch(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Folder that photographs are written into.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables; one begun before goes on.")],
    device: OnDevice = "auto",
    heatmaps: Pictures = Heatmaps.DEFECTS,
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
    exit_zero: ExitZero = False,
) -> None:
    """Inspect photographs as they are written, until Ctrl-C."""
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.inspection.watching import Arrivals
    from anomaly_vae.reporting.results import Results
    from anomaly_vae.workflows.inspect import identity
    from anomaly_vae.workflows.recorder import Recorder
    from anomaly_vae.workflows.watch import Watch, refuse_target

    refuse_target(folder, move_to)
    inspector = Inspector(model, device=device, min_area=min_area, told=talk.warn)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how services are stopped
    with (
        Arrivals(folder, skip=out, polling=polling, warned=talk.warn) as arrivals,
        Results(
            out,
            folder,
            identity(inspector, f"watching {folder.resolve()}", mm_per_pixel),
            report=_tables(inspector),
            overwrite=overwrite,
            resume=not overwrite,
            renew=False,
            move=move_to is not None,
        ) as results,
    ):
        recorder = Recorder(
            inspector, folder, results, heatmaps=heatmaps.value, mm_per_pixel=mm_per_pixel
        )
        recorder.command = talk.command
        watched = Watch(
            inspector, folder, results, recorder, move_to=move_to, told=_tell, warned=talk.warn
        )
        talk.say(f"watching {folder}, until Ctrl-C")
        with suppress(KeyboardInterrupt):
            watched.follow(arrivals, idle)
        watched.finish()
        summary = recorder.finish(list(arrivals.unlisted.values()))
    if arrivals.left_out:
        talk.warn(str(arrivals.left_out))
    say_inspection(summary, out)
    if not (summary.clean or exit_zero):
        raise typer.Exit(1)


def _tables(inspector: "Inspector") -> "type[Report]":
    """Give the tables of a model; refuse one whose stacks are many files, which never settle."""
    from anomaly_vae.errors import InputError
    from anomaly_vae.reporting.tables import CsvReport

    if inspector.card.images.volumes:
        raise InputError(
            f"{inspector.name}: its stacks are files of slices (images.volumes); watch takes those "
            "that are one file each"
        )
    return CsvReport.of_stacks() if inspector.card.images.slices else CsvReport


def _tell(finding: "Finding") -> None:
    number = "" if finding.verdict == "error" else f"{finding.score:.3f}"
    reason = f": {finding.error}" if finding.error else ""
    if finding.image and finding.image.narrow:
        reason = ": uses less than a tenth of the range from black to white"
    talk.say(f"{number:>9s}  {finding.verdict:6s}  {finding.path}{reason}")
