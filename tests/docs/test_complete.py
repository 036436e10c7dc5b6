"""The documentation leaves nothing out: every command, option, column, model and page."""

import dataclasses
import inspect
import re
import runpy
from itertools import pairwise
from typing import Any

from .pages import DOCS, FILES, GUIDE, NAV, PAGES, ROOT, TEXT, blocks, commands, listed


def test_every_command_is_shown_or_explained() -> None:
    explained = "\n".join(text for file, text in PAGES.items() if file.name != "commands.md")
    for name, _ in commands():
        assert f"anomaly-vae {name}" in explained, name


def test_every_option_is_documented_in_the_words_of_the_help() -> None:
    expected = runpy.run_path(str(DOCS / "commands.py"))["reference"]()
    assert PAGES[GUIDE / "commands.md"] == expected, "run 'make docs'"
    for name, command in commands():
        for parameter in command.params:
            assert len(parameter.help or "") >= 9, (name, parameter.name)


def explained(page: str, start: str) -> list[str]:
    """Columns in the table that follows ``start``, each with a unit and a meaning."""
    after = PAGES[GUIDE / page].split(start, 1)[1]
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


def test_the_tables_of_columns_are_the_schema() -> None:
    from anomaly_vae.reporting.rows import IMAGE_COLUMNS, REGION_COLUMNS, SCHEMA_VERSION
    from anomaly_vae.reporting.sensitivity import COLUMNS
    from anomaly_vae.workflows.study import MEASURES

    assert explained("files.md", "\n`sensitivity.csv`: ") == list(COLUMNS)
    assert explained("files.md", "\n`images.csv`: ") == list(IMAGE_COLUMNS)
    assert explained("files.md", "\n`defects.csv`: ") == list(REGION_COLUMNS)
    assert f"This is schema version {SCHEMA_VERSION};" in TEXT
    assert set(explained("literature.md", "`sweep`")) == {*MEASURES, "error"}


def test_the_python_page_knows_the_public_names_and_their_arguments() -> None:
    import anomaly_vae

    page = PAGES[GUIDE / "python.md"]
    for name in anomaly_vae.__all__:
        assert f"`{name}`" in page, name
    written = re.findall(r"^(\w+)(\((?:[^()]|\(\))*\))", blocks("text")[0], re.MULTILINE)
    written += re.findall(r"`(Inspector)(\([^`]+\))`", page)
    assert len(written) == 5
    for name, arguments in written:
        names: dict[str, Any] = {}
        exec(f"def {name}{arguments}: ...", names)
        known = inspect.signature(getattr(anomaly_vae, name)).parameters
        for parameter in inspect.signature(names[name]).parameters.values():
            assert known[parameter.name].default == parameter.default, (name, parameter)
            assert known[parameter.name].kind == parameter.kind, (name, parameter)
    table = page.split("| attribute | meaning |", 1)[1].split("\n\n", 1)[0]
    fields = {each for row in re.findall(r"^\|([^|]+)\|", table, re.MULTILINE)
              for each in re.findall(r"`(\w+)`", row)}  # fmt: skip
    assert fields <= {each.name for each in dataclasses.fields(anomaly_vae.Finding)}
    assert len(fields) >= 10


def test_every_model_of_the_literature_is_in_its_table() -> None:
    from anomaly_vae.settings.files import model_names

    table = PAGES[GUIDE / "literature.md"]
    assert re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ", table, re.MULTILINE)
    for name in model_names():
        assert f"\n| `{name}` |" in table


def test_every_setting_has_a_sentence() -> None:
    from anomaly_vae.settings.files import config_to_yaml
    from anomaly_vae.settings.schema import Config

    lines = config_to_yaml(Config()).splitlines()
    for above, line in pairwise(lines):
        if line.startswith("  ") and not line.strip().startswith("#"):
            assert re.match(r"  # .{15,}", above), line


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    readme = PAGES[ROOT / "README.md"]
    assert len(readme.splitlines()) < 200
    for file in FILES[2:]:
        assert f"](docs/guide/{file.name})" in readme, file.name


def test_the_navigation_lists_every_page_and_report() -> None:
    pages = [file.name for file in GUIDE.glob("*.md")]
    reports = [f"reports/{file.name}" for file in ROOT.glob("reports/*.md")]
    assert sorted(listed(NAV)) == sorted([*pages, *reports])
