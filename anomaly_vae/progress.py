"""How long work tells of its progress: the library wraps what it iterates over, the CLI draws."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

# (items, description, total) -> the same items
Track = Callable[[Iterable[Any], str, int], Iterator[Any]]


def untracked(items: Iterable[Any], _description: str, _total: int) -> Iterator[Any]:
    """Show no progress: the default of everything that takes a ``Track``."""
    return iter(items)
