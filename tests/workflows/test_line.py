"""The whole line through the command: train, inspect, calibrate, evaluate."""

import csv
import io
import json
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from anomaly_vae.exporting.graph import replace_card
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.outputs import LOCK, MARKER
from anomaly_vae.reporting.sensitivity import FILES as SENSITIVITY
from anomaly_vae.scoring.batches import score_images
from anomaly_vae.training.dataset import read_images
from anomaly_vae.workflows.log import LOG
from anomaly_vae.workflows.runs import RESULTS, load_detector, saved_config

from ..conftest import QUICK, RESNET, SHARED, Command, shell


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False)


def test_training_leaves_what_the_design_lists(run: Path) -> None:
    left = {path.name for path in run.iterdir()}
    # What calibrate, sweep, export, refine, folds and the features of a trunk add is not there.
    added = {".state", "roc.png", "rate_distortion.png", "reference.npz", *SENSITIVITY}
    added |= {"unseen.npz", "refinement.json"}
    assert left == {MARKER, LOCK, LOG, *RESULTS} - added
    normals = table(run / "normals.csv")
    assert dict(normals.part.value_counts()) == {"training": 14, "calibration": 5, "stopping": 5}
    assert len(table(run / "history.csv")) == 2
    threshold = json.loads((run / "calibration.json").read_text())["threshold"]
    held_out = normals.score[normals.part == "calibration"]
    assert threshold["score"] == pytest.approx(held_out.max(), rel=1e-8)
    assert threshold["good"] == 5
    assert "1 good image in 6" in threshold["promise"]


def test_training_says_which_latents_are_in_use(run: Path) -> None:
    latents = table(run / "latents.csv")
    assert list(latents.columns) == ["dimension", "kl", "activity", "active"]
    assert list(latents.dimension) == list(range(32))
    assert list(latents.active) == list(latents.activity > 0.01)
    told = json.loads((run / "training.json").read_text())["latents"]
    assert told["dimensions"] == 32
    assert told["active"] == latents.active.sum() == table(run / "history.csv").active_latents[1]
    assert told["kl"] == pytest.approx(latents.kl.sum(), rel=1e-6)
    assert 0 <= told["mutual_information"] <= np.log(5)


def test_a_collapsed_posterior_is_a_warning_with_remedies(
    parts: Path, command: Command, tmp_path: Path
) -> None:
    settings = {
        "images.size": 32, "model.kind": "dense", "model.latent_size": 4, "model.hidden_size": 16,
        "model.beta": 1e5, "training.epochs": 2, "training.steps_per_epoch": 300,
        "training.batch_size": 14, "training.learning_rate": 1e-2, "features.align": "false",
        "split.folds": 1, "training.refit": "false",
    }  # fmt: skip
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    run = tmp_path / "r"
    outcome = command(
        "train", parts / "train" / "good", "--out", run, "--features", "pixels", *given
    )
    assert outcome.code == 0
    assert "0 of 4 latent dimensions are active, KL 0." in outcome.out
    assert outcome.err.startswith("warning: posterior collapse, or nearly: ")
    assert "lower model.beta (now 100000), or lengthen training.kl_warmup" in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.err[len("warning: ") :].strip() in (run / "card.html").read_text()


