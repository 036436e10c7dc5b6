"""No option is ignored: each has an effect beside each other one, or the two are refused.

All pairs of the options of all commands are tried. What a command hands to the library is recorded
instead of done; an option without which the same is handed over has had no effect.
"""

import importlib
import itertools
import pkgutil
import re
import shutil
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import anomaly_vae_cli
import pytest
import typer

import anomaly_vae
from anomaly_vae.errors import InputError
from anomaly_vae.inspection.several import Several
from anomaly_vae.outputs import prepare_folder, refuse_folder
from anomaly_vae.reporting.results import INSPECTION
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.workflows.calibrate import refuse_ignored
from anomaly_vae.workflows.runs import goes_on, refuse_weights
from anomaly_vae.workflows.sweep import _check_models
from anomaly_vae.workflows.train_many import MANY

from ..conftest import Command

# How each command begins, and each of its options; what an option needs stands behind ";".
BEGIN = {
    "check": "check {good}",
    "distill": "distill --out {out}/t.safetensors",
    "train": "train {good} --out {out}",
    "train-many": "train-many {test} --out {out}",
    "export": "export {run} --out {out}/new.onnx",
    "inspect": "inspect {run}/model.onnx {good}",
    "watch": "watch {run}/model.onnx {good} --out {out}",
    "benchmark": "benchmark {run}/model.onnx {good}",
    "calibrate": "calibrate {run}",
    "refine": "refine {run}",
    "kinds": "kinds {run}",
    "improve": "improve {run} --marks {marks} --images {good}",
    "promote": "promote {run}",
    "verify-log": "verify-log {run}",
    "evaluate": "evaluate {run} {test} --out {out}",
    "plan": "plan",
    "generate": "generate {run} --out {out}",
    "interpolate": "interpolate {run} {good}/000.png {good}/001.png --out {out}",
    "traverse": "traverse {run} {good}/000.png --out {out}",
    "latents": "latents {run} {good} --out {out}",
    "decode": "decode {run} latents.csv --out {out}",
    "restore": "restore {run} {good}/000.png --out {out}",
    "sweep": "sweep {good} --out {out} --vary model.beta=0,1",
    "demo": "demo --out {out}",
    "samples": "samples {out}",
    "info": "info {run}/model.onnx",
    "doctor": "doctor",
    "config show": "config show",
}
GOOD = "; --good {good}"
BOTH = "; --good {good} --defective {test}/dent"
NONE = "; --out {out}"
OPTIONS = {
    "check": [
        *("--out {out}", "--size 64", "--mm-per-pixel 2", f"--overwrite{NONE}"),
    ],
    "distill": [
        *("--teacher resnet50", "--weights w.pth", "--pictures {good}", "--drawn 9", "--seed 3"),
        *("--minutes 1", "--start w.pth", "--batch-size 4", "--learning-rate 0.1", "--device cpu"),
        "--overwrite",
    ],
    "train": [
        *("--config {config}", "--features pixels", "--weights w.pth", "--seed 3", "--resume"),
        *("--set training.epochs=3", "--roi {mask}", "--device cpu", "--group-by .", "--overwrite"),
        *("--augment-with-samples 5; --features pixels", "--mm-per-pixel 2"),
        *("--exclude {marked}", "--exclude-above 3; --exclude {marked}"),
        *("--detail 2", "--smallest-defect 5", "--volumes ^; --config slices"),
    ],
    "train-many": [
        *("--config {config}", "--features pixels", "--weights w.pth", "--seed 3", "--resume"),
        *("--set training.epochs=3", "--device cpu", "--workers 2", "--overwrite"),
        *("--engine ray", "--address auto; --engine ray", "--gpus-per-worker 1; --engine ray"),
    ],
    "export": [
        *("--overwrite", "--precision fp16", "--good {good}; --precision fp16"),
        f"--defective {{test}}/dent; --precision fp16 {GOOD[2:]}", "--any-size",
    ],
    "inspect": [
        *("--device cpu; --jsonl", "--batch-size 3; --jsonl", "--workers 2; --jsonl", "--jsonl"),
        *(f"--heatmaps all{NONE}", f"--no-page{NONE}", f"--format parquet{NONE}", "--out {out}"),
        *("--min-area 4; --jsonl", "--mm-per-pixel 2; --jsonl", "--drift-window 20; --jsonl"),
        *(f"--resume{NONE}", f"--overwrite{NONE}", "--exit-zero; --jsonl"),
        *("--model {other}; --jsonl", "--route a|b; --jsonl --model {other}"),
        *("--engine ray; --jsonl", "--address auto; --jsonl --engine ray"),
        "--gpus-per-worker 0.5; --jsonl --engine ray",
        "--volumes ^; --jsonl",
    ],
    "watch": [
        *("--device cpu", "--heatmaps all", "--min-area 4", "--mm-per-pixel 2", "--polling"),
        *("--move-to {out}/sorted", "--idle 3", "--overwrite", "--exit-zero"),
    ],
    "benchmark": [
        *("--images 9", "--device cpu", "--batch-size 3", "--workers 2", "--json", "--advise"),
    ],
    "calibrate": [
        *("--good {good}", f"--defective {{test}}/dent{GOOD}"),
        *("--marks {marks}; --images {good}", "--images {good}; --marks {marks}"),
        *(f"--criterion recall{BOTH}", f"--target 0.2{GOOD}", f"--fit-kl-weight{BOTH}"),
        f"--cost-escape 9{BOTH} --cost-overkill 1 --defect-rate 0.1",
        f"--cost-overkill 1{BOTH} --cost-escape 9 --defect-rate 0.1",
        f"--defect-rate 0.1{BOTH} --cost-escape 9 --cost-overkill 1",
        f"--review-recall 0.9{BOTH} --criterion review",
        f"--review-false-alarms 0.1{BOTH} --criterion review",
        *(f"--review-rate 0.2{GOOD}", f"--extrapolate{GOOD} --target 0.2"),
    ],
    "refine": [
        *("--defective {test}/dent", "--good {good}; --defective {test}/dent"),
        *("--marks {defects}; --images {test}", "--images {test}; --marks {defects}"),
    ],
    "kinds": [
        "--defective {test}", "--marks {defects}; --images {test}",
        "--images {test}; --marks {defects}",
    ],
    "improve": ["--good {good}", "--device cpu"],
    "promote": ["--back"],
    "verify-log": ["--noted 0"],
    "evaluate": [
        *("--masks {test}", "--against {run}/model.onnx", "--overwrite", "--good-class good"),
    ],
    "plan": ["--false-alarm-rate 0.1", "--escape-rate 0.2", "--confidence 0.9"],
    "generate": [
        *("--count 3", "--good {good}", "--temperature 2", "--seed 3", "--overwrite"),
        "--from diffusion; --good {good}",
    ],
    "interpolate": ["--steps 3", "--format webp", "--overwrite"],
    "traverse": ["--steps 3", "--most 2", "--sort effect", "--overwrite"],
    "latents": ["--plane tsne", "--format parquet", "--good-class ok", "--overwrite"],
    "restore": ["--overwrite"],
    "decode": ["--overwrite"],
    "sweep": [
        *("--seeds 2", "--test {test}", "--good-class ok; --test {test}", "--features pixels", "--config {config}"),
        *("--set training.epochs=3", "--weights w.pth", "--device cpu", "--resume", "--overwrite"),
    ],
    "demo": ["--seed 3", "--overwrite"],
    "samples": [
        *("--train 3", "--test-good 3", "--test-defective 3", "--size 64", "--seed 3"),
        *("--overwrite", "--proportions 1:2", "--volumes wheels"),
    ],
    "info": ["--json"],
    "doctor": [],
    "config show": ["--features pixels"],
}  # fmt: skip
COSTS = ("--cost-escape", "--cost-overkill", "--defect-rate")
REVIEW = ("--review-recall", "--review-false-alarms")
# Options that say what is chosen anyhow, and are refused where that is something else.
STATED = {"--from", "--device", "--exit-zero"}
# What excludes each other, by command.
EXCLUDED = {
    "train": {
        ("--resume", "--overwrite"), ("--features", "--weights"),
        ("--weights", "--augment-with-samples"), ("--detail", "--smallest-defect"),
        # The --config that is tried here says nothing of stacks, which pixels need a model for.
        *itertools.product(("--volumes",), ("--config", "--features", "--roi", "--augment-with-samples", "--exclude",
                           "--exclude-above", "--detail", "--smallest-defect")),
    },
    "train-many": {
        ("--resume", "--overwrite"), ("--features", "--weights"), ("--device", "--gpus-per-worker"),
    },
    # --good goes with --any-size as well, but not beside the --precision that is tried here.
    "export": {*itertools.product(("--any-size",), ("--precision", "--good", "--defective"))},
    "inspect": {
        *(("--resume", "--overwrite"), ("--device", "--gpus-per-worker")),
        *itertools.product(("--volumes",), ("--model", "--route")),
    },
    "samples": {*itertools.product(("--volumes",), ("--size", "--proportions"))},
    "benchmark": {*itertools.product(("--advise",), ("--device", "--batch-size", "--workers", "--json"))},
    "calibrate": {
        *itertools.product(("--marks", "--images"), ("--good", "--defective", "--criterion",
                           "--target", "--fit-kl-weight", "--review-rate", "--extrapolate",
                           *COSTS, *REVIEW)),
        *itertools.product(("--review-rate", "--extrapolate"),
                           ("--defective", "--criterion", "--fit-kl-weight", *COSTS, *REVIEW)),
        *itertools.product(COSTS, ("--criterion", "--target", *REVIEW)),
        *itertools.product(REVIEW, ("--criterion", "--target")),
        ("--target", "--defective"), ("--target", "--fit-kl-weight"),
    },
    "refine": {*itertools.product(("--marks", "--images"), ("--defective", "--good"))},
    "kinds": {*itertools.product(("--marks", "--images"), ("--defective",))},
    "sweep": {("--resume", "--overwrite"), ("--features", "--weights")},
}  # fmt: skip


