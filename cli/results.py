"""Where the results of an inspection lie, and as what."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from .console import talk

if TYPE_CHECKING:
    from anomaly_vae.images.sources import Source
    from anomaly_vae.reporting.results import Results
    from anomaly_vae.reporting.tally import Passing


class Format(StrEnum):
    """What the tables are written as."""

    CSV = "csv"
    PARQUET = "parquet"
    XLSX = "xlsx"


@contextmanager
def kept(out: Path | None, *, known: bool) -> Iterator[Path | None]:
    """Give the folder of this machine where results are made, and say if they are incomplete."""
    from anomaly_vae.mirror import mirrored

    with mirrored(out, known=known) as here:
        try:
            yield here
        except KeyboardInterrupt:
            if out:
                talk.warn(f"what was done so far is kept in {out}; give --resume to go on")
            raise


def places_in(out: Path | None, names: Sequence[str]) -> list[Path | None]:
    """Give the folder of each model; a model that is alone has no name there."""
    return [out / name if out and name else out for name in names]


def results_in(
    out: Path | None,
    source: "Source",
    identity: dict[str, str],
    table: Format,
    overwrite: bool,
    resume: bool,
    *,
    stacks: bool,
) -> "Results | Passing":
    """Open the tables in a folder, or count only."""
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


def made_last(table: Format) -> Callable[[Path], None]:
    """Give what is to be done with complete tables; what that lacks is said before the work."""
    if table is not Format.XLSX:
        return lambda _: None
    from anomaly_vae.reporting.workbook import write_workbook

    return write_workbook
