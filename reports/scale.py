"""What a cluster of this machine costs and bears: ``python reports/scale.py MODEL DIR N [PART]``.

Draws parts into DIR (once), inspects N files of them with the local engine and with Ray, with 1, 2,
4 and 8 workers, and prints a table: seconds until the first result, images per second after it,
processor time of all processes per image, and how many rows differ from the local engine's. Workers
beyond the cores share them. No pictures are made.

PART ``half``: a cluster of two nodes, a core each; at half of the files a worker is killed,
or a node leaves: seconds of both halves, and how many rows differ, are missing or double. PART
``shards``: the same files in tar archives of 500 each, in turn with the loose ones.
"""

import os
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import IO, cast

from anomaly_vae.images.samples import write_samples
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.several import Several, Wanted
from anomaly_vae.workflows.cluster import _FILES, OnCluster
from anomaly_vae.workflows.connecting import Wish

_DRAWN, _SIZE = 100, 512
_READERS = 4  # as a worker has
_CORES = 8
_SHARD, _TURNS = 500, 3
_MEMORY = 100 * 2**20  # bytes between the processes of a node
_LOOKED = 100  # images between looks at processor time

Row = tuple[str, float, int]
"""Verdict, score, number of regions."""


def files(folder: Path, count: int) -> list[str]:
    """Draw parts, and give them so many different names."""
    if not folder.exists():
        write_samples(folder, train=0, test_good=_DRAWN, test_defective=0, size=_SIZE)
        for name, number in product(
            sorted((folder / "test" / "good").iterdir()), range(count // _DRAWN)
        ):
            (folder / f"{name.stem}-{number:04d}.png").hardlink_to(name)
    return sorted(each.name for each in folder.glob("*.png"))[:count]


def row_of(finding: Finding) -> Row:
    """Give what is compared of an image."""
    return finding.verdict, finding.score, len(finding.regions)


class Work:
    """Processor time of this process and of all that it has started, whether they live or not."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}
        self._begin = self.seconds()

    def seconds(self) -> float:
        """Look at all processes; those that end later count up to here."""
        if "ray" in sys.modules:
            import psutil  # noqa: PLC0415 - Ray brings it

            for each in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    self._known[each.pid] = sum(each.cpu_times()[:2])
        return time.process_time() + sum(self._known.values())

    def since(self) -> float:
        """Give the time since the beginning."""
        return self.seconds() - self._begin


def timed(
    found: Iterator[tuple[int, Finding]], begin: float, known: int
) -> tuple[str, dict[str, Row]]:
    """Give the cells of a row, and what was found; so many are ``known`` when the first comes."""
    first, before, used, rows, work = 0.0, 0.0, 0.0, dict[str, Row](), Work()
    for _, finding in found:
        if not first:
            first, before = time.perf_counter(), work.since()
        rows[finding.path] = row_of(finding)
        if len(rows) % _LOOKED == 0:
            used = work.since()
    later = len(rows) - known
    rate = later / (time.perf_counter() - first)
    return f"{first - begin:.1f} | {rate:.1f} | {(used - before) / later * 1000:.2f}", rows


def main() -> None:
    """Measure."""
    model, folder, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    paths: list[Wanted] = [(path, [0]) for path in files(folder, count)]
    if sys.argv[4:]:
        {"half": half, "shards": shards}[sys.argv[4]](model, folder, paths)
        return
    said = sys.stdout.write
    said(f"{count} images of {_SIZE} x {_SIZE} pixels, {os.cpu_count()} cores\n\n")
    said(
        "| engine | until the first result, s | images/s after it | ms of processors per image | "
        "rows that differ |\n|---|---|---|---|---|\n"
    )
    known: dict[str, Row] = {}
    for workers, engine in (
        (1, "local"),
        (1, "Ray"),
        (2, "local"),
        (2, "Ray"),
        (4, "Ray"),
        (8, "Ray"),
    ):
        begin = time.perf_counter()
        inspector = Inspector(model, device="cpu", threads=workers, workers=_READERS)
        several = Several([inspector])
        if engine == "Ray":
            start()
            wish = Wish(workers=workers)
            several = OnCluster([inspector], "", [model], wish, ("none", False))
        found = several.inspect_files(folder, iter(paths), [lambda _: False])
        at_once = _FILES * workers if engine == "Ray" else 1
        cells, rows = timed(found, begin, at_once)
        known = known or rows
        differ = sum(rows.get(path) != row for path, row in known.items())
        what = "workers" if engine == "Ray" else "threads of the model"
        said(f"| {engine}, {workers} {what} | {cells} | {differ} |\n")
        sys.stdout.flush()


def half(model: Path, folder: Path, paths: list[Wanted]) -> None:
    """Take something away from a cluster of two nodes at half of the files."""
    import ray  # noqa: PLC0415
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    inspector = Inspector(model, device="cpu")
    here = Several([inspector]).inspect_files(folder, iter(paths), [lambda _: False])
    known = {found.path: row_of(found) for _, found in here}
    sys.stdout.write(
        "| at half | first half, s | second half, s | rows that differ | missing | double |\n"
        "|---|---|---|---|---|---|\n"
    )
    for what in ("nothing", "a worker is killed", "a node leaves"):
        one = {"num_cpus": 1, "object_store_memory": _MEMORY}
        nodes = Cluster(initialize_head=True, head_node_args={**one, "include_dashboard": False})
        second = nodes.add_node(**one)
        cluster = OnCluster([inspector], "", [model], Wish(nodes.address), ("none", False))
        found, times = list[Finding](), [time.perf_counter()]
        for _, each in cluster.inspect_files(folder, iter(paths), [lambda _: False]):
            found.append(each)
            if len(found) == len(paths) // 2:
                times.append(time.perf_counter())
                if what == "a node leaves":
                    nodes.remove_node(second, allow_graceful=False)
                elif what != "nothing":
                    kill_worker()
        times.append(time.perf_counter())
        ray.shutdown()
        nodes.shutdown()
        rows = {each.path: row_of(each) for each in found}
        differ = sum(rows.get(path, row) != row for path, row in known.items())
        sys.stdout.write(
            f"| {what} | {times[1] - times[0]:.0f} | {times[2] - times[1]:.0f} | {differ} | "
            f"{len(known) - len(rows)} | {len(found) - len(rows)} |\n"
        )
        sys.stdout.flush()


def kill_worker() -> None:
    """End one of the workers that this process has started."""
    import psutil  # noqa: PLC0415 - Ray brings it

    started = psutil.Process().children(recursive=True)
    next(each for each in started if "_Judge" in "".join(each.cmdline())).kill()


def shards(model: Path, folder: Path, paths: list[Wanted]) -> None:
    """Inspect loose files, and the same from archives."""
    names = [path for path, _ in paths]
    archives = [folder / f"{begin:06d}.tar" for begin in range(0, len(names), _SHARD)]
    for number, archive in enumerate(archives):
        with tarfile.open(archive, "w") as written:
            for name in names[number * _SHARD : (number + 1) * _SHARD]:
                written.add(folder / name, name)

    def packed() -> Iterator[bytes]:
        for archive in archives:
            with tarfile.open(archive) as read:
                for member in read:
                    yield cast(IO[bytes], read.extractfile(member)).read()

    inspector = Inspector(model, device="cpu", workers=_READERS)
    sys.stdout.write("| from | images/s | scores that differ |\n|---|---|---|\n")
    known: list[float] = []
    for turn in range(2 * _TURNS):
        begin = time.perf_counter()
        from_what = (folder / name for name in names) if turn % 2 == 0 else packed()
        scores = [each.score for each in inspector.inspect(from_what)]
        known = known or scores
        rate = len(scores) / (time.perf_counter() - begin)
        differ = sum(one != other for one, other in zip(scores, known, strict=True))
        what = "archives" if turn % 2 else "loose files"
        sys.stdout.write(f"| {what} | {rate:.1f} | {differ} |\n")
        sys.stdout.flush()


def start() -> None:
    """Start a Ray that believes in eight cores, once."""
    import ray  # noqa: PLC0415

    if not ray.is_initialized():
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray.init("local", num_cpus=_CORES, include_dashboard=False, log_to_driver=False)


if __name__ == "__main__":
    main()
