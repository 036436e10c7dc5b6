"""Measures what inspection costs without a model: one that takes nothing stands in for it.

    python reports/stub.py PHOTOGRAPHS COUNT

Photographs are decoded before, and inspected over and over: verdicts alone; with tables that are on
the disk; with the pictures of the page, too. Then their files are decoded on all cores, and nothing
else; and inspected, with tables. Prints JSON. The processor's seconds, unlike those of the clock,
are hardly longer while other programs run.
"""

import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from anomaly_vae.calibration.metadata import METADATA_KEY, ModelCard, Threshold, card_to_json
from anomaly_vae.calibration.profile import GoodProfile
from anomaly_vae.images.decoding import load_image
from anomaly_vae.images.files import list_images, stamp
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector, Shown
from anomaly_vae.inspection.reading import Read
from anomaly_vae.reporting.results import Results
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.workflows.recorder import Recorder

SIDE, CELLS, GOOD = 320, 40, 200


def stub() -> onnx.ModelProto:
    """Make a model whose score is the red of the first pixel; every photograph passes."""
    nodes = [
        helper.make_node("Slice", ["images", "from", "to", "axes"], ["pixel"]),
        helper.make_node("Cast", ["pixel"], ["red"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["red", "flat"], ["score"]),
        helper.make_node("Identity", ["score"], ["reconstruction_error"]),
        helper.make_node("Identity", ["score"], ["kl"]),
        helper.make_node("Reshape", ["red", "deep"], ["level"]),
        helper.make_node("Mul", ["level", "noise"], ["anomaly_map"]),
    ]
    noise = np.random.default_rng(0).random((1, CELLS, CELLS), dtype=np.float32)
    constants = {"from": [0, 0, 0], "to": [1, 1, 1], "axes": [1, 2, 3], "flat": [-1],
                 "deep": [-1, 1, 1]}  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "stub",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [
            *(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])
                for name in ("score", "reconstruction_error", "kl")
            ),
            helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, ["N", CELLS, CELLS]),
        ],
        [numpy_helper.from_array(np.array(v), n) for n, v in constants.items()]
        + [numpy_helper.from_array(noise, "noise")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: card_to_json(card())})
    return model


def card() -> ModelCard:
    """Make a card that has all that a card of a trained model has."""
    spread = tuple(np.linspace(0, 1, GOOD).tolist())
    good = GoodProfile(
        scores=tuple(np.linspace(0, 255, GOOD).tolist()),
        brightness=spread, contrast=spread, sharpness=spread, color=True, size=None,
    )  # fmt: skip
    return ModelCard(
        images=ImageSettings(size=SIDE), features="stub", model="stub", kl_weight=1.0, center=0.0,
        scale=1.0, threshold=Threshold(1e3, 1e3, "good-only", "", good=GOOD), good=good,
        training_images=GOOD, training_fingerprint="stub", program_version="0", created="2026",
    )  # fmt: skip


def main(folder: Path, count: int) -> None:
    """Measure all of them, with threads that take turns as often as those of the program do."""
    sys.setswitchinterval(0.0005)
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(stub(), Path(scratch) / "stub.onnx")
        inspector = Inspector(Path(scratch) / "stub.onnx", device="cpu")
        names = list_images(folder)
        images = [load_image(folder / name, inspector.card.images) for name in names]
        known = [Read(n, stamp(folder / n), i) for n, i in zip(names, images, strict=True)]

        def files() -> Iterator[Read]:
            for number, read in enumerate(islice(cycle(known), count)):
                yield read._replace(path=f"{number:06d}/{read.path}")

        def decoded(shown: Shown) -> Iterator[Finding]:
            return inspector.inspect_read(files(), shown)

        def from_files(shown: Shown) -> Iterator[Finding]:
            return inspector.inspect_files(folder, islice(cycle(names), count), shown)

        def recorded(inspect: Callable[[Shown], Iterable[Finding]], *, page: bool = False) -> None:
            with Results(Path(tempfile.mkdtemp(dir=scratch)) / "out", folder, {}) as results:
                recorder = Recorder(inspector, folder, results, heatmaps="none", page=page)
                for finding in inspect(recorder.shows):
                    recorder.record(finding)

        def decode() -> None:
            wanted = inspector.card.images
            with ThreadPoolExecutor(inspector.workers) as pool:
                some = islice(cycle(names), count)
                deque(pool.map(lambda name: load_image(folder / name, wanted), some), maxlen=0)

        ways: dict[str, Callable[[], object]] = {
            "verdicts": lambda: deque(decoded(lambda _: False), maxlen=0),
            "tables": lambda: recorded(decoded),
            "tables and page": lambda: recorded(decoded, page=True),
            "files decoded, and nothing else": decode,
            "files to tables": lambda: recorded(from_files),
        }
        found = {}
        for name, way in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            way()
            seconds = time.perf_counter() - clock
            used = (time.process_time() - processor) / count
            found[name] = {"images_per_second": count / seconds, "processor_us": 1e6 * used}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
