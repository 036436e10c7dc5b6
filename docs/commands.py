"""Write ``guide/commands.md``: all commands and options, in the words of ``--help``.

``make docs`` does so before it builds the site, and a test compares.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from anomaly_vae_cli.app import app

PAGE = Path(__file__).parent / "guide" / "commands.md"
HEAD = """# Commands and options

`anomaly-vae COMMAND --help` says the same. The links lead to the page that explains a command.

"""
EXPLAINED = {
    "first-model.md": ("check", "train", "distill", "samples", "doctor", "config show"),
    "threshold.md": ("calibrate", "evaluate", "plan", "info"),
    "better.md": ("refine", "kinds", "improve", "promote", "verify-log"),
    "many-images.md": ("inspect", "watch", "benchmark"),
    "cluster.md": ("train-many",),
    "gpu.md": ("export",),
    "learned.md": ("generate", "interpolate", "traverse", "latents", "decode", "restore"),
    "literature.md": ("sweep",),
    "README.md": ("demo",),
}


def commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Give each command with its name, those of sub-groups as ``config show``."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{above}{name} ")
        else:
            yield above + name, command


def reference() -> str:
    """Give the text of the page."""
    program = typer.main.get_command(app)
    pages = {name: page for page, names in EXPLAINED.items() for name in names}
    sections = [
        f"## `{name}`\n\n{command.help} [More]({pages[name]})\n\n{_table(command)}"
        for name, command in commands(program)
    ]
    before = f"## Before the command\n\nAs in `anomaly-vae --quiet train …`.\n\n{_table(program)}"
    return HEAD + "\n".join([*sections, before])


def _table(command: Any) -> str:
    rows = [f"| {_spelled(each)} | {_meaning(each)} |\n" for each in command.params]
    return "".join(["| option | meaning |\n|---|---|\n", *rows]) if rows else ""


def _spelled(parameter: Any) -> str:
    """Give `--option` with its short form, or the `ARGUMENT`."""
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.metavar or parameter.name.upper()]
    return ", ".join(f"`{name}`" for name in names)


def _meaning(parameter: Any) -> str:
    """Give the help, and what it does not say: choices, default, whether it is required."""
    kind = getattr(parameter, "type_descriptor", None) or parameter.type
    default = getattr(parameter.default, "value", parameter.default)
    said = [parameter.help]
    if choices := [getattr(each, "value", each) for each in getattr(kind, "choices", None) or ()]:
        said.append(f"One of {', '.join(f'`{choice}`' for choice in choices)}.")
    if default is not None and not isinstance(default, bool):
        said.append(f"Default: `{default}`.")
    if parameter.required and parameter.param_type_name != "argument":
        said.append("Required.")
    return " ".join(said).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
