"""The same images on a Ray cluster: the same rows, whatever happens to workers and machines."""

import csv
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomaly_vae.errors import FolderError, OutputError

from ..conftest import QUICK, Command

pytestmark = pytest.mark.slow

MEMORY = 100 * 2**20


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray of this machine, shared by the tests."""
    from anomaly_vae.workflows.connecting import quiet

    quiet()
    import ray

    for left in (2, 1, 0):  # Ray gives its processes 30 seconds, which are few where all are busy
        try:
            ray.init(
                "local", num_cpus=2, include_dashboard=False, object_store_memory=MEMORY,
                log_to_driver=False, logging_level="critical",
            )  # fmt: skip
            break
        except Exception:
            if not left:
                raise
    yield ray
    ray.shutdown()


@pytest.fixture
def photos(parts: Path, tmp_path: Path) -> Path:
    """18 photographs, and one that is none."""
    folder = Path(shutil.copytree(parts / "test", tmp_path / "photos"))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def rows(out: Path, name: str = "images.csv") -> list[dict[str, str]]:
    with (out / name).open(newline="") as file:
        return [{**row, "inspected_at": ""} for row in csv.DictReader(file)]


def files(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def inspected(model: Path, folder: Path, *, address: str | None = None) -> Iterator[str]:
    """Give the paths of what a cluster inspects, in pieces of two, as they come."""
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.workflows.cluster import OnCluster
    from anomaly_vae.workflows.connecting import Wish

    cluster = OnCluster(
        [Inspector(model, device="cpu")], "", [model], Wish(address), ("none", False)
    )
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    found = cluster.inspect_files(folder, ((path, [0]) for path in paths), [lambda _: False])
    return (finding.path for _, finding in found)


def test_the_files_are_those_of_one_machine(
    ray: Any, run: Path, photos: Path, command: Command, tmp_path: Path
) -> None:
    own = tmp_path / "own.onnx"
    shutil.copy(run / "model.onnx", own)
    wanted = ("--model", own, "--heatmaps", "all", "--drift-window", 10, "--exit-zero")
    line = ("inspect", run / "model.onnx", photos, *wanted, "--out")
    assert command(*line, tmp_path / "local").code == 0
    told = command(*line, tmp_path / "ray", "--engine", "ray")
    assert (told.code, "19 images" in told.out) == (0, True), told.err
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    for model in ("pixels", "own"):
        here, there = tmp_path / "local" / model, tmp_path / "ray" / model
        assert rows(there) == rows(here)
        assert rows(there, "defects.csv") == rows(here, "defects.csv")
        assert len(rows(there)) == 19
    # What is there is not done again; what is new is added.
    shutil.copy(photos / "good" / "000.png", photos / "new.png")
    told = command(*line, tmp_path / "ray", "--engine", "ray", "--resume")
    assert "19 images were done before" in told.out
    assert len(rows(tmp_path / "ray" / "own")) == 20
    listed = tmp_path / "list.txt"
    listed.write_text(f"photos/good/000.png\n{photos}/broken.png\n")
    line = ("inspect", run / "model.onnx", listed, "--exit-zero", "--out")
    assert command(*line, tmp_path / "here").code == 0
    assert command(*line, tmp_path / "there", "--engine", "ray").code == 0
    assert rows(tmp_path / "there") == rows(tmp_path / "here")


def test_a_worker_that_dies_is_replaced_and_one_that_always_dies_is_said(
    ray: Any, run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomaly_vae.workflows import cluster

    judge, died = cluster._Judge, tmp_path / "died"

    class Dies(judge):  # type: ignore[valid-type, misc]
        """Of a photograph that kills its process: once, or always."""

        def __call__(self, row: Any) -> Any:
            if b"dent/001" in row["files"] and not died.exists():
                died.parent.is_dir() and died.touch()
                os._exit(9)
            return super().__call__(row)

    monkeypatch.setattr(cluster, "_Judge", Dies)
    monkeypatch.setattr(cluster, "_FILES", 2)
    found = list(inspected(run / "model.onnx", photos))
    assert died.exists()
    assert (len(found), found) == (19, sorted(found))

    died = tmp_path / "no folder" / "died"
    monkeypatch.setattr(cluster, "ATTEMPTS", 1)
    with pytest.raises(OutputError, match="--resume to go on. First that is not done: "):
        list(inspected(run / "model.onnx", photos))


def test_a_training_on_a_cluster_is_that_of_one_machine_and_is_gone_on_with(
    ray: Any, run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    folder, out = tmp_path / "parts", tmp_path / "runs"
    shutil.copytree(parts / "train", folder / "4711" / "train")
    (folder / "empty").mkdir()
    line = ("train-many", folder, "--out", out, "--engine", "ray", "--workers", 2)
    told = command(*line, "--features", "pixels", *QUICK)
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "empty gave no model" in told.err
    model = out / "4711" / "model.onnx"
    made = model.stat().st_mtime_ns
    shutil.copytree(folder / "4711", folder / "empty", dirs_exist_ok=True)
    assert command(*line, "--resume").code == 0
    assert model.stat().st_mtime_ns == made
    for name in ("4711", "empty"):
        weights = out / name / "vae.safetensors"
        assert weights.read_bytes() == (run / "vae.safetensors").read_bytes()


def test_a_machine_without_the_photographs_is_named(ray: Any, run: Path, photos: Path) -> None:
    found = inspected(run / "model.onnx", photos)
    away = photos.rename(photos.with_name("away"))
    with pytest.raises(FolderError, match=f"{photos}: is not there on {socket.gethostname()}"):
        next(found)
    away.rename(photos)
    ray.shutdown()  # the next one has a cluster of its own


def test_when_a_machine_leaves_the_others_finish(
    run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from ray.cluster_utils import Cluster

    from anomaly_vae.workflows import cluster

    monkeypatch.setattr(cluster, "_FILES", 1)
    one = {"num_cpus": 1, "object_store_memory": MEMORY}
    machines = Cluster(initialize_head=True, head_node_args={**one, "include_dashboard": False})
    second = machines.add_node(**one)
    try:
        found = []
        for path in inspected(run / "model.onnx", photos, address=machines.address):
            found.append(path)
            if len(found) == 9:
                machines.remove_node(second, allow_graceful=False)
        assert (len(found), found) == (19, sorted(found))
    finally:
        ray.shutdown()
        machines.shutdown()
