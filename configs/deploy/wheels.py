"""The wheels of a bundle: the program's own, and those that it needs on another PC."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anomaly_vae import __version__
from anomaly_vae.errors import AnomalyVAEError

ROOT = Path(__file__).parents[2]
NAME = "anomaly-vae"
# glibc 2.28 is what Debian 10, Ubuntu 20.04 and RHEL 8 have at least; wheels for older ones do too.
MANYLINUX = tuple(f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1))


class BundleError(AnomalyVAEError):
    """No bundle can be made; the message says why, and the remedy."""


@dataclass(frozen=True)
class System:
    """What differs between the systems that bundles are made for, all on x86-64."""

    name: str
    for_uv: str
    """As ``uv pip compile --python-platform`` names it."""
    for_pip: tuple[str, ...]
    """As ``pip download --platform`` names it, each tag a wheel may have."""
    script: str
    newline: str


SYSTEMS = {
    "linux": System(
        name="linux",
        for_uv="x86_64-manylinux_2_28",
        for_pip=(*MANYLINUX, "manylinux2014_x86_64"),
        script="sh",
        newline="\n",
    ),
    "windows": System(
        name="windows",
        for_uv="x86_64-pc-windows-msvc",
        for_pip=("win_amd64",),
        script="bat",
        newline="\r\n",
    ),
}


@dataclass(frozen=True)
class Target:
    """The PC that a bundle is for."""

    system: System
    python: str
    """Such as 3.11."""

    def __str__(self) -> str:
        return f"{self.system.name} with Python {self.python}"

    @property
    def bundle(self) -> str:
        """Name of the one folder in the zip."""
        return f"{NAME}-{__version__}-{self.system.name}-py{self.python}"


def build_wheel(folder: Path) -> Path:
    """Build the program's wheel by way of its source archive: a stale build/ plays no part."""
    with tempfile.TemporaryDirectory() as built:
        uv("build", ["--out-dir", built, ROOT], "the wheel of the program cannot be built")
        (wheel,) = Path(built).glob("*.whl")
        return Path(shutil.copy(wheel, folder))


def resolve(wheel: Path, target: Target) -> list[str]:
    """Give what the wheel needs on the target, as NAME==VERSION.

    ``pip download --platform`` would look at the markers of dependencies for the system that it
    runs on, and leave out what only the other one needs (colorama on Windows).
    """
    return compiled(
        f"{NAME} @ {wheel.as_uri()}",
        target,
        ["--no-emit-package", NAME],
        f"no wheels fit {target}; choose another PYTHON_VERSION=, and see that a registry can "
        "be reached",
    )


def download(pins: list[str], target: Target, folder: Path) -> None:
    """Download exactly these wheels."""
    platforms = [f"--platform={tag}" for tag in target.system.for_pip]
    python = ["--implementation=cp", f"--python-version={target.python}"]
    call(
        [
            *(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", *platforms, *python, "--dest", folder, *pins),
        ],
        f"wheels for {target} cannot be downloaded; see that a registry can be reached and that "
        "there is room in the temporary folder (TMPDIR)",
    )


def require_complete(wheels: Path, target: Target) -> None:
    """See that the target can be served from these wheels alone."""
    compiled(
        f"{NAME}=={__version__}",
        target,
        ["--no-index", "--find-links", wheels],
        f"the wheels for {target} are not complete; make the bundle again, and report it",
    )


def compiled(
    requirement: str, target: Target, options: Sequence[object], failure: str
) -> list[str]:
    """Resolve a requirement for the target; gives NAME==VERSION of all that it takes."""
    the_pc = [
        f"--python-platform={target.system.for_uv}",
        f"--python-version={target.python}",
        f"--python={sys.executable}",  # only so that uv does not search this machine for others
    ]
    said = uv(
        "pip",
        [
            *("compile", "--only-binary=:all:", "--no-header", "--no-annotate", "--no-progress"),
            *(*the_pc, *options, "-"),
        ],
        failure,
        requirement,
    )
    return said.split()


def uv(command: str, arguments: Sequence[object], failure: str, given: str = "") -> str:
    """Run uv, which ``make`` has installed; it resolves for systems other than this one."""
    return call([sys.executable, "-m", "uv", command, "-q", *arguments], failure, given)


def call(command: Sequence[object], failure: str, given: str = "") -> str:
    """Run a program, give what it prints; what it complains of follows ``failure``."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BundleError(f"{words[0]}: {error.strerror}; run it with make bundle") from error
    if done.returncode:
        said = done.stderr.strip() or f"exit {done.returncode}"
        raise BundleError(f"{failure}: {said.removeprefix('error: ')}")
    return done.stdout
