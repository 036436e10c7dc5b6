"""Export in lower precision: what is rounded, what is not, and when nothing is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx.shape_inference import infer_shapes

from anomaly_vae.calibration.metadata import (
    Agreement,
    Threshold,
    card_from_json,
    card_to_dict,
    card_to_json,
)
from anomaly_vae.errors import ExportError
from anomaly_vae.exporting.agreement import compare_scores, objection
from anomaly_vae.exporting.graph import to_onnx
from anomaly_vae.exporting.precision import in_eight_bits, in_half_precision
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.scoring.batches import parts_of_images, score_images
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.workflows import export as lowering

from ..conftest import Command
from ..small import card, detector, pictures

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
LIMIT = Threshold(score=1.0, anomaly_map=1.0, criterion="good-only", promise="", good=3)


def trained(kind: str) -> Detector:
    """A detector that has learned what is usual of a few pictures."""
    model = detector(kind, window=3)
    parts = parts_of_images(model, pictures(4))
    model.learn_places(*parts)
    model.standardise(*parts)
    return model


def run_bytes(model: onnx.ModelProto, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"images": images}))


def types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of each tensor that a node puts out."""
    graph = infer_shapes(model).graph
    return {
        info.name: info.type.tensor_type.elem_type for info in [*graph.value_info, *graph.output]
    }


def after_the_vae(model: onnx.ModelProto) -> set[str]:
    """The tensors that lie behind the last product with a decoder's weights."""
    last = max(
        index
        for index, node in enumerate(model.graph.node)
        if any("model.decoder" in entry.value for entry in node.metadata_props)
    )
    return {name for node in list(model.graph.node)[last + 1 :] for name in node.output}


@pytest.fixture(scope="module")
def patch() -> Detector:
    return trained("patch")


@pytest.fixture(scope="module")
def half_patch(patch: Detector) -> onnx.ModelProto:
    return to_onnx(in_half_precision(patch), (64, 64, 3))


def near(model: Detector, half: onnx.ModelProto) -> None:
    onnx.checker.check_model(half)
    expected, given = score_images(model, pictures(5)), run_bytes(half, pictures(5))
    assert all(each.dtype == np.float32 for each in given)
    size = np.maximum(1, np.abs(expected.score.numpy()))
    assert 0 < (np.abs(given[0] - expected.score.numpy()) / size).max() <= 0.05


def test_half_precision_scores_within_the_bound(
    patch: Detector, half_patch: onnx.ModelProto
) -> None:
    near(patch, half_patch)


def test_half_precision_is_that_of_trunk_and_vae_alone(half_patch: onnx.ModelProto) -> None:
    known = types(half_patch)
    for node in half_patch.graph.node:
        if node.op_type in ("Conv", "MatMul"):
            scopes = " ".join(entry.value for entry in node.metadata_props)
            assert "features." in scopes or "model." in scopes
            assert known[node.output[0]] == HALF, node.name
    # Behind the decoder there is nothing in half precision but what becomes single precision.
    behind = after_the_vae(half_patch) & known.keys()
    assert len(behind) > 30
    for node in half_patch.graph.node:
        if any(known.get(name) == HALF for name in behind & set(node.input)):
            assert node.op_type == "Cast"
    assert {known[output.name] for output in half_patch.graph.output} == {FLOAT}
    assert half_patch.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_the_detector_itself_keeps_single_precision(patch: Detector) -> None:
    before = score_images(patch, pictures())
    in_half_precision(patch)
    assert {parameter.dtype for parameter in patch.parameters()} == {torch.float32}
    torch.testing.assert_close(score_images(patch, pictures()), before)


