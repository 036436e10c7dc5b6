"""Photographs, models and results in stores: a real S3 server, and fsspec's own in memory."""

import csv
import itertools
import logging
import os
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from anomaly_vae import remote
from anomaly_vae.errors import FolderError
from anomaly_vae.images.files import list_images
from anomaly_vae.images.slices import slices_of
from anomaly_vae.remote import Remote, place

from .conftest import Command

SECRET = "not-to-be-seen"


def started(port: int) -> Any:
    """A server that speaks S3; all of them in a process have the same files."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    return server


def stop(server: Any) -> None:
    server.stop()
    server._server.server_close()


@pytest.fixture
def server() -> Iterator[Any]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = started(0)
    yield server
    stop(server)


@pytest.fixture
def s3(server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server that speaks S3, with a bucket; credentials in the environment."""
    monkeypatch.setattr(remote, "_PAUSES", ())  # for as long as it is there, it answers
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    _post(f"http://{host}:{port}/moto-api/reset")
    store = fsspec.filesystem("s3", skip_instance_cache=True)
    store.mkdir("bucket")
    yield store
    type(store).clear_instance_cache()


def _post(address: str, data: bytes = b"") -> None:
    plain = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(address, data, plain, method="POST")).close()


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return [{**row, "inspected_at": "", "id": ""} for row in csv.DictReader(file)]


