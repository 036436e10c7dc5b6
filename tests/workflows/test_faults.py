"""The disk fails at every write, sync, rename and removal in turn: nothing untrue is left."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from PIL import Image

from anomaly_vae.calibration.metadata import card_to_json
from anomaly_vae.exporting import graph
from anomaly_vae.exporting.graph import replace_card
from anomaly_vae.images.decoding import load_image
from anomaly_vae.images.files import digest, stamp
from anomaly_vae.images.regions import Region
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.runtime import model_id
from anomaly_vae.outputs import LOCK, MARKER
from anomaly_vae.reporting import figures
from anomaly_vae.reporting.parquet import ParquetReport
from anomaly_vae.reporting.results import Results
from anomaly_vae.reporting.rows import Report
from anomaly_vae.reporting.tables import CsvReport
from anomaly_vae.scoring.batches import score_images
from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.transaction import complete
from anomaly_vae.workflows.export import drawn_images
from anomaly_vae.workflows.labelled import Photographs
from anomaly_vae.workflows.log import LOG, verified
from anomaly_vae.workflows.promote import AGAINST, CANDIDATE, promote
from anomaly_vae.workflows.recorder import Recorder
from anomaly_vae.workflows.runs import RESULTS, UNEXPORTED, load_detector, saved_config
from anomaly_vae.workflows.watch import Watch

from .. import small
from ..conftest import QUICK
from ..faults import KINDS, survive

BRIGHT, DARK = 200, 20  # a dark photograph is a defective one
# Operations that change the disk, at least: at each of them it fails, in three ways.
FEWEST = 80
SETTINGS = ImageSettings(size=32)


def photograph(path: Path, light: int, seed: int = 0) -> None:
    noise = np.random.default_rng(seed).integers(0, 20, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise + np.uint8(light)).save(path)


class Judge:
    """What stands for an inspector: a photograph fails if it is dark."""

    model_id, name, min_area, card = "abc", "press", 0.0, small.card()

    def inspect_files(self, folder: Path, paths: Iterable[str], _shown: Any) -> Iterator[Finding]:
        for path in paths:
            seen = stamp(folder / path)
            assert seen
            seen = seen._replace(sha256=digest(folder / path))
            image = load_image(folder / path, SETTINGS)
            dark = image.pixels.mean() < 100
            spot = (Region(1, 2, 3, 4, 10.5, 2.25, 3.75, 9.0, 6.125, 1.5),)
            yield Finding(
                path, "fail" if dark else "pass", score=2.0 if dark else 0.5, kl=1.0, stamp=seen,
                reconstruction_error=1.0, regions=spot if dark else (), image=image, width=40, height=40,
                anomaly_map=np.full((4, 4), 2.0 if dark else 0.0, np.float32),
            )  # fmt: skip

    def expected(self, _image: Any) -> None:
        return None


# --- inspect


def inspect(folder: Path, kind: type[Report], how: str) -> None:
    photos, judge = folder / "photos", Judge()
    paths = sorted(path.name for path in photos.iterdir())
    with Results(folder / "out", photos, {}, report=kind, **{how: True}) as results:  # type: ignore[arg-type]
        recorder = Recorder(judge, photos, results, page=False)  # type: ignore[arg-type]
        new = [path for path in paths if not results.is_done(path, stamp(photos / path))]
        for number, finding in enumerate(judge.inspect_files(photos, new, None)):
            recorder.record(finding)
            if number == 1:
                results.commit()
        recorder.finish()


def drawn(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out" / "heatmaps").glob("*"))


@pytest.mark.parametrize("kind", [CsvReport, pytest.param(ParquetReport, marks=pytest.mark.slow)])
def test_an_inspection_that_fails_anywhere_goes_on(tmp_path: Path, kind: type[Report]) -> None:
    folder, before = tmp_path / "all", tmp_path / "before"
    (before / "photos").mkdir(parents=True)
    for number, light in enumerate([BRIGHT, DARK, DARK]):
        photograph(before / "photos" / f"{number}.png", light, number)
    inspect(before, kind, "resume")
    assert drawn(before) == ["1.png.jpg", "2.png.jpg"]
    photograph(before / "photos" / "1.png", BRIGHT, 7)  # it passes now
    photograph(before / "photos" / "3.png", DARK, 3)
    verdicts = {"0.png": "pass", "1.png": "pass", "2.png": "fail", "3.png": "fail"}

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder, copy_function=os.link, ignore=lambda *_: [".state", "out"])
        shutil.copytree(before / "out", folder / "out")

    def check(said: str) -> None:
        inspect(folder, kind, "resume")
        rows = list(kind.rows(folder / "out"))
        assert {row["path"]: row["verdict"] for row in rows} == verdicts, said
        assert len(rows) == len({row["id"] for row in rows}) == 4, said
        summary = json.loads((folder / "out" / "summary.json").read_text())
        assert summary["verdicts"] == {"pass": 2, "fail": 2}, said
        assert drawn(folder) == ["2.png.jpg", "3.png.jpg"], said
        with Results(folder / "out", folder / "photos", {}, report=kind, resume=True) as results:
            assert sum(map(len, results.statistics())) == 4, said

    points = survive(folder, begin, lambda: inspect(folder, kind, "resume"), check)
    assert len(points) >= FEWEST


# --- watch


class Once:
    """Photographs that are there, as ``Arrivals`` gives them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.unlisted = folder, dict[str, Exception]()

    def batches(self, _idle: object) -> Iterator[list[str]]:
        for _time in range(2):
            yield sorted(path.name for path in self._folder.glob("*.png"))

    def again(self, _path: str) -> bool:
        return False


