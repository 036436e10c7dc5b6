"""The defect report as a workbook for spreadsheets, made of the CSV tables when they are complete.

It is written row by row: memory does not grow with it.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count, islice
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.writer.excel import ExcelWriter

from anomaly_vae.outputs import replacing
from anomaly_vae.reporting.rows import IMAGE_COLUMNS, STACK_COLUMNS
from anomaly_vae.reporting.tables import CsvReport, header, read_rows

FILE = "report.xlsx"
_MOST_ROWS = 1_048_575  # that Excel takes below a header
_MOST_CHARACTERS = 32_767  # that Excel takes in a cell
# In characters. Names must have room for the arrow of the filter.
_WIDE, _NARROWEST, _ARROW = 48, 12, 3
_LONG_TEXTS = ("path", "error", "quality")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]")
# What a spreadsheet would read as the code of a character.
_CODE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")


def write_workbook(folder: Path) -> None:
    """Write ``report.xlsx`` of the CSV tables in ``folder``: a sheet for each, more if it is full.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(folder / FILE) as file, _book_in(file) as book:
        for name, known in zip(CsvReport.NAMES, (IMAGE_COLUMNS, STACK_COLUMNS), strict=True):
            columns = {column: known[column] for column in header(folder / name)}
            rows = (list(row.values()) for row in read_rows(folder / name, columns))
            _add_table(book, Path(name).stem, columns, rows)


@contextmanager
def _book_in(file: IO[bytes]) -> Iterator[Workbook]:
    """Give a workbook that is saved at the end.

    ``Workbook.save`` would leave open what a full disk has cut off, and that complains when it is
    collected.
    """
    book = Workbook(write_only=True)
    try:
        yield book
        with ZipFile(file, "w", ZIP_DEFLATED) as archive:
            ExcelWriter(book, archive).write_data()
    except OSError:
        for sheet in book:
            with suppress(Exception):  # whatever a sheet says that is closed or torn
                sheet.close()
        raise


def _add_table(
    book: Workbook, name: str, columns: dict[str, type], rows: Iterable[list[Any]]
) -> None:
    """Add a sheet of this name; rows that it cannot take stand in ``NAME 2``, ``NAME 3``, ..."""
    rest = iter(rows)
    for number in count(1):
        sheet = _new_sheet(book, name if number == 1 else f"{name} {number}", columns)
        for last, row in enumerate(islice(rest, _MOST_ROWS), start=2):
            sheet.append([_cell(sheet, value) for value in row])
            sheet.auto_filter.ref = _filtered(columns, last)
        following = next(rest, None)
        if following is None:
            return
        rest = chain([following], rest)


def _new_sheet(book: Workbook, name: str, columns: dict[str, type]) -> Any:
    """Begin a sheet with its header, which stays in sight and filters."""
    sheet = book.create_sheet(name)
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = _filtered(columns, 1)
    for index, column in enumerate(columns, start=1):
        width = _WIDE if column in _LONG_TEXTS else max(_NARROWEST, len(column) + _ARROW)
        sheet.column_dimensions[get_column_letter(index)].width = width
    header = [_cell(sheet, column) for column in columns]
    for cell in header:
        cell.font = Font(bold=True)
    sheet.append(header)
    return sheet


def _filtered(columns: dict[str, type], last: int) -> str:
    return f"A1:{get_column_letter(len(columns))}{last}"


def _cell(sheet: Any, value: Any) -> Any:
    """Give what stands for a value in a row: text is never taken for a formula or an error."""
    if not isinstance(value, str):
        return value
    if not value:
        return None
    cell = WriteOnlyCell(sheet, _visible(value))
    cell.data_type = "s"
    return cell


def _visible(text: str) -> str:
    """Write a text so that a spreadsheet shows all of it: what it forbids as escapes of Python."""
    text = _FORBIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    text = _CODE.sub("_x005F_", text)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
