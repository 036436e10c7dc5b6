"""How fast the exported models of two trunks are.

    python reports/trunks.py [SIDE] [KEY=VALUE …]

Models of default settings, untrained, for weights change no time: of ResNet-18, and of the embedded
trunk with the settings named. Both score the same eight images in turn, on all cores; prints images
per second, the milliseconds of the processor for an image, and how many times as fast the embedded
one is. Run it while nothing else runs.
"""

import sys
import time

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from anomaly_vae.exporting.graph import to_onnx
from anomaly_vae.inspection.providers import providers_for, start_session
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.files import load_config

BATCH, TURNS, BATCHES = 8, 9, {"resnet18": 3, "embedded": 12}


def session(source: str, side: int, settings: list[str]) -> onnxruntime.InferenceSession:
    """Export a model with random weights, and load it as an inspection does."""
    config = load_config(None, [f"features.source={source}", f"images.size={side}", *settings])
    graph = to_onnx(build_detector(config).eval(), (side, side, 3))
    return start_session(graph.SerializeToString(), providers_for("cpu"))


def turn(
    model: onnxruntime.InferenceSession, images: NDArray[np.uint8], batches: int
) -> tuple[float, float]:
    """Score some batches; gives images per second, and milliseconds of the processor for one."""
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True  # as an inspection: no residual
    wanted = ["score", "reconstruction_error", "kl", "anomaly_map"]
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(batches):
        model.run(wanted, {"images": images}, options)
    seconds, used = time.perf_counter() - clock, time.process_time() - processor
    return len(images) * batches / seconds, 1000 * used / (len(images) * batches)


def main(side: int, settings: list[str]) -> None:
    """Measure both in turn."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    models = {name: session(name, side, settings if name == "embedded" else []) for name in BATCHES}
    for model in models.values():
        turn(model, images, 1)  # the first run allocates
    turns = np.array(
        [[turn(models[name], images, BATCHES[name]) for name in BATCHES] for _ in range(TURNS)]
    )
    for name, (rate, used) in zip(BATCHES, np.median(turns, 0), strict=True):
        sys.stdout.write(f"{name}: {rate:.1f} images/s, {used:.2f} ms of the processor\n")
    rates, processor = np.median(turns[:, 1, 0] / turns[:, 0, 0]), np.median(turns, 0)[:, 1]
    sys.stdout.write(f"times: {rates:.2f}; of the processor {processor[0] / processor[1]:.2f}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 256, sys.argv[2:])
