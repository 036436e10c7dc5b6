"""Every command of the README runs, and every command and option is documented."""

import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from .conftest import Command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
LINES = [line.split(" #")[0].strip() for block in BLOCKS for line in block.splitlines()]
OURS = [line for line in LINES if "anomaly-vae " in line and not line.startswith("pip")]
SLOW = ("demo", "run18", "run4")


@pytest.fixture(scope="module")
def photos(parts: Path, trunk_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README assumes it."""
    from safetensors.torch import load_file
    from torch import save

    place = tmp_path_factory.mktemp("readme")
    shutil.copytree(parts / "train" / "good", place / "photos" / "good")
    shutil.copytree(parts / "test", place / "photos" / "test")
    shutil.copytree(parts / "ground_truth", place / "photos" / "ground_truth")
    shutil.copytree(parts / "test" / "good", place / "photos" / "more-good")
    shutil.copytree(parts / "test" / "dent", place / "photos" / "defective")
    shutil.copytree(parts / "test" / "scratch", place / "photos" / "today")
    today = place / "photos" / "today"
    shutil.copytree(parts / "test" / "good", today / "good")
    marks = [(path.relative_to(today).as_posix(), "good" if path.parent != today else "defect")
             for path in sorted(today.rglob("*.png"))]  # fmt: skip
    (place / "marks.csv").write_text("\n".join(map(",".join, [("path", "mark"), *marks])))
    save(load_file(trunk_weights), place / "resnet18.pth")
    mask = Image.new("1", (200, 200))
    mask.paste(1, (20, 20, 180, 180))
    mask.save(place / "mask.png")
    return place


def run_lines(lines: list[str], place: Path, command: Command) -> None:
    for line in lines:
        words = shlex.split(line)
        outcome = command(*words[1:])
        assert outcome.code in ((0, 1) if words[1] == "inspect" else (0,)), (line, outcome.err)


def test_the_commands_of_the_readme_run_in_their_order(
    photos: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    lines = [line for line in OURS if not any(word in line for word in SLOW)]
    assert len(lines) >= 8
    run_lines(lines, photos, command)
    assert (photos / "report" / "images.csv").exists()


@pytest.mark.slow
def test_the_slow_commands_of_the_readme_run(
    photos: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    lines = [line for line in OURS if any(word in line for word in SLOW)]
    assert len(lines) == 3
    run_lines(lines, photos, command)


def test_the_other_commands_of_the_readme_exist() -> None:
    makefile, project = (ROOT / "Makefile").read_text(), (ROOT / "pyproject.toml").read_text()
    for line in [line for line in LINES if line not in OURS and line]:
        if line.startswith("make "):
            assert f"\n{line.split()[1]}:" in makefile
        for extra in re.findall(r"\[(\w+)\]", line):
            assert f"\n{extra} = [" in project
        assert line.startswith(("make ", "pip install", "python -m venv", ".venv/bin/pip")), line


def test_every_command_is_in_the_readme() -> None:
    from anomaly_vae_cli import app

    for info in app.registered_commands:
        name = info.name or (info.callback.__name__ if info.callback else "")
        assert f"anomaly-vae {name}" in README, name


def explained(start: str) -> list[str]:
    """Columns in the table that follows a line which begins so, each with a unit and a meaning."""
    after = README.split(f"\n{start}", 1)[1]
    table = re.search(
        r"^\| column \| unit \| meaning \|\n\|[-|]+\n((?:\|.*\n)+)", after, re.MULTILINE
    )
    assert table
    names: list[str] = []
    for line in table[1].splitlines():
        columns, unit, meaning = (cell.strip() for cell in line.strip("|").split("|"))
        assert unit
        assert meaning
        names += re.findall(r"`(\w+)`", columns)
    return names


def test_the_tables_of_the_readme_are_the_schema() -> None:
    from anomaly_vae.reporting.rows import IMAGE_COLUMNS, REGION_COLUMNS, SCHEMA_VERSION

    assert explained("`images.csv`: ") == list(IMAGE_COLUMNS)
    assert explained("`defects.csv`: ") == list(REGION_COLUMNS)
    assert f"This is schema version {SCHEMA_VERSION};" in README


def test_every_setting_has_a_sentence() -> None:
    from anomaly_vae.config import config_to_yaml
    from anomaly_vae.settings import Config

    lines = config_to_yaml(Config()).splitlines()
    for above, line in pairwise(lines):
        if line.startswith("  ") and not line.strip().startswith("#"):
            assert re.match(r"  # .{15,}", above), line


def test_every_picture_is_there() -> None:
    for target in re.findall(r"\]\((reports/[^)]+|[A-Z]+\.md)\)", README):
        assert (ROOT / target).exists(), target
