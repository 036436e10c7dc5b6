"""The command ``anomaly-vae``: parses, calls the library, prints.

Exit codes: 0 done; 1 not every image that was inspected passed; 2 the user's mistake;
3 an internal error; 130 interrupted.
"""

import errno
import logging
import os
import shlex
import sys

from .app import app
from .console import talk

# What the base package leaves out, so that an inspection PC stays small, and which extra has it.
_EXTRAS = {
    **dict.fromkeys(
        ("torch", "torchvision", "sklearn", "onnx", "safetensors", "matplotlib"), "train"
    ),
    "openpyxl": "xlsx",
    "pyarrow": "parquet",
    "ray": "ray",
    "s3fs": "s3",
    "gcsfs": "gs",
    "adlfs": "az",
    "fsspec": "s3",
    "watchdog": "watch",
}

_INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT)

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    # What libraries warn of concerns programmers, and would stand between the lines on a terminal.
    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    # A thread that decodes asks for the interpreter a dozen times for a photograph, and waits up to
    # this long each time (5 ms by default) while rows and regions are made of others.
    sys.setswitchinterval(0.0005)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line on ``arguments``; gives the exit code."""
    talk.command = shlex.join(["anomaly-vae", *arguments])
    try:
        # Click's own handling would print several lines for a usage error.
        code = app(arguments, prog_name="anomaly-vae", standalone_mode=False)
        if code == _INTERRUPTED:  # newer Typers catch Ctrl-C themselves
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        talk.error("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _explain(error)
    finally:
        talk.close()
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    """Say in one line what went wrong; gives the exit code."""
    from anomaly_vae.errors import AnomalyVAEError

    if type(error).__name__ == "Abort":  # how older Typers pass on Ctrl-C
        talk.error("interrupted")
        return _INTERRUPTED
    if isinstance(error, AnomalyVAEError):
        talk.error(str(error))
        return 2
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        extra = _EXTRAS[error.name]
        talk.error(f"this needs {error.name}: pip install 'anomaly-vae[{extra}]'")
        return 2
    usage = getattr(error, "format_message", None)  # a mistake in the command line
    if usage is not None:
        talk.error(f"{usage()} (see 'anomaly-vae --help')")
        return 2
    if talk.debug:
        raise error
    if isinstance(error, OSError) and error.errno in _FULL:
        place = f"{error.filename}: " if error.filename else ""
        talk.error(f"{place}{error.strerror}; make room, and try again")
        return 2
    talk.error(f"internal error: {type(error).__name__}: {error} (--debug shows where)")
    return 3