def watch(folder: Path) -> list[str]:
    inbox, judge, said = folder / "inbox", Judge(), list[str]()
    with Results(folder / "out", inbox, {}, resume=True, renew=False, move=True) as results:
        recorder = Recorder(judge, inbox, results, page=False)  # type: ignore[arg-type]
        watched = Watch(
            judge, inbox, results, recorder,  # type: ignore[arg-type]
            move_to=folder / "sorted", told=lambda _: None, warned=said.append,
        )  # fmt: skip
        watched.follow(Once(inbox), None)  # type: ignore[arg-type]
        watched.finish()
        recorder.finish()
    return said


@pytest.mark.parametrize(("drives", "kinds"), [
    (1, ("kill",)), pytest.param(1, KINDS, marks=pytest.mark.slow),
    pytest.param(2, KINDS, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_watched_folder_that_fails_anywhere_loses_and_mixes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drives: int, kinds: tuple[str, ...]
) -> None:
    if drives == 2:
        monkeypatch.setattr(
            "anomaly_vae.workflows.moving._drive", lambda folder: "sorted" in str(folder)
        )
    folder, whole = tmp_path / "all", dict[str, str]()

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "inbox").mkdir(parents=True)
        photograph(folder / "inbox" / "live.png", BRIGHT)
        watch(folder)
        for number, (name, light) in enumerate([("a.png", DARK), ("live.png", DARK)]):
            photograph(folder / "inbox" / name, light, 5 + number)
            whole[name] = digest(folder / "inbox" / name)

    def check(said: str) -> None:
        watch(folder)
        assert list((folder / "inbox").iterdir()) == [], said
        files = {path.relative_to(folder / "sorted").as_posix(): digest(path)
                 for path in (folder / "sorted").rglob("*") if path.is_file()}  # fmt: skip
        assert files.pop("pass/live.png"), said
        assert files == {f"fail/{name}": sha256 for name, sha256 in whole.items()}, said
        rows = pd.read_csv(folder / "out" / "images.csv")
        assert list(rows.path) == ["live.png", "a.png", "live.png"], said
        assert list(rows.verdict) == ["pass", "fail", "fail"], said
        assert rows.id.is_unique, said

    points = survive(folder, begin, lambda: watch(folder), check, kinds)
    assert len(points) >= FEWEST


# --- train, calibrate, export


TOGETHER = ("model.onnx", "card.html", "calibration.json", "config.yaml", "vae.safetensors",
            "normals.csv", "roc.png")  # fmt: skip


def facts(run: Path) -> dict[str, Any]:
    """What must belong together in a run folder; looked at once for the same files."""
    return _facts(run, tuple(digest(run / name) for name in TOGETHER))


@cache
def _facts(run: Path, digests: tuple[str, ...]) -> dict[str, Any]:
    inspector = Inspector(run / "model.onnx", device="cpu")
    card, config = inspector.card, saved_config(run)
    assert digests[0][:12] in (run / "card.html").read_text()
    threshold = json.loads((run / "calibration.json").read_text())["threshold"]
    assert threshold["score"] == card.threshold.score
    assert config.scoring.kl_weight == card.kl_weight
    pixels = drawn_images((64, 64, 3))[:2]
    trained = score_images(load_detector(run, config), pixels).score.numpy()
    assert np.allclose(trained, inspector.run(pixels).score, rtol=1e-3, atol=1e-3)
    return {
        "seed": config.training.seed,
        "threshold": round(card.threshold.score, 4),
        "kl_weight": card.kl_weight,
        "roc": (run / "roc.png").exists(),
        "normals": len(pd.read_csv(run / "normals.csv")),
        "epochs": len(pd.read_csv(run / "history.csv")),
    }


def graph_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the exporter work once: the same model comes again and again."""
    exported, kept = graph.to_onnx, list[bytes]()

    def to_onnx(detector: Any, size: int) -> onnx.ModelProto:
        if not kept:
            kept.append(exported(detector, size).SerializeToString())
        return onnx.load_from_string(kept[0])

    monkeypatch.setattr(graph, "to_onnx", to_onnx)


@pytest.fixture
def quick(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures, and no work of the exporter: the graph is that of a run that there is."""

    def figure(*given: Any, **_: Any) -> None:
        next(each for each in given if isinstance(each, Path)).write_bytes(b"")

    for name in ("save_scores", "save_roc", "save_training", "save_reconstructions"):
        monkeypatch.setattr(figures, name, figure)
    monkeypatch.setattr("anomaly_vae.workflows.record.save_latent_use", figure)

    def save(_self: Image.Image, place: Any, *_: Any, **__: Any) -> None:
        if isinstance(place, Path):
            place.write_bytes(b"")

    monkeypatch.setattr(Image.Image, "save", save)


def outcome(run: Path, before: dict[str, Any], after: dict[str, Any], said: str) -> bool:
    complete(run)
    found = facts(run)
    assert found in (before, after), said
    return found == after


@pytest.mark.exhaustive
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("weight", [False, True])
def test_a_calibration_that_fails_anywhere_is_the_old_one_or_the_new_one(
    *, run: Path, parts: Path, more_good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    weight: bool,
) -> None:  # fmt: skip
    from anomaly_vae.workflows import calibrate, kl_weight

    if weight:  # 3 is the best, and the graph computes with it
        chosen = kl_weight.WeightChoice(1.0, 3.0, {}, 0.1, (0.05, 0.2), adopted=True)
        monkeypatch.setattr(kl_weight, "choose_weight", lambda *_: chosen)
        graph_once(monkeypatch)
    folder = tmp_path / "run"
    good, bad = (Photographs(parts / "test" / name) for name in ("good", "scratch"))
    if weight:
        good, bad = Photographs(more_good), Photographs(parts / "test")

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run, folder)

    def work() -> None:
        calibrate.calibrate_run(folder, [good], bad, refit_kl_weight=weight)

    begin()
    before = facts(folder)
    work()
    after = facts(folder)
    assert (after["kl_weight"] == 3) == weight
    assert after["roc"] and not before["roc"]
    ends = set[bool]()
    points = survive(
        folder, begin, work, lambda said: ends.add(outcome(folder, before, after, said))
    )
    assert ends == {True, False}
    assert len(points) >= (55 if weight else 40)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_training_that_fails_anywhere_leaves_the_old_model_and_goes_on(
    run: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    from anomaly_vae.workflows import train

    graph_once(monkeypatch)
    folder = tmp_path / "run"
    short = (*QUICK[1::2], "features.source=pixels", "training.steps_per_epoch=2")
    config = load_config(None, [*short, "training.seed=3"])

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if overwrite:
            shutil.copytree(run, folder)

    def work(**how: bool) -> None:
        session = train.TrainingSession(parts / "train" / "good", folder, config, **how)  # type: ignore[arg-type]
        list(session.epochs())
        session.finish()

    begin()
    before = facts(folder) if overwrite else {}
    work(overwrite=overwrite)
    after, ends = facts(folder), set[bool]()
    assert after["seed"] == 3

    def check(said: str) -> None:
        complete(folder)
        if overwrite:
            done = outcome(folder, before, after, said)
        else:
            done = (folder / "model.onnx").exists()
        ends.add(done)
        if not done:
            begun = any(folder.rglob("checkpoint.safetensors"))
            work(resume=begun, overwrite=not begun)
        assert facts(folder) == after, said
        left = {path.name for path in folder.iterdir()} - set(RESULTS)
        assert left <= {".staged", LOCK, MARKER, LOG}, said
        assert not (folder / ".state").exists(), said

    # Three kinds of it would take a quarter of an hour; this is the one that leaves most undone.
    points = survive(folder, begin, lambda: work(overwrite=overwrite), check, ("kill",))
    assert ends == {True, False}
    assert len(points) >= FEWEST


def test_an_export_that_completes_a_run_gives_it_model_and_card_together(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomaly_vae.workflows.export import export_run

    model, folder = onnx.load(own_run / "model.onnx"), tmp_path / "all"
    monkeypatch.setattr(graph, "to_onnx", lambda *_, **__: model)
    monkeypatch.setattr(graph, "check_parity", lambda *_: None)
    card = Inspector(own_run / "model.onnx", device="cpu").card
    kept = folder / "run" / UNEXPORTED

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(own_run, folder / "run", ignore=lambda *_: ["model.onnx", "card.html"])
        kept.parent.mkdir()
        kept.write_text(card_to_json(card))

    def work() -> None:
        export_run(folder / "run", folder / "line.onnx", overwrite=True)

    def whole() -> bool:
        complete(folder / "run")
        there = [(folder / "run" / name).exists() for name in ("model.onnx", "card.html")]
        assert there == [not kept.exists()] * 2
        return not kept.exists()

    def check(said: str) -> None:
        ends.add(whole())
        work()
        assert whole(), said
        data = (folder / "run" / "model.onnx").read_bytes()
        assert (folder / "line.onnx").read_bytes() == data, said
        assert model_id(data) in (folder / "run" / "card.html").read_text(), said
        facts(folder / "run")

    ends = set[bool]()
    points = survive(folder, begin, work, check)
    assert ends == {True, False}
    assert len(points) >= 20


@pytest.mark.exhaustive
def test_an_export_that_fails_anywhere_leaves_the_old_file_or_the_new_one(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomaly_vae.workflows.export import export_run

    model = onnx.load(own_run / "model.onnx")
    monkeypatch.setattr(graph, "to_onnx", lambda *_, **__: model)
    folder = tmp_path / "all"

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "line.onnx").write_bytes(b"old")

    def work() -> None:
        export_run(own_run, folder / "line.onnx", overwrite=True)

    def check(said: str) -> None:
        data = (folder / "line.onnx").read_bytes()
        assert data == b"old" or Inspector(folder / "line.onnx", device="cpu").card, said
        work()
        assert [path.name for path in folder.iterdir()] == ["line.onnx"], said

    points = survive(folder, begin, work, check)
    assert len(points) >= 5


@pytest.mark.exhaustive
def test_a_promotion_that_fails_anywhere_leaves_the_old_model_or_the_new_one(
    own_run: Path, tmp_path: Path
) -> None:
    folder, model = tmp_path / "other", Inspector(own_run / "model.onnx", device="cpu")
    limit = replace(model.card.threshold, score=123.0)

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(own_run, folder)
        shutil.copytree(own_run, folder / CANDIDATE)
        replace_card(folder / CANDIDATE / "model.onnx", replace(model.card, threshold=limit))
        (folder / CANDIDATE / AGAINST).write_text(model.model_id)
        (folder / CANDIDATE / "roc.png").write_bytes(b"new")

    def check(said: str) -> None:
        complete(folder)
        entries, _ = verified(folder)  # the log is that of the model
        new = Inspector(folder / "model.onnx", device="cpu").card.threshold.score == 123
        assert new == (folder / "roc.png").exists() == (entries[-1]["action"] == "promote"), said
        assert new != (folder / CANDIDATE).exists(), said
        ends.add(new)

    ends = set[bool]()
    points = survive(folder, begin, lambda: promote(folder), check)
    assert ends == {True, False}
    assert len(points) >= 40
