"""What large photographs take: ``python reports/large.py DIR [WEIGHTS]``.

Draws noise, 100 photographs of each shape, trains with it for two epochs and two folds, inspects
some of it, and prints peak memory and processor time of each; then those of a single photograph in
``model.onnx``, in strips and in one piece. WEIGHTS are those of a ResNet-18; without, the embedded
trunk is used. Linux: peak memory is what the kernel counts, files mapped into memory included.
"""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

_SHAPES, _PHOTOGRAPHS, _INSPECTED = ((2048, 2048), (512, 16384)), 100, 10
_ONE_PIECE = 2**40


def draw(folder: Path, shape: tuple[int, int]) -> None:
    """Draw photographs of smooth light and noise."""
    folder.mkdir(parents=True)
    rng, (height, width) = np.random.default_rng(0), shape

    def smooth(step: int) -> np.ndarray:
        small = rng.normal(128, 30, (height // step, width // step)).clip(0, 255)
        large = Image.fromarray(small.astype(np.uint8)).resize((width, height))
        return np.asarray(large, dtype=float)

    part = smooth(64)
    for number in range(_PHOTOGRAPHS):
        seen = part + (smooth(8) - 128) / 4 + rng.normal(0, 3, shape)
        picture = Image.fromarray(seen.clip(0, 255).astype(np.uint8))
        picture.save(folder / f"{number:03d}.jpg", quality=92)


def measured(*command: str) -> str:
    """Run this file or the program in a process of its own; gives two cells of a table."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(f'{used.ru_maxrss / 2**20:.2f} | {used.ru_utime:.0f} |')"
    )
    run = [sys.executable, "-c", code, *command]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def one(shape: tuple[int, int], model: Path, strip: int) -> None:
    """Score a photograph twice with a model of random weights; prints two cells of a table."""
    import time  # noqa: PLC0415 - nothing of torch is loaded where a model runs

    picture = np.random.default_rng(0).integers(0, 256, (1, *shape, 3), dtype=np.uint8)
    if not model.is_file():
        from anomaly_vae.exporting.graph import to_onnx  # noqa: PLC0415
        from anomaly_vae.scoring.factory import build_detector  # noqa: PLC0415
        from anomaly_vae.settings.files import load_config  # noqa: PLC0415
        from anomaly_vae.vae import pieces  # noqa: PLC0415

        pieces.STRIP_PIXELS = strip
        detector = build_detector(
            load_config(None, ["features.source=resnet18", f"images.frame={list(shape)}"])
        )
        graph = to_onnx(detector.eval(), picture.shape[1:])
        model.write_bytes(graph.SerializeToString())
        return
    from anomaly_vae.inspection.providers import providers_for, start_session  # noqa: PLC0415

    session = start_session(model.read_bytes(), providers_for("cpu"), threads=1)
    for _ in range(2):
        begin = time.process_time()
        session.run(["score"], {"images": picture})
        seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"{peak:.2f} | {seconds:.1f} |\n")


def main(folder: Path, weights: Path | None) -> None:
    """Draw what is not there yet, and print a row for each measurement."""
    program = str(Path(sys.executable).with_name("anomaly-vae"))
    features = ["--features", "resnet18", "--weights", str(weights)] if weights else []
    features = features or ["--features", "embedded"]
    short = [f"--set={each}" for each in ("training.epochs=2", "split.folds=2")]
    sys.stdout.write("| | photographs | peak GiB | processor s |\n|---|---|---|---|\n")
    for shape in _SHAPES:
        name = "x".join(map(str, shape))
        photographs, run = folder / name, folder / f"run-{name}"
        if not photographs.is_dir():
            draw(photographs, shape)
        frame = ["--set", f"images.frame={list(shape)}"]
        trained = [program, "train", str(photographs), "--out", str(run), "--overwrite"]
        row = measured(*trained, *frame, *features, *short)
        sys.stdout.write(f"| train {name} | {_PHOTOGRAPHS} | {row}\n")
        seen = [str(each) for each in sorted(photographs.iterdir())[:_INSPECTED]]
        inspected = [program, "inspect", str(run / "model.onnx"), *seen, "--exit-zero"]
        row = measured(*inspected, "--out", str(folder / f"report-{name}"), "--overwrite")
        sys.stdout.write(f"| inspect {name} | {_INSPECTED} | {row}\n")
        for kind, strip in (("strips", 2**22), ("one piece", _ONE_PIECE)):
            model = folder / f"{name}-{strip}.onnx"
            again = [sys.executable, __file__, "--one", *map(str, (*shape, model, strip))]
            subprocess.run(again, check=True)
            done = subprocess.run(again, capture_output=True, text=True, check=True)
            sys.stdout.write(f"| ResNet-18, {name}, {kind} | 1 | {done.stdout}")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        height, width, path, pixels = sys.argv[2:]
        one((int(height), int(width)), Path(path), int(pixels))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
