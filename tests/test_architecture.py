"""What holds the project together: who imports whom, what is loaded when, what is packed."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "anomaly_vae"

# A file imports only from the files above it.
ORDER = [
    *("errors", "masks", "settings", "config", "progress"),
    *("outputs", "quality", "interest", "images"),
    *("reading", "regions", "profile", "metadata", "drift", "samples"),
    *("features", "model", "architectures", "objective", "checkpoint"),
    *("dataset", "training", "collapse"),
    *("alignment", "scoring", "extraction", "refit"),
    *("latent", "sampling", "augmentation", "restoration", "information"),
    *("intervals", "planning", "good_only", "goals", "calibration", "evaluation", "comparison"),
    *("agreement", "precision", "export", "runtime", "inspection"),
    *("reporting.rows", "reporting.tables", "reporting.parquet", "reporting.workbook"),
    *("reporting.heatmaps", "reporting.gallery", "reporting.journal", "reporting.results"),
    *("reporting.summary", "reporting.html", "reporting.page", "reporting.figures"),
    *("reporting.card", "sources", "reporting.folder", "benchmark", "watching"),
    *("reporting.pictures", "reporting.latents", "reporting.restorations", "reporting.learning"),
    "reporting.trained",
    "reporting.sweeps",
    *("diagnosis", "runs", "session", "lowering", "labelled"),
    *("weighting", "thresholding", "assessment"),
    *("grid", "tradeoff", "sweep"),
]
INSPECTION_SIDE = {
    *("runtime", "inspection", "sources"),
    *("reporting.rows", "reporting.tables", "reporting.parquet"),
    *("reporting.heatmaps", "reporting.gallery", "reporting.journal", "reporting.results"),
    *("reporting.summary", "reporting.html", "reporting.page", "reporting.folder"),
    *("reporting.workbook", "benchmark", "watching"),
}
SHARED = {
    *("errors", "masks", "settings", "progress"),
    *("outputs", "quality", "interest", "images"),
    *("reading", "regions", "profile", "metadata", "drift"),
}


def modules() -> dict[str, Path]:
    files = sorted((ROOT / PACKAGE).rglob("*.py"))
    names = {".".join(f.relative_to(ROOT / PACKAGE).with_suffix("").parts): f for f in files}
    return {name: file for name, file in names.items() if not name.endswith("__init__")}


def imports(file: Path) -> set[str]:
    """Names of the modules of this package that a file imports, wherever in it."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    names = {name.removeprefix(f"{PACKAGE}.") for name in found if name.startswith(f"{PACKAGE}.")}
    known = modules()
    # "images.load_image" is the module "images"; "__version__" is none.
    return {part for name in names for part in (name, name.rpartition(".")[0]) if part in known}


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_from_those_above_it(name: str) -> None:
    assert name in ORDER, f"{name} has no place in the order of the modules"
    assert imports(modules()[name]) <= set(ORDER[: ORDER.index(name)])


def test_the_order_names_no_module_that_is_gone() -> None:
    assert set(ORDER) <= set(modules())


@pytest.mark.parametrize("name", sorted(INSPECTION_SIDE))
def test_the_inspection_side_shares_nothing_with_the_training_side(name: str) -> None:
    assert imports(modules()[name]) <= INSPECTION_SIDE | SHARED


def test_imports_are_found_at_all() -> None:
    assert imports(ROOT / PACKAGE / "inspection.py") >= {"errors", "images", "runtime", "regions"}
    assert "reporting.figures" in imports(ROOT / PACKAGE / "session.py")


def test_the_package_itself_imports_nothing() -> None:
    for file in (ROOT / PACKAGE).rglob("__init__.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)], file


def loaded(program: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``program``."""
    report = "import json, sys; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    result = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_inspection_loads_nothing_of_training() -> None:
    names = loaded("import anomaly_vae.inspection, anomaly_vae.reporting.folder")
    assert {"anomaly_vae", "onnxruntime"} <= names
    assert not names & {"torch", "torchvision", "sklearn", "matplotlib", "onnx", "pandas"}


def test_the_help_of_the_command_loads_nothing_heavy() -> None:
    names = loaded("from anomaly_vae_cli import run; assert run(['--help']) == 0")
    assert {"anomaly_vae_cli", "typer"} <= names
    heavy = {"numpy", "scipy", "PIL", "torch", "onnx", "onnxruntime", "pandas", "sklearn"}
    assert not names & heavy


def test_the_list_of_packages_is_complete() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    renamed = {folder: name for name, folder in setup["package-dir"].items()}
    folders = {
        file.parent.relative_to(ROOT).parts
        for top in (PACKAGE, "cli", "configs")
        for file in (ROOT / top).rglob("*.py")
    }
    expected = {".".join((renamed.get(top, top), *below)) for top, *below in folders}
    assert sorted(setup["packages"]) == sorted(expected)


def test_files_that_are_not_python_are_packed_too() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    packed = setup["package-data"]
    for name, folder in ((PACKAGE, PACKAGE), ("anomaly_vae_configs", "configs")):
        files = [
            f for f in (ROOT / folder).rglob("*") if f.is_file() and "__pycache__" not in f.parts
        ]
        others = [file for file in files if file.suffix not in (".py", ".pyc")]
        assert [f for f in others if not any(f.match(glob) for glob in packed[name])] == []


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def test_no_file_speaks_of_the_machine_it_was_written_on() -> None:
    # Put together here, so that this file does not contain them itself.
    places = ["/" + "work/", "/" + "root/", "py" + "pi.org", "files.python" + "hosted.org"]
    for file in tracked():
        if file.is_file():
            data = file.read_bytes()
            assert not [place for place in places if place.encode() in data], file