@pytest.mark.parametrize("kind", ["linear", "patch"])
def test_eight_bits_are_those_of_trunk_and_vae_alone(kind: str, patch: Detector, run: Path) -> None:
    single = to_onnx(patch, (64, 64, 3)) if kind == "patch" else onnx.load(run / "model.onnx")
    eight = in_eight_bits(single, pictures(4))
    onnx.checker.check_model(eight)
    assert all(each.dtype == np.float32 for each in run_bytes(eight, pictures(5))[:4])
    made = {name: node for node in eight.graph.node for name in node.output}
    constants = {init.name: onnx.numpy_helper.to_array(init) for init in eight.graph.initializer}
    sides = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim][-1:]
        for info in single.graph.value_info
    }
    rounded, kept = [], []
    for node in eight.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            sources = [made[name].op_type if name in made else "" for name in node.input[:2]]
            (rounded if sources == ["DequantizeLinear"] * 2 else kept).append(node)
            assert sources.count("DequantizeLinear") in (0, 2), node.name
    for node in rounded:
        scope = " ".join(entry.value for entry in node.metadata_props)
        assert "model." in scope or ("features.trunk" in scope and sides[node.output[0]] <= [8])
        weight, scale = (constants[name] for name in made[node.input[1]].input[:2])
        assert weight.dtype == np.int8 and np.abs(weight.astype(int)).max() <= 64
        assert scale.size in weight.shape and scale.size > 1  # one for each channel
    # ResNet-18: 2 x 5 convolutions in layers 2 and 3; 2 x 3 products of the VAE. A model of pixels
    # has its two products twice: for the score, and for the picture of what it expects.
    assert len(rounded) == (16 if kind == "patch" else 2)
    # conv1, layer 1, and whitening of three layers.
    assert len(kept) == (8 if kind == "patch" else len(kept))
    behind = [made[name].op_type for name in after_the_vae(single) if name in made]
    assert len(behind) > 20 and not {"QuantizeLinear", "DequantizeLinear"} & set(behind)


def test_a_graph_without_names_of_parts_is_refused(run: Path) -> None:
    model = onnx.load(run / "model.onnx")
    for node in model.graph.node:
        del node.metadata_props[:]
    with pytest.raises(ExportError, match="export it anew"):
        in_eight_bits(model, pictures(1))


def test_deviation_changes_ranks_and_areas_are_what_they_are_by_hand() -> None:
    before = np.array([0.0, 0.5, 0.9, 4.0, 0.8])
    after = np.array([0.1, 0.4, 1.1, 5.0, 1.2])
    found = compare_scores(before, after, np.array([0, 0, 0, 1, 1], bool), LIMIT)
    assert found.largest == pytest.approx(0.4)  # 0.8 -> 1.2; 4 -> 5 is a quarter of 4
    assert (found.good, found.defective, found.changed, found.changed_good) == (3, 2, 2, 1)
    assert found.rank_correlation == pytest.approx(1)
    assert (found.auroc_before, found.auroc) == (5 / 6, 1)
    swapped = compare_scores(before[:3], after[[1, 0, 2]], np.zeros(3, bool), LIMIT)
    assert swapped.rank_correlation == pytest.approx(0.5)  # 1 - 6 (1 + 1 + 0) / (3 * 8)
    assert swapped.auroc is None


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ExportError, match="1 of 2 scores are no numbers"):
        compare_scores(np.zeros(2), np.array([0, np.inf]), np.zeros(2, bool), LIMIT)


ALIKE = Agreement(good=100, largest=0.01, changed=0, rank_correlation=1.0)


@pytest.mark.parametrize(
    ("found", "precision", "why"),
    [
        (ALIKE, "fp16", ""),
        (replace(ALIKE, largest=0.05, changed=1), "fp16", ""),
        (replace(ALIKE, largest=0.051), "fp16", "moves by 0.051"),
        (replace(ALIKE, changed=1, changed_good=1), "int8", ""),
        (replace(ALIKE, changed=2, changed_good=2), "int8", "2 of 100 good images change"),
        # All scores + 5, all - 5: they sort as before.
        (replace(ALIKE, changed=59, changed_good=59, good=60, defective=60, auroc=1.0,
                 auroc_before=1.0), "int8", "59 of 60 good images change"),
        (replace(ALIKE, changed=60, defective=60, auroc=1.0, auroc_before=1.0), "int8",
         "60 of 60 defective images change"),
        (replace(ALIKE, changed=3, defective=60, auroc=1.0, auroc_before=1.0), "int8", ""),
        (replace(ALIKE, rank_correlation=0.99), "int8", ""),
        (replace(ALIKE, rank_correlation=0.989), "int8", "correlation.*0.989"),
        (replace(ALIKE, rank_correlation=None), "int8", "not defined"),
        (replace(ALIKE, rank_correlation=0.5, auroc=0.9, auroc_before=0.904), "int8", ""),
        (replace(ALIKE, auroc=0.9, auroc_before=0.906), "int8", "from 0.9060 to 0.9000"),
    ],
)  # fmt: skip
def test_the_rules_by_which_a_model_is_kept(found: Agreement, precision: str, why: str) -> None:
    import re

    given = objection(found, precision)  # type: ignore[arg-type]
    assert re.search(why, given) if why else given == ""


