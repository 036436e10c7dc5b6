"""What ``install`` and ``inspect`` of a bundle do, on the PC without network.

    python offline.py install               makes .venv beside itself, from wheels/ alone
    python offline.py inspect FOLDER ...    with the Python of .venv; results/DATE_TIME/ is new

Each bundle has a copy, in which ``bundle.py`` has filled in the words between @. It needs only
the standard library; that the Python is of the right version, its callers have made sure of.
"""

import hashlib
import importlib
import io
import os
import platform
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

VERSION, SYSTEM, SCRIPT = "@VERSION@", "@SYSTEM@", "@SCRIPT@"
HERE = Path(__file__).absolute().parent
ENVIRONMENT = HERE / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
# Not its script in .venv, which holds the path of the folder and is lost when that is moved.
PROGRAM = (PYTHON, "-I", "-c", "from anomaly_vae_cli import main; main()")
NEEDED = {"linux": "linux-x86_64", "windows": "win-amd64"}
LEAST_GLIBC = (2, 28)


class OfflineError(Exception):
    """What went wrong, and its remedy, in one line."""


def install() -> int:
    """Make a fresh environment and see that the model runs in it."""
    require_system()
    require_files()
    print(f"Installing Anomaly VAE {VERSION} in {ENVIRONMENT}; this takes a minute ...", flush=True)
    call(
        [sys.executable, "-I", "-m", "venv", "--clear", ENVIRONMENT],
        "end what runs in it; on Debian and Ubuntu install the package python@PYTHON@-venv",
    )
    pip = (PYTHON, "-I", "-m", "pip", "--disable-pip-version-check", "install")
    call(
        [*pip, "-q", "--no-index", "--find-links", HERE / "wheels", f"anomaly-vae=={VERSION}"],
        "make room on the disk, and on Windows unzip to a short path such as C:\\anomaly-vae",
    )
    call(
        [*PROGRAM, "info", HERE / "model.onnx"],
        "see README.txt for what is needed, on Windows the Microsoft Visual C++ runtime, too",
    )
    print(f"Done; model.onnx was loaded. Next: inspect.{SCRIPT} FOLDER")
    return 0


def require_system() -> None:
    """Refuse a system, or a Python, that the wheels are not for; pip would not say why."""
    here, needed = sysconfig.get_platform(), NEEDED[SYSTEM]
    if here != needed or sys.maxsize < 2**32:
        raise OfflineError(
            f"this bundle is for {SYSTEM} with a 64-bit Python ({needed}), and {sys.executable} is "
            f"one for {here}; take a bundle made with SYSTEM= for this PC, or another Python"
        )
    name, version = platform.libc_ver()
    if SYSTEM == "linux" and (
        name != "glibc" or tuple(map(int, version.split(".")[:2])) < LEAST_GLIBC
    ):
        raise OfflineError(
            f"the C library here is {name or 'not glibc'} {version}; expected glibc 2.28 or newer, "
            "as Debian 10, Ubuntu 20.04, RHEL 8 and later have it"
        )


def require_files() -> None:
    """Refuse a bundle that was damaged on its way; a model may have been replaced."""
    try:
        lines = (HERE / "SHA256SUMS").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise OfflineError(f"SHA256SUMS: {error.strerror}; unzip the bundle again") from error
    for expected, _, name in (line.partition("  ") for line in lines):
        try:
            with (HERE / name).open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == expected
        except OSError as error:
            raise OfflineError(f"{name}: {error.strerror}; unzip the bundle again") from error
        if not same and name == "model.onnx":
            print("model.onnx is not the one that was packed (see SHA256SUMS); it is used anyway")
        elif not same:
            raise OfflineError(f"{name}: not what SHA256SUMS says; copy the bundle again")


def call(command: Sequence[object], remedy: str) -> None:
    """Run a program of this environment, which may say why it failed in its last line."""
    # Settings of pip on this PC have no say; its --isolated leaves some of them in.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    clean["PIP_CONFIG_FILE"] = os.devnull
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="replace",
        env=clean,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or [f"exit {done.returncode}"]
        raise OfflineError(f"{said[-1].removeprefix('ERROR: ').removeprefix('error: ')}; {remedy}")


def inspect(arguments: Sequence[str]) -> int:
    """Inspect a folder into a new one; gives the exit code of ``anomaly-vae inspect``."""
    if not arguments:
        raise OfflineError(
            f"expected a folder of photographs: inspect.{SCRIPT} FOLDER (on Windows one may be "
            "dragged onto inspect.bat)"
        )
    folder = Path(arguments[0]).absolute()
    if not folder.is_dir():
        found = "a file" if folder.exists() else "not there"
        raise OfflineError(f"{folder}: {found}; expected a folder of photographs")
    try:
        program = importlib.import_module("anomaly_vae_cli")  # there only once install has run
    except ModuleNotFoundError as error:
        raise OfflineError(f"{error.name} is not installed; run install.{SCRIPT} again") from error
    out = new_folder(HERE / "results", time.strftime("%Y-%m-%d_%H%M"))
    model = str(HERE / "model.onnx")
    code: int = program.run(["inspect", model, str(folder), "--out", str(out), *arguments[1:]])
    with suppress(OSError):  # it holds something, as it should
        out.rmdir()
    show(out / "report.html")
    return code


def new_folder(parent: Path, name: str) -> Path:
    """Make a folder of this name, or of the first of NAME_2, NAME_3, ... that is free."""
    names = (name if number == 1 else f"{name}_{number}" for number in count(1))
    folder = next(parent / each for each in names if not (parent / each).exists())
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise OfflineError(
            f"{folder}: {error.strerror}; the results are written there: allow it, or move the "
            "bundle to a folder that you may write to, and install it again"
        ) from error
    return folder


def show(page: Path) -> None:
    """Open the page of results where a person has dragged a folder; its path was printed."""
    if sys.platform == "win32" and page.is_file():
        with suppress(OSError):  # no browser
            os.startfile(page)  # noqa: S606 - the browser of the person who looks at it


def main(arguments: list[str]) -> int:
    """Run ``install`` or ``inspect FOLDER ...``; gives the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path may have what the console lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        if arguments == ["install"]:
            return install()
        if arguments[:1] == ["inspect"]:
            return inspect(arguments[1:])
        raise OfflineError(f"{' '.join(arguments)}: expected install, or inspect FOLDER")
    except OfflineError as error:
        print(" ".join(f"error: {error}".split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
