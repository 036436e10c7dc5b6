"""The benchmark adds up: stages, bound, and what limits."""

import json
from pathlib import Path

import pytest

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


def test_a_folder_without_images_is_refused(run: Path, tmp_path: Path, command: Command) -> None:
    outcome = command("benchmark", run / "model.onnx", tmp_path)
    assert outcome.code == 2
    assert "holds no images" in outcome.err
