"""The pages of the documentation, and the commands in them."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml
from anomaly_vae_cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDE = DOCS / "guide"
NAV = yaml.safe_load((DOCS / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


def listed(nav: Any) -> Iterator[str]:
    """Give the files of a navigation in its order."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from listed(each)


FILES = [ROOT / "README.md", *(GUIDE / name for name in listed(NAV) if "/" not in name)]
PAGES = {file: file.read_text(encoding="utf-8") for file in FILES}
TEXT = "\n".join(PAGES.values())
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("reports/*.md")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


# A line that stands on several pages is run once.
LINES = list(
    dict.fromkeys(
        line
        for block in blocks("sh")
        for each in block.splitlines()
        if (line := re.sub(r"(^| )#.*", "", each).strip())
    )
)
OURS = [line for line in LINES if line.split()[0].endswith("anomaly-vae")]
PYTHON = blocks("python")


def commands() -> Iterator[tuple[str, Any]]:
    """Give the program itself, then each command with its name."""
    program = typer.main.get_command(app)
    yield "", program
    yield from runpy.run_path(str(DOCS / "commands.py"))["commands"](program)


def spelled(parameter: Any) -> list[str]:
    return [each for each in [*parameter.opts, *parameter.secondary_opts] if each.startswith("-")]
