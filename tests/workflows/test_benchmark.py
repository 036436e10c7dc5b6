"""The benchmark adds up: stages, bound, and what limits."""

import dataclasses
import json
from pathlib import Path

import pytest

from anomaly_vae.exporting.graph import replace_card
from anomaly_vae.inspection.inspector import Inspector

from ..conftest import Command


def test_the_bound_follows_from_decoding_and_model(
    run: Path, parts: Path, command: Command
) -> None:
    arguments = ("--images", "20", "--device", "cpu", "--workers", "2", "--json")
    outcome = command("benchmark", run / "model.onnx", parts / "test", *arguments)
    assert outcome.code == 0
    measured = json.loads(outcome.out)
    rates = {stage["name"]: stage["images_per_second"] for stage in measured["stages"]}
    assert list(rates) == ["read", "decode", "infer", "judge", "write"]
    assert measured["bound"] == pytest.approx(1 / (1 / rates["decode"] + 1 / rates["infer"]))
    assert measured["limit"] == min(rates, key=lambda name: rates[name])
    assert (measured["images"], measured["workers"]) == (20, 2)
    assert measured["end_to_end"] > 0
    assert measured["decoded"] > 0
    assert 0 < measured["busy"] <= 1
    for stage in measured["stages"]:
        assert 0 < stage["p50"] <= stage["p95"] <= stage["p99"]


def test_without_a_folder_parts_are_drawn_and_the_table_fits_80_columns(
    run: Path, command: Command
) -> None:
    outcome = command("benchmark", run / "model.onnx", "--images", "8", "--device", "cpu")
    assert outcome.code == 0
    assert "takes longest" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_advice_keeps_the_verdicts(own_run: Path, parts: Path, command: Command) -> None:
    model, other = own_run / "model.onnx", own_run / "lower.onnx"
    card = Inspector(model, device="cpu").card
    severe = dataclasses.replace(card.threshold, score=-1e9)  # it fails all
    replace_card(model, dataclasses.replace(card, threshold=severe, precision="fp16"), other)
    stranger = dataclasses.replace(card, training_fingerprint="another")
    replace_card(model, stranger, own_run / "stranger.onnx")
    outcome = command("benchmark", model, parts / "test", "--images", 18, "--advise")
    assert outcome.code == 0, outcome.err
    *tried, advice = outcome.out.splitlines()[1:]
    counts = {(line.split()[0], int(line.split()[-1]) > 0) for line in tried}
    assert counts == {("model.onnx", False), ("lower.onnx", True)}
    assert len(tried) == 10
    rates = {line.split()[2]: float(line.split()[3]) for line in tried if "model.onnx" in line}
    best = max(rates, key=lambda size: rates[size])
    assert advice.endswith(f"inspect {model} --device cpu --batch-size {best}")


def test_advice_refuses_what_it_would_ignore(run: Path, parts: Path, command: Command) -> None:
    for rest in ((), (parts / "test", "--json"), (parts / "test", "--batch-size", 4)):
        outcome = command("benchmark", run / "model.onnx", *rest, "--advise")
        assert outcome.code == 2
        assert "--advise" in outcome.err


def test_a_folder_without_images_is_refused(run: Path, tmp_path: Path, command: Command) -> None:
    outcome = command("benchmark", run / "model.onnx", tmp_path)
    assert outcome.code == 2
    assert "holds no images" in outcome.err
