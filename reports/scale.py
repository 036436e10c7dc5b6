"""What a Ray cluster of this machine costs and gives: ``python reports/scale.py MODEL DIR N``.

Draws parts into DIR (once), inspects N files of them with the local engine and with Ray, with 1, 2,
4 and 8 workers, and prints a table: seconds until the first result, images per second after it,
processor time of all processes per image, and how many rows differ from the local engine's. Workers
beyond the cores share them. No pictures are made.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

from anomaly_vae.images.samples import write_samples
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.several import Several
from anomaly_vae.workflows.cluster import _FILES, OnCluster
from anomaly_vae.workflows.connecting import Wish

_DRAWN, _SIZE = 100, 512
_READERS = 4  # as a worker has
_CORES = 8
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
        rows[finding.path] = (finding.verdict, finding.score, len(finding.regions))
        if len(rows) % _LOOKED == 0:
            used = work.since()
    later = len(rows) - known
    rate = later / (time.perf_counter() - first)
    return f"{first - begin:.1f} | {rate:.1f} | {(used - before) / later * 1000:.2f}", rows


def main() -> None:
    """Measure."""
    model, folder, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    paths = [(path, [0]) for path in files(folder, count)]
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


def start() -> None:
    """Start a Ray that believes in eight cores, once."""
    import ray  # noqa: PLC0415

    if not ray.is_initialized():
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray.init("local", num_cpus=_CORES, include_dashboard=False, log_to_driver=False)


if __name__ == "__main__":
    main()
