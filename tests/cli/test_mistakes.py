"""Every mistake a user can make: one line that names it and the remedy, exit code 2."""

import errno
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from anomaly_vae.outputs import MARKER

from ..conftest import QUICK, Command, shell


@pytest.fixture
def place(tmp_path: Path, parts: Path, run: Path) -> Path:
    """A folder with everything that mistakes are made with."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    for name in ("a.png", "b.jpg"):
        (tmp_path / "texts" / name).write_text("not an image")
    (tmp_path / "few").mkdir()
    good = sorted((parts / "train" / "good").iterdir())
    for path in good[:19]:
        shutil.copy(path, tmp_path / "few")
    (tmp_path / "one").mkdir()
    shutil.copy(good[0], tmp_path / "one")
    (tmp_path / "same").mkdir()
    for index in range(20):
        Image.new("RGB", (64, 64), (index, 0, 0)).save(tmp_path / "same" / f"{index}.bmp")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("keep me")
    (tmp_path / "file").write_text("a file, not a folder")
    Image.new("1", (64, 64)).save(tmp_path / "black.png")
    Image.new("1", (64, 48), 1).save(tmp_path / "wide.png")
    (tmp_path / "corrupt.onnx").write_bytes((run / "model.onnx").read_bytes()[:5000])
    (tmp_path / "text.onnx").write_text("not a model")
    onnx.save(foreign_model(), tmp_path / "foreign.onnx")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    (tmp_path / "broken.yaml").write_text("training: [\n")
    (tmp_path / "typo.yaml").write_text("training:\n  epoch: 3\n  seed: many\n")
    return tmp_path


def foreign_model() -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


TRAIN = "train {good} --out {place}/out --features pixels --set images.size=64 "
REVIEW = "calibrate {copy} --good {good} --defective {parts}/test/dent --criterion review "
SWEEP = "sweep {good} --out {place}/out --features pixels --set images.size=64 "
INSPECT = "inspect {run}/model.onnx {parts}/test --out {place}/out "
MISTAKES = {
    # training
    "train {place}/absent --out {place}/out --features pixels": "absent.*No such file.*expected a folder",
    "train {place}/file --out {place}/out --features pixels": "file.*Not a directory",
    "train {place}/empty --out {place}/out --features pixels": "empty.*holds no images.*png",
    "train {place}/texts --out {place}/out --features pixels": "none of 2 images is readable.*not a PNG",
    "train {place}/few --out {place}/out --features pixels": "19 readable images.*expected 20",
    "train {place}/one --out {place}/out --features pixels": "1 readable images.*expected 20",
    "train {good} --out {place}/used --features pixels": "used.*not empty.*--overwrite",
    "train {good} --out {place}/file --features pixels": "file.*cannot be used for results",
    "train {good} --out {place}/file/below --features pixels": "below.*cannot be used for results",
    "train {good} --out {place}/out --config {place}/absent.yaml": "absent.yaml.*cannot be read",
    "train {good} --out {place}/out --config {place}/list.yaml": "expected sections",
    "train {good} --out {place}/out --config {place}/broken.yaml": "broken.yaml.*not YAML",
    "train {good} --out {place}/out --config {place}/typo.yaml":
        "training.seed = 'many'.*integer.*unknown key 'training.epoch'.*did you mean 'epochs'",
    "train {good} --out {place}/out --features resnet19": "'resnet19'.*expected 'pixels' or",
    "train {good} --out {place}/out --weights {place}/absent.pth": "absent.pth.*no such file",
    "train {good} --out {place}/out --weights {place}/text.onnx": "text.onnx.*not a weights file",
    TRAIN + "--weights {place}/text.onnx": "--weights is for a trunk",
    TRAIN + "--set training.epochs": "expected SECTION.KEY=VALUE",
    TRAIN + "--set epochs=3": "expected SECTION.KEY=VALUE",
    TRAIN + "--set training.epochs=0": "training.epochs = 0.*greater than or equal to 1",
    TRAIN + "--set training.epochs=many": "training.epochs = 'many'.*integer",
    TRAIN + "--set training.speed=9": "unknown key 'training.speed'",
    TRAIN + "--set optimiser.name=sgd": "unknown key 'optimiser'",
    TRAIN + "--set images.size=70": "multiple of 4",
    TRAIN + "--set model.kind=transformer": "model.kind = 'transformer'",
    TRAIN + "--set model.beta=.nan": "model.beta",
    TRAIN + "--augment-with-samples -1": "training.samples = -1.*greater than or equal to 0",
    TRAIN + "--augment-with-samples many": "'--augment-with-samples'",
    TRAIN + "--augment-with-samples 5 --set split.stopping=0.4 --set split.calibration=0.4":
        "4 training images.*training.samples needs 10",
    "train {good} --out {place}/out --augment-with-samples 5": "training.samples needs features.source 'pixels'",
    TRAIN + "--seed -1": "training.seed = -1",
    TRAIN + "--seed x": "'--seed'",
    TRAIN + "--device cuda": "--device cuda",
    TRAIN + "--device tpu": "'tpu' is not one of",
    TRAIN + "--group-by part(": "not a regular expression",
    TRAIN + "--group-by nothing": "does not match",
    TRAIN + "--group-by png": "1 different groups",
    TRAIN + "--roi {place}/absent.png": "--roi .*absent.png: the file no longer exists",
    TRAIN + "--roi {place}/texts/a.png": "--roi .*a.png: not a PNG",
    TRAIN + "--roi {place}/black.png": "black.png: the mask is wholly black.*expected white",
    TRAIN + "--roi {place}/wide.png": "none of 24.*64 x 64 pixels do not have the proportions .* 64 x 48",
    TRAIN + "--set images.roi=aGVsbG8=": "images.roi = 'aGVsbG8=': expected the text that",
    TRAIN + "--set images.ignore=[[[0,0],[1,1]]]": "images.ignore.0 = .*3 corners or more",
    TRAIN + "--set images.inspect=[[[0,0],[0,1.5],[1,1]]]": "images.inspect.0.1.1 = 1.5: .*equal to 1",
    TRAIN + "--set images.ignore=[[[0,0],[1,0],[1,1],[0,1]]]": "leave 0 of 4096 places.*larger",
    TRAIN + "--set images.inspect=[[[0,0],[0,0.03],[0.03,0.03],[0.03,0]]]": "leave 4 of 4096 places",
    TRAIN + "--set images.fit=letterbox --set images.ignore=[[[0,0],[0,0.5],[1,1]]]": "or --roi",
    TRAIN + "--set training.learning_rate=1e38": "learning_rate = 1e.38.*less than or equal to 1000",
    "train": "Missing argument",
    "train {good}": "Missing option",
    "train {good} --out {place}/out --no-such-option": "No such option",
    # calibration and evaluation
    "calibrate {place}/empty --good {good}": "empty: not a run folder",
    "calibrate {copy} --good {place}/empty": "empty.*holds no images",
    "calibrate {copy} --good {place}/texts": "none of 2 images is readable",
    "calibrate {copy} --good {good} --target 0.001": "cannot be promised from 5 good.*999 or more",
    "calibrate {copy} --good {good} --target 2": "expected a share between 0 and 1",
    "calibrate {copy} --good {place}/one --defective {place}/one": "in the good folder too",
    "calibrate {copy} --good {good} --defective {place}/empty": "empty.*holds no images",
    "calibrate {copy} --good {good} --defective {good} --criterion recall --target 2": "between 0 and 1",
    "calibrate {copy} --good {good} --criterion best": "'best' is not one of",
    "evaluate {run} {place}/absent --out {place}/out": "absent.*expected a folder of images",
    "evaluate {run} {place} --out {place}/out": "expected one per class, one of them good, ok",
    "evaluate {run} {parts}/test --out {place}/used": "used.*not empty",
    "evaluate {run} {parts}/test --out {place}/out --masks {place}/empty": "has no mask for",
    "export {place}/empty --out {place}/m.onnx": "not a run folder",
    "export {run} --out {place}/file/m.onnx": "m.onnx.*cannot be written",
    "export {run} --out {place}/text.onnx": "text.onnx.*exists",
    "export {run} --out {place}/m.onnx --precision bf16": "'bf16' is not one of",
    "export {run} --out {place}/m.onnx --good {good}": "go with --precision fp16 or int8",
    "export {run} --out {place}/m.onnx --precision int8": "needs good images.*--good DIR",
    "export {run} --out {place}/m.onnx --precision fp16 --defective {good}": "needs good images.*--good DIR",
    "export {run} --out {place}/m.onnx --precision int8 --good {place}/one": "1 different images.*20 good",
    "export {run} --out {place}/m.onnx --precision int8 --good {place}/absent": "absent.*expected a folder",
    "export {run} --out {place}/m.onnx --precision int8 --good {good} --defective {good}": "either good or",
    "export {run} --out {place}/text.onnx --precision fp16": "text.onnx.*exists",
    "export {run} --out {run}/model.onnx --overwrite --precision fp16": "keeps its model in fp32",
    "export {place}/empty --out {place}/m.onnx --precision fp16": "not a run folder",
    "calibrate {copy} --good {good} --criterion recall": "recall needs examples.*--defective",
    "calibrate {copy} --good {good} --defective {good} --target 0.1": "--target goes with",
    "calibrate {copy} --good {good} --criterion review": "review needs examples.*--defective",
    "calibrate {copy} --good {good} --extrapolate": "--extrapolate needs --target",
    "calibrate {copy} --good {good} --defective {parts}/test/dent --target 0.1 --extrapolate": "--target goes",
    "calibrate {copy} --good {good} --defective {parts}/test/dent --extrapolate": "for good images alone",
    "calibrate {copy} --good {good} --defective {parts}/test/dent --review-rate 0.1": "--review-rate is for",
    "calibrate {copy} --good {good} --review-rate 5": "rate of 5: expected more than 0, less than 1",
    "calibrate {copy} --good {good} --defective {parts}/test/dent --cost-escape 5": "give all three",
    "calibrate {copy} --good {good} --defective {parts}/test/dent --criterion cost": "goes with --cost-escape",
    "calibrate {copy} --good {good} --fit-kl-weight": "needs examples of defects",
    REVIEW + "--target 0.1": "review takes neither --target nor costs",
    REVIEW + "--cost-escape 1 --cost-overkill 1 --defect-rate 0.1": "review takes neither",
    "calibrate {copy} --good {good} --review-recall 0.9": "go with --criterion review",
    TRAIN + "--set training.seed=1 --seed 2": "training.seed is given twice",
    SWEEP + "--vary model.beta=0,1 --set model.beta=2": "model.beta is given twice",
    "generate {run} --out {place}/out --from prior --good {good}": "prior uses no images",
    "inspect {run}/model.onnx {good} --jsonl --heatmaps all": "needed by.*--heatmaps",
    "--quiet --verbose info {run}/model.onnx": "contradict each other",
    "calibrate {copy} --good {good} --defective {parts}/test/dent --fit-kl-weight": "2 images of a class; expected 10",
    "evaluate {run} {parts}/test --out {place}/out --against {place}/empty": "model.onnx.*No such file",
    "config": "Missing command",
    "plan --false-alarm-rate 0": "--false-alarm-rate 0: expected a share",
    "plan --confidence 95": "--confidence 95: expected a share",
    TRAIN + "--set model.kind=patch": "'patch' needs a trunk",
    # inspection
    "inspect {place}/absent.onnx {parts}/test --out {place}/out": "absent.onnx.*No such file.*train",
    "inspect {run} {parts}/test --out {place}/out": "is a folder.*model.onnx",
    "inspect {place}/corrupt.onnx {parts}/test --out {place}/out": "corrupt.onnx.*not a usable ONNX",
    "inspect {place}/text.onnx {parts}/test --out {place}/out": "text.onnx.*not a usable ONNX",
    "inspect {place}/foreign.onnx {parts}/test --out {place}/out": "not one of Anomaly VAE",
    "inspect {run}/model.onnx {place}/absent --out {place}/out": "absent.*expected a folder",
    "inspect {run}/model.onnx {place}/empty --out {place}/out": "holds no images",
    "inspect {run}/model.onnx {parts}/test --out {place}/used": "used.*not empty",
    "inspect {run}/model.onnx {parts}/test --out {place}/file": "cannot be used for results",
    "inspect {run}/model.onnx {parts}/test": "for --out: expected --out DIR, or --jsonl",
    "inspect {run}/model.onnx {parts}/test --jsonl --resume": "for --out: needed by --resume",
    "inspect {run}/model.onnx {parts}/test --jsonl --format xlsx": "for --out: needed by.*--format",
    INSPECT + "--batch-size 0": "'--batch-size'",
    INSPECT + "--workers none": "'--workers'",
    INSPECT + "--device cuda": "--device cuda.*use --device cpu",
    INSPECT + "--device tensorrt": "--device tensorrt.*use --device cpu",
    INSPECT + "--min-area -1": "'--min-area': -1: expected a number from 0 to",
    INSPECT + "--min-area nan": "'--min-area': nan: expected a number",
    INSPECT + "--min-area inf": "'--min-area': inf: expected a number",
    INSPECT + "--min-area small": "'--min-area'",
    INSPECT + "--mm-per-pixel 0": "'--mm-per-pixel': 0: expected a number from 1e-09 to 1e.09",
    INSPECT + "--mm-per-pixel -0.1": "'--mm-per-pixel': -0.1: expected a number",
    INSPECT + "--mm-per-pixel nan": "'--mm-per-pixel': nan: expected a number",
    INSPECT + "--mm-per-pixel inf": "'--mm-per-pixel': inf: expected a number",
    INSPECT + "--format xls": "'xls' is not one of",
    "watch {run}/model.onnx {parts}/test --out {place}/out --min-area nan": "'--min-area': nan: expected",
    "watch {run}/model.onnx {parts}/test --out {place}/out --mm-per-pixel 0": "'--mm-per-pixel': 0: expected",
    "info {place}/text.onnx": "not a usable ONNX",
    # the latent space
    "generate {place}/empty --out {place}/out": "not a run folder",
    "generate {run} --out {place}/used": "used.*not empty",
    "generate {run} --out {place}/out --from posterior": "needs --good",
    "generate {run} --out {place}/out --good {place}/one": "1 readable images; expected 10",
    "generate {run} --out {place}/out --good {place}/absent": "absent.*No such file",
    "generate {run} --out {place}/out --count 0": "'--count'",
    "generate {run} --out {place}/out --temperature -1": "'--temperature'",
    "interpolate {run} {place}/absent.png {good}/000.png --out {place}/out": "absent.png: the file no longer",
    "interpolate {run} {good}/000.png {place}/texts/a.png --out {place}/out": "a.png: not a PNG",
    "interpolate {run} {good}/000.png {good}/001.png --out {place}/out --steps 1": "'--steps'",
    "traverse {run} {good} --out {place}/out": "good: cannot be decoded: Is a directory",
    "traverse {run} {good}/000.png --out {place}/used": "used.*not empty",
    "traverse {run} {good}/000.png --out {place}/out --sort size": "'size' is not one of",
    "latents {run} {place}/empty --out {place}/out": "empty.*holds no images",
    "latents {run} {place}/one --out {place}/out": "1 readable images; expected 3",
    "restore {run} {place}/texts/a.png --out {place}/out": "a.png: not a PNG",
    "restore {run} {place}/absent --out {place}/out": "absent: the file no longer exists",
    "restore {run} {place}/empty --out {place}/out": "empty.*holds no images",
    "restore {run} {place}/texts --out {place}/out": "texts: none of 2 images is readable; a.png: not a PNG",
    "restore {run} {good} --out {place}/used": "used.*not empty",
    "restore {run} {good} --out {place}/file": "file.*cannot be used for results",
    "interpolate {run} {good}/000.png {good}/001.png --out {place}/out --format mp4": "'mp4' is not one of",
    "restore {run} {good}/000.png --out {place}/file": "file.*cannot be used for results",
    # studies
    "sweep {good} --out {place}/out": "Missing option '--vary'",
    SWEEP + "--vary model.beta": "expected SECTION.KEY=VALUES",
    SWEEP + "--vary model.beta=": "nothing to vary",
    SWEEP + "--vary model.bet=1,2": "unknown key 'model.bet', did you mean 'beta'",
    SWEEP + "--vary model.beta=-1,0 --vary model.latent_size=0":
        "model.latent_size = 0: .*; model.beta = -1: .*greater than or equal to 0",
    SWEEP + "--vary model.beta=0,1 --vary model.beta=2": "model.beta is given twice",
    SWEEP + "--vary model.beta=1 --set training.epochs=0": "training.epochs = 0",
    SWEEP + "--vary features.source=pixels,resnet18": "features.source is given twice",
    "sweep {good} --out {place}/out --vary features.source=pixels,resnet19": "'resnet19'.*expected 'pixels' or",
    SWEEP + "--vary model.beta=1 --seeds 0": "'--seeds'",
    SWEEP + "--vary model.beta=1 --weights {place}/text.onnx": "--weights is for a trunk",
    SWEEP + "--vary model.beta=1 --test {place}/absent": "absent.*expected a folder of images",
    SWEEP + "--vary model.beta=1 --test {place}": "expected one per class, one of them good, ok",
    SWEEP + "--vary model.beta=1 --device cuda": "--device cuda",
    "sweep {good} --out {place}/used --vary model.beta=1 --features pixels": "used.*not empty",
    "sweep {place}/empty --out {place}/out --vary model.beta=1 --features pixels": "holds no images",
    "sweep {place}/few --out {place}/out --vary model.beta=1 --features pixels": "19 readable.*expected 20",
    "sweep {good} --out {place}/out --vary model.beta=1 --weights {place}/absent.pth": "absent.pth.*no such file",
    # the rest
    "samples {place}/used": "used.*not empty",
    "samples {place}/out --size 8": "'--size'",
    "demo --out {place}/used": "used.*not empty",
    "config show {place}/typo.yaml": "unknown key",
    "--log-file {place}/empty info {run}/model.onnx": "--log-file.*Is a directory",
    "no-such-command": "No such command",
    "--no-such-option": "No such option",
}  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), MISTAKES.items(), ids=list(MISTAKES))
def test_a_mistake_is_one_line_and_exit_code_2(
    line: str, expected: str, place: Path, parts: Path, run: Path, command: Command
) -> None:
    import re

    from anomaly_vae.inspection.providers import cuda_devices

    if ("cuda" in line or "tensorrt" in line) and cuda_devices():
        pytest.skip("needs a machine without a GPU")
    copy = place / "copy"
    if "{copy}" in line:
        shutil.copytree(run, copy)
    good = parts / "train" / "good"
    words = [
        w.format(place=place, parts=parts, run=run, good=good, copy=copy) for w in line.split()
    ]
    outcome = command(*words)
    assert outcome.code == 2, outcome
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    assert re.search(expected, lines[0]), lines[0]
    assert (place / "used" / "mine.txt").read_text() == "keep me"


def test_overwrite_keeps_what_is_not_ours(
    run: Path, parts: Path, place: Path, command: Command
) -> None:
    out = place / "used"
    outcome = command("inspect", run / "model.onnx", parts / "test", "--out", out, "--overwrite")
    assert outcome.code in (0, 1)
    assert (out / "mine.txt").read_text() == "keep me"
    assert (out / "images.csv").exists()


FOREIGN = {
    "samples {out} --overwrite": "holds ground_truth, test, train, and nothing says that 'samples'",
    "train {good} --out {out} --features pixels --resume": "holds config.yaml, and nothing says",
    "train {good} --out {out} --features pixels --overwrite": "holds config.yaml, and nothing",
    "evaluate {run} {parts}/test --out {run} --overwrite": "made by 'train', not 'evaluate'",
    "inspect {run}/model.onnx {good} --out {run} --resume": "made by 'train', not 'inspect'",
    "train {good} --out {run} --features pixels --overwrite --resume": "contradict each other",
    "inspect {run}/model.onnx {good} --out {out} --overwrite --resume": "contradict each other",
    "sweep {good} --out {out} --vary model.beta=0,1 --overwrite --resume": "contradict each other",
}


@pytest.mark.parametrize(("line", "expected"), FOREIGN.items(), ids=list(FOREIGN))
def test_what_is_not_ours_is_never_replaced(
    line: str, expected: str, own_run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    """A person's own data set, with the names that results of this program have."""
    out = tmp_path / "mine"
    for name in ("train/good/0.png", "test/good/0.png", "ground_truth/a.png", "config.yaml"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    good = parts / "train" / "good"
    outcome = command(
        *(w.format(out=out, run=own_run, parts=parts, good=good) for w in line.split())
    )
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert expected in outcome.err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_run_of_an_earlier_version_may_be_trained_anew(
    own_run: Path, parts: Path, command: Command
) -> None:
    (own_run / MARKER).unlink()
    outcome = command("train", parts / "train" / "good", "--out", own_run, "--features", "pixels",
                      *QUICK, "--overwrite")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert json.loads((own_run / MARKER).read_text())["made_by"] == "train"


def test_folders_of_drawn_parts_say_that_they_are_photographs(
    command: Command, tmp_path: Path
) -> None:
    few = ("--train", 1, "--test-good", 1, "--test-defective", 5, "--size", 32)
    assert command("samples", tmp_path / "parts", *few).code == 0
    assert command("samples", tmp_path / "parts", *few, "--overwrite").code == 0
    assert json.loads((tmp_path / "parts" / MARKER).read_text())["holds"] == "photographs"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions differ on Windows")
def test_an_unwritable_output_is_refused(run: Path, parts: Path, command: Command) -> None:
    # /proc takes no new folders, not even from root.
    outcome = command("inspect", run / "model.onnx", parts / "test", "--out", "/proc/out")
    assert outcome.code == 2
    assert "cannot be used for results" in outcome.err


def test_unreadable_good_images_are_named_and_left_out(
    parts: Path, command: Command, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    shutil.copytree(parts / "train" / "good", good)
    (good / "broken.png").write_text("not an image")
    outcome = command("train", good, "--out", tmp_path / "r", "--features", "pixels",
                      "--set", "images.size=32", "--set", "training.epochs=1")  # fmt: skip
    assert outcome.code == 0
    assert "broken.png is left out" in outcome.err
    assert "24 good images" in outcome.out


def test_an_internal_error_is_one_line_and_exit_code_3(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("anomaly_vae.settings.files.load_config", fail)
    outcome = command("config", "show")
    assert outcome.code == 3
    assert outcome.err == "error: internal error: RuntimeError: a bug (--debug shows where)\n"
    with pytest.raises(RuntimeError):
        command("--debug", "config", "show")


def test_a_full_disk_is_one_line_wherever_it_is_found_full(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run/roc.png")

    monkeypatch.setattr("anomaly_vae.settings.files.load_config", full)
    outcome = command("config", "show")
    said = "error: run/roc.png: No space left on device; make room, and try again\n"
    assert (outcome.code, outcome.err) == (2, said)


def test_names_that_a_console_cannot_show_do_not_stop_the_program(tmp_path: Path) -> None:
    import os
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", "from anomaly_vae_cli import main; main()", "info", "\u2603.onnx"],
        capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"\\u2603.onnx" in done.stderr


def test_a_run_with_scores_that_are_all_the_same_is_refused(place: Path, command: Command) -> None:
    # Twenty one-coloured pictures: nothing to learn from; either it works or it says why not.
    outcome = command("train", place / "same", "--out", place / "out", "--features", "pixels",
                      "--set", "images.size=32", "--set", "training.epochs=1")  # fmt: skip
    assert outcome.code in (0, 2)
    assert len(outcome.err.strip().splitlines()) <= 1


def test_quiet_says_nothing_and_the_log_has_it(run: Path, command: Command, tmp_path: Path) -> None:
    outcome = command("-q", "--log-file", tmp_path / "log.txt", "info", run / "model.onnx")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert "threshold.score" in (tmp_path / "log.txt").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="bytes in names differ")
def test_names_of_files_neither_end_the_program_nor_steer_the_terminal(
    command: Command, tmp_path: Path
) -> None:
    log = tmp_path / os.fsdecode(b"log\xff.txt")
    name = os.fsdecode(b"a\xff\x1b[2J\x1b[8m\xc2\x9b5m\x07.onnx")
    for _ in range(2):
        outcome = command("--log-file", log, "info", name)
        assert (outcome.code, outcome.out) == (2, "")
        assert "a\\udcff\\x1b[2J\\x1b[8m\\x9b5m\\x07.onnx: No such file" in outcome.err
    written = log.read_text(encoding="utf-8")
    assert written.count("No such file") == 2
    assert "\x1b" not in written


def test_the_help_of_every_command_fits_80_columns() -> None:
    from anomaly_vae_cli import app

    names = [
        info.name or info.callback.__name__ for info in app.registered_commands if info.callback
    ]
    assert {
        "train",
        "calibrate",
        "evaluate",
        "inspect",
        "demo",
        "samples",
        "info",
        "doctor",
    } <= set(names)
    for name in names:
        shown = shell(name, "--help")
        assert shown.returncode == 0
        assert max(len(line) for line in shown.stdout.splitlines()) <= 80


def test_plain_arrays_reach_no_picture(tmp_path: Path) -> None:
    """The demo's own parts are what the command `samples` draws."""
    outcome = shell("samples", tmp_path / "s", "--train", 1, "--test-good", 1, "--test-defective", 5,
                    "--size", 32)  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert len(list((tmp_path / "s").rglob("*.png"))) == 12
    assert np.asarray(Image.open(tmp_path / "s" / "train" / "good" / "000.png")).shape == (
        32,
        32,
        3,
    )


def test_an_interruption_is_said_and_has_its_exit_code(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("anomaly_vae.inspection.diagnosis.diagnose", interrupted)
    outcome = command("doctor")
    assert (outcome.code, outcome.err) == (130, "error: interrupted\n")
