"""More images than fit into memory."""

from pathlib import Path

import numpy as np
import pytest

from anomaly_vae.errors import OutputError
from anomaly_vae.images import many
from anomaly_vae.images.many import Chosen, room_for
from anomaly_vae.settings.schema import TrainingSettings
from anomaly_vae.training.extraction import Store

from .. import small

SHAPE, BYTES = (5, 16, 16, 3), np.dtype(np.uint8)


@pytest.mark.parametrize("limit", [0, 10**6])
def test_many_images_lie_in_a_file_that_nobody_has_to_remove(tmp_path: Path, limit: int) -> None:
    pixels = room_for(SHAPE, BYTES, tmp_path / "not" / "there" / "yet", limit=limit)
    assert isinstance(pixels, np.memmap) == (limit == 0)
    pixels[:] = np.arange(5, dtype=np.uint8)[:, None, None, None]
    assert pixels.shape == SHAPE
    assert list(pixels[:, 3, 3, 1]) == [0, 1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == []


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("system", ["posix", "other"])
def test_a_disk_without_room_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "posix":
        monkeypatch.setattr(many.os, "posix_fallocate", _full, raising=False)
    else:
        monkeypatch.delattr(many.os, "posix_fallocate", raising=False)
        monkeypatch.setattr(many, "write_all", _full)
    with pytest.raises(OutputError, match=r"no room for 0\.0 GiB of images .* \(No space left"):
        room_for(SHAPE, BYTES, tmp_path, limit=0)
    # Nor do what is taken out of images, as features of a trunk.
    store = Store(small.detector(), tmp_path, TrainingSettings(cache_gib=0))
    with pytest.raises(OutputError, match="has no room for"):
        store.room(3)


def test_room_on_a_disk_is_taken_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(many.os, "posix_fallocate", raising=False)
    monkeypatch.setattr(many, "_CHUNK", 100)
    with (tmp_path / "file").open("wb") as file:
        many._reserve(file, 1234)
    assert (tmp_path / "file").read_bytes() == bytes(1234)
    assert (room_for(SHAPE, BYTES, tmp_path, limit=0) == 0).all()


def test_chosen_images_are_those_and_are_copied_when_asked_for() -> None:
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    chosen = Chosen(pixels, np.array([1, 0, 1, 1, 0, 1], bool))
    pixels[5] = 50
    assert len(chosen) == 4
    assert list(chosen[1:][:, 0, 0, 0]) == [2, 3, 50]
    assert list(chosen[::2][:, 0, 0, 0]) == [0, 3]
    assert chosen[3].shape == (2, 2, 3)
