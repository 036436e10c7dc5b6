"""The command that finds defects."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import talk
from ..engines import Address, Engine, GpusPerWorker, OnEngine, wished
from ..options import (
    BatchSize,
    ExitZero,
    Heatmaps,
    MinArea,
    MmPerPixel,
    OnDevice,
    Overwrite,
    Pictures,
    Resume,
    Volumes,
    Workers,
    place,
)
from ..results import Format, kept, made_last, places_in, results_in
from ..saying import say_inspection, warn_notes

if TYPE_CHECKING:
    from anomaly_vae.images.sources import Source
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.inspection.several import Several
    from anomaly_vae.reporting.rows import Cell
    from anomaly_vae.reporting.summary import Summary
    from anomaly_vae.workflows.connecting import Wish


_LISTED = [Path("-")]
EXAMPLES = """
anomaly-vae inspect run/model.onnx photos/today --out report
anomaly-vae inspect run/model.onnx photos/today --out report --resume
anomaly-vae inspect run/model.onnx part.png other.png --out two
anomaly-vae inspect run/model.onnx wanted.csv --out report
anomaly-vae inspect run/model.onnx photos/today --out report --engine ray --workers 8
anomaly-vae inspect top.onnx photos --model side.onnx --route 'top|side' --out report
"""


# An H100 had 100 photographs of 512 x 512 pixels done later than the 16 cores beside it.
_FEW = 32


def inspect(
    model: Annotated[
        Path,
        typer.Argument(
            parser=place, metavar="MODEL", help="model.onnx of a run; may lie in a store."
        ),
    ],
    photographs: Annotated[
        list[Path],
        typer.Argument(
            parser=place,
            metavar="PHOTOGRAPHS",
            help="Folders, searched recursively, or files; -: paths on standard input. Or a list "
            "of paths: .txt, .csv or .parquet. Or a folder in a store: s3://BUCKET/…, gs://… or "
            "az://…",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="PATH",
            help="Folder for the tables and pictures; may lie in a store.",
        ),
    ] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            parser=place,
            metavar="PATH",
            help="Another model for the same photographs; each writes into OUT/NAME.",
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
    engine: OnEngine = Engine.LOCAL,
    address: Address = None,
    gpus_per_worker: GpusPerWorker = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    exit_zero: ExitZero = False,
) -> None:
    """Find the defective images of a folder and write a report of them."""
    from anomaly_vae.inspection.inspector import Inspector

    if out is None:
        pictures = not page or heatmaps is not Heatmaps.DEFECTS
        _refuse_nowhere(jsonl, resume or overwrite or table is not Format.CSV or pictures)
    if route and not others:
        raise typer.BadParameter("needs another --model to choose from", param_hint="--route")
    wish = wished(engine, address, gpus_per_worker, device, workers, batch_size)
    talk.on_stderr = jsonl
    make_last = made_last(table)
    source = _source(photographs, out)
    if wish:
        device = "cpu"  # here pictures are drawn
    elif photographs != _LISTED:  # a list may come slowly
        device = _enough_for(source, device)
    files = [model, *(others or ())]
    inspectors = [
        Inspector(
            each, device=device, batch_size=batch_size, workers=workers, min_area=min_area,
            told=talk.warn, wait=False,
        ) for each in files
    ]  # fmt: skip
    _take_stacks(inspectors, source, volumes, on_cluster=wish is not None)
    names = [each.name if others else "" for each in inspectors]
    wanted: dict[str, Any] = {
        "heatmaps": heatmaps.value, "page": page, "drift_window": drift_window,
        "mm_per_pixel": mm_per_pixel, "told": _write_json if jsonl else None,
    }  # fmt: skip
    tables = table, overwrite, resume
    with kept(out, known=overwrite or resume) as here:
        places = places_in(here, names)
        several = _several(inspectors, route, wish, files, places, tables, wanted)
        summaries = _inspected(several, source, places, tables, wanted)
        for each in filter(None, places):
            make_last(each)
    warn_notes(source.notes)
    _say(several, summaries, places_in(out, names))
    clean = all(summary.clean for summary in summaries) and not several.strays
    if not (clean or exit_zero):
        raise typer.Exit(1)


def _several(
    inspectors: "Sequence[Inspector]",
    route: str,
    wish: "Wish | None",
    files: Sequence[Path],
    places: Sequence[Path | None],
    tables: tuple[Format, bool, bool],
    wanted: dict[str, Any],
) -> "Several":
    """Bring the models together, here or on a cluster."""
    from anomaly_vae.inspection.several import Several

    if wish is None:
        return Several(inspectors, route)
    from anomaly_vae.outputs import refuse_folder
    from anomaly_vae.reporting.results import INSPECTION
    from anomaly_vae.workflows.cluster import OnCluster

    for each in filter(None, places):  # before a Ray is started, which takes seconds
        refuse_folder(each, INSPECTION, overwrite=tables[1], resume=tables[2])
    cluster = OnCluster(inspectors, route, files, wish, (wanted["heatmaps"], wanted["page"]))
    talk.detail(f"Ray: {cluster.workers} workers")
    return cluster


def _inspected(
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
    with ExitStack() as stack:
        for inspector, each in zip(several.inspectors, places, strict=True):
            inspector.model.ready()
            size = f"{inspector.batch_size} a run"
            talk.detail(f"model {inspector.model_id} on {inspector.provider}, {size}")
            same = identity(inspector, source.name, wanted["mm_per_pixel"])
            stacks = bool(inspector.card.images.slices)
            results = results_in(each, source, same, *tables, stacks=stacks)
            stack.enter_context(results)
            recorder = Recorder(inspector, source.folder, results, **wanted)
            recorder.command = talk.command
            recorders.append(recorder)
        if len(recorders) == 1 and several.alone:
            return [inspect_images(several.inspectors[0], source, recorders[0], talk.track)]
        return inspect_with_several(several, source, recorders, talk.track)


def _say(several: "Several", summaries: "list[Summary]", places: Sequence[Path | None]) -> None:
    """Say what was found, by each model."""
    for inspector, summary, out in zip(several.inspectors, summaries, places, strict=True):
        if len(summaries) > 1:
            talk.say(f"\n{inspector.name}:")
        say_inspection(summary, out)
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


def _take_stacks(
    inspectors: "list[Inspector]", source: "Source", volumes: str | None, *, on_cluster: bool
) -> None:
    """Let a model of stacks see the photographs as such."""
    from anomaly_vae.errors import InputError
    from anomaly_vae.workflows.inspect import take_stacks  # loaded while the models are

    if on_cluster and any(each.card.images.slices for each in inspectors):
        raise InputError("--engine ray takes photographs; inspect stacks of slices without it")
    take_stacks(inspectors, source, volumes)


def _write_json(row: "list[Cell]", regions: "list[list[Cell]]") -> None:
    """Write an image as a line of JSON, its regions in it."""
    from anomaly_vae.reporting.rows import IMAGE_COLUMNS, REGION_COLUMNS, STACK_COLUMNS

    image = dict(zip(IMAGE_COLUMNS, row, strict=True))
    stacks = any(len(region) == len(STACK_COLUMNS) for region in regions)
    columns = STACK_COLUMNS if stacks else REGION_COLUMNS
    found = [dict(zip(columns, region, strict=True)) for region in regions]
    line = {**image, "defects": [{k: v for k, v in r.items() if k != "path"} for r in found]}
    typer.echo(json.dumps(line, allow_nan=False))