def commands() -> Iterator[tuple[str, Any]]:
    from anomaly_vae_cli import app

    group: Any = typer.main.get_command(app)
    for name, each in group.commands.items():
        inner = getattr(each, "commands", {"": each})
        yield from ((f"{name} {below}".strip(), command) for below, command in inner.items())


def words(name: str, *options: str) -> str:
    """A command line with some of the options of a command, and what these need beside them."""
    line = [BEGIN[name]]
    for given in [*(each.partition(";")[0] for each in options),
                  *(each.partition(";")[2].strip() for each in options)]:  # fmt: skip
        for part in re.split(r" (?=--)", given):
            if part and part.split()[0] not in " ".join(line).split():
                line.append(part)
    return " ".join(line)


def option(text: str) -> str:
    return text.split(maxsplit=1)[0].rstrip(";")


def test_the_table_names_every_option_of_every_command() -> None:
    always = {
        "train": {"--out"},
        "export": {"--out"},
        "sweep": {"--out", "--vary"},
        "train-many": {"--out"},
    }
    for name, command in commands():
        known = {option(each) for each in OPTIONS[name]}
        known |= {part for part in BEGIN[name].split() if part.startswith("--")}
        there = {
            next((o for o in (*each.opts, *each.secondary_opts) if o in known), each.opts[0])
            for each in command.params
            if each.param_type_name == "option" and each.name != "help"
        }
        assert there - always.get(name, set()) == known - always.get(name, set()), name


