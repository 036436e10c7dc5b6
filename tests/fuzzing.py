"""Reads mutated files, in a process of its own: ``python -m tests.fuzzing PLACE SEED COUNT KIND …``.

Ends with 0 where each gave a result or one of this program's errors; else names those that did not.
Prints which it reads, so that what ends the process at once, or takes too long, is known as well.
"""

import contextlib
import faulthandler
import random
import resource
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

PATIENCE = 10  # seconds
_ROOM = 2 * 2**30  # bytes, beyond what the libraries take
_TELLING = [b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\n", b"nan",
            b"-1", b"1e999", b"99999999999999999999", b"'", b'"', b"[", b"{", b",", b"&a", b"null"]  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Damage a file as disks, transfers, editors and hostile people do."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        # Headers matter most: half of the changes are near the beginning.
        most = len(changed) if rng.random() < 0.5 else min(len(changed), 200)
        at = rng.randrange(most + 1)
        length = rng.choice((1, 4, 64, 4096))
        how = rng.randrange(6)
        if how == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 1:
            told = rng.choice(_TELLING)
            changed[at : at + len(told) * rng.randrange(2)] = told
        elif how == 2:
            del changed[at : at + length]
        elif how == 3:
            changed[at:at] = changed[at : at + length]
        elif how == 4:
            changed[at : at + length] = rng.randbytes(min(length, len(changed) - at))
        else:
            del changed[at + rng.randrange(length) :]
    return bytes(changed)


def readers(place: Path) -> dict[str, Callable[[Path], object]]:
    """For each kind of file, what the program does with it; of a run, it lies in its run."""
    from anomaly_vae.images.decoding import load_image
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.reporting.card import write_card
    from anomaly_vae.reporting.journal import Journal
    from anomaly_vae.settings.images import ImageSettings
    from anomaly_vae.training.checkpoint import Checkpoint
    from anomaly_vae.workflows.export import _card_of
    from anomaly_vae.workflows.labelled import with_origins
    from anomaly_vae.workflows.marks import read_marks
    from anomaly_vae.workflows.runs import load_detector, saved_config

    photo = np.zeros((64, 64, 3), np.uint8)
    card = Inspector(place / "run" / "model.onnx", device="cpu").card

    def journal(path: Path) -> None:
        read = Journal(path.parents[1])
        with contextlib.closing(read):
            known = [*read.facts, *(done.id for done in read.all())]
            for each in known:
                read.picture(each)
                read.sha256(each)
            read.gallery()
            read.waiting()
            list(read.statistics())
            read.forget(known, model="b")

    def noted(path: Path) -> None:
        write_card(path.parent, card, "id")
        with_origins(replace(card, learned_from=""), path.parent)

    def weights(path: Path) -> None:
        load_detector(path.parent, saved_config(path.parent))

    return {
        "image": lambda path: load_image(path, ImageSettings(size=64)),
        "model.onnx": lambda path: Inspector(path, device="cpu", workers=1).inspect(photo),
        "config.yaml": weights,
        "vae.safetensors": weights,
        "checkpoint.safetensors": Checkpoint.load,
        "card.json": lambda path: _card_of(path.parents[1]),
        "marks.csv": lambda path: read_marks(path, place),
        "journal.sqlite": journal,
        **dict.fromkeys(("calibration.json", "training.json", "normals.csv"), noted),
    }


def read(reader: Callable[[Path], object], path: Path) -> str:
    """Say what is wrong with how a file was read; empty if nothing is."""
    from anomaly_vae.errors import AnomalyVAEError

    try:
        reader(path)
    except AnomalyVAEError as error:
        return f"more than one line: {error}" if "\n" in str(error) else ""
    except Exception:
        return traceback.format_exc()
    return ""


def main(place: Path, seed: int, count: int, kinds: list[str]) -> int:
    """Read ``count`` mutants of each file of these kinds below ``place``; gives the exit code."""
    known, wrong = readers(place), 0
    warnings.simplefilter("ignore")  # the command line keeps them to itself, see test_warnings
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _ROOM, size + _ROOM))
    for path in sorted(each for each in place.rglob("*") if each.is_file()):
        kind = "image" if path.parent.name == "images" else path.name
        if kind not in kinds:
            continue
        whole = path.read_bytes()
        for number in range(count):
            changed = mutated(whole, random.Random(f"{seed} {path.name} {number}"))
            path.write_bytes(changed)
            sys.stdout.write(f"{path.name} {number}\n")
            sys.stdout.flush()
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            problem = read(known[kind], path)
            faulthandler.cancel_dump_traceback_later()
            if problem:
                wrong += 1
                sys.stderr.write(f"{path.name} {number}: {problem}\n")
        path.write_bytes(whole)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
