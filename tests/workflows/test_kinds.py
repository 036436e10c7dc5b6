"""Named defects, from a folder or from marks, to the columns of ``defects.csv``."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.exporting.graph import replace_card
from anomaly_vae.images.samples import write_samples
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.kinds import described

from ..conftest import Command

KINDS = ["colour", "dent", "missing_feature", "scratch"]


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five drawn defects of each kind but one, of which there are three; and good parts."""
    folder = tmp_path_factory.mktemp("defects")
    write_samples(folder, train=0, test_good=2, test_defective=25, size=64, seed=4)
    for file in sorted((folder / "test" / "contamination").iterdir())[3:]:
        file.unlink()
    return folder / "test"


@pytest.fixture
def strict(own_patch_run: Path) -> Path:
    """A run whose model lets nothing pass: each defect has a region."""
    model = own_patch_run / "model.onnx"
    card = Inspector(model, device="cpu").card
    replace_card(model, replace(card, threshold=replace(card.threshold, score=-100.0, review=None)))
    return own_patch_run


def inspected(command: Command, run: Path, photos: Path, out: Path) -> pd.DataFrame:
    outcome = command("inspect", run / "model.onnx", photos, "--out", out, "--exit-zero")
    assert outcome.code == 0, outcome.err
    return pd.read_csv(out / "defects.csv", keep_default_na=False)


def test_folders_name_kinds_and_regions_get_them(
    strict: Path, defects: Path, command: Command, tmp_path: Path
) -> None:
    before = inspected(command, strict, defects, tmp_path / "before")
    assert set(before.kind) | set(before.kind_probability) == {""}
    outcome = command("kinds", strict, "--defective", defects)
    assert outcome.code == 0, outcome.err
    assert "4 kinds: colour (5), dent (5), missing_feature (5), scratch (5)" in outcome.out
    assert "2 images are good, or in no folder of a kind; they are left out" in outcome.err
    assert "fewer than 5 examples, left out: contamination (3)" in outcome.err
    after = inspected(command, strict, defects, tmp_path / "after")
    assert set(after.kind) <= {*KINDS, "unknown"}
    assert after.kind.isin(KINDS).any()
    unknown = after.kind == "unknown"
    assert (after.kind_probability[unknown] == "").all()
    assert pd.to_numeric(after.kind_probability[~unknown]).between(1 / 4, 1).all()
    # All else is as before.
    pd.testing.assert_frame_equal(after[list(after)[:16]], before[list(before)[:16]])
    card = (strict / "card.html").read_text(encoding="utf-8")
    assert "Which kinds of defects it tells apart" in card
    assert "<th>called missing_feature</th>" in card
    # They stay where limits change, and the model is written again.
    for line in (("calibrate", strict, "--good", defects / "good", "--defective", defects / "dent"),
                 ("export", strict, "--out", strict / "model.onnx", "--overwrite")):  # fmt: skip
        assert command(*line).code == 0
    kinds = Inspector(strict / "model.onnx", device="cpu").card.kinds
    assert kinds is not None
    assert list(kinds.names) == KINDS


def test_marks_name_kinds(strict: Path, defects: Path, command: Command, tmp_path: Path) -> None:
    marks = tmp_path / "marks.csv"
    rows = [f"{kind}/{name:03d}.png,defect,{kind if name else ''}" for kind in KINDS[:2]
            for name in range(5)]  # fmt: skip
    copied = tmp_path / "photos"
    shutil.copytree(defects, copied)
    first = sorted((copied / "dent").iterdir())[0].name
    assert first == "000.png"
    marks.write_text("\n".join(["path,mark,kind", *rows, "good/000.png,good,"]))
    outcome = command("kinds", strict, "--marks", marks, "--images", copied)
    assert outcome.code == 2
    assert "2 kinds or more with 5 examples each" in outcome.err
    assert outcome.err.count("error:") == 1
    named = marks.read_text().replace("defect,\n", "defect,dent\n", 1)
    marks.write_text(named.replace("defect,dent", "defect,colour", 1))
    (copied / "dent" / "000.png").unlink()
    outcome = command("kinds", strict, "--marks", marks, "--images", copied)
    assert "is in" in outcome.err and "but not there" in outcome.err


def test_mistakes_are_said_in_one_line(
    strict: Path, run: Path, defects: Path, command: Command, tmp_path: Path
) -> None:
    same, called = tmp_path / "same", tmp_path / "called"
    for folder, names in ((same, ("a", "b")), (called, ("unknown", "b"))):
        for name in names:
            (folder / name).mkdir(parents=True)
            shutil.copy(defects / "dent" / "000.png", folder / name)
    for options, said in (
        ((strict, "--defective", same), "and the same photograph 'a'; expected one kind"),
        ((strict, "--defective", called), "a kind is called 'unknown'"),
        ((strict, "--defective", defects / "dent"), "kinds with examples that are found: none"),
        ((strict,), "expected --defective DIR, or --marks FILE --images DIR"),
        ((run, "--defective", defects), "does not say in which direction a place is unusual"),
    ):
        outcome = command("kinds", *options)
        assert outcome.code == 2, options
        assert said in outcome.err.replace("\n", " "), (said, outcome.err)


def photographs(inspector: Inspector, folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for finding in inspector.inspect_files(folder, ["000.png"]):
        assert finding.image is not None and finding.anomaly_map is not None
        residual = inspector.residual(finding.image)
        assert residual is not None
        assert residual.shape[1:] == finding.anomaly_map.shape
        spot = np.zeros_like(finding.anomaly_map)
        spot[3, 2] = 2.0
        region = replace(finding.regions[0], x=0, y=0, width=finding.image.width,
                         height=finding.image.height)  # fmt: skip
        yield described(region, finding.image, spot, residual, 1.0), residual[:, 3, 2]


def test_a_region_is_described_by_its_places_above_the_limit(strict: Path, defects: Path) -> None:
    inspector = Inspector(strict / "model.onnx", device="cpu")
    for found, expected in photographs(inspector, defects / "dent"):
        assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)
