"""Photographs in, findings out: what was judged is what was read."""

import hashlib
import os
from pathlib import Path

import pytest

from anomaly_vae.images import files
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.inspection import reading
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.settings.images import ImageSettings


@pytest.mark.parametrize("most", [files.AT_ONCE, 100])
def test_digest_and_verdict_are_of_the_same_bytes(
    run: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    sources = (parts / "test" / "good" / "000.png", parts / "test" / "scratch" / "000.png")
    good, bad = (path.read_bytes() for path in sources)
    # What stands behind the end of a PNG changes no pixel.
    size = max(len(good), len(bad))
    good, bad = good.ljust(size), bad.ljust(size)
    photo = tmp_path / "live.png"
    photo.write_bytes(good)
    inspector = Inspector(run / "model.onnx", device="cpu")
    (before,) = inspector.inspect_files(tmp_path, ["live.png"])
    times = photo.stat().st_atime_ns, photo.stat().st_mtime_ns

    def load(path: Path, settings: ImageSettings, data: bytes | None) -> LoadedImage:
        with photo.open("r+b") as file:  # the same size, time and inode
            file.write(bad)
        os.utime(photo, ns=times)
        return load_image(path, settings, data)

    if most == files.AT_ONCE:
        monkeypatch.setattr(reading, "load_part", load)
    monkeypatch.setattr(files, "AT_ONCE", most)
    (after,) = inspector.inspect_files(tmp_path, ["live.png"])
    assert before.stamp and after.stamp
    assert after.stamp.sha256 == before.stamp.sha256 == hashlib.sha256(good).hexdigest()
    assert after.score == before.score
