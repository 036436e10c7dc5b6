"""The command that finds defects: inspect."""

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import Overwrite, app
from .console import talk
from .saying import warn_shifts

if TYPE_CHECKING:
    from anomaly_vae.reporting.results import Passing, Results
    from anomaly_vae.reporting.rows import Cell
    from anomaly_vae.reporting.summary import Summary
    from anomaly_vae.sources import Source


class Device(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


class Heatmaps(StrEnum):
    """Which images get a picture."""

    NONE = "none"
    DEFECTS = "defects"
    ALL = "all"


class Format(StrEnum):
    """What the tables are written as."""

    CSV = "csv"
    PARQUET = "parquet"
    XLSX = "xlsx"


def _within(least: float, most: float) -> Callable[[float | None], float | None]:
    """Give a check of an option that keeps out NaN, too, and names the value."""

    def check(value: float | None) -> float | None:
        if value is not None and not least <= value <= most:
            raise typer.BadParameter(f"{value:g}: expected a number from {least:g} to {most:g}")
        return value

    return check


_COLORS = {"pass": "blue", "review": "yellow", "fail": "red", "error": "magenta"}
_LONGEST = 58  # characters of a path, of 80 columns

Model = Annotated[Path, typer.Argument(help="model.onnx of a run.")]
OnDevice = Annotated[Device, typer.Option("--device", help="Where the model runs.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Images per run of the model.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads that decode images.")]
MinArea = Annotated[
    float,
    typer.Option(
        callback=_within(0, 1e12),
        help="Leave out defect regions that are smaller, in square pixels of the photograph; "
        "no verdict changes.",
    ),
]
# From the finest electron microscope to the coarsest satellite: areas in mm² stay finite.
MmPerPixel = Annotated[
    float | None,
    typer.Option(
        callback=_within(1e-9, 1e9),
        help="Millimetres per pixel of the photograph: sizes of regions in mm, too.",
    ),
]


@app.command()
def inspect(
    model: Model,
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of images, searched recursively; -: paths on standard input."),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the tables and pictures.")] = None,
    device: OnDevice = Device.AUTO,
    batch_size: BatchSize = None,
    workers: Workers = None,
    heatmaps: Annotated[
        Heatmaps, typer.Option(help="Which images get a picture.")
    ] = Heatmaps.DEFECTS,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Write report.html, to look through it all.")
    ] = True,
    table: Annotated[
        Format,
        typer.Option(
            "--format", help="What the tables are written as; xlsx: CSV, and a workbook of it."
        ),
    ] = Format.CSV,
    min_area: MinArea = 0.0,
    mm_per_pixel: MmPerPixel = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Write a line of JSON per image to standard output.")
    ] = False,
    drift_window: Annotated[
        int | None,
        typer.Option(min=10, help="Say in each row whether the last so many look as usual."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an inspection was stopped.")
    ] = False,
    overwrite: Overwrite = False,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit with 0 even if not every image passed.")
    ] = False,
) -> None:
    """Find the defective images of a folder and write a report of them."""
    from anomaly_vae.inspection import Inspector
    from anomaly_vae.reporting.folder import Recorder, identity, inspect_images
    from anomaly_vae.sources import images_below, images_named

    if out is None and not jsonl:
        raise typer.BadParameter("expected --out DIR, or --jsonl", param_hint="--out")
    if out is None and (resume or overwrite or table is not Format.CSV):
        raise typer.BadParameter(
            "needed by --resume, --overwrite and --format; expected a folder", param_hint="--out"
        )
    talk.on_stderr = jsonl
    make_last = _made_last(table)
    inspector = Inspector(
        model,
        device=device.value,
        batch_size=batch_size,
        workers=workers,
        min_area=min_area,
        told=talk.warn,
    )
    talk.detail(f"model {inspector.model_id} on {inspector.provider}")
    listed = str(folder) == "-"
    source = images_named(sys.stdin.buffer) if listed else images_below(folder, skip=out)
    same = identity(inspector, source.name, mm_per_pixel)
    try:
        with _results(out, source, same, table, overwrite, resume) as results:
            recorder = Recorder(
                inspector,
                source.folder,
                results,
                heatmaps=heatmaps.value,
                page=page,
                drift_window=drift_window,
                mm_per_pixel=mm_per_pixel,
                told=_write_json if jsonl else None,
            )
            summary = inspect_images(inspector, source, recorder, talk.track)
            if out:
                make_last(out)
    except KeyboardInterrupt:
        if out:
            talk.warn(f"what was done so far is kept in {out}; give --resume to go on")
        raise
    say_inspection(summary, out)
    if not (summary.clean or exit_zero):
        raise typer.Exit(1)


