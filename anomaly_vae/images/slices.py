"""Which files are the slices of one stack, by their names; a stack is known by its first file."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from anomaly_vae.images.formats import is_image
from anomaly_vae.images.rules import LeftOut, why_no_photograph
from anomaly_vae.remote import Remote

_NUMBER = re.compile(r"(\d+)")


def one_of_each(paths: Iterator[str], pattern: str, left_out: LeftOut) -> Iterator[str]:
    """Yield the first file of each stack among ``paths``; all of them without a ``pattern``.

    ``left_out`` counts files that are no slices: ``pattern`` does not match their names.
    """
    known = set()
    for path in paths:
        folder, _, name = path.rpartition("/")
        stack = _stack_of(name, pattern) if pattern else path
        if stack is None:
            left_out.note(path, f"images.volumes = {pattern!r} does not match its name")
        elif (folder, stack) not in known:
            known.add((folder, stack))
            yield path


def slices_of(file: Path, pattern: str) -> list[Path]:
    """Give the files of the stack that ``file`` is of, by the numbers in their names.

    Itself alone without a ``pattern``, or where it is not there any more.
    """
    stack = _stack_of(file.name, pattern) if pattern else None
    if stack is None:
        return [file]
    try:
        above = file.parent
        names = above.names() if isinstance(above, Remote) else os.listdir(above)  # noqa: PTH208
    except OSError:
        return [file]
    lower = {name.lower() for name in names}
    same = [
        file.parent / name
        for name in names
        if _stack_of(name, pattern) == stack
        and not why_no_photograph(name, lambda: lower)
        and is_image(file.parent / name)
    ]
    return sorted(same, key=_in_order) or [file]


def _stack_of(name: str, pattern: str) -> str | None:
    """Say of which stack of its folder a file is; None: of none."""
    match = re.search(pattern, name)
    if match is None:
        return None
    return str(match.groups()) if match.groups() else match.group()


def _in_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Order 2.png before 10.png."""
    pieces = _NUMBER.split(file.name)
    numbered = [(int(each), "") if each.isdecimal() else (-1, each) for each in pieces]
    return numbered, file.name
