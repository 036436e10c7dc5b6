"""The weight of the KL: taken only where it surely helps."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.reporting.trained import load_normals
from anomaly_vae.workflows.kl_weight import choose_weight
from anomaly_vae.workflows.runs import saved_config

from ..conftest import Command

WEIGHTS = [0.0, 0.1, 1.0]
DEFECTIVE = np.arange(90) >= 40


def test_a_weight_that_separates_is_taken() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=90)
    scores = np.stack([noise, noise + DEFECTIVE, noise + 4 * DEFECTIVE])
    choice = choose_weight(scores, DEFECTIVE, WEIGHTS, 0.0)
    assert choice.adopted
    assert (choice.before, choice.best) == (0.0, 1.0)
    assert choice.gain_interval[0] > 0
    assert choice.aurocs["1"] > choice.aurocs["0.1"] > choice.aurocs["0"]


def test_what_only_fits_these_images_is_not_taken() -> None:
    """Many weights without any merit: the best looks better, and gains nothing on others."""
    rng = np.random.default_rng(1)
    weights = [float(n) for n in range(30)]
    choice = choose_weight(rng.normal(size=(30, 90)), DEFECTIVE, weights, 0.0)
    assert choice.aurocs[f"{choice.best:g}"] > choice.aurocs["0"]
    assert not choice.adopted
    assert choice.gain_interval[0] <= 0


def test_equal_weights_leave_the_one_there_is() -> None:
    scores = np.tile(np.random.default_rng(2).normal(size=90), (3, 1))
    choice = choose_weight(scores, DEFECTIVE, WEIGHTS, 0.1)
    assert (choice.best, choice.adopted, choice.gain) == (0.1, False, 0)


def test_the_model_computes_with_the_weight_it_was_given(
    run: Path, parts: Path, more_good: Path, command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from anomaly_vae.workflows import kl_weight as weighting

    own = Path(shutil.copytree(run, tmp_path / "run"))
    bad = tmp_path / "bad"
    for folder in (parts / "test").iterdir():
        if folder.name != "good":
            shutil.copytree(folder, bad / folder.name)
    choose = weighting.choose_weight

    def sure(*arguments: object) -> weighting.WeightChoice:
        from dataclasses import replace

        return replace(choose(*arguments), best=0.3, adopted=True)  # type: ignore[arg-type]

    monkeypatch.setattr(weighting, "choose_weight", sure)
    good = more_good
    outcome = command("calibrate", own, "--good", good, "--defective", bad, "--fit-kl-weight")
    assert outcome.code == 0, outcome.err
    assert "weight of the KL is now 0.3" in outcome.out
    assert saved_config(own).scoring.kl_weight == 0.3
    inspector = Inspector(own / "model.onnx", device="cpu")
    card = inspector.card
    assert card.kl_weight == 0.3
    finding = next(inspector.inspect_files(good, ["000.png"]))
    joined = finding.reconstruction_error + 0.3 * finding.kl
    assert finding.score == pytest.approx((joined - card.center) / card.scale, rel=1e-4)
    scores = [
        f.score for f in inspector.inspect_files(good, sorted(p.name for p in good.iterdir()))
    ]
    assert np.median(scores) == pytest.approx(0, abs=1e-3)  # standardised with these images
    again = command("export", own, "--out", tmp_path / "again.onnx")
    assert again.code == 0, again.err
    assert not load_normals(own).held_out.any()  # what was said with another weight
    (own / "marks.csv").write_text("path,mark\n000.png,defect\n")
    refused = command("improve", own, "--marks", own / "marks.csv", "--images", good)
    assert refused.code == 2
    assert "calibrate --fit-kl-weight" in refused.err
