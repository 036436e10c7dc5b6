"""A training whose export fails keeps what was learned, and can be finished."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.errors import ExportError
from anomaly_vae.exporting import graph
from anomaly_vae.inspection.inspector import Inspector

from ..conftest import QUICK, Command


@pytest.mark.parametrize("how", ["export", "resume"])
def test_what_was_learned_outlives_a_failed_export(
    run: Path, parts: Path, tmp_path: Path, command: Command,
    monkeypatch: pytest.MonkeyPatch, how: str,
) -> None:  # fmt: skip
    good, out = parts / "train" / "good", tmp_path / "run"

    def failing(*_: object) -> None:
        raise ExportError("the exported model differs from torch")

    monkeypatch.setattr(graph, "check_parity", failing)
    failed = command("train", good, "--out", out, "--features", "pixels", *QUICK)
    assert failed.code == 2
    assert len(failed.err.splitlines()) == 1
    assert f"'anomaly-vae export {out} --out {out}/model.onnx' tries again" in failed.err
    assert not (out / "model.onnx").exists()
    again = command("export", out, "--out", tmp_path / "model.onnx")
    assert (again.code, (out / ".state").is_dir()) == (2, True)
    monkeypatch.undo()
    if how == "export":
        done = command("export", out, "--out", out / "model.onnx")
    else:
        done = command("train", good, "--out", out, "--resume")
    assert done.code == 0
    # The same model as if nothing had happened.
    assert {path.name for path in out.iterdir()} == {path.name for path in run.iterdir()}
    whole, mended = (Inspector(each / "model.onnx", device="cpu") for each in (run, out))
    for name in ("score", "anomaly_map"):
        expected = getattr(whole.card.threshold, name)
        assert getattr(mended.card.threshold, name) == pytest.approx(expected, rel=1e-4)
    assert mended.card.good is not None
    tables = [pd.read_csv(each / "normals.csv") for each in (run, out)]
    np.testing.assert_allclose(tables[0].score, tables[1].score, rtol=1e-4, atol=1e-4)
    test = sorted((parts / "test" / "good").iterdir())
    for one, other in zip(whole.inspect(test), mended.inspect(test), strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-4, abs=1e-4)


def test_a_run_that_is_not_finished_says_so(
    own_run: Path, tmp_path: Path, command: Command
) -> None:
    (own_run / "model.onnx").unlink()
    (own_run / ".state").mkdir()
    (own_run / ".state" / "checkpoint.safetensors").touch()
    outcome = command("export", own_run, "--out", tmp_path / "model.onnx")
    assert outcome.code == 2
    assert "its training is not finished; give 'train' --resume first" in outcome.err
