"""A model on a device: binding, maps that stay there, what is no number, TensorRT's options."""

import dataclasses
import math
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from anomaly_vae.calibration.metadata import RECONSTRUCTION
from anomaly_vae.errors import DeviceError, ModelFileError
from anomaly_vae.images.files import list_images
from anomaly_vae.images.sources import images_at
from anomaly_vae.inspection import busy as busy_time
from anomaly_vae.inspection import inspector as inspection
from anomaly_vae.inspection import providers, runtime
from anomaly_vae.inspection.busy import Busy
from anomaly_vae.inspection.fields import metadata_in
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.providers import (
    device_of,
    engine_folder,
    start_session,
    tensorrt_options,
)
from anomaly_vae.inspection.runtime import FINITE_MODEL, LoadedModel, Outputs
from anomaly_vae.reporting.results import Results
from anomaly_vae.reporting.tally import Passing
from anomaly_vae.workflows.recorder import Recorder

from ..conftest import Command

NAMES = ["score", "reconstruction_error", "kl", "anomaly_map"]


def silent(_text: str) -> None:
    pass


@pytest.fixture(scope="module")
def model(run: Path) -> LoadedModel:
    return LoadedModel(run / "model.onnx", "cpu", None, silent)


def noise(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3), np.uint8)


@pytest.mark.parametrize("count", [1, 8, 3])
def test_what_is_bound_is_what_a_plain_run_gives(model: LoadedModel, run: Path, count: int) -> None:
    images = noise(count)
    plain = onnxruntime.InferenceSession(run / "model.onnx", providers=["CPUExecutionProvider"])
    expected = plain.run(NAMES, {"images": images})
    outputs = model.score(images)
    for name, values in zip(NAMES, expected, strict=True):
        np.testing.assert_array_equal(getattr(outputs, name), values)
    rows = list(outputs.rows())
    assert [row.score for row in rows] == outputs.score.tolist()
    assert all(row.finite for row in rows)
    np.testing.assert_array_equal(rows[-1].anomaly_map(), expected[3][-1])


def test_outputs_outlive_the_next_batch_and_the_model(run: Path) -> None:
    model = LoadedModel(run / "model.onnx", "cpu", None, silent)
    first = model.score(noise(2))
    kept = [getattr(first, name).copy() for name in NAMES]
    model.score(noise(5))
    del model
    for name, values in zip(NAMES, kept, strict=True):
        np.testing.assert_array_equal(getattr(first, name), values)


def test_images_need_not_lie_in_one_piece(model: LoadedModel) -> None:
    images = noise(6)
    np.testing.assert_array_equal(
        model.score(images[::2]).score, model.score(images[::2].copy()).score
    )
    mirrored = images[:, :, ::-1]
    np.testing.assert_array_equal(model.score(mirrored).score, model.score(mirrored.copy()).score)


def test_maps_are_fetched_once_and_only_if_asked_for() -> None:
    fetched: list[int] = []
    maps = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    on_device = SimpleNamespace(numpy=lambda: fetched.append(1) or maps)
    outputs = Outputs([np.float32([1, 2])] * 3, np.array([True, True]), on_device)
    one, other = outputs.rows()
    assert not fetched
    assert other.anomaly_map().tolist() == [[4, 5], [6, 7]]
    assert one.anomaly_map().tolist() == [[0, 1], [2, 3]]
    assert len(fetched) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(3))
def test_a_number_that_is_none_marks_its_image(place: int, value: float) -> None:
    numbers = [np.float32([1, 2]) for _ in range(3)]
    numbers[place][1] = value
    outputs = Outputs(numbers, np.array([True, True]), SimpleNamespace())
    assert [row.finite for row in outputs.rows()] == [True, False]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_of_a_map_that_is_no_number_is_seen_where_the_map_lies(value: float) -> None:
    maps = np.full((4, 5, 6), 3e38, np.float32)  # the sum of these would be infinite
    maps[1, 4, 5] = value
    maps[3] = -maps[3]
    session = start_session(FINITE_MODEL, ["CPUExecutionProvider"])
    sums = session.run(None, {"x": maps})[0]
    assert np.isfinite(sums).tolist() == [True, False, True, True]