@pytest.mark.parametrize("model", ["ladder", "vq-vae"])
def test_models_of_the_literature_are_trained_and_inspected_with(
    model: str, parts: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "r"
    small = ("images.size=32", "model.base_channels=4", "model.latent_size=3", "model.codes=8")
    short = ("training.epochs=2", "training.steps_per_epoch=5", "training.batch_size=14")
    given = [word for each in (*small, *short) for word in ("--set", each)]
    good = parts / "train" / "good"
    outcome = command("train", good, "--out", run, "--config", model, *given)
    assert outcome.code == 0, outcome.err
    size = 3 + 4 * 16 if model == "ladder" else 3 * 16
    assert len(table(run / "latents.csv")) == size
    assert f"/{size} " in outcome.out
    assert command("inspect", run / "model.onnx", good, "--out", tmp_path / "o").code in (0, 1)
    images = table(tmp_path / "o" / "images.csv")
    assert len(images) == 24
    assert images.kl.notna().all()
    drawn = command("generate", run, "--count", 2, "--out", tmp_path / "g")
    assert drawn.code == 0, drawn.err


def test_every_epoch_leaves_a_picture(run: Path) -> None:
    first, second = sorted((run / "epochs").iterdir())
    assert (first.name, second.name) == ("001.png", "002.png")
    with Image.open(first) as one, Image.open(second) as other:
        assert one.size == other.size == (6 * 100 + 4, 4 * 100 - 4)
        before, after = np.asarray(one).astype(int), np.asarray(other).astype(int)
    assert np.array_equal(before[:, :96], after[:, :96])  # the same parts
    assert not np.array_equal(before[:, 100:196], after[:, 100:196])  # not reconstructed alike
    assert (after[:, 196:204] == 255).all()
    assert after[:96, 204:300].std() > 5  # a part, drawn from noise


def test_pictures_of_epochs_change_nothing_and_can_be_left_out(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "r"))
    (out / "epochs" / "099.png").touch()
    outcome = command("train", parts / "train" / "good", "--out", out, "--features", "pixels",
                      *QUICK, "--set", "training.pictures=false", "--overwrite")  # fmt: skip
    assert outcome.code == 0
    assert not (out / "epochs").exists()
    assert (out / "vae.safetensors").read_bytes() == (run / "vae.safetensors").read_bytes()


def test_inspection_reports_every_image(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "er"
    outcome = command("inspect", run / "model.onnx", parts / "test", "--out", out)
    images, regions = table(out / "images.csv"), table(out / "defects.csv")
    folder = parts / "test"
    assert list(images.path) == sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*.png")
    )
    failed = images[images.verdict == "fail"]
    assert outcome.code == (1 if len(failed) else 0)
    assert ((images.score > images.threshold) == (images.verdict == "fail")).all()
    assert set(regions.path) == set(failed.path)
    assert (regions.groupby("path").size() == failed.set_index("path").regions).all()
    assert (regions.x >= 0).all() and (regions.x + regions.width <= 64).all()
    pictures = {p.relative_to(out / "heatmaps").as_posix() for p in out.rglob("*.jpg")}
    assert pictures == {f"{path}.jpg" for path in failed.path}
    card = Inspector(run / "model.onnx", device="cpu").card
    raw = images.reconstruction_error + card.kl_weight * images.kl
    np.testing.assert_allclose(images.score, (raw - card.center) / card.scale, rtol=1e-4, atol=1e-4)