def test_a_card_of_before_still_loads_and_a_new_one_survives() -> None:
    assert card_from_json(card_to_json(card()), origin="test").precision == "fp32"
    old = card_to_dict(card())
    del old["precision"], old["agreement"], old["learned_from"], old["set_with"]
    import json

    assert card_from_json(json.dumps(old), origin="test") == card()
    lower = replace(card(), precision="int8", agreement=ALIKE)
    assert card_from_json(card_to_json(lower), origin="test") == lower


def test_fp16_through_the_command(run: Path, parts: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "half.onnx"
    outcome = command("export", run, "--out", out, "--precision", "fp16",
                      "--good", parts / "test" / "good", "--defective", parts / "test" / "dent")  # fmt: skip
    assert outcome.code == 0, outcome.err
    single, half = Inspector(run / "model.onnx", device="cpu"), Inspector(out, device="cpu")
    assert half.card.precision == "fp16" and half.card.threshold == single.card.threshold
    found = half.card.agreement
    assert found is not None and (found.good, found.defective, found.drawn) == (8, 2, False)
    assert f"{found.largest:.2g} of max" in outcome.out
    assert "agreement.largest" in command("info", out).out
    assert out.stat().st_size < (run / "model.onnx").stat().st_size


def test_int8_through_the_command(run: Path, parts: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "eight.onnx"
    good = parts / "train" / "good"
    outcome = command("export", run, "--out", out, "--precision", "int8", "--good", good)
    if outcome.code == 2:  # then it must say why, and leave nothing
        assert "int8 is not kept" in outcome.err and not out.exists()
        return
    eight = Inspector(out, device="cpu")
    assert eight.card.precision == "int8"
    assert eight.card.agreement is not None
    assert eight.card.agreement.good == 12  # of 24: the others have given the ranges


def test_copies_of_an_image_are_not_on_both_sides(parts: Path, tmp_path: Path) -> None:
    import shutil

    from anomaly_vae.training.dataset import read_images

    for copy in ("a", "b"):
        shutil.copytree(parts / "train" / "good", tmp_path / "good" / copy)
    images = read_images(tmp_path / "good", card().images, workers=1)
    used = lowering._chosen(images)
    chosen = np.array([digest in used for digest in images.digests])
    sides = [
        {d for d, c in zip(images.digests, chosen, strict=True) if c == side} for side in (0, 1)
    ]
    assert chosen.sum() == 24 and not sides[0] & sides[1]


@pytest.mark.parametrize("labelled", [True, False])
def test_a_model_that_judges_otherwise_is_not_kept(
    labelled: bool, run: Path, parts: Path, command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def mirrored(model: onnx.ModelProto, images: NDArray[np.uint8]) -> onnx.ModelProto:
        """Turn the scores round: what was most unusual becomes the least."""
        node = next(node for node in model.graph.node if "score" in node.output)
        node.output[:] = ["mirrored"]
        model.graph.node.append(onnx.helper.make_node("Neg", ["mirrored"], ["score"]))
        return model

    monkeypatch.setattr(lowering, "in_eight_bits", mirrored)
    out = tmp_path / "eight.onnx"
    out.write_text("mine")
    bad = ("--defective", parts / "test" / "dent") if labelled else ()
    outcome = command("export", run, "--out", out, "--overwrite", "--precision", "int8",
                      "--good", parts / "train" / "good", *bad)  # fmt: skip
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert (
        "the AUROC falls" if labelled else "correlation of the scores of good images is -1.000"
    ) in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["eight.onnx"]
    assert out.read_text() == "mine"
