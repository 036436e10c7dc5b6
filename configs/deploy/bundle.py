"""Makes one zip from which a PC without network installs the program and inspects.

    python -m configs.deploy.bundle run/model.onnx [--system linux|windows] [--python-version 3.11]
                                    [--out FILE.zip] [--overwrite]

In it: the wheel of the program, all wheels that it needs on that system with that Python, the
model, two scripts, a page of instructions, and the sums of all files. It needs a package registry
and the environment of ``make``. What it does is what ``make_bundle`` says, in that order.
"""

import argparse
import hashlib
import json
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from anomaly_vae import __version__
from anomaly_vae.errors import AnomalyVAEError

from .wheels import (
    NAME,
    ROOT,
    SYSTEMS,
    BundleError,
    System,
    Target,
    build_wheel,
    call,
    download,
    require_complete,
    resolve,
)

HERE = Path(__file__).parent
EXECUTABLE, PLAIN = 0o100755, 0o100644


def make_bundle(model: Path, target: Target, out: Path, *, overwrite: bool) -> None:
    """Make the zip; everything that takes long comes after all that can be refused at once."""
    require_free(out, overwrite=overwrite)
    model_id = require_model(model)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / target.bundle
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        print(f"{model}: model {model_id}; building the wheel ...", flush=True)
        wheel = build_wheel(wheels)
        pins = resolve(wheel, target)
        print(f"downloading {len(pins)} wheels for {target}, some 300 MB ...", flush=True)
        download(pins, target, wheels)
        require_complete(wheels, target)
        fill(folder, target, model, model_id)
        pack(folder, out)
    print(
        f"{out}: {out.stat().st_size / 1e6:.0f} MB, to be unzipped on {target}; see its README.txt"
    )


def require_free(out: Path, *, overwrite: bool) -> None:
    """Refuse to write over something, or where nothing can be written."""
    if out.suffix != ".zip" or out.is_dir():
        raise BundleError(
            f"{out}: expected the path of a file that ends in .zip; give OUT=FILE.zip"
        )
    if out.exists() and not overwrite:
        raise BundleError(f"{out}: is there already; give OVERWRITE=1, or OUT=ANOTHER.zip")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise not_written(out, error) from error


def require_model(model: Path) -> str:
    """Give the id of a model that the program itself can load."""
    program = Path(sys.executable).with_name(NAME)
    said = call([program, "info", "--json", model], f"MODEL={model} cannot be bundled")
    return str(json.loads(said)["model_id"])


def fill(folder: Path, target: Target, model: Path, model_id: str) -> None:
    """Add model, scripts and instructions to the wheels, and the sums of all files."""
    system = target.system
    shutil.copyfile(model, folder / "model.onnx")
    words = {
        "VERSION": __version__,
        "PYTHON": target.python,
        "SYSTEM": system.name,
        "SCRIPT": system.script,
        "MODEL": model_id,
    }
    own = [f"install.{system.script}", f"inspect.{system.script}", "README.txt"]
    for source in (HERE / "offline.py", *(HERE / system.name / name for name in own)):
        text = source.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        (folder / source.name).write_text(text, encoding="utf-8", newline=system.newline)
    sums = [f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in files(folder)]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8", newline="\n")


def pack(folder: Path, out: Path) -> None:
    """Zip a folder; a zip that is not complete never has the name ``out``."""
    part = out.with_name(f"{out.name}.part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            for file in files(folder):
                info = zipfile.ZipInfo.from_file(file, file.relative_to(folder.parent))
                # Whatever system this is made on, Linux finds scripts that can be run.
                info.create_system = 3
                info.external_attr = (EXECUTABLE if file.suffix == ".sh" else PLAIN) << 16
                packed = file.suffix == ".whl"
                info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
                with file.open("rb") as source, archive.open(info, "w") as target:
                    shutil.copyfileobj(source, target)
        part.replace(out)
    except OSError as error:
        raise not_written(out, error) from error
    finally:
        part.unlink(missing_ok=True)


def not_written(out: Path, error: OSError) -> BundleError:
    """Say why the zip cannot be written."""
    return BundleError(f"{out}: {error.strerror}; make room, or name another place: OUT=FILE.zip")


def files(folder: Path) -> list[Path]:
    """Give all files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def sha256(file: Path) -> str:
    """Give the sum of a file, as sha256sum prints it."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


class Parser(argparse.ArgumentParser):
    """One whose mistakes are one line, too."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line."""
        raise BundleError(f"{message} (see the head of configs/deploy/bundle.py)")


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Give what ``make_bundle`` takes; what was not said is as on this machine."""
    parser = Parser(description="Make a zip for a PC without network.")
    parser.add_argument("model", type=Path, help="model.onnx of a run")
    parser.add_argument("--system", help="linux or windows; default: this one")
    parser.add_argument("--python-version", default=platform.python_version(), help="such as 3.11")
    parser.add_argument("--out", type=Path, help="the zip; default: dist/NAME.zip")
    parser.add_argument("--overwrite", action="store_true", help="replace the zip")
    given = parser.parse_args(arguments)
    # Of 3.11.7 only 3.11 matters; containers set PYTHON_VERSION so.
    version = re.fullmatch(r"(3\.\d+)(\.\w+)?", given.python_version)
    if not version:
        raise BundleError(f"PYTHON_VERSION={given.python_version}: expected one such as 3.11")
    if not given.model.name:
        raise BundleError("no model was named; expected make bundle MODEL=run/model.onnx")
    target = Target(system_named(given.system), version[1])
    out = given.out or ROOT / "dist" / f"{target.bundle}.zip"
    return {"model": given.model, "target": target, "out": out, "overwrite": given.overwrite}


def system_named(name: str | None) -> System:
    """Give the system of this name, or that of this machine."""
    here = {"linux-x86_64": "linux", "windows-amd64": "windows"}
    machine = f"{platform.system()}-{platform.machine()}".lower()
    found = SYSTEMS.get(name or here.get(machine, ""))
    if found is None:
        named = f"SYSTEM={name}" if name else f"this machine ({machine})"
        raise BundleError(f"{named}: expected SYSTEM=linux or SYSTEM=windows, both on x86-64")
    return found


def main(arguments: Sequence[str]) -> int:
    """Make a bundle; gives the exit code."""
    try:
        make_bundle(**parse(arguments))
    except AnomalyVAEError as error:
        print(" ".join(f"error: {error}".split()), file=sys.stderr)
        return 2
    except OSError as error:
        place = error.filename or tempfile.gettempdir()
        print(f"error: {place}: {error.strerror}; make room, or set TMPDIR", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