def _results(
    out: Path | None,
    source: "Source",
    identity: dict[str, str],
    table: Format,
    overwrite: bool,
    resume: bool,
) -> "Results | Passing":
    from anomaly_vae.reporting.results import Passing, Results
    from anomaly_vae.reporting.rows import Report
    from anomaly_vae.reporting.tables import CsvReport

    if out is None:
        return Passing()
    report: type[Report] = CsvReport
    if table is Format.PARQUET:
        from anomaly_vae.reporting.parquet import ParquetReport

        report = ParquetReport
    return Results(out, source.folder, identity, report=report, overwrite=overwrite, resume=resume)


def _made_last(table: Format) -> Callable[[Path], None]:
    """Give what is to be done with complete tables; what that lacks is said before the work."""
    if table is not Format.XLSX:
        return lambda _: None
    from anomaly_vae.reporting.workbook import write_workbook

    return write_workbook


def _write_json(row: "list[Cell]", regions: "list[list[Cell]]") -> None:
    """Write an image as a line of JSON, its regions in it."""
    from anomaly_vae.reporting.rows import IMAGE_COLUMNS, REGION_COLUMNS

    image = dict(zip(IMAGE_COLUMNS, row, strict=True))
    found = [dict(zip(REGION_COLUMNS, region, strict=True)) for region in regions]
    line = {**image, "defects": [{k: v for k, v in r.items() if k != "path"} for r in found]}
    typer.echo(json.dumps(line, allow_nan=False))


def say_inspection(summary: "Summary", out: Path | None) -> None:
    """Say how many images passed and failed, the worst, and where the report is."""
    tally = summary.tally
    counts = ", ".join(
        _styled(name, f"{tally.verdicts[name]} {name}", bool(tally.verdicts[name]))
        for name in ("pass", "review", "fail", "error")
        if name != "review" or tally.verdicts[name]
    )
    if summary.skipped or summary.renewed:
        talk.say(
            f"{summary.skipped} images were done before; "
            f"{summary.renewed} have changed since then and were inspected again"
        )
    talk.say(f"{summary.images} images: {counts} ({summary.images_per_second:.1f} images/s)")
    if tally.worst:
        talk.say("\n     score  verdict  image")
    for score, verdict, path in tally.worst:
        talk.say(f"{score:10.3f}  {_styled(verdict, f'{verdict:7s}')}  {_shortened(path)}")
    for trouble in summary.unlisted:
        talk.warn(f"{trouble}: its images were not inspected; mend it and give --resume")
    if tally.quality:
        talk.warn(
            f"photographs that are unlike all good ones, apart from their part: {tally.quality}; "
            "the column quality says in what"
        )
    warn_shifts(summary.shifts, "these images")
    if out:
        talk.say(f"\nreport: {out}")
        page = out / "report.html"
        if page.is_file():
            talk.say(f"  to look through: {page}")


def _styled(verdict: str, text: str, strong: bool = True) -> str:
    """Colour a text by a verdict."""
    return typer.style(text, fg=_COLORS[verdict], bold=True) if strong else text


def _shortened(path: str) -> str:
    """Cut the beginning of a path off that is too long for a line."""
    return path if len(path) <= _LONGEST else f"…{path[1 - _LONGEST :]}"
