"""The budget of memory that all decoders share."""

import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.images import opening
from anomaly_vae.images.decoding import load_image
from anomaly_vae.images.memory import Budget, needed
from anomaly_vae.settings.images import ImageSettings


def most_at_once(budget: Budget, amounts: list[int]) -> int:
    """Borrow on a thread each, and give the most that was lent at any time."""
    lock, lent, most = threading.Lock(), 0, 0

    def borrow(amount: int) -> None:
        nonlocal lent, most
        with budget.lent(amount):
            with lock:
                lent += amount
                most = max(most, lent)
            time.sleep(0.01)
            with lock:
                lent -= amount

    threads = [threading.Thread(target=borrow, args=(amount,)) for amount in amounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


def test_no_more_is_lent_than_there_is() -> None:
    assert most_at_once(Budget(10), [4] * 12) <= 8
    assert most_at_once(Budget(10), [5, 30, 5, 30]) == 30  # what is larger is lent alone


def test_what_is_never_given_back_holds_nobody_up_for_ever() -> None:
    budget = Budget(10, patience=0.05)
    with budget.lent(10), budget.lent(10):
        pass


def test_all_photographs_are_decoded_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    asked: list[int] = []
    monkeypatch.setattr(opening.DECODING, "lent", lambda amount: Lent(asked, amount))
    load_image(tmp_path / "a.png", ImageSettings(size=32))
    assert asked == [needed("PNG", 300, 200), 0]


class Lent:
    """Notes what is borrowed, and the return as 0."""

    def __init__(self, asked: list[int], amount: int) -> None:
        self._asked, self._amount = asked, amount

    def __enter__(self) -> None:
        self._asked.append(self._amount)

    def __exit__(self, *_: object) -> None:
        self._asked.append(0)


@pytest.mark.parametrize("mode", ["I;16", "RGBA"])
def test_a_large_photograph_is_not_copied_as_numbers(tmp_path: Path, mode: str) -> None:
    side = 1500
    if mode == "I;16":
        Image.fromarray(np.full((side, side), 999, np.uint16)).save(tmp_path / "a.png")
    else:
        Image.new(mode, (side, side), (1, 2, 3, 200)).save(tmp_path / "a.png")
    tracemalloc.start()
    try:
        load_image(tmp_path / "a.png", ImageSettings(size=32))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Of Python's own memory; Pillow's pictures are not in it. As float32 it would be 9 MB or more.
    assert most < 9 * 2**20 * (2 if mode == "I;16" else 1)
