"""A model for other programs says of photographs of any size what the program says."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.inspection.inspector import Inspector

from ..conftest import Command
from ..docs.pages import GUIDE, PAGES

# Where a compiler finds the headers of ONNX Runtime, if they are there.
HEADERS = [Path(each) for each in ("/usr/include/onnxruntime", "/usr/local/include/onnxruntime")]


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run and a model of it for other programs, ``any.onnx``."""
    from anomaly_vae.workflows.api import export

    folder = tmp_path_factory.mktemp("any_size")
    shutil.copytree(run, folder / "run")
    export(folder / "run", folder / "any.onnx", any_size=True)
    return folder


def test_scores_of_larger_and_smaller_photographs_are_those_of_the_program(
    exported: Path, parts: Path
) -> None:
    session = onnxruntime.InferenceSession(exported / "any.onnx")
    inspector = Inspector(exported / "run" / "model.onnx", device="cpu")
    limit: Threshold = inspector.card.threshold
    metadata = session.get_modelmeta().custom_metadata_map
    assert float(metadata["threshold"]) == limit.score
    assert float(metadata["map_threshold"]) == limit.anomaly_map
    part = Image.open(parts / "test" / "dent" / "000.png").convert("RGB")
    for side in (64, 63, 200, 517):
        photograph = np.asarray(part.resize((side, side + 2)))
        score, places = session.run(["score", "anomaly_map"], {"image": photograph})
        expected = inspector.inspect(photograph)
        assert score[0] == pytest.approx(expected.score, rel=1e-4, abs=1e-4)
        np.testing.assert_allclose(places[0], expected.anomaly_map, 1e-3, 1e-3)


def test_the_reference_is_what_comes_out_for_its_photograph(
    exported: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reference = np.load(exported / "run" / "reference.npz")
    session = onnxruntime.InferenceSession(exported / "any.onnx")
    assert capfd.readouterr().err == ""  # the runtime warns of what a graph does not use
    names = [each.name for each in session.get_outputs()][:4]
    assert {*reference} == {"image", *names}
    for name, value in zip(names, session.run(names, {"image": reference["image"]}), strict=True):
        np.testing.assert_allclose(value, reference[name], 1e-4, 1e-4)


def test_the_program_inspects_with_its_own_model(
    exported: Path, parts: Path, command: Command
) -> None:
    outcome = command("inspect", exported / "any.onnx", parts / "test", "--jsonl")
    assert outcome.code == 2
    assert "one for other programs" in outcome.err and outcome.err.count("\n") == 1
    own = command("export", exported / "run", "--out", exported / "run/model.onnx", "--any-size",
                  "--overwrite")  # fmt: skip
    assert own.code == 2 and "choose another --out" in own.err


def test_photographs_that_are_not_inspected_are_left_out_and_named(
    exported: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    for name in ("000.png", "001.png"):
        shutil.copy(parts / "test" / "good" / name, tmp_path / name)
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny.png")
    arguments = ("--any-size", "--good", tmp_path, "--overwrite")
    outcome = command("export", exported / "run", "--out", exported / "any.onnx", *arguments)
    assert outcome.code == 0
    assert "left out" in outcome.err and "tiny.png" in outcome.err
    assert "on 2 photographs" in outcome.out


@pytest.mark.slow
def test_the_program_in_cpp_compiles_and_says_the_same(exported: Path, tmp_path: Path) -> None:
    headers = next((each for each in HEADERS if (each / "onnxruntime_cxx_api.h").is_file()), None)
    if headers is None or not shutil.which("g++"):
        pytest.skip("no compiler with the headers of ONNX Runtime")
    (source,) = re.findall(r"```cpp\n(.*?)```", PAGES[GUIDE / "other-programs.md"], re.DOTALL)
    (tmp_path / "inspect.cpp").write_text(source, encoding="utf-8")
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)  # the name that the program looks for
    program = tmp_path / "inspect"
    subprocess.run(
        ["g++", "-std=c++17", f"-I{headers}", "-o", program, tmp_path / "inspect.cpp", library,
         f"-Wl,-rpath,{tmp_path}"], check=True,
    )  # fmt: skip
    reference = np.load(exported / "run" / "reference.npz")
    (tmp_path / "photograph.rgb").write_bytes(reference["image"].tobytes())
    height, width, _ = reference["image"].shape
    said = subprocess.run(
        [program, exported / "any.onnx", tmp_path / "photograph.rgb", str(width), str(height)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    _, score = said.stdout.split()
    assert float(score) == pytest.approx(float(reference["score"][0]), rel=1e-4, abs=1e-4)
