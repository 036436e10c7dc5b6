"""Lists and tables as people hand them over: of editors, shells and spreadsheets, on any system."""

import codecs
import csv
import io
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

from anomaly_vae.errors import FolderError

_QUOTES = "\"'"
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encoding_of(beginning: bytes) -> str:
    """Tell from its first bytes how a text is encoded: UTF-8, or UTF-16 (PowerShell, Notepad)."""
    for mark, name in _MARKS.items():
        if beginning.startswith(mark):
            return name
    # Of UTF-16 without a mark every other byte of a common name is zero.
    if beginning[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if beginning[:1] == b"\0" else "utf-8"


def decoded(data: bytes) -> str:
    """Give the text of a file; what is not Unicode is what spreadsheets write on Windows."""
    try:
        return data.decode(encoding_of(data))
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def lines_of(pieces: Iterable[bytes]) -> Iterator[str]:
    """Give the lines of a text that comes in pieces, as it comes, without their ends.

    Bytes of names that are not UTF-8 stay, as lone surrogates.
    """
    rest = iter(pieces)
    first = next(rest, b"")
    decoder = codecs.getincrementaldecoder(encoding_of(first))("surrogateescape")
    begun = ""
    for piece in chain([first], rest):
        *lines, begun = (begun + decoder.decode(piece)).split("\n")
        yield from (line.removesuffix("\r") for line in lines)
    yield (begun + decoder.decode(b"", final=True)).removesuffix("\r")


def rows_of(table: Path, columns: Collection[str], what: str) -> list[dict[str, str | None]]:
    """Read a table, separated by commas or, as where commas are decimal, by semicolons or tabs.

    Raises:
        FolderError: it is none, or lacks one of ``columns``; ``what`` is what was expected.
    """
    wrong = FolderError(
        f"{table}: cannot be read as a CSV file with the columns {' and '.join(sorted(columns))}; "
        f"expected {what}"
    )
    try:
        text = decoded(table.read_bytes())
        header = text.partition("\n")[0]
        delimiter = max(",;\t", key=header.count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        rows = list(reader)
    except (OSError, csv.Error) as error:
        raise wrong from error
    if not set(columns) <= set(reader.fieldnames):
        raise wrong
    return rows


def named(text: str, folder: Path) -> str:
    """Give the path that a text names, as it stands there if there is such a file in ``folder``.

    If not, without the quotes of a shell, what a spreadsheet writes behind it, and backslashes.
    """
    text = text.strip("\r\n\t ")
    if not (text[:1] in (*_QUOTES, "") or "\\" in text or text.endswith(";")):
        return Path(text).as_posix()
    if text and not _is_there(folder / text):
        text = text.rstrip(";")
        if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
            text = text[1:-1]
        if not _is_there(folder / text):
            text = text.replace("\\", "/")
    return Path(text).as_posix() if text else ""


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no file can be called so
        return False
