"""The public Python door: what it gives, lazily, and that it gives what the command gives."""

import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import anomaly_vae
from anomaly_vae import Finding, Inspector
from anomaly_vae.errors import InputError, ModelFileError

from .conftest import SHARED, Command


@pytest.fixture(scope="module")
def inspector(run: Path) -> Inspector:
    return Inspector(run / "model.onnx", device="cpu")


@pytest.fixture(scope="module")
def photographs(parts: Path) -> list[Path]:
    return sorted((parts / "test").rglob("*.png"))


def same(one: Finding, other: Finding) -> bool:
    """Whether two findings differ in nothing but the name and state of a file."""
    left, right = one.as_dict(), other.as_dict()
    maps = (one.anomaly_map, other.anomaly_map)
    assert all(isinstance(each, np.ndarray) for each in maps)
    return (
        {**left, "path": ""} == {**right, "path": ""}
        and one.regions == other.regions
        and np.array_equal(*maps)
    )


def test_the_door_is_short_and_opens_without_torch_or_onnxruntime() -> None:
    program = "\n".join([
        "import sys, anomaly_vae",
        "assert not {'torch', 'onnxruntime', 'numpy', 'PIL', 'pandas'} & set(sys.modules)",
        "anomaly_vae.Inspector",
        "assert 'onnxruntime' in sys.modules and 'torch' not in sys.modules",
        "assert set(anomaly_vae.__all__) <= set(dir(anomaly_vae))",
        "print(all(callable(getattr(anomaly_vae, n)) for n in anomaly_vae.__all__ if n[0] != '_'))",
    ])  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert 5 <= len(anomaly_vae.__all__) <= 8
    with pytest.raises(AttributeError, match="no attribute 'inspekt'"):
        anomaly_vae.inspekt  # noqa: B018


