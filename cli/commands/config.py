"""The command that prints settings."""

from pathlib import Path
from typing import Annotated

import typer

from ..console import talk

EXAMPLES = """
anomaly-vae config show
anomaly-vae config show --features pixels
"""


def show(
    file: Annotated[
        Path | None,
        typer.Argument(help="As for train --config; default: the built-in settings."),
    ] = None,
    features: Annotated[str | None, typer.Option(help="Show the preset of this source.")] = None,
) -> None:
    """Print all settings with their meaning, as YAML that --config takes."""
    from anomaly_vae.settings.files import config_to_yaml, load_config

    given = [f"features.source={features}"] if features else []
    talk.say(config_to_yaml(load_config(file, given)).rstrip())
