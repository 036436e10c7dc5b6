"""Several models for the same photographs: each judges as it would alone, and each is read once."""

import csv
import shutil
from pathlib import Path

import pytest

from anomaly_vae.errors import InputError
from anomaly_vae.exporting.graph import replace_card
from anomaly_vae.inspection import reading
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.several import Several

from ..conftest import Command


@pytest.fixture(scope="module")
def models(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of other names, of which the second fails everything."""
    import dataclasses

    folder = tmp_path_factory.mktemp("models")
    top = Path(shutil.copy(run / "model.onnx", folder / "top.onnx"))
    card = Inspector(top, device="cpu").card
    severe = dataclasses.replace(card.threshold, score=-1e9, review=None)
    replace_card(top, dataclasses.replace(card, threshold=severe), folder / "side.onnx")
    return top, folder / "side.onnx"


@pytest.fixture
def photographs(parts: Path, tmp_path: Path) -> Path:
    """Good parts from the top and from the side."""
    good = sorted((parts / "test" / "good").iterdir())
    for number, path in enumerate(good):
        target = tmp_path / "photographs" / ("top" if number % 2 else "side") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path / "photographs"


def verdicts(out: Path) -> dict[str, tuple[str, str]]:
    with (out / "images.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: (row["verdict"], row["score"]) for row in csv.DictReader(file)}


def test_each_model_judges_as_it_does_alone_and_each_photograph_is_read_once(
    models: tuple[Path, Path],
    photographs: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded = list[Path]()
    load = reading.load_part

    def counted(file: Path, *rest: object) -> object:
        decoded.append(file)
        return load(file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "load_part", counted)
    out, (top, side) = tmp_path / "out", models
    outcome = command("inspect", top, photographs, "--model", side, "--out", out)
    assert outcome.code == 1, outcome.err
    assert len(decoded) == len(set(decoded)) == 8
    assert "\ntop:\n" in outcome.out
    assert "\nside:\n" in outcome.out
    for model in models:
        alone = tmp_path / model.stem
        command("inspect", model, photographs, "--out", alone)
        assert verdicts(out / model.stem) == verdicts(alone)
    again = command("inspect", top, photographs, "--model", side, "--out", out, "--resume")
    assert again.out.count("8 images were done before") == 2
    assert len(decoded) == 3 * 8  # nothing was read anew


def test_models_that_see_otherwise_get_what_they_would_see_alone(
    models: tuple[Path, Path], photographs: Path, tmp_path: Path
) -> None:
    import dataclasses

    top, _ = models
    card = Inspector(top, device="cpu").card
    images = dataclasses.replace(card.images, filter="bilinear")
    other = tmp_path / "other.onnx"
    replace_card(top, dataclasses.replace(card, images=images), other)
    inspectors = [Inspector(each, device="cpu") for each in (top, other)]
    paths = [each.relative_to(photographs).as_posix() for each in photographs.rglob("*.png")]
    found = Several(inspectors).inspect_files(
        photographs, [(path, (0, 1)) for path in paths], [lambda _: True] * 2
    )
    scores = {(number, each.path): each.score for number, each in found}
    for number, inspector in enumerate(inspectors):
        for each in inspector.inspect_files(photographs, paths):
            assert scores[number, each.path] == pytest.approx(each.score, rel=1e-5)


def test_a_route_chooses_the_model_and_says_which_photographs_have_none(
    models: tuple[Path, Path], photographs: Path, tmp_path: Path, command: Command
) -> None:
    (top, side), out = models, tmp_path / "out"
    shutil.copytree(photographs / "top", photographs / "below")
    words = ("inspect", top, photographs, "--model", side, "--out", out)
    outcome = command(*words, "--route", "^(top|side|below)/")
    assert outcome.code == 1
    assert "and 3 more: --route finds no model's name: not inspected" in outcome.err
    assert {path.split("/")[0] for path in verdicts(out / "top")} == {"top"}
    assert {each for each, _ in verdicts(out / "side").values()} == {"fail"}
    assert len(verdicts(out / "side")) == 4


def test_what_cannot_be_told_apart_is_refused(
    models: tuple[Path, Path], photographs: Path, tmp_path: Path, command: Command
) -> None:
    top, side = models
    words = ("inspect", top, photographs, "--out", tmp_path / "out")
    assert "two models are called 'top'" in command(*words, "--model", top).err
    for wrong, said in (
        (("--route", "top"), "needs another --model"),
        (("--model", side, "--route", "("), "not a regular expression"),
    ):
        outcome = command(*words, *wrong)
        assert outcome.code == 2
        assert said in outcome.err
    with pytest.raises(InputError):
        Several([Inspector(top, device="cpu")] * 2)
    assert not (tmp_path / "out").exists()
