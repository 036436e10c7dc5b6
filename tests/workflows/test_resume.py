"""Inspections that are stopped, killed, run out of space or are started twice lose nothing."""

import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from anomaly_vae import __version__
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.inspection import inspector as inspection
from anomaly_vae.inspection import reading
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.reporting.journal import Journal
from anomaly_vae.settings.images import ImageSettings

from ..conftest import Command, Outcome, shell
from ..small import judged

PROGRAM = str(Path(sys.executable).with_name("anomaly-vae"))
PLAIN = ("--heatmaps", "none", "--exit-zero", "--device", "cpu")


@pytest.fixture(scope="module")
def many(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred and sixteen photographs in twelve folders."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(12):
        shutil.copytree(parts / "test", folder / f"{number:02d}")
    return folder


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False)


def start(*arguments: object, **settings: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def rows_so_far(out: Path) -> int:
    path = out / "images.csv"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_tables(
    run: Path, many: Path, tmp_path: Path
) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    arguments = ("inspect", run / "model.onnx", many, *PLAIN)
    assert shell(*arguments, "--out", whole).returncode == 0
    moments, kills = random.Random(0), 0
    for share in (0.1, 0.5):
        process = start(*arguments, "--out", torn, "--resume", "--batch-size", 1)
        wanted = share * 216 + moments.randrange(20)
        while process.poll() is None and rows_so_far(torn) < wanted:
            time.sleep(0.01)
        time.sleep(moments.random() / 5)
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills >= 1
    last = shell(*arguments, "--out", torn, "--resume")
    assert last.returncode == 0
    assert "images were done before; 0 have changed" in last.stdout
    first, second = table(whole / "images.csv"), table(torn / "images.csv")
    assert list(first.path) == list(second.path)
    assert list(first.verdict) == list(second.verdict)
    assert ((first.score - second.score).abs() <= 1e-5 * first.score.abs().clip(1)).all()
    assert list(table(whole / "defects.csv").path) == list(table(torn / "defects.csv").path)
    summaries = [json.loads((out / "summary.json").read_text()) for out in (whole, torn)]
    assert summaries[0]["verdicts"] == summaries[1]["verdicts"]
    for one, other in zip(summaries[0]["drift"], summaries[1]["drift"], strict=True):
        assert one["images"] == other["images"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupted_run_says_how_to_go_on(run: Path, many: Path, tmp_path: Path) -> None:
    for attempt in range(5):  # on a fast machine it may be done before it is interrupted
        out = tmp_path / f"out{attempt}"
        arguments = ("inspect", run / "model.onnx", many, *PLAIN, "--out", out, "--batch-size", 1)
        # What runs in the background of a shell ignores Ctrl-C, and so would what it starts.
        heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = start(*arguments, preexec_fn=heeding)
        while process.poll() is None and not (out / "images.csv").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        if process.returncode == 130:
            break
    assert process.returncode == 130
    assert said.splitlines()[0].endswith("is kept in " + str(out) + "; give --resume to go on")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of a file")
def test_a_full_disk_is_one_line_and_costs_nothing(run: Path, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("inspect", run / "model.onnx", many, *PLAIN, "--out", out)

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (18_000, 18_000))

    process = start(*arguments, "--batch-size", 1, preexec_fn=little_room)
    _, said = process.communicate()
    assert process.returncode == 2
    assert len(said.splitlines()) == 1
    assert "cannot be written" in said
    assert shell(*arguments, "--resume").returncode == 0
    assert len(table(out / "images.csv")) == 216
    assert table(out / "images.csv").path.is_unique


def test_a_second_run_into_the_same_folder_is_refused(
    run: Path, many: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out"
    arguments = ("inspect", run / "model.onnx", many, *PLAIN, "--out", out)
    process = start(*arguments, "--batch-size", 1)
    while process.poll() is None and rows_so_far(out) < 2:
        time.sleep(0.01)
    for how in ("--resume", "--overwrite"):
        outcome = command(*arguments, how)
        assert outcome.code == 2
        assert "another inspection writes its results here" in outcome.err
    assert process.communicate()[1] == ""
    assert len(table(out / "images.csv")) == 216


def small(parts: Path, folder: Path) -> Path:
    return Path(shutil.copytree(parts / "test" / "good", folder / "photos"))


def inspect(command: Command, run: Path, *arguments: object) -> Outcome:
    return command("inspect", run / "model.onnx", *arguments, *PLAIN)


def test_a_finished_run_has_nothing_left_to_do(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    photos, out = small(parts, tmp_path), tmp_path / "out"
    inspect(command, run, photos, "--out", out)
    before = (out / "images.csv").read_bytes()
    outcome = inspect(command, run, photos, "--out", out, "--resume")
    assert outcome.code == 0
    assert "8 images were done before; 0 have changed" in outcome.out
    assert (out / "images.csv").read_bytes() == before


def test_new_and_changed_photographs_are_inspected_and_no_row_is_double(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    photos, out = small(parts, tmp_path), tmp_path / "out"
    inspect(command, run, photos, "--out", out)
    first, second, *_ = sorted(photos.iterdir())
    shutil.copy(second, photos / "new.png")
    shutil.copyfile(second, first)
    outcome = inspect(command, run, photos, "--out", out, "--resume")
    assert "7 images were done before; 1 have changed" in outcome.out
    images = table(out / "images.csv").set_index("path")
    assert images.index.is_unique
    assert len(images) == 9
    assert images.score[first.name] == images.score[second.name] == images.score["new.png"]


CHANGES = {
    "format": ("--format", "parquet"),
    "min area": ("--min-area", 9),
    "mm per pixel": ("--mm-per-pixel", 0.1),
}


@pytest.mark.parametrize("what", ["model", "source", *CHANGES])
def test_another_model_source_format_or_size_is_refused(
    run: Path, parts: Path, tmp_path: Path, command: Command, what: str
) -> None:
    photos, out = small(parts, tmp_path), tmp_path / "out"
    inspect(command, run, photos, "--out", out)
    before = (out / "images.csv").read_bytes()
    other = Path(shutil.copytree(run, tmp_path / "run"))
    if what == "model":
        command("calibrate", other, "--good", photos, "--criterion", "false-alarm-rate")
    outcome = command(
        *("inspect", other / "model.onnx", "--out", out, "--resume"),
        parts / "test" / "good" if what == "source" else photos,
        *CHANGES.get(what, ()),
    )
    assert outcome.code == 2
    assert f"was begun with another {what} (" in outcome.err
    assert (out / "images.csv").read_bytes() == before


def test_paths_on_standard_input_and_lines_of_json_on_standard_output(
    run: Path, parts: Path, tmp_path: Path
) -> None:
    good = sorted((parts / "test" / "good").iterdir())
    given = [good[0].relative_to(parts), Path(os.path.relpath(good[1], parts)), good[2]]
    lines = "".join(f"{path}\n" for path in [*given, given[0], Path("missing.png")])
    out = tmp_path / "out"
    done = subprocess.run(
        [PROGRAM, "inspect", str(run / "model.onnx"), "-", "--jsonl", "--out", str(out), *PLAIN],
        input=lines, capture_output=True, text=True, cwd=parts, check=True,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["path"] for each in found] == [*(p.as_posix() for p in given), "missing.png"]
    assert found[3]["verdict"] == "error"
    assert "4 images: " in done.stderr
    images = table(out / "images.csv")
    assert [each["path"] for each in found] == list(images.path)
    assert [each["score"] for each in found[:3]] == pytest.approx(
        images.score[:3].astype(float).tolist()
    )
    for each, regions in zip(found[:3], images.regions, strict=False):
        assert len(each["defects"]) == int(regions)


def test_sizes_are_as_they_were_asked_for_in_every_format(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    sizes = ("--min-area", 30, "--mm-per-pixel", 0.5)
    whole, out = tmp_path / "whole", tmp_path / "out"
    inspect(command, run, parts / "test", "--out", whole)
    said = inspect(command, run, parts / "test", "--out", out, "--jsonl", *sizes).out
    before, after = table(whole / "defects.csv"), table(out / "defects.csv")
    assert set(before.area_mm2) == set(before.equivalent_diameter_mm) == {""}
    large = before[before.area >= 30]
    alone = before[~before.path.isin(large.path)].groupby("path").head(1)  # the highest peak
    assert len(large) < len(before)
    expected = pd.concat([large, alone]).sort_values(["path", "region"])
    assert list(after.area) == list(expected.area)
    assert after.area_mm2.tolist() == pytest.approx((after.area / 4).tolist(), rel=1e-8)
    assert after.equivalent_diameter_mm.tolist() == pytest.approx(
        (after.equivalent_diameter / 2).tolist(), rel=1e-8
    )
    assert list(table(out / "images.csv").verdict) == list(table(whole / "images.csv").verdict)
    lines = [region for line in said.splitlines() for region in json.loads(line)["defects"]]
    assert [each["elongation"] for each in lines] == pytest.approx(after.elongation.tolist())
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["schema_version"], summary["min_area"], summary["mm_per_pixel"]) == (4, 30, 0.5)


def test_rows_and_summary_say_when_with_what_and_how(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out"
    outcome = inspect(command, run, parts / "test" / "good", "--out", out)
    assert outcome.code == 0
    images = table(out / "images.csv")
    at = pd.to_datetime(images.inspected_at, format="%Y-%m-%dT%H:%M:%S.%fZ", utc=True)
    assert set(images.model_name) == {"pixels"}  # its run folder
    assert set(images.program_version) == {__version__}
    assert images.id.is_unique
    summary = json.loads((out / "summary.json").read_text())
    begin, end = (pd.Timestamp(summary[name]) for name in ("begin", "end"))
    assert begin <= at.min() <= at.max() <= end
    assert summary["host"] == socket.gethostname()
    assert summary["command"].startswith("anomaly-vae inspect ")
    inspect(command, run, parts / "test" / "good", "--out", out, "--resume")
    assert json.loads((out / "summary.json").read_text())["begin"] == summary["begin"]


def test_single_photographs_and_folders_are_inspected(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    one, *_, last = sorted((parts / "test" / "good").iterdir())
    outcome = inspect(command, run, one, parts / "test" / "scratch", last, "--out", tmp_path / "o")
    assert outcome.code == 0, outcome.err
    listed = list(table(tmp_path / "o" / "images.csv").path)
    assert (listed[0], listed[-1]) == (one.as_posix(), last.as_posix())
    assert len(listed) > 3


def test_an_empty_list_is_a_mistake(run: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "inspect", str(run / "model.onnx"), "-", "--out", str(tmp_path / "o"), *PLAIN],
        input="", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "names no images" in done.stderr


def test_what_has_been_inspected_anew_counts_once_and_keeps_no_old_picture(
    own_run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    verdicts = judged(own_run, sorted((parts / "test").rglob("*.png")))
    good, bad = (next(p for p, v in verdicts.items() if v == each) for each in ("pass", "fail"))
    photos, out = small(parts, tmp_path), tmp_path / "out"
    first = sorted(photos.iterdir())[0]
    shutil.copyfile(bad, first)
    arguments = ("inspect", own_run / "model.onnx", photos, "--out", out, "--exit-zero")
    command(*arguments)
    picture = out / "heatmaps" / f"{first.name}.jpg"
    assert picture.exists()
    shutil.copyfile(good, first)
    command(*arguments, "--resume")
    assert not picture.exists()
    journal = Journal(out)
    assert sum(map(len, journal.statistics())) == 8  # what drift is judged by
    journal.close()


def test_lines_of_json_need_no_folder_of_results(run: Path, parts: Path, command: Command) -> None:
    outcome = command("inspect", run / "model.onnx", parts / "test", "--jsonl")
    assert len([json.loads(line) for line in outcome.out.splitlines()]) == 18
    refused = command("inspect", run / "model.onnx", parts / "test")
    assert (refused.code, refused.out) == (2, "")
    assert "expected --out DIR, or --jsonl" in refused.err


def test_parquet_has_the_columns_and_values_of_csv(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    inspect(command, run, parts / "test", "--out", tmp_path / "csv")
    inspect(command, run, parts / "test", "--out", tmp_path / "parquet", "--format", "parquet")
    for name in ("images", "defects"):
        rows = pd.read_csv(tmp_path / "csv" / f"{name}.csv", keep_default_na=True)
        same = pd.read_parquet(tmp_path / "parquet" / f"{name}.parquet")
        assert list(rows.columns) == list(same.columns)
        assert len(rows) == len(same)
        for column in ("path", "score", "verdict", "area", "peak"):
            if column in rows and rows[column].dtype.kind == "f":
                assert rows[column].tolist() == pytest.approx(same[column].tolist(), rel=1e-8)
            elif column in rows:
                assert rows[column].tolist() == same[column].tolist()


@pytest.mark.usefixtures("forbidden_b")
def test_a_folder_that_cannot_be_listed_is_no_pass(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(parts / "test" / "good", photos / "a")
    (photos / "b").mkdir()
    model = run / "model.onnx"
    outcome = command("inspect", model, photos, "--out", tmp_path / "out", "--heatmaps", "none")
    assert outcome.code == 1
    assert f"{photos / 'b'}: Permission denied" in outcome.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], len(summary["folders_not_listed"])) == (8, 1)


def test_a_photograph_that_vanishes_or_stalls_is_a_row(
    run: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = small(parts, tmp_path)
    gone, good, stalled, last, *_ = sorted(path.name for path in photos.iterdir())
    (photos / gone).unlink()
    ever = threading.Event()

    def load(path: Path, settings: ImageSettings, data: bytes | None) -> LoadedImage:
        if path.name == stalled:
            ever.wait()
        return load_image(path, settings, data)

    monkeypatch.setattr(reading, "load_part", load)
    monkeypatch.setattr(inspection, "PATIENCE", 0.5)
    inspector = Inspector(run / "model.onnx", device="cpu", workers=2)
    findings = list(inspector.inspect_files(photos, [gone, good, stalled, last]))
    ever.set()
    assert [finding.error for finding in findings] == [
        "the file no longer exists", "", "could not be read within 0.5 seconds", ""
    ]  # fmt: skip
