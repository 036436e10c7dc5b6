"""More images than fit into memory."""

from pathlib import Path

import numpy as np
import pytest

from anomaly_vae.errors import OutputError
from anomaly_vae.images import many
from anomaly_vae.images.many import Chosen, room_for


@pytest.mark.parametrize("limit", [0, 10**6])
def test_many_images_lie_in_a_file_that_nobody_has_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(many, "IN_MEMORY", limit)
    pixels = room_for(5, (16, 16, 3), tmp_path / "not" / "there" / "yet")
    assert isinstance(pixels, np.memmap) == (limit == 0)
    pixels[:] = np.arange(5, dtype=np.uint8)[:, None, None, None]
    assert pixels.shape == (5, 16, 16, 3)
    assert list(pixels[:, 3, 3, 1]) == [0, 1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(many, "IN_MEMORY", 0)
    monkeypatch.setattr(many.os, "posix_fallocate", full, raising=False)
    with pytest.raises(OutputError, match=r"no room for 0\.0 GiB of images \(No space left"):
        room_for(5, (16, 16, 3), tmp_path)


def test_chosen_images_are_those_and_are_copied_when_asked_for() -> None:
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    chosen = Chosen(pixels, np.array([1, 0, 1, 1, 0, 1], bool))
    pixels[5] = 50
    assert len(chosen) == 4
    assert list(chosen[1:][:, 0, 0, 0]) == [2, 3, 50]
    assert list(chosen[::2][:, 0, 0, 0]) == [0, 3]
    assert chosen[3].shape == (2, 2, 3)
