"""Marks of people, as the page of an inspection or a spreadsheet saves them."""

from collections.abc import Mapping
from pathlib import Path

from anomaly_vae.errors import FolderError
from anomaly_vae.images.files import digest
from anomaly_vae.texts import named, rows_of
from anomaly_vae.workflows.labelled import Photographs

MARKS = ("good", "defect")
_EXPECTED = "the marks that report.html gives"


def read_marks(table: Path, folder: Path) -> tuple[Photographs, Photographs | None]:
    """Give the good and the defective images below ``folder`` that a CSV file names.

    Raises:
        FolderError: see ``marked``; or none is good.
    """
    good, defective = marked(table, folder)
    if not good:
        raise FolderError(f"{table}: marks no image as good; expected some")
    return good, defective


def marked(table: Path, folder: Path) -> tuple[Photographs | None, Photographs | None]:
    """Give the same, where there may be none of either.

    It has the columns ``path`` and ``mark`` (``good`` or ``defect``), as ``report.html`` gives it.
    Where it has ``sha256`` too, an image is what was marked, and not another one of that name.

    Raises:
        FolderError: the file is not such a table, or names an image that is not there, or that is
            another one now.
    """
    marks: dict[str, str] = {}
    for row in rows_of(table, {"path", "mark"}, _EXPECTED):
        path, mark = named(row["path"] or "", folder), (row["mark"] or "").strip().lower()
        if mark not in MARKS:
            raise FolderError(f"{table}: {path} is marked {mark!r}; expected {' or '.join(MARKS)}")
        if not (folder / path).is_file():
            raise FolderError(f"{folder / path}: is in {table}, but not there; give the folder "
                              "that was inspected as --images")  # fmt: skip
        _check_content(table, folder / path, row)
        if marks.setdefault(path, mark) != mark:
            raise FolderError(f"{table}: {path} is marked both good and defect; expected one")
    good, defective = (tuple(p for p, mark in marks.items() if mark == each) for each in MARKS)
    return (
        Photographs(folder, good) if good else None,
        Photographs(folder, defective) if defective else None,
    )


def marked_defects(table: Path, folder: Path) -> tuple[Photographs | None, Photographs]:
    """Give what ``marked`` does, where something is marked as a defect.

    Raises:
        FolderError: see ``marked``; or nothing is.
    """
    normal, defective = marked(table, folder)
    if defective is None:
        raise FolderError(f"{table}: marks no image as defect; expected some")
    return normal, defective


def names_of_marked(table: Path, folder: Path) -> dict[str, str]:
    """Give what each image below ``folder`` that is marked as a defect shows, by its path.

    The column ``kind`` says so; nothing where it is empty, or is not there.

    Raises:
        FolderError: see ``marked_defects``; or one has two kinds.
    """
    _, defective = marked_defects(table, folder)
    kinds: dict[str, str] = {}
    for row in rows_of(table, {"path", "mark"}, _EXPECTED):
        path, kind = named(row["path"] or "", folder), (row.get("kind") or "").strip()
        if kind and kinds.setdefault(path, kind) != kind:
            raise FolderError(f"{table}: {path} is {kinds[path]!r} and {kind!r}; expected one kind")
    return {path: kinds.get(path, "") for path in defective.listed()}


def is_another(image: Path, row: Mapping[str, str | None]) -> bool:
    """Tell whether a file is not the photograph that a row with a ``sha256`` speaks of."""
    known = (row.get("sha256") or "").strip().lower()
    return bool(known) and digest(image) != known


def _check_content(table: Path, image: Path, row: dict[str, str | None]) -> None:
    if is_another(image, row):
        name = f" (row {row['id']})" if row.get("id") else ""
        raise FolderError(
            f"{image}: is not the photograph that was marked{name} in {table}, but another one of "
            "that name; put that one back, or take the line out"
        )
