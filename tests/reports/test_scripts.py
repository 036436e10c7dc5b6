"""The tables of the reports: what is chosen elsewhere is reported on the set left out."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import typer

REPORTS = Path(__file__).parents[2] / "reports"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPORTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return loaded("tables")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPORTS))
    return loaded("gpu")


def cells(tables: ModuleType, **aurocs: tuple[float, ...]) -> dict[tuple[str, str], list[object]]:
    names = {"default": tables.DEFAULT}
    return {
        (names.get(method, method), name): [{"auroc": value}]
        for method, values in aurocs.items()
        for name, value in zip(tables.SETS, values, strict=False)
    }


def test_a_variant_is_chosen_without_the_set_that_it_is_reported_on(tables: ModuleType) -> None:
    known = cells(tables, default=(0.9, 0.5, 0.9, 0.9), other=(0.8, 1.0, 0.8, 0.8))
    rows = tables.rotation(known, [tables.DEFAULT, "other"]).splitlines()
    assert rows[3] == f"| `screw` | {tables.DEFAULT} | 0.5000 | 0.5000 | other: 1.0000 |"
    assert rows[2] == f"| `bottle` | other | 0.8000 | 0.9000 | {tables.DEFAULT}: 0.9000 |"


def test_what_was_not_measured_everywhere_is_not_chosen(tables: ModuleType) -> None:
    known = cells(tables, default=(0.5, 0.5, 0.5, 0.5), other=(1.0, 1.0, 1.0))
    assert "| other" not in tables.rotation(known, [tables.DEFAULT, "other"])


def test_seeds_become_mean_and_standard_deviation(tables: ModuleType) -> None:
    measured = [{"auroc": 0.9}, {"auroc": 1.0}, {}]
    assert tables.figure(measured, 2, "auroc") == "0.95 ± 0.07"
    assert tables.figure(measured[:1], 2, "auroc") == "0.90"
    assert tables.figure(measured, 2, "pro") == "-"


def test_only_the_named_place_of_a_text_is_replaced(tables: ModuleType) -> None:
    text = "a\n<!-- kl -->\nold\n<!-- end -->\nb\n"
    assert tables.replace_tables(text, {"kl": "new"}) == text.replace("old", "new")
    assert tables.replace_tables(text, {"other": "new"}) == text


def test_without_a_gpu_nothing_is_measured_on_one(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "cuda_devices", lambda: 0)
    with pytest.raises(typer.Exit) as ended:
        gpu.main(Path("photographs"), [Path("run")])
    assert ended.value.exit_code == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "no NVIDIA driver or GPU" in err


def test_the_operators_of_the_last_run_are_summed_kernels_before_nodes(gpu: ModuleType) -> None:
    def event(cat: str, name: str, ts: int, dur: int, **args: str) -> dict[str, object]:
        return {"cat": cat, "name": name, "ts": ts, "dur": dur, "args": args}

    nodes = [
        event("Session", "model_run", 0, 9),
        event("Node", "a_kernel_time", 1, 900, op_name="Conv"),
        event("Session", "model_run", 10, 9),
        event("Node", "a_kernel_time", 11, 30, op_name="Conv"),
        event("Node", "a_fence_after", 12, 500, op_name="Conv"),
        event("Node", "b_kernel_time", 13, 10, op_name="Add"),
    ]
    assert gpu.longest(nodes) == "Conv 75%, Add 25% (as the host sees it)"
    kernels = [event("Kernel", "sgemm", 14, 1, op_name="Conv"), event("Kernel", "memcpy", 15, 4)]
    assert gpu.longest(nodes + kernels) == "memcpy 80%, Conv 20%"


@pytest.mark.slow
def test_what_is_measured_on_a_gpu_is_rehearsed_on_a_cpu(
    gpu: ModuleType, run: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = (REPORTS / "speed.md").read_text()
    gpu.main(parts / "test", [run], gpu.On.CPU)
    tables = [table.splitlines() for table in capsys.readouterr().out.strip().split("\n\n")]
    speed, profile, _ = tables
    for table, name in zip(tables, ("gpu", "gpu_profile", "gpu_options"), strict=True):
        assert f"<!-- {name} -->\n{table[0]}\n{table[1]}\n" in report  # the heads are alike
        assert [row.split(" | ")[:2] for row in table[2:]] == [
            [f"| `{run.name}`", precision] for precision in ("fp32", "fp16")
        ]
    single = speed[2].strip("| ").split(" | ")
    assert (single[2], single[3], single[-2]) == ("cpu", "8", "0.0e+00")
    assert single[-1].startswith("0 of ")
    assert "%" in profile[2]
    assert (REPORTS / "speed.md").read_text() == report
