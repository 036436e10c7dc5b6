"""The command that finds defects."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import talk
from ..options import (
    BatchSize,
    ExitZero,
    Heatmaps,
    MinArea,
    MmPerPixel,
    Model,
    OnDevice,
    Overwrite,
    Pictures,
    Resume,
    Volumes,
    Workers,
)
from ..saying import say_inspection, warn_notes

if TYPE_CHECKING:
    from anomaly_vae.images.sources import Source
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.inspection.several import Several
    from anomaly_vae.reporting.results import Results
    from anomaly_vae.reporting.rows import Cell
    from anomaly_vae.reporting.summary import Summary
    from anomaly_vae.reporting.tally import Passing


_LISTED = [Path("-")]
EXAMPLES = """
anomaly-vae inspect run/model.onnx photos/today --out report
anomaly-vae inspect run/model.onnx photos/today --out report --resume
anomaly-vae inspect run/model.onnx part.png other.png --out two
anomaly-vae inspect top.onnx photos --model side.onnx --route 'top|side' --out report
"""


# An H100 had 100 photographs of 512 x 512 pixels done later than the 16 cores beside it.
_FEW = 32


class Format(StrEnum):
    """What the tables are written as."""

    CSV = "csv"
    PARQUET = "parquet"
    XLSX = "xlsx"


def inspect(
    model: Model,
    photographs: Annotated[
        list[Path],
        typer.Argument(help="Folders, searched recursively, or files; -: paths on standard input."),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the tables and pictures.")] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--model", help="Another model for the same photographs; each writes into OUT/NAME."
        ),
    ] = None,
    route: Annotated[
        str,
        typer.Option(
            metavar="REGEX", help="Let one --model judge: whose name this finds in the path."
        ),
    ] = "",
    device: OnDevice = "auto",
    batch_size: BatchSize = None,
    workers: Workers = None,
    heatmaps: Pictures = Heatmaps.DEFECTS,
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
    volumes: Volumes = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Write a line of JSON per image to standard output.")
    ] = False,
    drift_window: Annotated[
        int | None,
        typer.Option(min=10, help="Say in each row whether the last so many look as usual."),
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    exit_zero: ExitZero = False,
) -> None:
    """Find the defective images of a folder and write a report of them."""
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.inspection.several import Several

    if out is None:
        pictures = not page or heatmaps is not Heatmaps.DEFECTS
        _refuse_nowhere(jsonl, resume or overwrite or table is not Format.CSV or pictures)
    if route and not others:
        raise typer.BadParameter("needs another --model to choose from", param_hint="--route")
    talk.on_stderr = jsonl
    make_last = _made_last(table)
    source = _source(photographs, out)
    device = device if photographs == _LISTED else _enough_for(source, device)
    inspectors = [
        Inspector(
            each, device=device, batch_size=batch_size, workers=workers, min_area=min_area,
            told=talk.warn, wait=False,
        ) for each in (model, *(others or ()))
    ]  # fmt: skip
    _take_stacks(inspectors, source, volumes)
    several = Several(inspectors, route)
    places = [out and out / each.name for each in inspectors] if others else [out]
    wanted: dict[str, Any] = {
        "heatmaps": heatmaps.value, "page": page, "drift_window": drift_window,
        "mm_per_pixel": mm_per_pixel, "told": _write_json if jsonl else None,
    }  # fmt: skip
    tables = table, overwrite, resume
    try:
        with ExitStack() as stack:
            summaries = _inspected(stack, several, source, places, tables, wanted)
            for place in filter(None, places):
                make_last(place)
    except KeyboardInterrupt:
        if out:
            talk.warn(f"what was done so far is kept in {out}; give --resume to go on")
        raise
    warn_notes(source.notes)
    _say(several, summaries, places)
    clean = all(summary.clean for summary in summaries) and not several.strays
    if not (clean or exit_zero):
        raise typer.Exit(1)


def _inspected(
    stack: ExitStack,
    several: "Several",
    source: "Source",
    places: Sequence[Path | None],
    tables: tuple[Format, bool, bool],
    wanted: dict[str, Any],
) -> "list[Summary]":
    """Inspect with one model or several, each with results in a place of its own."""
    # All of this is loaded while the models are.
    from anomaly_vae.workflows.inspect import identity, inspect_images, inspect_with_several
    from anomaly_vae.workflows.recorder import Recorder

    recorders = []
    for inspector, place in zip(several.inspectors, places, strict=True):
        inspector.model.ready()
        size = f"{inspector.batch_size} a run"
        talk.detail(f"model {inspector.model_id} on {inspector.provider}, {size}")
        same = identity(inspector, source.name, wanted["mm_per_pixel"])
        stacks = bool(inspector.card.images.slices)
        results = _results(place, source, same, *tables, stacks=stacks)
        stack.enter_context(results)
        recorder = Recorder(inspector, source.folder, results, **wanted)
        recorder.command = talk.command
        recorders.append(recorder)
    if len(recorders) > 1:
        return inspect_with_several(several, source, recorders, talk.track)
    return [inspect_images(several.inspectors[0], source, recorders[0], talk.track)]


def _say(several: "Several", summaries: "list[Summary]", places: Sequence[Path | None]) -> None:
    """Say what was found, by each model."""
    for inspector, summary, place in zip(several.inspectors, summaries, places, strict=True):
        if len(summaries) > 1:
            talk.say(f"\n{inspector.name}:")
        say_inspection(summary, place)
    if several.strays:
        more = f" and {len(several.strays) - 1} more" if len(several.strays) > 1 else ""
        talk.warn(f"{several.strays[0]}{more}: --route finds no model's name: not inspected")


def _refuse_nowhere(jsonl: bool, files: bool) -> None:
    """Refuse to inspect without ``--out`` where that makes no sense."""
    if not jsonl:
        raise typer.BadParameter("expected --out DIR, or --jsonl", param_hint="--out")
    if files:
        raise typer.BadParameter(
            "needed by --resume, --overwrite, --format, --heatmaps, --no-page; expected a folder",
            param_hint="--out",
        )


def _source(photographs: Sequence[Path], out: Path | None) -> "Source":
    """Find the photographs: at paths, or those that standard input lists."""
    from anomaly_vae.images.sources import images_at, images_named

    if photographs == _LISTED:
        return images_named(sys.stdin.buffer)
    return images_at(photographs, skip=out)


def _enough_for(source: "Source", device: str) -> str:
    """Choose the processor: to start a graphics card takes longer than a few photographs.

    Not for a list, which may come slowly.
    """
    if device != "auto":
        return device
    from anomaly_vae.inspection.providers import cuda_devices

    few = cuda_devices() > 0 and source.has_at_most(_FEW)
    if few:
        talk.detail(f"{_FEW} photographs or fewer: on the CPU, which starts sooner")
    return "cpu" if few else "auto"


def _take_stacks(inspectors: "list[Inspector]", source: "Source", volumes: str | None) -> None:
    """Let a model of stacks see the photographs as such."""
    from anomaly_vae.workflows.inspect import take_stacks  # loaded while the models are

    take_stacks(inspectors, source, volumes)


def _results(
    out: Path | None,
    source: "Source",
    identity: dict[str, str],
    table: Format,
    overwrite: bool,
    resume: bool,
    *,
    stacks: bool,
) -> "Results | Passing":
    from anomaly_vae.reporting.results import Results
    from anomaly_vae.reporting.rows import Report
    from anomaly_vae.reporting.tables import CsvReport
    from anomaly_vae.reporting.tally import Passing

    if out is None:
        return Passing()
    report: type[Report] = CsvReport
    if table is Format.PARQUET:
        from anomaly_vae.reporting.parquet import ParquetReport

        report = ParquetReport
    report = report.of_stacks() if stacks else report
    return Results(out, source.folder, identity, report=report, overwrite=overwrite, resume=resume)


def _made_last(table: Format) -> Callable[[Path], None]:
    """Give what is to be done with complete tables; what that lacks is said before the work."""
    if table is not Format.XLSX:
        return lambda _: None
    from anomaly_vae.reporting.workbook import write_workbook

    return write_workbook


def _write_json(row: "list[Cell]", regions: "list[list[Cell]]") -> None:
    """Write an image as a line of JSON, its regions in it."""
    from anomaly_vae.reporting.rows import IMAGE_COLUMNS, STACK_COLUMNS

    image = dict(zip(IMAGE_COLUMNS, row, strict=True))
    # Regions of photographs have no more columns than the first of these.
    found = [dict(zip(STACK_COLUMNS, region, strict=False)) for region in regions]
    line = {**image, "defects": [{k: v for k, v in r.items() if k != "path"} for r in found]}
    typer.echo(json.dumps(line, allow_nan=False))
