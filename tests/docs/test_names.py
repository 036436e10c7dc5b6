"""What the documentation names exists: targets, extras, options, settings, links."""

import re
import shlex
import tomllib

from .pages import FILES, GUIDE, LINES, OTHERS, OURS, PAGES, ROOT, TEXT, commands, spelled


def test_other_commands_are_installations_and_make_targets() -> None:
    for line in [line for line in LINES if line not in OURS]:
        assert line.startswith(
            ("make ", "pip install ", "python -m venv ", ".venv/bin/pip install ")
        ), line
        if "pip install" in line:
            assert re.search(r'(-e "\.\[|dist/anomaly_vae-)', line), line
    # Nobody has published a package of this name: what is installed is the project, or its wheel.
    assert not re.search(r"install [\"']?anomaly", TEXT)


def test_targets_and_variables_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    said = TEXT + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    calls = re.findall(r"(?:^|`)make ([a-z][\w-]*)((?: [A-Z_]+=\S+)*)", said, re.MULTILINE)
    assert len(calls) >= 6
    for target, variables in calls:
        assert f"\n{target}:" in makefile, target
        for name in re.findall(r"([A-Z_]+)=", variables):
            assert re.search(rf"\$\({name}\)|^{name} [?:]?=", makefile, re.MULTILINE), name


def test_extras_and_wheel_exist() -> None:
    from anomaly_vae import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    for line in [line for line in LINES if "pip install" in line]:
        for names in re.findall(r"\[([\w,]+)\]", line):
            assert set(names.split(",")) <= extras, line
    page = PAGES[GUIDE / "inspection-pc.md"]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == extras - {"dev"}
    assert set(re.findall(r"anomaly_vae-([\d.]+)-py3", TEXT)) == {__version__}


def test_options_exist() -> None:
    known = {option for _, each in commands() for one in each.params for option in spelled(one)}
    used = {each for line in OURS for each in shlex.split(line) if each.startswith("--")}
    for code in re.findall(r"`([^`\n]+)`", TEXT):
        if not code.startswith(("pip", "make")):
            used |= set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code))
    assert used - known <= {"--help"}


def test_settings_exist() -> None:
    from anomaly_vae.settings.files import config_to_dict
    from anomaly_vae.settings.schema import Config

    sections = config_to_dict(Config())
    said = re.sub(r"^```python\n.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    names = re.findall(rf"\b({'|'.join(sections)})\.(\w+)", said)
    files = ("csv", "html", "json", "md", "onnx", "parquet", "png")
    assert len(names) >= 12
    for section, name in names:
        assert name in sections[section] or name in files, f"{section}.{name}"


def slugs(text: str) -> set[str]:
    """Give the anchors of a page: those that git hosts and MkDocs make of its headings alike."""
    bare = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", bare, re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", each).strip().lower().replace(" ", "-") for each in headings}


def test_links_and_pictures_exist() -> None:
    for page in [*FILES, *OTHERS]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if target.startswith("https://"):
                # No address is invented: those of papers and conventions only.
                assert re.match(r"https://(arxiv|keepachangelog|semver)\.", target), target
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), (page.name, target)
            if anchor:
                assert anchor in slugs(file.read_text(encoding="utf-8")), (page.name, target)
