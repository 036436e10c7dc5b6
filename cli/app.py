"""The Typer application and its global options."""

from pathlib import Path
from typing import Annotated

import typer

from .console import talk

app = typer.Typer(
    name="anomaly-vae",
    help="Find defects in photographs of parts, with a model that has only seen good ones.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)

# What commands share that write into --out.
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results in --out.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from anomaly_vae import __version__

        typer.echo(f"anomaly-vae {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    debug: Annotated[bool, typer.Option(help="Show where an internal error happened.")] = False,
    log_file: Annotated[
        Path | None, typer.Option(help="Append everything that is said to this file.")
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Find defects in photographs of parts, with a model that has only seen good ones."""
    talk.configure(quiet=quiet, verbose=verbose, debug=debug, log_file=log_file)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# In the order of the help; they register their commands.
from . import training, exporting, inspecting, watching, measuring, judging  # noqa: E402, F401, I001
from . import latent, sweeping, demo, about  # noqa: E402, F401