def test_inspection_does_not_depend_on_batch_size_or_workers(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    for name, options in {"a": (1, 1), "b": (7, 3)}.items():
        command("inspect", run / "model.onnx", parts / "test", "--out", tmp_path / name,
                "--batch-size", options[0], "--workers", options[1], "--heatmaps", "none")  # fmt: skip
    one, other = table(tmp_path / "a" / "images.csv"), table(tmp_path / "b" / "images.csv")
    varying = ["score", "reconstruction_error", "kl", "defect_area", "inspected_at"]
    assert one.drop(columns=varying).equals(other.drop(columns=varying))
    np.testing.assert_allclose(one.score, other.score, rtol=1e-4, atol=1e-4)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be of this size; its data would fill gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(3 * width + 1) * 100)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_bad_files_are_rows_and_never_stop_the_run(run: Path, parts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = sorted((parts / "train" / "good").iterdir())[:20]
    for path in good:
        shutil.copy(path, folder)
    whole = io.BytesIO()
    Image.open(good[0]).save(whole, "JPEG")
    grey = np.asarray(Image.open(good[0]).convert("L"), dtype=np.uint16) * 257
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not an image")
    (folder / "truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    Image.new("RGB", (1, 1)).save(folder / "tiny.png")
    Image.fromarray(grey).save(folder / "deep.png")
    (folder / "bomb.png").write_bytes(png_header(60_000, 60_000))
    (folder / "notes.txt").write_text("no row")
    outcome = shell("inspect", run / "model.onnx", folder, "--out", tmp_path / "out")
    rows = table(tmp_path / "out" / "images.csv").set_index("path")
    assert outcome.returncode == 1
    assert len(rows) == 26
    broken = rows[rows.status == "error"]
    assert set(broken.index) == {"empty.png", "text.png", "truncated.jpg", "tiny.png", "bomb.png"}
    assert (broken.verdict == "error").all() and (broken.score == "").all()
    assert "min_size" in broken.error["tiny.png"] and "max_pixels" in broken.error["bomb.png"]
    assert rows.verdict["deep.png"] in ("pass", "review", "fail")
    assert outcome.stderr == ""


def test_a_clean_folder_ends_with_zero(own_run: Path, parts: Path, command: Command) -> None:
    good = parts / "test" / "good"
    # Nothing in this very folder is above the threshold.
    command("calibrate", own_run, "--good", good, "--review-rate", 0)
    out = own_run.parent / "out"
    assert command("inspect", own_run / "model.onnx", good, "--out", out).code == 0
    assert set(table(out / "images.csv").verdict) == {"pass"}
    assert table(out / "defects.csv").empty


def test_exit_zero_hides_the_defects(own_run: Path, parts: Path, command: Command) -> None:
    lower_threshold(own_run)
    outcome = command("inspect", own_run / "model.onnx", parts / "test", "--out", own_run / "o")
    again = command("inspect", own_run / "model.onnx", parts / "test", "--out", own_run / "o",
                    "--overwrite", "--exit-zero")  # fmt: skip
    assert (outcome.code, again.code) == (1, 0)


def lower_threshold(run: Path) -> None:
    """Make every image fail."""
    replace_threshold(run, score=-1e9, anomaly_map=1e9)


def replace_threshold(run: Path, **changes: float) -> None:
    card = Inspector(run / "model.onnx", device="cpu").card
    changed = replace(card.threshold, **changes)
    replace_card(run / "model.onnx", replace(card, threshold=changed))


def test_every_fail_has_a_region(own_run: Path, parts: Path, command: Command) -> None:
    lower_threshold(own_run)
    command("inspect", own_run / "model.onnx", parts / "test", "--out", own_run / "o")
    images = table(own_run / "o" / "images.csv")
    assert set(images.verdict) == {"fail"}
    assert (images.regions >= 1).all()


@pytest.mark.parametrize("criterion", ["youden", "f1", "false-alarm-rate", "recall"])
def test_calibration_sets_the_threshold_of_the_model(
    criterion: str, own_run: Path, parts: Path, command: Command
) -> None:
    bad = parts / "test" / "scratch"
    target = ("--target", 0.5) if criterion in ("false-alarm-rate", "recall") else ()
    outcome = command("calibrate", own_run, "--good", parts / "test" / "good", "--defective", bad,
                      "--criterion", criterion, *target)  # fmt: skip
    assert outcome.code == 0, outcome.err
    record = json.loads((own_run / "calibration.json").read_text())
    card = Inspector(own_run / "model.onnx", device="cpu").card
    assert card.threshold.score == record["threshold"]["score"]
    assert card.threshold.criterion == criterion
    assert record["operating_points"][criterion]["threshold"] == card.threshold.score
    assert (own_run / "roc.png").exists()


def test_evaluation_measures_images_and_pixels(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    outcome = command("evaluate", run, parts / "test", "--out", tmp_path / "e")
    assert outcome.code == 0, outcome.err
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["images"]["good"] == 8 and metrics["images"]["defective"] == 10
    assert 0 <= metrics["images"]["auroc"] <= 1 and 0 <= metrics["pixels"]["pro"] <= 1
    assert set(metrics["images"]["found_per_class"]) == {
        "scratch", "dent", "contamination", "missing_feature", "colour"}  # fmt: skip
    assert {path.name for path in (tmp_path / "e").iterdir()} == {
        MARKER, "metrics.json", "roc.png", "precision_recall.png", "scores.png", "p_values.png"}  # fmt: skip
    assert sum(each["found"]["of"] for each in metrics["sizes"]) == 10
    assert metrics["p_values"]["0.5"]["of"] == 8


def test_two_models_are_compared_on_the_same_images(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    outcome = command("evaluate", run, parts / "test", "--against", run / "model.onnx",
                      "--out", tmp_path / "e")  # fmt: skip
    assert "difference +0.0000" in outcome.out
    comparison = json.loads((tmp_path / "e" / "metrics.json").read_text())["comparison"]
    assert (comparison["difference"], comparison["p_value"]) == (0, 1)


def test_costs_decide_where_they_are_given(
    own_run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(parts / "test" / "scratch", tmp_path / "bad"))
    # One that cannot be told from good ones, so that each limit costs something.
    shutil.copy(parts / "train" / "good" / "000.png", bad / "faint.png")

    def limit(escape: float, overkill: float) -> float:
        outcome = command(
            "calibrate", own_run, "--good", parts / "test" / "good",
            "--defective", bad, "--cost-escape", escape,
            "--cost-overkill", overkill, "--defect-rate", 0.5,
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        assert "cost *" in outcome.out
        return Inspector(own_run / "model.onnx", device="cpu").card.threshold.score

    assert limit(1000, 1) < limit(1, 1000)


def test_a_review_band_gives_a_third_verdict(
    own_run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    test = parts / "test"
    outcome = command("calibrate", own_run, "--good", test / "good", "--defective",
                      test / "scratch", "--criterion", "review")  # fmt: skip
    assert outcome.code == 0, outcome.err
    card = Inspector(own_run / "model.onnx", device="cpu").card
    limits = sorted([card.threshold.score - 1, card.threshold.score])
    replace_threshold(own_run, score=limits[1], review=limits[0])
    command("inspect", own_run / "model.onnx", test, "--out", tmp_path / "o")
    images = table(tmp_path / "o" / "images.csv")
    assert np.allclose(images.review_threshold.astype(float), limits[0])
    between = (images.score > limits[0]) & (images.score <= limits[1])
    usual = images.quality == ""
    assert ((images.verdict == "review") == between)[usual].all()
    assert (images.regions[between] >= 1).all()


def test_good_images_alone_give_a_review_band(
    parts: Path, more_good: Path, command: Command, tmp_path: Path
) -> None:
    good, own, choose = parts / "train" / "good", tmp_path / "r", "scoring.review_rate=0.4"
    outcome = command("train", good, "--out", own, "--features", "pixels", *QUICK, "--set", choose)
    assert outcome.code == 0, outcome.err
    normals = table(own / "normals.csv")
    held_out = np.sort(normals.score[normals.part == "calibration"])

    def limits() -> tuple[float, float | None]:
        limit = Inspector(own / "model.onnx", device="cpu").card.threshold
        assert ("1 in 2 is for review" in limit.promise) == (limit.review is not None)
        return limit.score, limit.review

    assert limits() == pytest.approx((held_out[-1], held_out[3]))  # of 5
    # Without --review-rate it is that of the run.
    assert command("calibrate", own, "--good", more_good).code == 0
    inspector = Inspector(own / "model.onnx", device="cpu")
    found = inspector.inspect_files(more_good, [path.name for path in more_good.iterdir()])
    scores = sorted(finding.score for finding in found)
    assert limits() == pytest.approx((scores[-1], scores[14]), rel=1e-4)  # of 24
    assert command("calibrate", own, "--good", more_good, "--review-rate", 0).code == 0
    assert limits() == (pytest.approx(scores[-1], rel=1e-4), None)


def test_the_threshold_can_be_extrapolated_with_good_images_alone(
    own_run: Path, more_good: Path, command: Command
) -> None:
    given = ("--good", more_good, "--target", 0.001, "--extrapolate")
    outcome = command("calibrate", own_run, *given)
    assert "no guarantee" in " ".join(outcome.out.split())
    threshold = Inspector(own_run / "model.onnx", device="cpu").card.threshold
    assert threshold.criterion == "good-only, extrapolated"


def test_a_bad_photograph_is_for_review_and_says_why(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    image = Image.open(sorted((parts / "train" / "good").iterdir())[0])
    image.resize((80, 80)).save(folder / "large.png")
    image.point(lambda value: value // 8).save(folder / "dark.png")
    outcome = command("inspect", run / "model.onnx", folder, "--out", tmp_path / "o")
    rows = table(tmp_path / "o" / "images.csv").set_index("path")
    assert outcome.code == 1
    assert rows.quality["large.png"].startswith("80 x 80 pixels, not 64 x 64")
    assert "darker" in rows.quality["dark.png"]
    assert set(rows.verdict) <= {"review", "fail"}
    assert (rows.score != "").all()
    assert "apart from their part: 2" in outcome.err


def test_a_moved_lamp_is_reported_at_the_end_and_row_by_row(
    own_run: Path, more_good: Path, command: Command, tmp_path: Path
) -> None:
    out, good = own_run, more_good
    command("calibrate", out, "--good", good)
    lit = tmp_path / "lit"
    lit.mkdir()
    for path in good.iterdir():
        Image.open(path).point(lambda value: min(255, value + 25)).save(lit / path.name)
    outcome = command("inspect", out / "model.onnx", lit, "--out", tmp_path / "o",
                      "--drift-window", 12)  # fmt: skip
    assert "not like those the threshold was set on: brightness" in outcome.err
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert {s["statistic"] for s in summary["drift"] if s["shifted"]} >= {"brightness"}
    drift = table(tmp_path / "o" / "images.csv").drift
    assert list(drift[:9]) == [""] * 9
    assert drift[12:].astype(float).max() < 0.01
    same = command("inspect", out / "model.onnx", good, "--out", tmp_path / "same")
    assert "not like" not in same.err


def test_evaluation_without_masks_has_no_pixel_metrics(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    shutil.copytree(parts / "test", tmp_path / "test")
    command("evaluate", run / "model.onnx", tmp_path / "test", "--out", tmp_path / "e")
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["pixels"] is None


def test_the_same_seed_gives_the_same_file_twice_and_another_another(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    good, known = parts / "train" / "good", table(run / "normals.csv")
    for seed in (0, 3):
        out = tmp_path / str(seed)
        command("train", good, "--out", out, "--features", "pixels", *QUICK, "--seed", seed)
        assert table(out / "normals.csv").equals(known) == (seed == 0)


def test_an_interrupted_training_goes_on(
    parts: Path, run: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomaly_vae.training.loop import Trainer

    arguments = ("train", parts / "train" / "good", "--out", tmp_path / "r")
    epoch = Trainer._epoch
    with monkeypatch.context() as patch:

        def interrupted(self: Trainer) -> object:
            if self.history:
                raise KeyboardInterrupt
            return epoch(self)

        patch.setattr(Trainer, "_epoch", interrupted)
        stopped = command(*arguments, "--features", "pixels", *QUICK)
    assert stopped.code == 130
    assert "--resume" in stopped.err
    first = tmp_path / "r" / "epochs" / "001.png"
    drawn = first.stat().st_mtime_ns
    assert command(*arguments, "--resume").code == 0
    assert first.stat().st_mtime_ns == drawn
    assert (tmp_path / "r" / "epochs" / "002.png").exists()
    assert table(tmp_path / "r" / "normals.csv").equals(table(run / "normals.csv"))
    again = command(*arguments, "--resume")
    assert again.code == 2 and "finished" in again.err


def test_a_trunk_with_streamed_features_gives_the_same_model(
    parts: Path, trunk_weights: Path, command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, cache in (("memory", 4.0), ("disk", 0.0)):
        if name == "disk":  # the images, too
            monkeypatch.setattr("anomaly_vae.images.many.IN_MEMORY", 0)
        outcome = command("train", parts / "train" / "good", "--out", tmp_path / name, *QUICK,
                          *RESNET, trunk_weights, "--set", f"training.cache_gib={cache}",
                          "--set", "training.batch_size=256")  # fmt: skip
        assert outcome.code == 0, outcome.err
        assert not (tmp_path / name / "epochs").exists()  # there are no pixels to draw
    one, other = (table(tmp_path / name / "normals.csv") for name in ("memory", "disk"))
    assert one.equals(other)
    assert not (tmp_path / "disk" / ".state").exists()


@pytest.fixture(scope="module")
def refitted(
    parts: Path, trunk_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[bool, Path]:
    """Run folders of a trunk: trained again on all good images, and not."""
    from anomaly_vae_cli import run as command_line

    out = tmp_path_factory.mktemp("refit")
    for refit in (False, True):
        arguments = ("train", parts / "train/good", "--out", out / str(refit), *QUICK,
                     *RESNET, trunk_weights, "--set", "training.batch_size=256",
                     "--set", f"training.refit={refit}")  # fmt: skip
        assert command_line([str(argument) for argument in arguments]) == 0
    return {refit: out / str(refit) for refit in (False, True)}


def test_a_model_of_all_good_images_is_judged_by_one_that_has_not_seen_them(
    parts: Path, refitted: dict[bool, Path]
) -> None:
    once, twice = (table(refitted[refit] / "normals.csv") for refit in (False, True))
    held_out = once.part != "training"
    close = {"rel": 1e-4, "abs": 1e-4}  # torch here, ONNX Runtime there
    assert once.score[held_out].tolist() == pytest.approx(twice.score[held_out].tolist(), **close)
    limits = [
        json.loads((refitted[refit] / "calibration.json").read_text())["threshold"]
        for refit in (False, True)
    ]
    assert limits[0]["score"] == pytest.approx(limits[1]["score"], **close)
    assert limits[0]["anomaly_map"] == pytest.approx(limits[1]["anomaly_map"], **close)
    assert limits[0]["promise"] == limits[1]["promise"]
    told = [" ".join(limit["conditions"]) for limit in limits]
    assert ["promised by the first training" in each for each in told] == [False, True]
    assert list(once.seen) == list(once.part != "calibration")
    assert twice.seen.all()

    found = list(
        Inspector(refitted[True] / "model.onnx").inspect_files(parts / "train/good", twice.path)
    )
    scores = np.array([finding.score for finding in found])
    assert not np.allclose(scores[held_out], twice.score[held_out], rtol=1e-2)
    assert scores[~held_out] == pytest.approx(twice.score[~held_out].to_numpy(), **close)


def test_images_of_the_second_training_are_not_new_to_the_model(
    parts: Path, refitted: dict[bool, Path], command: Command, tmp_path: Path
) -> None:
    normals = table(refitted[True] / "normals.csv")
    good = tmp_path / "good"
    good.mkdir()
    for path in normals.path[normals.part == "calibration"]:
        shutil.copy(parts / "train/good" / path, good)
    for refit in (False, True):
        run = Path(shutil.copytree(refitted[refit], tmp_path / str(refit)))
        outcome = command("calibrate", run, "--good", good)
        assert outcome.code == (2 if refit else 0), outcome.err
        assert ("the model has learned from all 5 images in it" in outcome.err) == refit


def test_a_second_training_that_was_interrupted_goes_on(
    parts: Path, refitted: dict[bool, Path], trunk_weights: Path, command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from anomaly_vae.training.loop import Trainer

    epoch = Trainer._epoch
    arguments = ("train", parts / "train/good", "--out", tmp_path / "r")
    with monkeypatch.context() as patch:

        def interrupted(self: Trainer) -> object:
            record = epoch(self)
            if not len(self.stopping):
                raise KeyboardInterrupt
            return record

        patch.setattr(Trainer, "_epoch", interrupted)
        stopped = command(*arguments, *QUICK, *RESNET, trunk_weights, "--set",
                          "training.batch_size=256", "--set", "training.refit=true")  # fmt: skip
    assert stopped.code == 130
    assert (tmp_path / "r" / ".state" / "refit.safetensors").is_file()
    other = command(*arguments, "--resume", "--weights", trunk_weights)
    assert other.code == 2
    assert "goes on with its own; leave it out" in other.err
    resumed = command(*arguments, "--resume")
    assert resumed.code == 0, resumed.err
    one, other = (folder / "normals.csv" for folder in (tmp_path / "r", refitted[True]))
    assert table(one).equals(table(other))


def test_hostile_names_are_safe_in_the_table(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    source = next((parts / "train" / "good").iterdir())
    names = ["=1+1.png", "a,b.png", 'q"uote.png', "new\nline.png", "ü.PNG", "-x.png"]
    for name in names:
        shutil.copy(source, folder / name)
    shutil.copy(source, bytes(folder) + b"/raw\xff.png")
    command("inspect", run / "model.onnx", folder, "--out", tmp_path / "o", "--heatmaps", "all")
    with (tmp_path / "o" / "images.csv").open(encoding="utf-8", newline="") as file:
        listed = [row["path"] for row in csv.DictReader(file)]
    assert sorted(listed) == sorted(
        [
            "./=1+1.png",
            "./-x.png",
            "a,b.png",
            'q"uote.png',
            "new\nline.png",
            "ü.PNG",
            "raw\\xff.png",
        ]
    )
    assert set(table(tmp_path / "o" / "images.csv").status) == {"ok"}


def test_paths_of_good_images_run_in_no_spreadsheet(
    parts: Path, command: Command, tmp_path: Path
) -> None:
    good = Path(shutil.copytree(parts / "train" / "good", tmp_path / "good"))
    (good / "000.png").rename(good / "=HYPERLINK(1).png")
    run = tmp_path / "r"
    assert command("train", good, "--out", run, "--features", "pixels", *QUICK).code == 0
    assert "./=HYPERLINK(1).png" in set(table(run / "normals.csv").path)


@pytest.mark.slow
@pytest.mark.shared
def test_real_parts_with_a_real_trunk(tmp_path: Path) -> None:
    weights = SHARED / "weights" / "resnet18_trunk.safetensors"
    bottle = SHARED / "data" / "bottle"
    if not weights.exists() or not bottle.exists():
        pytest.skip("needs the real images and trunk weights of ../shared")
    quick = ("--set", "training.epochs=4", "--set", "training.sensitivity=false")
    run = tmp_path / "r"
    trained = shell("train", bottle / "train/good", "--out", run, *RESNET, weights, *quick)
    assert trained.returncode == 0, trained.stderr
    evaluated = shell("evaluate", run, bottle / "test", "--out", tmp_path / "e")
    assert evaluated.returncode == 0, evaluated.stderr
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["images"]["auroc"] >= 0.98
    # The exported model against torch, over the whole test folder.
    config = saved_config(run)
    pixels = read_images(bottle / "test", config.images, workers=2).pixels
    exported = Inspector(run / "model.onnx", device="cpu")
    trained_scores = score_images(load_detector(run, config), pixels).score.numpy()
    scores = np.concatenate([exported.run(batch).score for batch in np.array_split(pixels, 12)])
    difference = np.abs(scores - trained_scores) / np.maximum(1, np.abs(trained_scores))
    assert difference.max() <= 1e-4
    limit = exported.card.threshold.score
    assert ((scores > limit) == (trained_scores > limit)).all()
