"""A file read once: what is made of it belongs to the digest, whatever a camera does meanwhile."""

import hashlib
from pathlib import Path

import pytest

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images import files
from anomaly_vae.images.files import stamp
from anomaly_vae.images.reading import with_digest, with_stamp


def test_a_file_that_is_written_anew_meanwhile_is_read_again(tmp_path: Path) -> None:
    live, given = tmp_path / "live.png", list[bytes | None]()
    live.write_bytes(b"old")

    def make(data: bytes | None) -> str:
        if not given:
            live.write_bytes(b"newer")
        given.append(data)
        return str(data)

    assert with_digest(live, make) == ("b'newer'", hashlib.sha256(b"newer").hexdigest())
    assert given == [b"old", b"newer"]


def test_one_that_changes_all_the_time_is_given_up(tmp_path: Path) -> None:
    live = tmp_path / "live.png"
    live.touch()
    with pytest.raises(ImageReadError, match="was written anew while it was read"):
        with_digest(live, lambda data: live.write_bytes((data or b"") + b"more"))


def test_what_cannot_be_used_has_a_stamp_and_what_is_gone_has_none(tmp_path: Path) -> None:
    def refuse(_data: bytes | None) -> None:
        raise ImageReadError("is no image")

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"1")
    made, seen = with_stamp(broken, refuse)
    found = stamp(broken)
    assert found and seen == found._replace(sha256=hashlib.sha256(b"1").hexdigest())
    assert str(made) == "is no image"
    assert with_stamp(tmp_path / "gone.png", refuse)[1] is None


def test_a_huge_file_is_left_to_whoever_decodes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = tmp_path / "huge.png"
    huge.write_bytes(b"1234")
    monkeypatch.setattr(files, "AT_ONCE", 3)
    assert with_digest(huge, lambda data: data) == (None, hashlib.sha256(b"1234").hexdigest())
