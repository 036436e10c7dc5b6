"""How long work tells of its progress: the library wraps what it iterates over, the CLI draws."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

# How many there are, or what will know that later (None until then).
Total = int | Callable[[], int | None]
# (items, description, total) -> the same items
Track = Callable[[Iterable[Any], str, Total], Iterator[Any]]


def untracked(items: Iterable[Any], _description: str, _total: Total) -> Iterator[Any]:
    """Show no progress: the default of everything that takes a ``Track``."""
    return iter(items)