def test_s3_gives_and_takes_what_a_folder_does(
    s3: Any, run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    here, model, photos = tmp_path / "here", "s3://bucket/run/model.onnx", "s3://bucket/photos"
    s3.put_file(str(run / "model.onnx"), "bucket/run/model.onnx")
    s3.put(f"{parts / 'test'}/", "bucket/photos/", recursive=True)
    assert command("inspect", run / "model.onnx", parts / "test", "--out", here).code == 1
    told = command("inspect", model, photos, "--out", "s3://bucket/results")
    assert (told.code, told.err) == (1, "")
    assert "report: s3://bucket/results" in told.out
    s3.invalidate_cache()
    s3.get("bucket/results/", f"{tmp_path / 'there'}/", recursive=True)
    for name in ("images.csv", "defects.csv"):
        there = rows(tmp_path / "there" / name)
        model_name = [{**row, "model_name": "run"} for row in rows(here / name)]
        assert there == (model_name if name == "images.csv" else rows(here / name))
    names = [{path.relative_to(out).as_posix() for path in out.rglob("*.jpg")}
             for out in (here, tmp_path / "there")]  # fmt: skip
    assert names[0] == names[1] != set()

    listed = "good/000.png\ns3://bucket/photos/dent/000.png\n"
    s3.pipe_file("bucket/photos/list.txt", listed.encode())
    told = command("inspect", model, f"{photos}/list.txt", "--out", tmp_path / "listed")
    assert (told.code, told.err) == (1, "")
    found = {row["path"]: row["score"] for row in rows(tmp_path / "listed" / "images.csv")}
    known = {row["path"]: row["score"] for row in rows(here / "images.csv")}
    assert found == {path: known[path.removeprefix(f"{photos}/")] for path in listed.split()}
    s3.rm_file("bucket/photos/list.txt")

    again = ("inspect", model, photos, "--out", "s3://bucket/results")
    refused = command(*again)
    assert (refused.code, "is not empty" in refused.err) == (2, True)
    s3.put_file(str(parts / "test" / "good" / "000.png"), "bucket/photos/new.png")
    type(s3).clear_instance_cache()
    told = command(*again, "--resume")
    assert (told.code, told.err) == (1, "")
    assert "18 images were done before" in told.out
    s3.invalidate_cache()
    assert s3.cat_file("bucket/results/images.csv").count(b"\n") == 20
    everything = b"".join(map(s3.cat_file, s3.find("bucket/results")))
    assert SECRET.encode() not in everything


@pytest.mark.parametrize(("places", "said"), [
    (("s3://bucket/model.onnx", "{photos}"), "No such file"),
    (("{model}", "s3://nowhere/photos"), "bucket does not exist"),
    (("{model}", "s3://bucket/none"), "No such file"),
    (("{model}", "{photos}", "--out", "s3://nowhere/results"), "bucket does not exist"),
    (("{model}", "s3://bucket/a", "s3://bucket/b"), "expected it alone"),
    (("{model}", "s3://anybody:not-to-be-seen@bucket/photos"), "holds credentials"),
    (("{model}", "https://bucket/photos"), "expected s3://"),
])  # fmt: skip
def test_what_cannot_be_reached_is_said_in_one_line(
    s3: Any, places: tuple[str, ...], said: str, command: Command, request: pytest.FixtureRequest
) -> None:
    run, parts, tmp_path = map(request.getfixturevalue, ("run", "parts", "tmp_path"))
    known = {"model": run / "model.onnx", "photos": parts / "test"}
    out = () if "--out" in places else ("--out", tmp_path / "out")
    told = command("inspect", *(each.format(**known) for each in places), *out)
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert said in told.err
    assert SECRET not in told.err
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_gone_and_wrong_credentials_are_said(
    s3: Any, run: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("inspect", run / "model.onnx", "s3://bucket/photos", "--out", tmp_path / "out")
    server = os.environ["AWS_ENDPOINT_URL"]
    _post(f"{server}/moto-api/reset-auth", b"0")  # from now on, it looks at them
    told = command(*line)
    _post(f"{server}/moto-api/reset-auth", b"inf")
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "does not exist in our records" in told.err
    assert SECRET not in told.err
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    told = command(*line)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "Could not connect" in told.err


@pytest.mark.parametrize("trouble", ["gone", "refused"])
def test_a_store_that_is_lost_meanwhile_ends_the_inspection_which_goes_on_later(
    s3: Any, server: Any, trouble: str, run: Path, command: Command, request: pytest.FixtureRequest
) -> None:
    parts, tmp_path, monkeypatch = map(
        request.getfixturevalue, ("parts", "tmp_path", "monkeypatch")
    )
    address, read, out = os.environ["AWS_ENDPOINT_URL"], Remote.read_bytes, tmp_path / "out"
    s3.put(f"{parts / 'test'}/", "bucket/photos/", recursive=True)
    count = itertools.count()

    def read_bytes(self: Remote, length: int | None = None) -> bytes:
        if next(count) == 15:
            stop(server) if trouble == "gone" else _post(f"{address}/moto-api/reset-auth", b"0")
        return read(self, length)

    monkeypatch.setattr(Remote, "read_bytes", read_bytes)
    line = ("inspect", run / "model.onnx", "s3://bucket/photos", "--out", out)
    told = command(*line)
    assert (told.code, told.err.count("\n")) == (2, 1)
    said = {"gone": "does not answer (Could not", "refused": "refuses (The AWS Access Key"}
    assert f"its store {said[trouble]}" in told.err
    assert "--resume to go on" in told.err
    assert SECRET not in told.err
    before = len(rows(out / "images.csv"))
    assert 0 < before < 18

    again = server if trouble == "refused" else started(int(address.rpartition(":")[2]))
    _post(f"{address}/moto-api/reset-auth", b"inf")
    told = command(*line, "--resume")
    assert (told.code, f"{before} images were done before" in told.out) == (1, True)
    found = rows(out / "images.csv")
    assert len({row["path"] for row in found}) == len(found) == 18
    assert "error" not in {row["verdict"] for row in found}
    if trouble == "gone":
        stop(again)
        server.start()


def test_a_full_store_loses_nothing(
    s3: Any, run: Path, parts: Path, command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from moto.s3.exceptions import S3ClientError
    from moto.s3.models import S3Backend

    put, count = S3Backend.put_object, itertools.count()

    class FullError(S3ClientError):
        code = 507

    def put_object(*arguments: Any, **others: Any) -> Any:
        if next(count) > 4:
            raise FullError("QuotaExceeded", "The bucket is full.")
        return put(*arguments, **others)

    monkeypatch.setattr(S3Backend, "put_object", put_object)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    line = ("inspect", run / "model.onnx", parts / "test", "--out")
    told = command(*line, "s3://bucket/out")
    assert (told.code, told.err.count("\n")) == (2, 1)
    kept = next(tmp_path.glob("anomaly-vae-*"))
    assert "The bucket is full." in told.err
    assert f"they are kept in {kept}: copy them, or go on there with --resume" in told.err
    assert len(rows(kept / "images.csv")) == 18
    told = command(*line, kept, "--resume")
    assert (told.code, "18 images were done before" in told.out) == (1, True)
    monkeypatch.setattr(S3Backend, "put_object", put)
    told = command(*line, "s3://bucket/out", "--resume")
    assert (told.code, told.err, "18 images: " in told.out) == (1, "", True)
    assert s3.cat_file("bucket/out/images.csv").count(b"\n") == 19


@pytest.mark.parametrize(("missing", "line", "extra"), [
    ("s3fs", ("s3://bucket/photos",), "s3"), ("gcsfs", ("gs://bucket/photos",), "gs"),
    ("ray", ("{photos}", "--engine", "ray"), "ray"),
])  # fmt: skip
def test_an_extra_that_is_missing_is_named(
    missing: str,
    line: tuple[str, ...],
    extra: str,
    command: Command,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, parts, tmp_path = map(request.getfixturevalue, ("run", "parts", "tmp_path"))
    monkeypatch.setitem(sys.modules, missing, None)
    places = (each.format(photos=parts / "test") for each in line)
    told = command("inspect", run / "model.onnx", *places, "--out", tmp_path / "out")
    assert (told.code, f"pip install 'anomaly-vae[{extra}]'" in told.err) == (2, True)


def test_what_lies_in_a_store_is_found_by_the_same_rules(parts: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(parts, tmp_path / "photos"))
    (folder / ".hidden").mkdir()
    for name in (".hidden/a.png", "b.txt", "test/c-1.PNG", "test/good/000_mask.png"):
        shutil.copy(parts / "test" / "good" / "000.png", folder / name)
    (folder / "train" / ".anomaly-vae.json").write_text('{"own": []}')
    store = fsspec.filesystem("memory")
    store.put(f"{folder}/", "/photos/", recursive=True)
    found = list_images(place("memory://photos"))
    assert found == [path for path in list_images(folder) if path != "b.txt"]
    assert len(found) == 19
    slices = slices_of(place("memory://photos/test/good/000.png"), "^")
    assert [each.name for each in slices] == [f"{number:03d}.png" for number in range(8)]
    store.rm("/photos", recursive=True)
    with pytest.raises(FolderError, match="memory://photos"):
        list_images(place("memory://photos"))
