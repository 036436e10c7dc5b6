"""The commands around the line: demo, samples, info, doctor, config."""

from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .console import talk
