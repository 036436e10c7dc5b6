"""Parts that are stacks of slices, from training to the defect report."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.images.scans import draw_stack, save_stack, write_stacks
from anomaly_vae.inspection.inspector import Inspector

from ..conftest import QUICK, SHORT, Command

# Two epochs of two steps: what the code does does not depend on how much is known.
FEW = ("--set", "training.epochs=1", "--set", "training.steps_per_epoch=2",
       "--set", "training.batch_size=4")  # fmt: skip


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Castings as pages of files; in ``slices`` the test parts as files of a slice each."""
    folder = tmp_path_factory.mktemp("scans")
    write_stacks(folder, "castings", train=20, test_good=2, test_defective=2)
    for file in sorted((folder / "test").rglob("*.tif")):
        place = folder / "slices" / file.relative_to(folder / "test").with_suffix("")
        place.mkdir(parents=True)
        with Image.open(file) as image:
            for number in range(32):
                image.seek(number)
                image.save(place / f"{number + 1}.png")
    return folder


@pytest.fixture(scope="module")
def volume_run(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from anomaly_vae_cli import run

    out = tmp_path_factory.mktemp("volumes") / "run"
    words = ["-q", "train", scans / "train/good", "--out", out, "--config", "volume", *SHORT, *FEW,
             "--set", "split.folds=2"]  # fmt: skip
    assert run([str(each) for each in words]) == 0
    return out


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_pages_of_files_and_files_of_slices_have_the_same_rows(
    volume_run: Path, scans: Path, tmp_path: Path, command: Command
) -> None:
    model = volume_run / "model.onnx"
    one = command("inspect", model, scans / "test", "--out", tmp_path / "a", "--exit-zero")
    other = command("inspect", model, scans / "slices", "--out", tmp_path / "b", "--volumes", "^",
                    "--exit-zero", "--format", "parquet")  # fmt: skip
    assert (one.code, other.code) == (0, 0), one.err + other.err
    from anomaly_vae.reporting.parquet import ParquetReport

    for table in (0, 1):
        pages = list(command_rows(tmp_path / "a", table))
        files = list(ParquetReport.of_stacks().rows(tmp_path / "b", table))
        assert [Path(each["path"]).with_suffix("").as_posix() for each in pages] == [
            Path(each["path"]).parent.as_posix() for each in files
        ]
        for left, right in zip(pages, files, strict=True):
            for name in left.keys() - {"path", "id", "inspected_at", "model_name"}:
                assert left[name] == pytest.approx(right[name]), name
    defects = rows(tmp_path / "a" / "defects.csv")
    assert list(defects[0])[-4:-2] == ["slice", "depth"]
    assert all(1 <= int(each["slice"]) <= 32 and int(each["depth"]) >= 1 for each in defects)
    page = (tmp_path / "a" / "report.html").read_text()
    assert '"slices": [32, 6]' in page


def command_rows(folder: Path, table: int) -> list[dict[str, object]]:
    from anomaly_vae.reporting.tables import CsvReport

    return list(CsvReport.of_stacks().rows(folder, table))


def test_the_model_says_that_it_takes_stacks_and_gives_a_map_of_each_slice(
    volume_run: Path, scans: Path
) -> None:
    inspector = Inspector(volume_run / "model.onnx", device="cpu")
    assert (inspector.card.images.slices, inspector.card.images.volumes) == (32, "")
    finding = inspector.inspect(scans / "test/pore/000.tif")
    assert finding.verdict != "error"
    assert finding.anomaly_map is not None
    assert finding.anomaly_map.shape == (32 * 64, 64)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("inspect {volumes}/model.onnx {parts} --jsonl", "one picture, but run takes stacks of 32"),
        ("inspect {photographs}/model.onnx {parts} --jsonl --volumes ^", "takes photographs"),
        ("inspect {volumes}/model.onnx {scans} --jsonl --volumes (", "no regular expression"),
        (
            "inspect {volumes}/model.onnx {scans} --jsonl --model {photographs}/model.onnx",
            "takes stacks of slices; inspect with it alone",
        ),
        ("train {parts} --out {out} --config volume", "1 picture, no stack of slices"),
        ("train {scans} --out {out} --volumes ^", "images.volumes needs images.slices"),
        ("train {scans} --out {out} --config volume --detail 2", "images.detail: for photographs"),
        (
            "train {scans} --out {out} --config volume --smallest-defect 3",
            "--smallest-defect is for photographs",
        ),
        ("train {scans} --out {out} --set model.kind=volume", "needs features.source 'pixels'"),
        ("export {volumes} --out {out}/any.onnx --any-size", "model of stacks of slices"),
        ("generate {volumes} --out {out}", "its parts are stacks of slices"),
        ("traverse {volumes} {parts}/000.png --out {out}", "its parts are stacks of slices"),
        ("evaluate {volumes} {test} --out {out} --masks {parts}", "masks of stacks"),
        ("samples {out} --volumes wheels --size 64", "--volumes has one size"),
    ],
)
def test_what_has_no_meaning_for_stacks_is_refused_in_a_line(
    line: str, said: str, *, volume_run: Path, run: Path, parts: Path, scans: Path, tmp_path: Path,
    command: Command,
) -> None:  # fmt: skip
    places = {
        "volumes": volume_run, "photographs": run, "parts": parts / "train/good",
        "scans": scans / "train/good", "test": scans / "test", "out": tmp_path / "out",
    }  # fmt: skip
    outcome = command(*(each.format(**places) for each in line.split()))
    assert outcome.code == 2, outcome
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_stack_with_a_slice_less_is_an_error_and_stops_nothing(
    volume_run: Path, scans: Path, tmp_path: Path, command: Command
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    shutil.copy(scans / "test/good/000.tif", folder / "a.tif")
    save_stack(draw_stack(np.random.default_rng(0), "castings")[1:], folder / "b.tif")
    outcome = command("inspect", volume_run / "model.onnx", folder, "--jsonl")
    first, second = (json.loads(line) for line in outcome.out.splitlines())
    assert (first["status"], second["status"]) == ("ok", "error")
    assert "31 slices; expected 32" in second["error"]


def test_slices_are_seen_by_a_trunk_and_a_part_is_judged_by_all(
    scans: Path, tmp_path: Path, command: Command
) -> None:
    run = tmp_path / "run"
    outcome = command("train", scans / "train/good", "--out", run, "--config", "slices",
                      "--features", "embedded", *QUICK, *FEW,
                      "--set", "model.position=false")  # fmt: skip
    assert outcome.code == 0, outcome.err
    result = command("evaluate", run, scans / "test", "--out", tmp_path / "measured")
    assert result.code == 0, result.err
    finding = Inspector(run / "model.onnx", device="cpu").inspect(scans / "test/pore/000.tif")
    assert finding.anomaly_map is not None
    assert finding.anomaly_map.shape == (32 * 8, 8)