def test_the_model_that_sees_it_is_what_its_comment_says() -> None:
    nodes = [
        helper.make_node("Sub", ["x", "x"], ["z"]),
        helper.make_node("ReduceSum", ["z"], ["y"], axes=[1, 2], keepdims=0),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "h", "w"])
    sums = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph(nodes, "g", [given], [sums])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(made)
    assert onnx.load_from_string(FINITE_MODEL) == made


def findings(inspector: Inspector, folder: Path, **options: object) -> list[Finding]:
    return list(inspector.inspect_files(folder, list_images(folder), **options))  # type: ignore[arg-type]


def test_of_those_that_pass_only_those_shown_have_a_map(run: Path, parts: Path) -> None:
    inspector = Inspector(run / "model.onnx", device="cpu")
    scores = sorted(each.score for each in findings(inspector, parts / "test"))
    limit = dataclasses.replace(inspector.card.threshold, score=scores[9])
    inspector.card = dataclasses.replace(inspector.card, threshold=limit, good=None)
    asked: list[float] = []

    def shown(score: float) -> bool:
        asked.append(score)
        return score >= scores[6]

    for each in findings(inspector, parts / "test", shown=shown):
        assert (each.anomaly_map is not None) == (each.score >= scores[6])
        assert bool(each.regions) == (each.verdict == "fail") == (each.score > scores[9])
    assert sorted(asked) == scores[:10]


