"""Whether ``train-many`` gives the models of ``train``: ``python reports/many.py OUT [ENGINE]``.

Draws eight parts into OUT and trains each alone; then all of them with two workers, ended with
SIGKILL to all processes, SIGKILL to the first one and SIGINT, each time when two more models are
there, and gone on with. Prints how many models there were at each end, and at last how many files
differ from those trained alone (but for the time in a model), and how many of those models were
made again. A training is 12 epochs on one thread; with ENGINE ray they are tasks of Ray.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from anomaly_vae.images.samples import write_samples

_PARTS, _IMAGES, _SIZE = 8, 40, 64
_SET = ("images.size=64", "training.epochs=12", "features.align=false", "split.folds=1",
        "training.sensitivity=false", "training.refit=false")  # fmt: skip
_SAME = ("vae.safetensors", "model.onnx", "calibration.json", "normals.csv")
_ENDS = {"SIGKILL to all": (signal.SIGKILL, True), "SIGKILL to the first": (signal.SIGKILL, False),
         "SIGINT": (signal.SIGINT, False)}  # fmt: skip
_CREATED = re.compile(rb'"created":"[^"]+"')
_PROGRAM = str(Path(sys.executable).with_name("anomaly-vae"))

Known = dict[str, int]
"""Parts, and when the model of each was written."""


def options() -> list[str]:
    """Give those of all trainings."""
    return ["--features", "pixels", "--seed", "5", *(x for each in _SET for x in ("--set", each))]


def begun(*line: str) -> subprocess.Popen[bytes]:
    """Begin a command, in a group of processes of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [_PROGRAM, *line], env=environment, start_new_session=True, **quiet
    )


def models(out: Path) -> Known:
    """Give the models that the table has."""
    table = out / "parts.csv"
    if not table.exists():
        return {}
    names = pd.read_csv(table).part
    return {each: (out / each / "model.onnx").stat().st_mtime_ns for each in names}


def content(file: Path) -> bytes:
    """Give a file, without the time at which a model was made."""
    return _CREATED.sub(b"", file.read_bytes())


def differing(out: Path, alone: Path) -> int:
    """Count the files that are not those trained alone."""
    return sum(
        content(out / part.name / name) != content(part / name)
        for part in alone.iterdir()
        for name in _SAME
    )


def stopped(line: list[str], out: Path, how: tuple[signal.Signals, bool]) -> tuple[Known, int]:
    """End ``train-many`` when two models more are there; gives the models, and its exit code."""
    process, before = begun(*line), len(models(out))
    while len(models(out)) < before + 2 and process.poll() is None:
        time.sleep(0.05)
    known = models(out)
    number, everything = how
    (os.killpg if everything else os.kill)(process.pid, number)
    return known, process.wait()


def main() -> None:
    """Measure."""
    folder, engine = Path(sys.argv[1]), sys.argv[2:] or ["local"]
    say = sys.stdout.write
    for number in range(_PARTS):
        part = folder / "parts" / f"part-{number}"
        if not part.exists():
            write_samples(
                part, train=_IMAGES, test_good=0, test_defective=0, size=_SIZE, seed=number
            )
    alone = folder / "alone"
    for part in sorted((folder / "parts").iterdir()):
        if not (alone / part.name / "model.onnx").exists():
            good, out = part / "train" / "good", alone / part.name
            begun("train", str(good), "--out", str(out), *options()).wait()
    many = folder / f"many-{engine[0]}"
    shutil.rmtree(many, ignore_errors=True)
    line = ["train-many", str(folder / "parts"), "--out", str(many), "--workers", "2",
            "--engine", engine[0]]  # fmt: skip
    say("| ended by | exit code | models there |\n|---|---|---|\n")
    kept = Known()
    for number, (name, how) in enumerate(_ENDS.items()):
        known, code = stopped([*line, *(["--resume"] if number else options())], many, how)
        kept.update(known)
        say(f"| {name} | {code} | {len(known)} |\n")
        sys.stdout.flush()
        time.sleep(3)  # for those that end with the first
    code = begun(*line, "--resume").wait()
    now = models(many)
    again = sum(now[each] != when for each, when in kept.items())
    say(f"| nothing | {code} | {len(now)} |\n\n")
    files = len(now) * len(_SAME)
    say(
        f"{differing(many, alone)} of {files} files differ from those trained alone; {again} of "
        f"{len(kept)} models were made again.\n"
    )


if __name__ == "__main__":
    main()
