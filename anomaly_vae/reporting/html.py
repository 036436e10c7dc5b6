"""Pages of one file: they need no network and no other file, and run nothing from outside."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

WEB = Path(__file__).parent / "web"


def render(name: str, scripts: Sequence[str] = (), **values: Any) -> Iterator[bytes]:
    """Give the page that the template ``name`` makes of ``values``, piece by piece.

    Every text among them is escaped. ``scripts`` are put together, and nothing else may run.
    """
    style = (WEB / "page.css").read_text(encoding="utf-8")
    program = "\n".join((WEB / script).read_text(encoding="utf-8") for script in scripts)
    environment = Environment(
        loader=FileSystemLoader(WEB), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.3g} %"
    pieces = environment.get_template(name).generate(
        script=Markup(program),  # noqa: S704 - ours
        style=Markup(style),  # noqa: S704 - ours
        policy=policy(program, style),
        **values,
    )
    # Names of folders may hold bytes that are not UTF-8.
    return (piece.encode("utf-8", "backslashreplace") for piece in pieces)


def policy(script: str, style: str) -> str:
    """Give a content-security policy that lets run these two texts and nothing else."""
    digests = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (script, style)
    )
    return (
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    ).format(*digests)


def as_source(data: bytes, kind: str = "png") -> str:
    """Give a picture as the source of an ``img``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
