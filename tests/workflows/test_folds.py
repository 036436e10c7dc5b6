"""Folds: each good photograph judged by a model that has not seen it, then one model of all."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomaly_vae.calibration.conformal import good_only_limit
from anomaly_vae.errors import ConfigError
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.settings.files import load_config
from anomaly_vae.training import folds as cross_fitting
from anomaly_vae.workflows.train import TrainingSession

from ..conftest import SHORT, Command

SETTINGS = ("features.source=pixels", "split.folds=3", *SHORT[1::2])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trained(good: Path, out: Path) -> Path:
    from anomaly_vae_cli import run

    settings = [word for each in SETTINGS for word in ("--set", each)]
    assert run(["-q", "train", str(good), "--out", str(out), *settings]) == 0
    return out


@pytest.fixture(scope="module")
def good(parts: Path) -> Path:
    return parts / "train" / "good"


@pytest.fixture(scope="module")
def crossed(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(good, tmp_path_factory.mktemp("crossed") / "run")


def test_each_photograph_is_in_one_fold_and_all_set_the_limits(crossed: Path) -> None:
    rows = table(crossed / "normals.csv")
    assert sorted(row["part"] for row in rows) == [f"fold {k}" for k in (1, 2, 3) for _ in range(8)]
    assert {row["seen"] for row in rows} == {"True"}
    threshold = json.loads((crossed / "calibration.json").read_text())["threshold"]
    scores = np.array([float(row["score"]) for row in rows])
    assert threshold["good"] == 24
    assert threshold["score"] == pytest.approx(good_only_limit(scores)[0], rel=1e-6)
    assert "each judged by a model that has not seen it" in threshold["assurance"]


def test_what_is_held_out_seems_stranger_than_to_the_model_that_has_learned_from_it(
    crossed: Path, good: Path
) -> None:
    rows = table(crossed / "normals.csv")
    inspected = Inspector(crossed / "model.onnx").inspect_files(good, [row["path"] for row in rows])
    seen = np.array([finding.score for finding in inspected])
    held_out = np.array([float(row["score"]) for row in rows])
    assert np.median(seen) < np.median(held_out)


def test_new_good_parts_have_the_level_of_those_held_out(crossed: Path, more_good: Path) -> None:
    """The level of the last model is that of the folds': the medians lie within a spread."""
    paths = sorted(path.name for path in more_good.iterdir())
    new = [each.score for each in Inspector(crossed / "model.onnx").inspect_files(more_good, paths)]
    held_out = [float(row["score"]) for row in table(crossed / "normals.csv")]
    assert abs(np.median(new) - np.median(held_out)) < 2


