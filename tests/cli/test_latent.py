"""The commands of the latent space: what they write, and for which models."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from PIL import Image

from anomaly_vae.images.decoding import load_image
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.outputs import MARKER
from anomaly_vae.reporting.pictures import save_animation
from anomaly_vae.workflows import restore

from ..conftest import Command


def files(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder).as_posix()) for path in folder.rglob("*.*")}
    return found - {MARKER}


def test_generate_draws_as_many_parts_as_asked_for(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    def drawn(name: str, *options: object) -> np.ndarray:
        outcome = command("generate", run, "--count", 3, "--out", tmp_path / name, *options)
        assert outcome.code == 0, outcome.err
        assert files(tmp_path / name) == {"grid.png", *(f"parts/00{n}.png" for n in range(3))}
        return np.asarray(Image.open(tmp_path / name / "parts" / "002.png")).astype(int)

    good = parts / "train" / "good"
    prior, posterior = drawn("a"), drawn("b", "--good", good)
    assert prior.shape == (64, 64, 3)
    assert not np.array_equal(prior, posterior)
    assert np.array_equal(prior, drawn("c", "--from", "prior"))
    assert np.array_equal(posterior, drawn("d", "--good", good, "--from", "posterior"))
    assert not np.array_equal(prior, drawn("e", "--seed", 1))
    assert not np.array_equal(posterior, drawn("g", "--good", good, "--from", "diffusion"))
    usual = drawn("f", "--temperature", 0)
    assert np.array_equal(usual, drawn("f", "--temperature", 0, "--seed", 5, "--overwrite"))


def test_generated_parts_are_single_files_in_order(
    run: Path, command: Command, tmp_path: Path
) -> None:
    assert command("generate", run, "--count", 200, "--out", tmp_path / "out").code == 0
    parts = sorted((tmp_path / "out" / "parts").iterdir())
    assert [path.name for path in parts] == [f"{number:03d}.png" for number in range(200)]
    for path in parts:
        with Image.open(path) as part:
            assert (part.format, part.mode, part.size) == ("PNG", "RGB", (64, 64))


def test_interpolate_writes_a_strip_and_two_films(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    good = parts / "test" / "good"
    out = tmp_path / "out"
    for options, suffix in (((), "gif"), (("--format", "webp", "--overwrite"), "webp")):
        outcome = command("interpolate", run, good / "000.png", good / "001.png",
                          "--out", out, "--steps", 3, *options)  # fmt: skip
        assert outcome.code == 0, outcome.err
        assert files(out) == {"strip.png", f"linear.{suffix}", f"spherical.{suffix}"}
        assert "largest step" in outcome.out
        with Image.open(out / f"linear.{suffix}") as film:
            assert film.format == suffix.upper()
            assert film.size == (128, 128)
            assert film.n_frames == 2 * (2 * 4)


@pytest.mark.parametrize(("suffix", "colours"), [("gif", 256), ("webp", 10_000)])
def test_a_film_comes_back_as_it_was_written(suffix: str, colours: int, tmp_path: Path) -> None:
    across, down = np.meshgrid(np.linspace(0, 255, 128), np.linspace(0, 255, 128))
    frames = np.stack(
        [np.stack([across, down, np.full_like(across, 50 * t)], -1) for t in range(4)]
    )
    save_animation(frames.astype(np.uint8), tmp_path / f"film.{suffix}")
    with Image.open(tmp_path / f"film.{suffix}") as film:
        assert film.info["loop"] == 0
        shown, durations = [], []
        for number in range(film.n_frames):
            film.seek(number)
            shown.append(np.asarray(film.convert("RGB")).astype(float))
            durations.append(film.info["duration"])
    assert durations == [600, 60, 60, 600, 60, 60]
    for number, expected in enumerate((0, 1, 2, 3, 2, 1)):
        assert np.abs(shown[number] - frames[expected]).mean() < 25
        assert abs(shown[number].mean() - frames[expected].mean()) < 8
    seen = len(np.unique(shown[0].reshape(-1, 3), axis=0))
    assert seen <= colours if suffix == "gif" else seen > 256


@pytest.mark.parametrize("model", ["run", "trunk_run"])
def test_traverse_names_the_dimensions(
    model: str, request: pytest.FixtureRequest, parts: Path, command: Command, tmp_path: Path
) -> None:
    outcome = command("traverse", request.getfixturevalue(model),
                      parts / "test" / "good" / "000.png", "--most", 2,
                      "--sort", "effect", "--out", tmp_path / "out")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert files(tmp_path / "out") == {"traversal.png"}
    assert len(outcome.out.splitlines()) == (4 if model == "run" else 5)


@pytest.mark.parametrize("model", ["run", "trunk_run"])
@pytest.mark.parametrize("folder", ["test", "test/good"])
def test_latents_of_any_model_are_a_table_and_a_picture(
    model: str, folder: str, request: pytest.FixtureRequest, parts: Path, command: Command,
    tmp_path: Path,
) -> None:  # fmt: skip
    outcome = command("latents", request.getfixturevalue(model), parts / folder,
                      "--out", tmp_path / "out")  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert files(tmp_path / "out") == {"latents.csv", "latents.png"}
    table = pd.read_csv(tmp_path / "out" / "latents.csv")
    assert len(table) == len(list((parts / folder).rglob("*.png")))
    assert np.isfinite(table.filter(regex="mean|log_variance|score")).all(axis=None)
    if folder == "test":
        assert set(table["class"]) == {path.name for path in (parts / "test").iterdir()}


def test_latents_go_into_parquet_too(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow", reason="is in the extra parquet")
    out, good = tmp_path / "out", parts / "test" / "good"
    tables = []
    for table in ("csv", "parquet"):
        outcome = command("latents", run, good, "--out", out, "--format", table, "--overwrite")
        assert (outcome.code, outcome.err) == (0, "")
        assert files(out) == {f"latents.{table}", "latents.png"}
        read = pd.read_csv if table == "csv" else pd.read_parquet
        tables.append(read(out / f"latents.{table}"))
    tables[0]["class"] = ""
    pd.testing.assert_frame_equal(*tables, check_dtype=False, rtol=1e-6)


def test_restore_writes_the_nearest_good_part(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    defect = next((parts / "test" / "missing_feature").iterdir())
    outcome = command("restore", run, defect, "--out", tmp_path / "out")
    assert (outcome.code, outcome.err) == (0, "")
    assert files(tmp_path / "out") == {"restored.png", "difference.png", "restoration.png"}
    assert outcome.out.startswith("score ")


def test_restore_takes_a_folder(run: Path, parts: Path, command: Command, tmp_path: Path) -> None:
    folder, out = tmp_path / "today", tmp_path / "today" / "out"
    for number in range(17):  # more than are restored at once
        source = parts / "test" / "scratch" / f"00{number % 2}.png"
        (folder / "a" / "b").mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / "a" / "b" / f"{number:02d}.png")
    shutil.copy(source, folder / "a.jpg")
    (folder / "a" / "broken.png").write_text("not an image")
    outcome = command("restore", run, folder, "--out", out)
    assert outcome.code == 0
    assert outcome.err == "warning: a/broken.png could not be read and is left out\n"
    assert outcome.out == f"18 images restored: {out / 'restorations.csv'}\n"
    table = pd.read_csv(out / "restorations.csv", keep_default_na=False)
    names = ["a.jpg", *(f"a/b/{number:02d}.png" for number in range(17)), "a/broken.png"]
    assert list(table.columns) == ["path", "score", "restored_score", "error"]
    assert list(table.path) == names
    assert list(table.error[:-1]) == [""] * 18
    assert list(table.iloc[-1][1:3]) == ["", ""]
    assert "not a PNG" in table.error.iloc[-1]
    pictures = {f"{kind}/{name}.png" for name in names[:-1]
                for kind in ("restored", "difference", "restoration")}  # fmt: skip
    assert files(out) == {"restorations.csv", *pictures}
    # A folder says the same of an image as it says alone.
    alone = command("restore", run, folder / "a" / "b" / "01.png", "--out", tmp_path / "alone")
    row = table[table.path == "a/b/01.png"].iloc[0]
    assert alone.out.startswith(f"score {float(row.score):.4g}, ")
    one, other = (
        np.asarray(Image.open(path)).astype(int)
        for path in (tmp_path / "alone/restored.png", out / "restored/a/b/01.png.png")
    )
    assert np.abs(one - other).max() <= 1
    # Nothing of an earlier call is left.
    assert command("restore", run, folder / "a.jpg", "--out", out, "--overwrite").code == 0
    assert files(out) == {"restored.png", "difference.png", "restoration.png"}


def test_restore_keeps_the_rows_of_what_it_has_done(
    run: Path, parts: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = restore.save_restored, []

    def interrupted(*arguments: object) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(save(*arguments))  # type: ignore[arg-type, func-returns-value]

    monkeypatch.setattr(restore, "save_restored", interrupted)
    outcome = command("restore", run, parts / "test" / "good", "--out", tmp_path / "out")
    assert outcome.code == 130
    table = pd.read_csv(tmp_path / "out" / "restorations.csv")
    assert list(table.path) == ["000.png", "001.png"]


def test_restore_names_folders_that_cannot_be_listed(
    run: Path, parts: Path, command: Command, tmp_path: Path, forbidden_b: None
) -> None:
    shutil.copytree(parts / "test" / "dent", tmp_path / "in" / "a")
    shutil.copytree(parts / "test" / "dent", tmp_path / "in" / "b")
    outcome = command("restore", run, tmp_path / "in", "--out", tmp_path / "out")
    assert outcome.code == 0
    assert re.search("warning: .*b: Permission denied.*: its images were not restored", outcome.err)


@pytest.mark.parametrize("table", ["csv", "parquet"])
def test_what_latents_writes_is_decoded_in_its_order(
    table: str, run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    folder, latents = parts / "test" / "good", tmp_path / "latents"
    assert command("latents", run, folder, "--out", latents, "--format", table).code == 0
    outcome = command("decode", run, latents / f"latents.{table}", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert files(tmp_path / "out") == {"grid.png", *(f"parts/00{n}.png" for n in range(8))}
    inspector = Inspector(run / "model.onnx", device="cpu")
    for number in range(8):
        decoded = np.asarray(Image.open(tmp_path / "out" / "parts" / f"00{number}.png")).astype(int)
        seen = load_image(folder / f"00{number}.png", inspector.card.images)
        expected = inspector.expected(seen)
        assert expected is not None
        assert np.abs(decoded - expected).max() <= 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mean_0;mean_1\n0,5;1\n", "cannot be read as a CSV file with the columns mean_0"),
        ("{names}\n", "has no rows"),
        ("{names}\n{zeros}\n{zeros}x\n", "row 2 has a mean that is no number"),
        ("{names},mean_32\n{zeros},0\n", "has 33 columns mean_0"),
    ],
)
def test_a_table_that_cannot_be_decoded_is_refused(
    text: str, said: str, run: Path, command: Command, tmp_path: Path
) -> None:
    names, zeros = ",".join(f"mean_{n}" for n in range(32)), ",".join(["0.5"] * 32)
    (tmp_path / "z.csv").write_text(text.format(names=names, zeros=zeros))
    outcome = command("decode", run, tmp_path / "z.csv", "--out", tmp_path / "out")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert said in outcome.err


@pytest.mark.parametrize("line", ["generate", "interpolate {photo} {photo}", "restore {photo}"])
def test_what_needs_pixels_says_so_of_a_model_of_trunk_features(
    line: str, trunk_run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    name, *others = line.split()
    photo = parts / "test" / "good" / "000.png"
    words = [word.format(photo=photo) for word in others]
    outcome = command(name, trunk_run, *words, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "cannot draw pictures; train one with --features pixels" in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("line", [
    "restore {dark}", "restore {folder}", "traverse {dark}", "interpolate {dark} {photo}",
    "generate --good {folder}", "latents {folder}",
])  # fmt: skip
def test_a_photograph_that_uses_little_of_its_range_is_said(
    line: str, run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(parts / "test" / "good", tmp_path / "photos"))
    shutil.copy(next((parts / "train" / "good").iterdir()), folder / "more.png")
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(folder / "dark.png")
    name, *others = line.split()
    places = {"folder": folder, "dark": folder / "dark.png", "photo": folder / "000.png"}
    words = [word.format(**places) for word in others]
    outcome = command(name, run, *words, "--out", tmp_path / "out")
    assert outcome.code == 0
    assert "dark.png: less than 10% of the range from black to white is used" in outcome.err


@pytest.mark.parametrize(("classes", "options", "first"), [
    (("dent", "OK"), (), "OK"), (("a", "b"), ("--good-class", "b"), "b"), (("a", "b"), (), "a"),
])  # fmt: skip
def test_latents_show_the_good_class_first(
    *, classes: tuple[str, str], options: tuple[str, ...], first: str, run: Path, parts: Path,
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in classes:
        shutil.copytree(parts / "test" / "good", tmp_path / "photos" / name)
    shown, scatter = list[str](), Axes.scatter

    def recorded(*given: Any, **how: Any) -> Any:
        shown.append(how["label"])
        return scatter(*given, **how)

    monkeypatch.setattr(Axes, "scatter", recorded)
    arguments = ("latents", run, tmp_path / "photos", "--out", tmp_path / "out")
    assert command(*arguments, *options).code == 0
    assert shown[0] == first
    outcome = command(*arguments, "--overwrite", "--good-class", "c")
    assert outcome.code == 2
    assert "has no sub-folder c with images, as --good-class says" in outcome.err