class RecordedError(Exception):
    """What was to be found out is known."""


_RECORDED = RecordedError("recorded")


def train(_good: Path, out: Path, config: Any, **how: Any) -> str:
    goes_on(out, config, how["weights"], overwrite=how["overwrite"], resume=how["resume"])
    return "session"


def calibrate(_run: Path, _good: Any, defective: Any, **how: Any) -> None:
    rest = {name: how[name] for name in ("review_rate", "extrapolate", "refit_kl_weight")}
    refuse_ignored(how["goal"], labelled=defective is not None, **rest)
    raise _RECORDED


def sweep(_good: Path, _out: Path, plan: Any, *, weights: Path | None, **_: Any) -> None:
    _check_models(plan, weights)
    raise _RECORDED


@cache
def _import_all() -> None:
    for package in (anomaly_vae, anomaly_vae_cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Everything that a command hands over; none of it is done."""
    _import_all()  # one that is first imported while names are replaced would keep them for good
    parent = MagicMock()

    def record(*places: str, does: Any = _RECORDED, gives: Any = None) -> None:
        for place in places:
            mock = getattr(parent, place.rpartition(".")[2])
            mock.side_effect, mock.return_value = (None, gives) if gives else (does, None)
            monkeypatch.setattr(place, mock)

    vae, cli = "anomaly_vae", "anomaly_vae_cli.commands"
    workflows, nothing = f"{vae}.workflows", lambda *_, **__: None
    record(f"{vae}.outputs.refuse_folder", does=refuse_folder)
    record(f"{vae}.outputs.prepare_folder", does=prepare_folder)
    record(*(f"{workflows}.api.export_{each}" for each in ("run", "lower", "any_size")))
    record(f"{workflows}.refine.refine_run", f"{workflows}.improve.improve_run")
    record(f"{workflows}.kinds.learn_run_kinds")
    record(f"{workflows}.evaluate.evaluate_model", f"{cli}.demo.train")
    record(f"{workflows}.calibrate.calibrate_run", does=calibrate)
    record(f"{workflows}.train.TrainingSession", does=train)
    record(f"{cli}.train.train_session")
    record(f"{workflows}.train_many.Many", does=partial(many, parent))
    monkeypatch.setattr(f"{workflows}.detail.cost", lambda *_, **__: [])
    record(f"{workflows}.check.check_folder", f"{workflows}.distill.distill")
    record(f"{workflows}.sweep.Sweep", does=sweep)
    monkeypatch.setattr(f"{workflows}.sweep.build_detector", lambda _: parent.detector)
    # inspect, watch, benchmark
    record(f"{vae}.inspection.inspector.Inspector", does=inspector)
    record(f"{vae}.inspection.several.Several", does=Several)
    record(f"{workflows}.cluster.OnCluster", does=on_cluster)
    record(f"{workflows}.benchmark.benchmark", gives=SimpleNamespace())
    record(f"{workflows}.advice.ways")
    monkeypatch.setattr(f"{vae}.images.files.list_images", lambda *_, **__: [])
    record(f"{vae}.reporting.results.Results", does=results)
    record(f"{workflows}.recorder.Recorder", gives=parent.recorder)
    dirty = SimpleNamespace(clean=False)
    record(f"{workflows}.inspect.take_stacks", does=take_stacks)
    record(f"{workflows}.inspect.inspect_images", gives=dirty)
    record(f"{workflows}.inspect.inspect_with_several", gives=[dirty, dirty])
    record(f"{vae}.inspection.watching.Arrivals", gives=parent.arrivals)
    record(f"{workflows}.watch.Watch", gives=parent.watched)
    record(f"{cli}.inspect.say_inspection", f"{cli}.watch.say_inspection", does=nothing)
    monkeypatch.setattr("signal.signal", nothing)
    # the latent space, and drawn parts
    record(f"{vae}.images.samples.write_samples", f"{vae}.images.scans.write_stacks", does=nothing)
    record(f"{workflows}.generate.generate_parts", f"{workflows}.interpolate.interpolate_parts")
    record(f"{workflows}.latents.write_latents", f"{workflows}.traverse.traverse_part")
    record(f"{workflows}.decode.decode_table")
    record(f"{workflows}.restore.restore_image", f"{workflows}.restore.restore_folder")
    return parent


def inspector(model: Path, **_: Any) -> SimpleNamespace:
    card = SimpleNamespace(images=ImageSettings())
    facts = {"min_area": 0, "model_id": "m", "provider": "CPU", "batch_size": 8}
    return SimpleNamespace(name=model.stem, card=card, model=MagicMock(), **facts)


def many(
    parent: MagicMock,
    _folder: Path,
    out: Path,
    config: Any,
    *,
    overwrite: bool,
    resume: bool,
    weights: Path | None,
    **_: Any,
) -> SimpleNamespace:
    refuse_folder(out, MANY, overwrite=overwrite, resume=resume)
    if config:
        refuse_weights(config, weights)
    return SimpleNamespace(parts=[], notes=[], rows={}, train=parent.train_many)


def on_cluster(inspectors: Any, route: str, *_: Any) -> Several:
    cluster = Several(inspectors, route)
    cluster.workers = 2  # type: ignore[attr-defined]
    return cluster


def take_stacks(inspectors: list[Any], _source: Any, volumes: str | None) -> None:
    if volumes and len(inspectors) > 1:
        raise InputError("one model")


def results(out: Path, *_: Any, overwrite: bool, resume: bool, **_how: Any) -> MagicMock:
    refuse_folder(out, INSPECTION, overwrite=overwrite, resume=resume)
    return MagicMock()


@pytest.mark.parametrize("name", [name for name in OPTIONS if len(OPTIONS[name]) > 1])
def test_each_option_has_an_effect_beside_each_other_or_both_are_refused(
    name: str, run: Path, parts: Path, calls: MagicMock, command: Command, tmp_path: Path
) -> None:
    marks, config = tmp_path / "marks.csv", tmp_path / "config.yaml"
    marks.write_text("path,mark\n000.png,good\n")
    config.write_text("training: {patience: 3}\n")
    defects = tmp_path / "defects.csv"
    defects.write_text("path,mark\ndent/000.png,defect\n")
    marked = tmp_path / "suspicious.csv"
    marked.write_text("path,exclude,score\n000.png,x,2\n001.png,,5\n")
    places = {
        "run": run, "good": parts / "train" / "good", "test": parts / "test", "marks": marks,
        "config": config, "marked": marked, "defects": defects,
        "other": tmp_path / "other.onnx",
        "mask": next((parts / "ground_truth").rglob("*.png")), "out": tmp_path / "out",
    }  # fmt: skip

    @cache
    def handed_over(line: str) -> tuple[int, str]:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        calls.reset_mock()
        outcome = command(*(each.format(**places) for each in line.split()))
        told = "\n".join(map(repr, calls.mock_calls)) + outcome.out + outcome.err
        return outcome.code, re.sub(r"0x[0-9a-f]+|id='\d+'", "", told)

    excluded = {frozenset(pair) for pair in EXCLUDED.get(name, ())}
    wrong = []
    for one, other in itertools.combinations(OPTIONS[name], 2):
        line = words(name, one, other)
        code, told = handed_over(line)
        if frozenset((option(one), option(other))) in excluded:
            if code != 2 or told.count("error: ") != 1:
                wrong.append(f"is not refused: {line}: {code} {told}")
        elif code == 2:
            wrong.append(f"is refused: {line}: {told}")
        else:
            for each in (one, other):
                left = line.replace(f" {each.partition(';')[0]}", "", 1)
                if handed_over(left) == (code, told) and option(each) not in STATED:
                    wrong.append(f"makes no difference: {each} in {line}: {told}")
    assert not wrong, "\n\n".join(wrong)
