"""A photograph is resized inside a graph as Pillow does it, to the bit."""

from contextlib import suppress

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from anomaly_vae.errors import ImageReadError
from anomaly_vae.exporting.nodes import UINT8, Graph
from anomaly_vae.exporting.resizing import framed
from anomaly_vae.images.decoding import load_picture
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.masks import mask_to_text

SIZES = [
    (97, 131),
    (65, 63),
    (131, 97),
    (750, 350),
    (1501, 402),
    (48, 64),
    (49, 66),
    (300, 401),
    (333, 447),
    (1000, 1333),
    (30, 39),
    (48, 65),
]
STAR = ((0.1, 0.1), (0.9, 0.15), (0.2, 0.8), (0.5, 0.03), (0.7, 0.95))
BOX = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.8), (0.25, 0.8))
ROUND = mask_to_text(np.hypot(*np.mgrid[-1:1:90j, -1:1:120j]) < 0.9)


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(height * width)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def session(settings: ImageSettings) -> onnxruntime.InferenceSession:
    graph = Graph()
    given = helper.make_tensor_value_info("image", UINT8, ["H", "W", 3])
    made = framed(graph, graph.named("image"), settings)
    result = helper.make_tensor_value_info(made.name, UINT8, [1, *settings.input_shape])
    built = helper.make_graph(graph.nodes, "framed", [given], [result], graph.constants)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("settings", [
    *(ImageSettings(frame=(48, 64), filter=each) for each in ("box", "bilinear", "bicubic", "lanczos")),
    ImageSettings(size=64, fit="stretch"),
    ImageSettings(size=64, fit="letterbox"),
    ImageSettings(frame=(80, 64), padded=True),
    ImageSettings(frame=(48, 64), inspect=(STAR, BOX), ignore=(BOX,)),
    ImageSettings(frame=(48, 64), roi=ROUND, ignore=(STAR,)),
], ids=str)  # fmt: skip
def test_the_frame_is_that_of_the_program(settings: ImageSettings) -> None:
    run, compared = session(settings), 0
    for size in SIZES:
        picture = photograph(*size)
        with suppress(ImageReadError):  # it has other proportions than the frame
            expected = load_picture(Image.fromarray(picture), settings).pixels
            (given,) = run.run(None, {"image": picture})
            assert np.array_equal(given[0], expected), size
            compared += 1
    assert compared >= 6
