"""The Typer application: its global options, and all commands."""

from pathlib import Path
from typing import Annotated

import typer

from .commands import (
    benchmark,
    calibrate,
    check,
    config,
    decode,
    demo,
    distill,
    doctor,
    evaluate,
    export,
    generate,
    improve,
    info,
    inspect,
    interpolate,
    kinds,
    latents,
    plan,
    promote,
    refine,
    restore,
    samples,
    sweep,
    train,
    train_many,
    traverse,
    verify_log,
    watch,
)
from .console import talk

# In the order of the help. Each file has a function of its own name, and EXAMPLES.
_COMMANDS = (
    *(check, train, train_many, export, inspect, watch, benchmark, calibrate, refine, kinds),
    *(evaluate, plan, improve, promote, verify_log),
    *(generate, interpolate, traverse, latents, decode, restore, sweep),
    *(distill, demo, samples, info, doctor),
)

app = typer.Typer(
    name="anomaly-vae",
    help="Find defects in photographs of parts, with a model that has only seen good ones.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)


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
    if quiet and verbose:
        raise typer.BadParameter("contradict each other; give one", param_hint="--quiet, --verbose")
    talk.configure(quiet=quiet, verbose=verbose, debug=debug, log_file=log_file)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _examples(lines: str) -> str:
    """Write commands as a paragraph of the help, a line each."""
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines.strip().splitlines())


for _module in _COMMANDS:
    _name = _module.__name__.rpartition(".")[2]
    _epilog = _examples(_module.EXAMPLES)
    app.command(_name.replace("_", "-"), epilog=_epilog)(getattr(_module, _name))
_settings = typer.Typer(help="Look at settings.")
_settings.command("show", epilog=_examples(config.EXAMPLES))(config.show)
app.add_typer(_settings, name="config")
