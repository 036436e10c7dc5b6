"""One budget of memory for all decoders, so that large photographs wait for each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from PIL import Image

BUDGET = 2**31
"""Bytes that photographs may take while they are decoded, all together."""
# Seconds after which one is decoded all the same: a stalled drive may keep what it was lent.
_PATIENCE = 30.0

# Bytes per pixel at the most: what is decoded and what is made of it, each 4, and masks. Other
# decoders than those of Pillow itself hold the whole picture once or twice more.
_PER_PIXEL = {"PNG": 12, "JPEG": 12, "MPO": 12, "BMP": 12, "PPM": 12, "GIF": 12}
_PER_PIXEL_OTHERS = 20

# Pillow takes memory in blocks. Those of the usual 16 MiB the C library keeps for the thread that
# has freed them: eight threads held 4.5 GB. Blocks above 32 MiB it gives back to the system.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]


def needed(kind: str | None, width: int, height: int) -> int:
    """Give the bytes that decoding a picture of a format takes at the most."""
    return width * height * _PER_PIXEL.get(kind or "", _PER_PIXEL_OTHERS)


class Budget:
    """Memory that threads borrow, in the order in which they ask."""

    def __init__(self, size: int, patience: float = _PATIENCE) -> None:
        self._free, self._size, self._patience = size, size, patience
        self._turn, self._returned = Lock(), Condition()

    @contextmanager
    def lent(self, amount: int) -> Iterator[None]:
        """Wait until so many bytes are free, or all of them where it is more than there are."""
        amount = min(amount, self._size)
        with self._turn, self._returned:
            self._returned.wait_for(lambda: self._free >= amount, self._patience)
            self._free -= amount
        try:
            yield
        finally:
            with self._returned:
                self._free += amount
                self._returned.notify_all()


DECODING = Budget(BUDGET)