def test_a_path_gives_what_the_command_writes(
    inspector: Inspector, run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    command("inspect", run / "model.onnx", parts / "test", "--out", tmp_path / "o")
    with (tmp_path / "o" / "images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    paths = [parts / "test" / row["path"] for row in rows]
    for row, finding in zip(rows, inspector.inspect(paths), strict=True):
        assert finding.path == (parts / "test" / row["path"]).as_posix()
        assert (finding.verdict, finding.quality) == (row["verdict"], row["quality"])
        for name in ("score", "reconstruction_error", "kl", "p_value"):
            assert f"{getattr(finding, name):.9g}" == f"{float(row[name]):.9g}"
        assert str(len(finding.regions)) == row["regions"]
        assert (str(finding.width), str(finding.height)) == (row["width"], row["height"])


def test_a_photograph_is_the_same_as_file_picture_and_array_alone_or_among_others(
    inspector: Inspector, photographs: list[Path]
) -> None:
    for path, among in zip(photographs, inspector.inspect(photographs), strict=True):
        alone = inspector.inspect(path)
        assert same(alone, inspector.inspect(str(path)))
        with Image.open(path) as picture:
            assert same(alone, inspector.inspect(picture))
            pixels = np.asarray(picture)
        assert same(alone, inspector.inspect(pixels))
        assert same(alone, inspector.inspect(pixels[..., ::-1], order="bgr"))
        assert alone.score == pytest.approx(among.score, rel=1e-5)
        assert alone.image is None  # a thousand findings must not hold a thousand pictures


@pytest.mark.parametrize("color", [False, True])
def test_sixteen_bits_are_those_of_a_file(
    inspector: Inspector, tmp_path: Path, color: bool
) -> None:
    grey = np.random.default_rng(0).integers(0, 65536, (64, 64), np.uint16)
    if color:  # Pillow writes none; the upper bits are what it reads of one
        array: NDArray[np.uint16] = np.stack([grey, grey.T, grey[::-1]], -1)
        expected = inspector.inspect((array >> 8).astype(np.uint8))
    else:
        array = grey
        Image.fromarray(grey).save(tmp_path / "grey.png")
        expected = inspector.inspect(tmp_path / "grey.png")
    assert same(inspector.inspect(array), expected)


def test_an_orientation_and_transparency_are_read_as_of_a_file(
    inspector: Inspector, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 64, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as picture:
        turned = inspector.inspect(picture)
        assert picture.size == (64, 60)  # it stays as it is
    assert (turned.width, turned.height) == (60, 64)
    assert same(turned, inspector.inspect(path))


def test_what_cannot_be_read_is_a_finding_and_stops_nothing(
    inspector: Inspector, photographs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")
    small = np.zeros((4, 4), np.uint8)
    found = list(inspector.inspect([tmp_path / "text.png", photographs[0], small]))
    assert [each.verdict for each in found] == ["error", found[1].verdict, "error"]
    assert found[1].verdict != "error"
    assert "min_size" in found[2].error
    assert inspector.inspect(tmp_path / "gone.png").error == "the file no longer exists"
    assert inspector.inspect(b"no image").error.startswith("not a PNG, JPEG")
    assert inspector.inspect(b"").error == "the file is empty"
    assert same(inspector.inspect(photographs[0].read_bytes()), found[1])


@pytest.mark.parametrize(("given", "message"), [
    (np.zeros((8, 8, 4), np.uint8), "8 x 8 x 4: expected uint8 or uint16"),
    (np.zeros((2, 8, 8, 3), np.uint8), "2 x 8 x 8 x 3: expected"),
    (np.zeros((8, 8, 3)), "array of float64, 8 x 8 x 3: expected uint8"),
    (np.zeros((0, 8), np.uint8), "without a pixel, 0 x 8"),
    ({"a": 1}, "dict: expected a photograph"),
    (3, "int: expected a photograph: a path, bytes, a PIL.Image, or an array, or several"),
])  # fmt: skip
def test_what_is_no_photograph_is_refused(
    inspector: Inspector, given: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        inspector.inspect(given)  # type: ignore[call-overload]
    with pytest.raises(InputError, match=message.split(",", maxsplit=1)[0]):
        list(inspector.inspect([given]))  # type: ignore[list-item]


def test_an_order_is_rgb_or_bgr(inspector: Inspector) -> None:
    with pytest.raises(InputError, match="order = 'grb': expected 'rgb' or 'bgr'"):
        inspector.inspect(np.zeros((64, 64, 3), np.uint8), order="grb")  # type: ignore[call-overload]


def test_several_threads_and_models_share_a_process(
    inspector: Inspector, run: Path, photographs: list[Path]
) -> None:
    expected = [inspector.inspect(path).score for path in photographs]
    with Inspector(run / "model.onnx", device="cpu") as other, ThreadPoolExecutor(8) as pool:
        for each in (inspector, other):
            many = pool.map(lambda path, each=each: each.inspect(path).score, 4 * photographs)
            assert list(many) == 4 * expected
    with pytest.raises(ModelFileError, match="closed"):
        other.inspect(photographs[0])


def test_the_commands_are_functions(own_run: Path, parts: Path, tmp_path: Path) -> None:
    test = parts / "test"
    threshold = anomaly_vae.calibrate(own_run, test / "good", test / "scratch").threshold
    assert Inspector(own_run / "model.onnx", device="cpu").card.threshold == threshold
    result = anomaly_vae.evaluate(own_run, str(test), tmp_path / "e")
    assert result.threshold == threshold.score
    told = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert told["images"]["auroc"] == result.images.auroc
    epochs: list[int] = []
    summary = anomaly_vae.train(
        parts / "train" / "good", str(tmp_path / "r"), features="pixels", seed=1,
        settings=["images.size=32", "training.epochs=1", "features.align=false"],
        on_epoch=lambda record: epochs.append(record.epoch),
    )  # fmt: skip
    assert epochs == [1]
    assert Inspector(tmp_path / "r" / "model.onnx", device="cpu").card == summary.card
    with pytest.raises(anomaly_vae.AnomalyVAEError, match="go with --precision"):
        anomaly_vae.export(own_run, tmp_path / "m.onnx", good=parts)
    anomaly_vae.export(tmp_path / "r", tmp_path / "m.onnx")
    assert Inspector(tmp_path / "m.onnx", device="cpu").card.threshold == summary.card.threshold


@pytest.mark.shared
@pytest.mark.slow
def test_bottle_gives_the_same_scores_in_python_and_in_the_table(
    run: Path, command: Command, tmp_path: Path
) -> None:
    folder = SHARED / "data" / "bottle" / "test"
    if not folder.is_dir():
        pytest.skip("the shared images are not here")
    command("inspect", run / "model.onnx", folder, "--out", tmp_path / "o", "--heatmaps", "none")
    with (tmp_path / "o" / "images.csv").open(encoding="utf-8", newline="") as file:
        written = {row["path"]: row["score"] for row in csv.DictReader(file)}
    inspector = Inspector(run / "model.onnx")
    for path, score in written.items():
        assert f"{inspector.inspect(folder / path).score:.9g}" == f"{float(score):.9g}"
