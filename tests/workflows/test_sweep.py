"""A study over settings: what it lays out, measures, keeps, and calls Pareto-optimal."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from anomaly_vae.calibration.tradeoff import pareto_front, summarise
from anomaly_vae.errors import ConfigError
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.latent.information import measure
from anomaly_vae.outputs import LOCK, MARKER
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.files import load_config
from anomaly_vae.training.dataset import read_images
from anomaly_vae.training.loop import Trainer
from anomaly_vae.workflows.grid import FIXED, overruled, plan_runs
from anomaly_vae.workflows.runs import load_detector, saved_config
from anomaly_vae.workflows.study import MEASURES
from anomaly_vae.workflows.train import TrainingSession

from ..conftest import QUICK, RESNET, Command

PIXELS = ["features.source=pixels"]
_NAN = torch.full((3,), math.nan)


def test_the_grid_is_all_combinations_times_seeds() -> None:
    plan = plan_runs(
        ["model.beta=0,0.5", "model.latent_size=8,16"],
        assignments=[*PIXELS, "training.seed=5"],
        seeds=2,
    )
    assert [each.name for each in plan] == [
        f"beta-{beta}_latent_size-{size}_seed-{seed}"
        for beta in ("0", "0.5") for size in (8, 16) for seed in (5, 6)
    ]  # fmt: skip
    assert plan[-1].values == {"model.beta": 0.5, "model.latent_size": 16}
    fixed = [f"{key}={value}" for key, value in FIXED.items()]
    own = ["model.beta=0.5", "model.latent_size=16", "training.seed=6"]
    assert plan[-1].config == load_config(None, [*PIXELS, *own, *fixed])


def test_no_training_of_a_study_learns_from_the_images_that_it_is_measured_on() -> None:
    plan = plan_runs(["model.beta=0,0.5"])
    assert load_config().training.refit and load_config().split.folds > 1
    assert not any(each.config.training.refit or each.config.split.folds > 1 for each in plan)


def test_names_and_lists_can_be_varied() -> None:
    plan = plan_runs(
        ["features.layers=[layer1, layer2],[layer2]", "split.group_by='a|b','a/b',A,a"]
    )
    layers = [each.config.features.layers for each in plan]
    assert layers == [("layer1", "layer2")] * 4 + [("layer2",)] * 4
    assert [each.config.split.group_by for each in plan[:4]] == ["a|b", "a/b", "A", "a"]
    assert plan[0].values["features.layers"] == '["layer1", "layer2"]'
    folders = {each.name.casefold() for each in plan}
    assert len(folders) == len(plan)
    assert not any(set(name) & set('<>:"/\\|?*,[] ') for name in folders)


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        ([], "nothing to vary"),
        (["model.beta="], "nothing to vary"),
        (["model.beta"], "expected SECTION.KEY=VALUES"),
        (["beta=1"], "expected SECTION.KEY=VALUES"),
        (["model.beta=[1"], "not YAML"),
        (["model.beta=1", "model.beta=2"], "model.beta is given twice"),
        (["model.beta=1,2,1.0"], "model.beta: 1 is given twice"),
        (["training.seed=1,2"], "expected --seeds"),
        (["training.refit=true,false"], "on images that none has seen"),
        (["model.bet=1"], "unknown key 'model.bet', did you mean 'beta'"),
        (["model.kind=linear,patch"], "'patch' needs a trunk"),
    ],
)
def test_a_mistake_is_named(vary: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        plan_runs(vary, assignments=PIXELS)


def test_a_second_training_is_refused_and_not_ignored() -> None:
    with pytest.raises(ConfigError, match="--set training.refit: a study compares .*leave it out"):
        plan_runs(["model.beta=1"], assignments=[*PIXELS, " training.refit = true"])


def test_settings_of_a_file_that_a_study_does_not_follow_are_said(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {refit: true, epochs: 2}\nsplit: {folds: 3}\n", encoding="utf-8")
    assert overruled(file) == (
        f"{file}: not followed: training.refit true and split.folds 3; a study compares models on "
        "images that none has seen"
    )
    file.write_text("training: {refit: false}\n", encoding="utf-8")
    assert overruled(file) == overruled(Path("ladder")) == ""


def test_all_mistakes_are_named_at_once_and_each_once() -> None:
    vary = ["model.beta=-1,0,-2", "model.latent_size=0,8", "training.seed=1", "model.size=3"]
    with pytest.raises(ConfigError) as caught:
        plan_runs(vary, assignments=[*PIXELS, "training.epochs=0"], seeds=2)
    message = str(caught.value)
    for mistake in ("model.beta = -1: ", "model.beta = -2: ", "model.latent_size = 0: ",
                    "--seeds", "'model.size'", "training.epochs = 0: "):  # fmt: skip
        assert message.count(mistake) == 1, (mistake, message)


def test_the_pareto_front_by_hand() -> None:
    # (1, 9) and (3, 4) and (6, 1) are on it; (3, 5), (7, 1) and (6, 4) each lose to one of them.
    rates, distortions = [1, 3, 6, 3, 7, 6, 1], [9, 4, 1, 5, 1, 4, 9]
    front = pareto_front(rates, distortions)
    assert front.tolist() == [True, True, True, False, False, False, True]


def study(
    keys: dict[str, list[object]], rates: list[float], distortions: list[float]
) -> pd.DataFrame:
    table = pd.DataFrame({**keys, "bits_per_image": rates, "distortion": distortions})
    others = ("reconstruction_error", "squared_error", "pixel_error", "kl", "active_latents",
              "auroc", "epochs", "seconds")  # fmt: skip
    return table.assign(**dict.fromkeys(others, 1.0))


def test_the_summary_is_mean_and_deviation_over_seeds() -> None:
    beta: dict[str, list[object]] = {"model.beta": [1, 1, 0.5]}
    summary = summarise(study(beta, [2, 4, 9], [5, 7, 6.5]), ["model.beta"], MEASURES)
    assert list(summary["model.beta"]) == [1, 0.5]
    assert list(summary.runs) == [2, 1]
    assert list(summary.bits_per_image_mean) == [3, 9]
    assert summary.bits_per_image_std[0] == pytest.approx(math.sqrt(2))
    assert math.isnan(summary.bits_per_image_std[1])
    assert list(summary.pareto) == [True, False]


def test_what_counts_other_things_has_a_front_of_its_own() -> None:
    size: dict[str, list[object]] = {"images.size": [64, 64, 128], "model.beta": [1, 2, 1]}
    summary = summarise(study(size, [1, 2, 3], [1, 2, 3]), ["images.size", "model.beta"], MEASURES)
    assert list(summary.pareto) == [True, False, True]


def hand_made(kind: str, *settings: str) -> Detector:
    """A detector whose encoder gives mean = 2 and variance = e in each dimension, whatever it sees.

    Its decoder gives 0 whatever z is.
    """
    detector = build_detector(load_config(None, [f"model.kind={kind}", *settings]))
    encoder, decoder = detector.model.encoder, detector.model.decoder
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        torch.nn.init.zeros_(parameter)
    bias = [each for each in encoder.parameters() if each.dim() == 1][-1]
    latent = len(bias) // 2
    bias.data[:latent], bias.data[latent:] = 2.0, 1.0
    return detector


def test_rate_and_distortion_of_pixels_by_hand() -> None:
    detector = hand_made("linear", *PIXELS, "images.size=32", "model.latent_size=3",
                         "features.align=false", "model.variance=unit", "features.color=false")  # fmt: skip
    detector.features.std.fill_(0.5)
    images = np.full((5, 32, 32, 3), 51, np.uint8)  # 0.2, which is 0.4 standardised
    found = measure(detector, images)
    # KL of N(2, e) to N(0, 1): (4 + e - 1 - 1) / 2, up to the softly bounded log-variance.
    kl = 3 * (4 + math.e - 2) / 2
    assert found.kl == pytest.approx(kl, rel=0.02)
    assert found.bits_per_image == pytest.approx(found.kl / math.log(2))
    error = 32 * 32 * 0.5 * (0.4**2 + math.log(2 * math.pi))
    assert found.reconstruction_error == pytest.approx(error, rel=1e-5)
    assert found.distortion == pytest.approx(error, rel=1e-5)
    assert found.squared_error == pytest.approx(0.16, rel=1e-5)
    assert found.pixel_error == pytest.approx(0.04, rel=1e-5)
    assert found.active_latents == 0


def test_the_distortion_is_expected_over_the_posterior() -> None:
    detector = hand_made("linear", *PIXELS, "images.size=32", "model.latent_size=1",
                         "features.align=false", "model.variance=unit", "features.color=false")  # fmt: skip
    # All pixels are z - 2, in truth 0: E (z - 2)² is the variance of z, which is e.
    (weight, bias) = detector.model.decoder.parameters()
    weight.data.fill_(1.0)
    bias.data.fill_(-2.0)
    found = measure(detector, np.zeros((400, 32, 32, 3), np.uint8))
    floor = 32 * 32 * 0.5 * math.log(2 * math.pi)
    assert found.reconstruction_error == pytest.approx(floor, rel=1e-4)
    assert (found.distortion - floor) / (32 * 32 * 0.5) == pytest.approx(math.e, rel=0.1)


def test_the_rate_of_a_trunk_is_that_of_all_places_of_an_image() -> None:
    detector = hand_made("patch", "images.size=64", "model.latent_size=2", "features.components=4")
    found = measure(detector, np.zeros((3, 64, 64, 3), np.uint8))
    places = math.prod(detector.features.grid)
    assert places == 64
    assert found.bits_per_image == pytest.approx(64 * found.kl / math.log(2))
    assert math.isnan(found.pixel_error)
    quarter = "images.inspect=[[[0,0],[0.5,0],[0.5,0.5],[0,0.5]]]"
    part = hand_made("patch", "images.size=64", "model.latent_size=2", "features.components=4",
                     quarter)  # fmt: skip
    assert part.learned is not None
    inspected = len(part.learned)
    assert inspected < 64
    rate = measure(part, np.zeros((3, 64, 64, 3), np.uint8)).bits_per_image
    assert rate == pytest.approx(inspected * found.kl / math.log(2))


@pytest.fixture(scope="module")
def done(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two settings; tests must not change it."""
    from anomaly_vae_cli import run as command_line

    out = tmp_path_factory.mktemp("studies") / "study"
    assert (
        command_line(["-q", *map(str, arguments(parts, out)), "--test", str(parts / "test")]) == 0
    )
    return out


