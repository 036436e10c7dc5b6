"""A watched folder under load: writers at full speed, names used again, the program killed."""

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from .. import small

PROGRAM = str(Path(sys.executable).with_name("anomaly-vae"))
PHOTOGRAPHS = int(os.environ.get("ANOMALY_VAE_LOAD", "400"))
KILLS, WRITERS, NAMES = max(2, min(10, PHOTOGRAPHS // 100)), 4, 10


class Writer(threading.Thread):
    """A camera: writes each photograph whole, under a name that it has used before."""

    def __init__(self, number: int, sources: list[Path], inbox: Path, spare: Path) -> None:
        super().__init__()
        self._number, self._sources, self._inbox, self._spare = number, sources, inbox, spare
        self.written: dict[str, Path] = {}
        """By digest: which photograph it was."""

    def run(self) -> None:
        for count in range(PHOTOGRAPHS // WRITERS):
            source = self._sources[(7 * count + self._number) % len(self._sources)]
            part = self._spare / f"{self._number}.part"
            # What stands behind the end of a PNG changes no pixel, and makes each its own file.
            data = source.read_bytes() + f"{self._number} {count}".encode()
            part.write_bytes(data)
            self.written[hashlib.sha256(data).hexdigest()] = source
            while True:
                name = self._inbox / f"live-{self._number}-{random.randrange(NAMES)}.png"
                try:
                    os.link(part, name)  # unlike a rename, it takes no photograph away
                    break
                except FileExistsError:
                    time.sleep(0.002)
            part.unlink()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other links and signals")
def test_each_photograph_is_judged_once_and_sorted_by_its_own_verdict(
    own_run: Path, parts: Path, tmp_path: Path
) -> None:
    inbox, spare, out, sorted_ = (tmp_path / name for name in ("in", "spare", "out", "sorted"))
    inbox.mkdir()
    spare.mkdir()
    good, bad = (sorted((parts / "test" / name).iterdir()) for name in ("good", "scratch"))
    sources = [each for pair in zip(good, bad, strict=False) for each in pair]
    verdicts = small.judged(own_run, sources)
    assert set(verdicts.values()) == {"pass", "fail"}
    writers = [Writer(number, sources, inbox, spare) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    arguments = [PROGRAM, "-q", "watch", str(own_run / "model.onnx"), str(inbox), "--out", str(out),
                 "--move-to", str(sorted_), "--heatmaps", "none", "--exit-zero",
                 "--device", "cpu"]  # fmt: skip
    for kill in range(KILLS):
        process = subprocess.Popen(arguments)
        wanted = (kill + 0.5) * PHOTOGRAPHS / KILLS
        while process.poll() is None and sum(1 for _ in sorted_.rglob("*.png")) < wanted:
            time.sleep(0.02)
        time.sleep(random.random() / 2)
        process.kill()
        process.wait()
    last = subprocess.run([*arguments, "--idle", "3"], check=False, capture_output=True, text=True)
    for writer in writers:
        writer.join()
    again = subprocess.run([*arguments, "--idle", "3"], check=False, capture_output=True, text=True)
    assert (last.returncode, again.returncode) == (0, 0), last.stderr + again.stderr
    expected = {sha: verdicts[path] for each in writers for sha, path in each.written.items()}
    found = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.relative_to(sorted_).parts[0]
        for path in sorted_.rglob("*")
        if path.is_file()
    }
    assert list(inbox.iterdir()) == []
    assert found == expected
    rows = pd.read_csv(out / "images.csv")
    assert len(rows) == len(expected) == PHOTOGRAPHS
    assert rows.id.is_unique
    counts = pd.Series(list(expected.values())).value_counts()
    assert rows.verdict.value_counts().to_dict() == counts.to_dict()
    assert np.isfinite(rows.score).all()
