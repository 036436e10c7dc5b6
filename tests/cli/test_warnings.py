"""No raw warning of a library reaches the terminal."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from ..conftest import QUICK, shell

ALL_AT_ONCE = """
import sys
from anomaly_vae_cli import run
for line in sys.stdin.read().splitlines():
    code = run(line.split("\\t"))
    if code:
        sys.exit(f"{line}: exit code {code}")
"""
LEFT_OUT = {
    "demo",  # train, calibrate, evaluate and inspect, one after the other
    "distill",  # tests/training/test_distillation.py; torch takes long to begin
    *("refine", "kinds", "improve", "promote"),  # need a trunk: tests/workflows/test_improve.py
    "train-many",  # train, in processes of its own
}


def test_no_command_gives_a_warning(
    own_run: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomaly_vae_cli import app

    model, good, out = own_run / "model.onnx", parts / "train" / "good", tmp_path / "out"
    one, other = sorted(good.iterdir())[:2]
    pixels = ("--features", "pixels", *QUICK, "--set", "training.epochs=1")
    shutil.copytree(parts / "test" / "good", tmp_path / "arrived")
    lines: list[tuple[object, ...]] = [
        ("check", good, "--out", out / "check"),
        ("train", good, "--out", out / "train", *pixels),
        ("export", own_run, "--out", out / "export.onnx"),
        ("export", own_run, "--out", out / "half.onnx", "--precision", "fp16"),
        ("inspect", model, parts / "test", "--out", out / "inspect", "--exit-zero"),
        ("watch", model, tmp_path / "arrived", "--out", out / "watch", "--idle", 0.1,
         "--exit-zero"),
        ("benchmark", model),
        ("calibrate", own_run, "--good", good),
        ("evaluate", own_run, parts / "test", "--out", out / "evaluate"),
        ("plan",),
        ("generate", own_run, "--out", out / "generate", "--count", 2),
        ("interpolate", own_run, one, other, "--out", out / "interpolate", "--steps", 2),
        ("traverse", own_run, one, "--out", out / "traverse"),
        ("latents", own_run, good, "--out", out / "latents"),
        ("decode", own_run, out / "latents" / "latents.csv", "--out", out / "decode"),
        ("verify-log", own_run),
        ("restore", own_run, one, "--out", out / "restore"),
        ("sweep", good, "--out", out / "sweep", "--vary", "model.beta=1", *pixels),
        ("samples", out / "samples", "--train", 1, "--test-good", 1, "--test-defective", 1),
        ("info", model), ("doctor",), ("config", "show"),
    ]  # fmt: skip
    commands = {each.name for each in app.registered_commands} | {"config"}
    assert {line[0] for line in lines} == commands - LEFT_OUT
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALL_AT_ONCE],
        input="\n".join("\t".join(map(str, line)) for line in lines),
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    raw = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert raw == []  # but for what the program itself says


def test_what_a_decoder_warns_of_stays_off_the_terminal(run: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (64, 64)).save(photos / "a.tif", compression="tiff_lzw")
    whole = (photos / "a.tif").read_bytes()
    (photos / "a.tif").write_bytes(whole[:-40])  # the directory of its tags stands at the end
    with pytest.warns(UserWarning, match="Truncated"), pytest.raises(UnidentifiedImageError):
        Image.open(photos / "a.tif")
    done = shell("inspect", run / "model.onnx", photos, "--out", tmp_path / "out", "--exit-zero")
    assert "Warning" not in done.stdout + done.stderr
    assert (tmp_path / "out" / "images.csv").read_text().count("\n") == 2


def test_permission_denied_is_no_advice_to_close_a_program(tmp_path: Path) -> None:
    from anomaly_vae.outputs import _remedy

    denied, in_use = PermissionError(13, "Permission denied"), PermissionError(13, "in use")
    in_use.winerror = 32  # type: ignore[attr-defined,unused-ignore]
    assert "close" not in _remedy(denied)
    assert "the right to write there" in _remedy(denied)
    assert "close its files" in _remedy(in_use)