def arguments(parts: Path, out: Path) -> list[object]:
    return ["sweep", parts / "train" / "good", "--out", out, "--vary", "model.beta=0,4",
            "--features", "pixels", *QUICK]  # fmt: skip


def test_a_study_is_runs_tables_and_figures(done: Path, parts: Path) -> None:
    assert {path.name for path in done.iterdir()} == {
        LOCK, MARKER, "runs", "sweep.json", "sweep.csv", "summary.csv", "sweep.png", "rate_distortion.png"}  # fmt: skip
    rows = pd.read_csv(done / "sweep.csv")
    assert list(rows.run) == ["beta-0_seed-0", "beta-4_seed-0"]
    assert list(rows["model.beta"]) == [0, 4]
    assert rows.error.isna().all()
    assert (rows.epochs == 2).all()
    # More weight on the KL, less of it.
    assert rows.kl[0] > rows.kl[1]
    np.testing.assert_allclose(rows.bits_per_image, rows.kl / np.log(2), rtol=1e-6)
    assert (rows.distortion >= rows.reconstruction_error).all()
    summary = pd.read_csv(done / "summary.csv")
    np.testing.assert_allclose(summary.kl_mean, rows.kl)
    assert summary.kl_std.isna().all()
    assert summary.pareto.any()
    for name, bits in zip(rows.run, rows.bits_per_image, strict=True):
        card = (done / "runs" / name / "card.html").read_text(encoding="utf-8")
        assert "Rate and distortion in the study that this run belongs to" in card
        told = json.loads((done / "runs" / name / "training.json").read_text())["latents"]
        assert told["bits_per_image"] == pytest.approx(bits, rel=0.5)  # of the stopping images