def test_no_model_of_a_fold_learns_from_its_own_photographs(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other pixels in the photographs of a fold change nothing in the model that judges it.

    But for the number of epochs, which is that of the first training for all.
    """
    # By path: by content, other pixels would give other folds.
    settings = [*SETTINGS, "training.epochs=1", "split.group_by=.+"]
    kept: dict[str, list[dict[str, torch.Tensor]]] = {}
    original = cross_fitting.CrossFit._keep

    def train(name: str, folder: Path) -> None:
        def keep(self: cross_fitting.CrossFit, number: int) -> None:
            original(self, number)
            state = {key: value.clone() for key, value in self.detector.model.state_dict().items()}
            kept.setdefault(name, []).append(state)

        monkeypatch.setattr(cross_fitting.CrossFit, "_keep", keep)
        session = TrainingSession(folder, tmp_path / name, load_config(None, settings))
        list(session.epochs())
        session.finish()

    train("as_they_are", good)
    split = TrainingSession(good, tmp_path / "split", load_config(None, settings)).split
    changed = Path(shutil.copytree(good, tmp_path / "photographs"))
    third = [name for name, part in zip(sorted(p.name for p in good.iterdir()), split.parts,
                                        strict=True) if part == "fold 3"]  # fmt: skip
    for number, name in enumerate(third):
        noise = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(changed / name)
    train("changed", changed)
    same = [
        all(torch.equal(one[key], other[key]) for key in one)
        for one, other in zip(kept["as_they_are"], kept["changed"], strict=True)
    ]
    assert same == [False, False, True]


def test_an_interrupted_cross_fit_goes_on_with_what_is_done(
    good: Path, crossed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(None, list(SETTINGS))
    session = TrainingSession(good, tmp_path / "run", config)
    list(session.epochs())
    trained = []
    original = cross_fitting.Retraining

    class Counted(original):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: object, **options: object) -> None:
            if len(trained) == 1:
                raise KeyboardInterrupt
            trained.append(options["checkpoint"])
            super().__init__(*arguments, **options)

    monkeypatch.setattr(cross_fitting, "Retraining", Counted)
    with pytest.raises(KeyboardInterrupt):
        session.finish()
    monkeypatch.setattr(cross_fitting, "Retraining", original)
    longer = load_config(None, [*SETTINGS, "training.epochs=3"])  # the folds would differ in length
    with pytest.raises(ConfigError, match="began with other settings"):
        TrainingSession(good, tmp_path / "run", longer, resume=True)
    resumed = TrainingSession(good, tmp_path / "run", config, resume=True)
    assert list(resumed.epochs()) == []
    resumed.finish()
    assert (tmp_path / "run/normals.csv").read_bytes() == (crossed / "normals.csv").read_bytes()
    assert not (tmp_path / "run/.state").exists()


# --- suspicious photographs


@pytest.fixture(scope="module")
def dirty(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The good parts and one that is not: a square is cut out of it."""
    folder = Path(shutil.copytree(good, tmp_path_factory.mktemp("dirty") / "good"))
    image = np.array(Image.open(good / sorted(p.name for p in good.iterdir())[0]))
    image[24:36, 24:36] = (255, 0, 255)
    Image.fromarray(image).save(folder / "zz_cut.png")
    return folder


@pytest.fixture(scope="module")
def of_dirty(dirty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(dirty, tmp_path_factory.mktemp("of_dirty") / "run")


def test_a_defect_among_the_good_is_the_most_suspicious(of_dirty: Path) -> None:
    rows = table(of_dirty / "suspicious.csv")
    assert len(rows) == 25
    assert rows[0]["path"] == "zz_cut.png"
    assert float(rows[0]["p_value"]) == pytest.approx(1 / 25)
    x, y = (float(part.split()[1]) for part in rows[0]["reason"].split("around ")[1].split(", "))
    assert 20 < x < 40 and 20 < y < 40
    assert [float(row["score"]) for row in rows] == sorted(
        (float(row["score"]) for row in rows), reverse=True
    )
    with Image.open(of_dirty / "suspicious.jpg") as sheet:
        assert sheet.size == (6 * 192, 2 * 192)
    assert "zz_cut.png" in (of_dirty / "card.html").read_text()


def test_what_a_person_marks_is_left_out(
    dirty: Path, of_dirty: Path, command: Command, tmp_path: Path
) -> None:
    text = (of_dirty / "suspicious.csv").read_text()
    marked = tmp_path / "marked.csv"
    # As a German spreadsheet saves it.
    marked.write_text(text.replace("zz_cut.png,,", "zz_cut.png,x,").replace(",", ";"), "utf-8-sig")
    out = tmp_path / "run"
    settings = [word for each in SETTINGS for word in ("--set", each)]
    outcome = command("train", dirty, "--out", out, *settings, "--exclude", marked)
    assert outcome.code == 0, outcome.err
    assert f"left out by {marked}: zz_cut.png" in " ".join(outcome.out.split())
    assert "zz_cut.png" not in {row["path"] for row in table(out / "normals.csv")}
    record = json.loads((out / "training.json").read_text())
    assert record["excluded"] == ["zz_cut.png"]
    assert f"--exclude {marked}" in record["command"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "no photograph in .* is marked; write x into the column exclude"),
        (("--exclude-above", 1e6), r"no photograph in .* has a score above 1e\+06"),
    ],
)
def test_a_table_that_leaves_nothing_out_is_refused(
    options: tuple[object, ...],
    expected: str,
    dirty: Path,
    of_dirty: Path,
    command: Command,
    tmp_path: Path,
) -> None:
    import re

    outcome = command("train", dirty, "--out", tmp_path / "run",
                      "--exclude", of_dirty / "suspicious.csv", *options)  # fmt: skip
    assert outcome.code == 2
    assert re.search(expected, outcome.err), outcome.err


def test_another_photograph_of_the_same_name_is_not_left_out(
    dirty: Path, of_dirty: Path, command: Command, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(dirty, tmp_path / "good"))
    first = table(of_dirty / "suspicious.csv")[0]
    other = next(path for path in folder.iterdir() if path.name != first["path"])
    shutil.copy(other, folder / first["path"])
    outcome = command("train", folder, "--out", tmp_path / "run", "--exclude",
                      of_dirty / "suspicious.csv", "--exclude-above",
                      float(first["score"]) - 1e-3)  # fmt: skip
    assert outcome.code == 2
    assert "is not the photograph that" in outcome.err


def test_a_limit_without_a_table_is_refused(good: Path, command: Command, tmp_path: Path) -> None:
    outcome = command("train", good, "--out", tmp_path / "run", "--exclude-above", 3)
    assert (outcome.code, "--exclude-above goes with --exclude" in outcome.err) == (2, True)
