"""What holds the project together: who imports whom, what is loaded when, what is packed."""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "anomaly_vae"

# A package imports only from those above it. "" are the files beside the packages.
ORDER = [
    *("", "settings", "images", "vae", "scoring", "training", "latent", "calibration"),
    *("exporting", "inspection", "reporting", "workflows"),
]
HEAVY = {"torch", "torchvision", "sklearn", "matplotlib", "onnx"}
MOST_LINES, LONGEST_BODY = 300, 40

Imports = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Names of all modules of the package below ``root``, without its own name."""
    files = sorted((root / PACKAGE).rglob("*.py"))
    return {
        ".".join(file.relative_to(root / PACKAGE).with_suffix("").parts): file
        for file in files
        if file.name != "__init__.py"
    }


def imports(root: Path) -> Imports:
    """Which modules of the package each of them imports, wherever in its file."""
    known = modules(root)
    found: Imports = {}
    for name, file in known.items():
        names: list[str] = []
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: a relative import"
                names += [str(node.module), *(f"{node.module}.{each.name}" for each in node.names)]
        ours = {each.removeprefix(f"{PACKAGE}.") for each in names}
        found[name] = ours & known.keys()
    return found


def package(module: str) -> str:
    return module.rpartition(".")[0]


def turned_round(found: Imports) -> list[str]:
    """Imports from a package that stands below the one that imports."""
    return [
        f"{name} -> {other}"
        for name, others in found.items()
        for other in others
        if ORDER.index(package(other)) > ORDER.index(package(name))
    ]


def circles(found: Imports) -> list[str]:
    """Imports inside a package that lead back to where they began."""
    inside = {
        name: {other for other in others if package(other) == package(name)}
        for name, others in found.items()
    }
    while True:  # what imports nothing that is left stands in no circle
        free = {name for name, others in inside.items() if not others & inside.keys()}
        if not free:
            return sorted(inside)
        inside = {name: others for name, others in inside.items() if name not in free}


def test_packages_import_only_from_those_above_them_and_none_has_a_circle() -> None:
    found = imports(ROOT)
    assert {package(name) for name in found} == set(ORDER)
    assert turned_round(found) == []
    assert circles(found) == []
    # They are found at all.
    assert "inspection.runtime" in found["inspection.inspector"]
    assert "reporting.figures" in found["workflows.train"]


@pytest.mark.parametrize(("importer", "imported", "turned"), [
    ("calibration/roc.py", "workflows.grid", ["calibration.roc -> workflows.grid"]),
    ("errors.py", "vae.model", ["errors -> vae.model"]),
    ("vae/maps.py", "vae.trunk", []),
])  # fmt: skip
def test_an_import_that_is_turned_round_is_found(
    tmp_path: Path, importer: str, imported: str, turned: list[str]
) -> None:
    for name, file in modules(ROOT).items():
        copy = tmp_path / PACKAGE / Path(*name.split(".")).with_suffix(".py")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    file = tmp_path / PACKAGE / importer
    file.write_text(
        file.read_text() + f"\n\ndef late() -> None:\n    import {PACKAGE}.{imported}\n"
    )
    found = imports(tmp_path)
    assert turned_round(found) == turned
    # Inside a package the same is a circle.
    assert bool(circles(found)) == (not turned)


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The name of each function, and the lines of its body without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_files_and_functions_can_be_read_at_once() -> None:
    for top in (PACKAGE, "cli"):
        for file in (ROOT / top).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            long = [each for each in functions(ast.parse(text)) if each[1] > LONGEST_BODY]
            assert not long, f"{file.relative_to(ROOT)}: {long}"
            assert len(text.splitlines()) <= MOST_LINES, file.relative_to(ROOT)


def test_a_package_says_what_lies_in_it_and_loads_nothing() -> None:
    for name in ORDER[1:]:
        folder = ROOT / PACKAGE / name
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert len(tree.body) == 1, name
        said = ast.get_docstring(tree) or ""
        missing = {f.stem for f in folder.glob("[a-z]*.py") if f"``{f.stem}``" not in said}
        assert not missing or name == "reporting", (name, missing)


def loaded(program: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after ``program``."""
    report = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_inspection_loads_nothing_of_training() -> None:
    names = loaded(
        "import anomaly_vae.inspection.inspector, anomaly_vae.inspection.diagnosis\n"
        "import anomaly_vae.workflows.inspect, anomaly_vae.workflows.benchmark\n"
        "import anomaly_vae.reporting.workbook, anomaly_vae.reporting.page\n"
        "import anomaly_vae.workflows.cluster, anomaly_vae.mirror"
    )
    assert {"anomaly_vae", "onnxruntime"} <= names
    assert not names & {*HEAVY, "pandas", "ray", "fsspec"}
    rooms = {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}.")}
    assert not rooms & {"vae", "scoring", "training", "latent", "exporting"}


def test_the_help_of_the_command_loads_nothing_heavy() -> None:
    names = loaded("from anomaly_vae_cli import run; assert run(['--help']) == 0")
    assert {"anomaly_vae_cli", "typer"} <= names
    assert not names & {*HEAVY, "numpy", "scipy", "PIL", "onnxruntime", "pandas"}


def test_the_list_of_packages_is_complete() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    renamed = {folder: name for name, folder in setup["package-dir"].items()}
    folders = {
        file.parent.relative_to(ROOT).parts
        for top in (PACKAGE, "cli", "configs")
        for file in (ROOT / top).rglob("__init__.py")
    }
    expected = {".".join((renamed.get(top, top), *below)) for top, *below in folders}
    assert sorted(setup["packages"]) == sorted(expected)
    for top in (PACKAGE, "cli"):
        for file in (ROOT / top).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), file


def test_files_that_are_not_python_are_packed_too() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    packed = setup["package-data"]
    for name, folder in ((PACKAGE, PACKAGE), ("anomaly_vae_configs", "configs")):
        files = [
            f
            for f in (ROOT / folder).rglob("*")
            if f.is_file() and not {"__pycache__", "deploy"} & set(f.parts)
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