def test_what_a_row_says_is_so_of_its_run(done: Path, parts: Path) -> None:
    from sklearn.metrics import roc_auc_score

    rows = pd.read_csv(done / "sweep.csv").set_index("run")
    folder = done / "runs" / "beta-4_seed-0"
    config = saved_config(folder)
    assert config.model.beta == 4
    normals = pd.read_csv(folder / "normals.csv")
    held_out = normals.path[normals.part == "calibration"]
    images = read_images(parts / "train" / "good", config.images, workers=1, paths=list(held_out))
    found = measure(load_detector(folder, config), images.pixels)
    row = rows.loc[folder.name]
    for name, value in found._asdict().items():
        assert row[name] == pytest.approx(value, rel=1e-5), name
    paths = sorted(path.relative_to(parts / "test") for path in (parts / "test").rglob("*.png"))
    inspector = Inspector(folder / "model.onnx", device="cpu")
    scores = [each.score for each in inspector.inspect_files(parts / "test", map(str, paths))]
    labels = [path.parts[0] != "good" for path in paths]
    assert row.auroc == pytest.approx(roc_auc_score(labels, scores))


def test_a_run_of_a_study_is_one_like_any_other(
    done: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    model = done / "runs" / "beta-0_seed-0" / "model.onnx"
    outcome = command("inspect", model, parts / "test" / "good", "--out", tmp_path / "o")
    assert outcome.code in (0, 1)
    assert len(pd.read_csv(tmp_path / "o" / "images.csv")) == 8


def test_an_interrupted_study_goes_on_and_trains_nothing_twice(
    done: Path, parts: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, finish = tmp_path / "study", TrainingSession.finish
    with monkeypatch.context() as patch:

        def interrupted(self: TrainingSession) -> object:
            if self.out.name == "beta-4_seed-0":
                raise KeyboardInterrupt
            return finish(self)

        patch.setattr(TrainingSession, "finish", interrupted)
        stopped = command(*arguments(parts, out), "--test", parts / "test")
    assert stopped.code == 130
    assert "1 of 2 trainings are done; give --resume" in stopped.err
    assert list(pd.read_csv(out / "sweep.csv").run) == ["beta-0_seed-0"]
    written = (out / "runs" / "beta-0_seed-0" / "model.onnx").stat().st_mtime_ns
    went_on = command("-v", *arguments(parts, out), "--test", parts / "test", "--resume")
    assert went_on.code == 0, went_on.err
    assert "1 of them done before" in went_on.out
    assert "epoch" not in went_on.out  # both were over when it was interrupted
    assert (out / "runs" / "beta-0_seed-0" / "model.onnx").stat().st_mtime_ns == written
    one, other = (pd.read_csv(each / "sweep.csv").drop(columns="seconds") for each in (out, done))
    pd.testing.assert_frame_equal(one, other)


def test_a_finished_study_is_shown_again_without_training(
    done: Path, parts: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(*_arguments: object, **_options: object) -> None:
        raise AssertionError("it trains")

    before = (done / "sweep.csv").read_text()
    monkeypatch.setattr(TrainingSession, "__init__", never)
    again = command(*arguments(parts, done), "--test", parts / "test", "--resume")
    assert again.code == 0, again.err
    assert (done / "sweep.csv").read_text() == before
    # Without its table, models are measured again; nothing is trained.
    (done / "sweep.csv").unlink()
    test = shutil.copytree(parts / "test", tmp_path / "test")
    (test / "good" / "broken.png").touch()
    other = command(*arguments(parts, done), "--test", test, "--resume")
    assert other.code == 0, other.err
    assert f"warning: {test}: good/broken.png could not be read and is left out\n" in other.err
    assert (done / "sweep.csv").read_text() == before


def test_the_table_fits_80_columns(done: Path, parts: Path, command: Command) -> None:
    shown = command(*arguments(parts, done), "--test", parts / "test", "--resume").out
    assert max(map(len, shown.splitlines()[:-1])) <= 80  # the last has the path
    starred = [
        line for line in shown.splitlines() if line.startswith("* ") and "Pareto" not in line
    ]
    assert len(starred) == pd.read_csv(done / "summary.csv").pareto.sum()
    assert "AUROC" in shown


def test_a_study_is_resumed_only_with_its_own_settings(
    done: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    other = command(*arguments(parts, done), "--set", "training.epochs=3", "--resume")
    assert other.code == 2
    assert "beta-0_seed-0: was begun with other settings" in other.err
    words = arguments(parts, done)
    words[1] = parts / "test" / "good"
    foreign = command(*words, "--resume")
    assert foreign.code == 2
    assert "is a study of" in foreign.err


def test_a_training_that_diverges_is_a_row_and_the_others_go_on(
    parts: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, out = Trainer._step, tmp_path / "s"

    def diverging(self: Trainer, number: int) -> torch.Tensor:
        return _NAN if self.settings.learning_rate > 1 else step(self, number)

    monkeypatch.setattr(Trainer, "_step", diverging)
    varied = ("--vary", "training.learning_rate=100,1e-3", "--features", "pixels", *QUICK)
    words = ("sweep", parts / "train" / "good", "--out", out, *varied)
    outcome = command(*words)
    assert outcome.code == 0, outcome.err
    rows = pd.read_csv(out / "sweep.csv")
    assert "the loss of epoch 1 is not a number" in rows.error[0]
    assert math.isnan(rows.kl[0]) and math.isnan(rows.active_latents[0])
    assert math.isnan(rows.error[1]) and rows.kl[1] > 0
    assert "learning_rate-100_seed-0 gave no model" in outcome.err
    assert list(pd.read_csv(out / "summary.csv")["training.learning_rate"]) == [1e-3]
    # It is tried again, and only it.
    again = command(*words, "--resume")
    assert "1 of them done before" in again.out and "gave no model" in again.err


def test_a_study_without_any_model_is_an_error(
    parts: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_step", lambda *_arguments: _NAN)
    outcome = command(*arguments(parts, tmp_path / "s"))
    assert outcome.code == 2
    assert "none of 2 trainings gave a model: the loss of epoch 1" in outcome.err


def test_pictures_of_a_study_are_not_trained_on(parts: Path, command: Command) -> None:
    good = parts / "train" / "good"
    outcome = command("sweep", good, "--out", good / "study", "--vary", "model.beta=1",
                      "--features", "pixels")  # fmt: skip
    assert outcome.code == 2
    assert "would be trained on" in outcome.err
    assert not (good / "study").exists()


def test_a_trunk_is_studied_too(
    parts: Path, trunk_weights: Path, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    outcome = command("sweep", parts / "train" / "good", "--out", out, "--vary",
                      "model.latent_size=3", "--vary", "features.local_mean=1,3", *QUICK,
                      *RESNET, trunk_weights, "--set", "training.batch_size=256",
                      "--set", "training.epochs=1")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "others count other things" in outcome.out
    rows = pd.read_csv(out / "sweep.csv")
    assert len(rows) == 2
    assert rows.pixel_error.isna().all()
    np.testing.assert_allclose(rows.bits_per_image, 64 * rows.kl / np.log(2), rtol=1e-6)
    assert (out / "rate_distortion.png").exists()
    config = saved_config(out / "runs" / rows.run[1])
    assert (config.features.local_mean, config.model.latent_size) == (3, 3)