def test_a_map_that_nobody_fetches_still_makes_an_error(
    run: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector = Inspector(run / "model.onnx", device="cpu")
    before = findings(inspector, parts / "test", shown=lambda _: False)
    bound = runtime._bound

    def torn(
        session: object, name: str, value: onnxruntime.OrtValue, places: dict[str, str]
    ) -> list[onnxruntime.OrtValue]:
        outputs = bound(session, name, value, places)
        if "anomaly_map" in places:
            maps = outputs[3].numpy().copy()
            maps[-1, 7, 7] = math.nan
            outputs[3] = onnxruntime.OrtValue.ortvalue_from_numpy(maps)
        return outputs

    monkeypatch.setattr(runtime, "_bound", torn)
    inspector.batch_size = 1
    after = findings(inspector, parts / "test", shown=lambda _: False)
    assert {each.verdict for each in after} == {"error"}
    assert "error" not in {each.verdict for each in before}


def test_two_batches_at_once_change_nothing(run: Path, parts: Path) -> None:
    one, two = (Inspector(run / "model.onnx", device="cpu", batch_size=3) for _ in range(2))
    two.model.at_once = 2
    expected = findings(one, parts / "test")
    given = findings(two, parts / "test")
    assert [each.path for each in given] == [each.path for each in expected]
    np.testing.assert_allclose([e.score for e in given], [e.score for e in expected], rtol=1e-4)
    assert [each.verdict for each in given] == [each.verdict for each in expected]


def test_only_pictures_need_the_maps_of_good_images(run: Path, parts: Path, tmp_path: Path) -> None:
    inspector, folder = Inspector(run / "model.onnx", device="cpu"), parts / "test"
    assert not Recorder(inspector, folder, Passing()).shows(0.0)
    cases = {("defects", True): True, ("none", True): True, ("all", False): True,
             ("defects", False): False, ("none", False): False}  # fmt: skip
    for number, ((heatmaps, page), shown) in enumerate(cases.items()):
        with Results(tmp_path / str(number), folder, {}) as results:
            recorder = Recorder(inspector, folder, results, heatmaps=heatmaps, page=page)  # type: ignore[arg-type]
            assert recorder.shows(0.0) == shown


def test_two_at_once_are_busy_for_as_long_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([10.0, 15.0, 20.0, 21.0])
    monkeypatch.setattr(busy_time.time, "perf_counter", lambda: next(moments))
    busy = Busy()
    with busy:
        other = Thread(target=lambda: busy.__enter__() or busy.__exit__())
        other.start()
        other.join()
    assert busy.seconds == 5
    with busy:
        pass
    assert busy.seconds == 6


def test_tensorrt_keeps_its_engine_and_the_precision_of_the_model(tmp_path: Path) -> None:
    options = tensorrt_options(tmp_path, "fp32", 32, (320, 320, 3))
    assert options == {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(tmp_path),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(tmp_path),
        "trt_fp16_enable": "False",
        "trt_int8_enable": "False",
        "trt_profile_min_shapes": "images:1x320x320x3",
        "trt_profile_opt_shapes": "images:32x320x320x3",
        "trt_profile_max_shapes": "images:32x320x320x3",
    }
    half = tensorrt_options(tmp_path, "fp16", 32, (320, 320, 3))
    assert half == options | {"trt_fp16_enable": "True"}


@pytest.mark.parametrize(("system", "variable", "below"), [
    ("linux", "XDG_CACHE_HOME", ".cache"), ("win32", "LOCALAPPDATA", "AppData/Local"),
])  # fmt: skip
def test_engines_lie_in_the_cache_of_the_user_one_folder_per_model_and_batch_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, variable: str, below: str
) -> None:
    monkeypatch.setattr(providers.sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setenv(variable, str(tmp_path))
    assert engine_folder("abc", 32) == tmp_path / "anomaly-vae" / "tensorrt" / "abc-32"
    assert len({engine_folder(*each) for each in [("a", 1), ("a", 2), ("b", 1)]}) == 3
    monkeypatch.delenv(variable)
    assert engine_folder("abc", 32).is_relative_to(tmp_path / "home" / below)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with a driver, but without the libraries that a provider needs."""
    monkeypatch.setattr(providers, "cuda_devices", lambda: 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_whose_libraries_are_missing_is_refused(gpu: None, run: Path, device: str) -> None:
    with pytest.raises(DeviceError, match=f"--device {device}: .*could not load.*doctor"):
        LoadedModel(run / "model.onnx", device, None, silent)


def test_it_is_told_that_an_engine_will_be_built_and_not_if_there_is_one(
    gpu: None, run: Path
) -> None:
    told: list[str] = []
    with pytest.raises(DeviceError):
        LoadedModel(run / "model.onnx", "tensorrt", 4, told.append)
    folder = engine_folder(runtime.model_id((run / "model.onnx").read_bytes()), 4)
    assert len(told) == 1 and "minutes" in told[0] and str(folder) in told[0]
    (folder / "a.engine").touch()
    with pytest.raises(DeviceError):
        LoadedModel(run / "model.onnx", "tensorrt", 4, told.append)
    assert len(told) == 1


def test_a_cache_that_cannot_be_made_is_refused(gpu: None, run: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DeviceError, match="cannot be made"):
        LoadedModel(run / "model.onnx", "tensorrt", None, silent)


def test_a_picture_is_drawn_alone_or_in_any_batch(model: LoadedModel) -> None:
    images = noise(3)
    together = model.output(RECONSTRUCTION, images).astype(int)
    assert together.shape == images.shape
    for index in range(3):
        alone = model.output(RECONSTRUCTION, images[index : index + 1])[0]
        assert np.abs(alone - together[index]).max() <= 1


# --- which device


@pytest.mark.parametrize(("text", "device"), [
    ("auto", ("cuda", (0,))), ("cpu", ("cpu", (0,))), ("cuda", ("cuda", (0,))),
    ("cuda:1", ("cuda", (1,))), ("cuda:1,0,1", ("cuda", (1, 0))), ("tensorrt:1", ("tensorrt", (1,))),
])  # fmt: skip
def test_a_device_may_have_numbers(
    monkeypatch: pytest.MonkeyPatch, text: str, device: tuple[str, tuple[int, ...]]
) -> None:
    monkeypatch.setattr(providers, "cuda_devices", lambda: 2)
    assert device_of(text) == device


@pytest.mark.parametrize("text", ["gpu", "cpu:0", "cuda:", "cuda:2", "cuda:0,,1", "cuda:-1"])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(providers, "cuda_devices", lambda: 2)
    with pytest.raises(DeviceError, match=f"--device {text}: "):
        device_of(text)


def test_each_provider_is_told_the_number_of_its_card() -> None:
    for kind in ("cuda", "tensorrt"):
        (_, options), *_ = providers.providers_for(kind, 3)  # type: ignore[arg-type]
        assert options["device_id"] == "3"


def test_several_cards_share_the_batches_and_the_least_busy_has_the_next(run: Path) -> None:
    model, other = (LoadedModel(run / "model.onnx", "cpu", None, silent) for _ in range(2))
    expected = model.score(noise(3)).score
    model._loaded, model._running = [*model._loaded, *other._loaded], [0, 0]
    first, second = (each.result() for each in model._loaded)
    with model._least_busy() as one, model._least_busy() as two:
        assert (one, two) == (first, second)
        np.testing.assert_array_equal(model.score(noise(3)).score, expected)
    with pytest.raises(InterruptedError), model._least_busy():
        raise InterruptedError
    assert model._running == [0, 0]


# --- loading


def test_the_card_is_read_as_the_onnx_package_reads_it(run: Path) -> None:
    data = (run / "model.onnx").read_bytes()
    expected = {each.key: each.value for each in onnx.load_from_string(data).metadata_props}
    assert metadata_in(data) == expected
    assert "anomaly_vae" in expected


@settings(deadline=None, max_examples=200, derandomize=True, database=None)
@given(st.binary(max_size=200))
def test_what_is_no_onnx_file_has_no_metadata(data: bytes) -> None:
    assert isinstance(metadata_in(data), dict)


def test_a_file_that_is_cut_off_has_no_metadata(run: Path) -> None:
    data = (run / "model.onnx").read_bytes()
    assert metadata_in(data[:-1]) == metadata_in(data[: len(data) // 2]) == {}


def test_a_graph_that_cannot_be_run_is_said_before_anything_is_written(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    model, damaged = onnx.load(run / "model.onnx"), tmp_path / "model.onnx"
    model.graph.node[0].op_type = "Nonsense"
    onnx.save(model, damaged)
    with pytest.raises(ModelFileError, match="not a usable ONNX model"):
        Inspector(damaged, device="cpu")
    later = Inspector(damaged, device="cpu", wait=False)
    with pytest.raises(ModelFileError, match="not a usable ONNX model"):
        later.model.ready()
    outcome = command("inspect", damaged, parts / "test", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "not a usable ONNX model" in outcome.err
    assert not (tmp_path / "out").exists()


def test_for_a_few_photographs_no_graphics_card_is_started(
    gpu: None, run: Path, parts: Path, tmp_path: Path, command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    few = images_at([parts / "test"])
    assert not few.has_at_most(17)
    assert few.has_at_most(18)
    assert list(few.paths) == list_images(parts / "test")
    asked: list[str] = []
    inspector = inspection.Inspector
    monkeypatch.setattr(inspection, "Inspector", lambda *given, device, **more: (
        asked.append(device), inspector(*given, device="cpu", **more))[1])  # fmt: skip
    for most in (18, 17):
        monkeypatch.setattr("anomaly_vae_cli.commands.inspect._FEW", most)
        out = tmp_path / str(most)
        outcome = command(
            "inspect", run / "model.onnx", parts / "test", "--out", out, "--exit-zero"
        )
        assert outcome.code == 0, outcome.err
        assert "18 images: " in outcome.out
    assert asked == ["cpu", "auto"]
