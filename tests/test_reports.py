"""The tables of the reports: what is chosen elsewhere is reported on the set left out."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    path = Path(__file__).parents[1] / "reports" / "tables.py"
    spec = importlib.util.spec_from_file_location("tables", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
