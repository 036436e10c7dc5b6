"""The zip for a PC without network: what is in it, that it installs, and that it inspects."""

import csv
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from packaging.utils import parse_wheel_filename

from anomaly_vae import __version__
from configs.deploy import bundle, wheels
from configs.deploy.wheels import SYSTEMS, BundleError, Target

from ..conftest import Command

NEEDED = ["numpy-2.0-py3-none-any.whl", "rich-14.0-py3-none-any.whl"]


def text_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in (".txt", ".sh", ".bat", ".py")]


def one_line(text: str) -> str:
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def without_network(patch: pytest.MonkeyPatch) -> None:
    """Wheels come from nowhere: small files of their names."""

    def build_wheel(folder: Path) -> Path:
        wheel = folder / f"anomaly_vae-{__version__}-py3-none-any.whl"
        wheel.write_bytes(b"the program")
        return wheel

    def download(pins: Iterable[str], target: Target, folder: Path) -> None:
        for name in pins:
            (folder / name).write_bytes(name.encode())

    patch.setattr(bundle, "build_wheel", build_wheel)
    patch.setattr(bundle, "resolve", lambda wheel, target: NEEDED)
    patch.setattr(bundle, "download", download)
    patch.setattr(bundle, "require_complete", lambda folder, target: None)


def zipped(system: str, run: Path, out: Path) -> Path:
    arguments = [str(run / "model.onnx"), "--system", system, "--out", str(out)]
    assert bundle.main([*arguments, "--python-version", "3.11.7"]) == 0
    return out


def unzipped(archive: Path, place: Path) -> Path:
    """Unzip a bundle, its scripts being such that they run; gives its folder."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(place)
        for info in opened.infolist():
            (place / info.filename).chmod(info.external_attr >> 16)
    (folder,) = (each for each in place.iterdir() if each.is_dir())
    return folder


@pytest.fixture(scope="module")
def bundles(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The zip for each system."""
    out = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        without_network(patch)
        return {system: zipped(system, run, out / f"{system}.zip") for system in SYSTEMS}


@pytest.fixture(params=SYSTEMS)
def any_system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(any_system: str, bundles: dict[str, Path], tmp_path: Path) -> Path:
    return unzipped(bundles[any_system], tmp_path)


@pytest.fixture
def linux(bundles: dict[str, Path], tmp_path: Path) -> Path:
    return unzipped(bundles["linux"], tmp_path)


@pytest.fixture
def offline(linux: Path) -> ModuleType:
    """What the scripts of a bundle run."""
    spec = importlib.util.spec_from_file_location("offline", linux / "offline.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What is in it.


def test_a_bundle_is_one_folder_with_all_that_the_pc_needs(
    any_system: str, folder: Path, run: Path
) -> None:
    assert folder.name == f"anomaly-vae-{__version__}-{any_system}-py3.11"
    script = SYSTEMS[any_system].script
    assert {path.relative_to(folder).as_posix() for path in bundle.files(folder)} == {
        *("README.txt", "SHA256SUMS", "model.onnx", "offline.py"),
        *(f"install.{script}", f"inspect.{script}"),
        *(f"wheels/{name}" for name in NEEDED),
        f"wheels/anomaly_vae-{__version__}-py3-none-any.whl",
    }
    assert (folder / "model.onnx").read_bytes() == (run / "model.onnx").read_bytes()


def test_the_sums_are_those_of_all_files(linux: Path) -> None:
    lines = (linux / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    assert sums == {
        path.relative_to(linux).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in bundle.files(linux)
        if path.name != "SHA256SUMS"
    }


def test_scripts_can_be_run_and_nothing_is_packed_twice(bundles: dict[str, Path]) -> None:
    archive = zipfile.ZipFile(bundles["linux"])
    modes = {Path(info.filename).name: info.external_attr >> 16 for info in archive.infolist()}
    assert {name for name, mode in modes.items() if mode & 0o111} == {"install.sh", "inspect.sh"}
    stored = {info.filename for info in archive.infolist() if not info.compress_type}
    assert {Path(name).suffix for name in stored} == {".whl"}


def test_texts_are_filled_in_plain_and_know_no_machine(any_system: str, folder: Path) -> None:
    places = [str(wheels.ROOT), str(Path.home()), "py" + "pi.org", "python" + "hosted"]
    for path in text_files(folder):
        data = path.read_bytes()
        assert data.isascii(), f"{path}: any console must show it"
        assert not re.search(rb"@[A-Z]+@", data), path
        assert not [place for place in places if place.encode() in data], path
        returns = data.count(b"\r\n") if any_system == "windows" else 0
        assert data.count(b"\r") == returns, path
        assert any_system == "linux" or data.count(b"\n") == returns > 5, path


def test_the_instruction_is_one_page_and_names_what_is_there(
    any_system: str, folder: Path, command: Command
) -> None:
    text = (folder / "README.txt").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert max(map(len, text.splitlines())) <= 100
    script = SYSTEMS[any_system].script
    for word in ("Python 3.11", f"install.{script}", f"inspect.{script}", "doctor", "SHA256SUMS"):
        assert word in text
    (model_id,) = re.findall(r"Model: (\w+)", text)
    assert model_id in command("info", folder / "model.onnx").out
    options = set(re.findall(r"--[a-z-]+", text))
    assert {"--device", "--mm-per-pixel"} <= options
    assert options <= set(re.findall(r"--[a-z-]+", command("inspect", "--help").out))


def test_batch_files_jump_to_labels_that_are_there(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    scripts = list(unzipped(bundles["windows"], tmp_path).glob("*.bat"))
    assert len(scripts) == 2
    for path in scripts:
        lines = path.read_text(encoding="ascii").splitlines()
        labels = [line[1:] for line in lines if line.startswith(":")]
        assert {*labels} == {*re.findall(r"goto (\w+)", "\n".join(lines))}
        # "echo Python 3.11>&2" would print 3.1, into another stream.
        assert not [line for line in lines if re.search(r"echo .*>", line)]


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "no model was named; expected make bundle MODEL=run/model.onnx"),
        (["none.onnx"], "MODEL=none.onnx cannot be bundled: none.onnx: No such file"),
        ([str(wheels.ROOT / "pyproject.toml")], "not a usable ONNX model"),
        (["m.onnx", "--system", "mac"], "SYSTEM=mac: expected SYSTEM=linux or SYSTEM=windows"),
        (["m.onnx", "--python-version", "new"], "PYTHON_VERSION=new: expected one such as 3.11"),
        (["m.onnx", "--out", "bundle"], "bundle: expected the path of a file that ends in .zip"),
        (["m.onnx", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--out" not in arguments:
        arguments = [*arguments, "--out", "a.zip"]
    assert bundle.main(arguments) == 2
    assert said in one_line(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without_network(monkeypatch)
    out = tmp_path / "a.zip"
    out.write_bytes(b"another's")
    arguments = [str(run / "model.onnx"), "--system", "windows", "--out", str(out)]
    assert bundle.main(arguments) == 2
    assert "is there already; give OVERWRITE=1" in one_line(capsys.readouterr().err)
    assert out.read_bytes() == b"another's"
    assert bundle.main([*arguments, "--overwrite"]) == 0
    assert list(tmp_path.iterdir()) == [out]
    assert "windows" in zipfile.ZipFile(out).namelist()[0]


def test_where_nothing_can_be_written_is_said_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert bundle.main(["m.onnx", "--out", str(tmp_path / "file" / "a.zip")]) == 2
    assert "name another place: OUT=FILE.zip" in one_line(capsys.readouterr().err)


def test_another_machine_than_x86_64_has_to_name_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(BundleError, match=r"aarch64\): expected SYSTEM=linux or SYSTEM=windows"):
        bundle.system_named(None)
    assert bundle.system_named("windows") is SYSTEMS["windows"]


# Which wheels.


def drawn_wheel(folder: Path, name: str, *requirements: str, version: str = "1.0") -> Path:
    """Write a wheel that holds nothing but its metadata."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requirements)
    inside = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{inside}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        )
        archive.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{inside}/RECORD", "")
    return path


def test_what_only_the_other_system_needs_is_needed_there(tmp_path: Path) -> None:
    needs = "colorama; sys_platform == 'win32'"
    drawn_wheel(tmp_path, "anomaly_vae", needs, version=__version__)
    wheels.require_complete(tmp_path, Target(SYSTEMS["linux"], "3.11"))
    with pytest.raises(BundleError, match=r"(?s)windows with Python 3\.11 are not.*colorama"):
        wheels.require_complete(tmp_path, Target(SYSTEMS["windows"], "3.11"))
    drawn_wheel(tmp_path, "colorama")
    wheels.require_complete(tmp_path, Target(SYSTEMS["windows"], "3.11"))


def test_the_python_of_the_pc_decides_and_not_the_one_here(tmp_path: Path) -> None:
    drawn_wheel(tmp_path, "anomaly_vae", "old; python_version < '3.13'", version=__version__)
    wheels.require_complete(tmp_path, Target(SYSTEMS["linux"], "3.13"))
    with pytest.raises(BundleError, match="old"):
        wheels.require_complete(tmp_path, Target(SYSTEMS["linux"], "3.12"))


# What its scripts do.


def shell(script: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script of a bundle as on a PC where pip would reach nothing."""
    without_pip = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        [str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=without_pip | nowhere | variables,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="these are shell scripts")
def test_the_scripts_say_what_is_missing(linux: Path) -> None:
    done = shell(linux / "install.sh", PYTHON="/no/python")
    assert done.returncode == 2
    assert "none of these is a Python 3.11: /no/python; install it" in one_line(done.stderr)
    done = shell(linux / "inspect.sh", "parts")
    assert done.returncode == 2
    assert "run install.sh first" in one_line(done.stderr)


def test_a_damaged_wheel_is_not_installed(
    offline: ModuleType, linux: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offline.require_files()
    (linux / "wheels" / NEEDED[0]).write_bytes(b"half")
    assert offline.main(["install"]) == 2
    assert f"wheels/{NEEDED[0]}: not what SHA256SUMS says" in one_line(capsys.readouterr().err)
    (linux / "wheels" / NEEDED[0]).unlink()
    assert offline.main(["install"]) == 2
    assert f"wheels/{NEEDED[0]}: No such file" in one_line(capsys.readouterr().err)
    assert not (linux / ".venv").exists()


def test_a_replaced_model_is_used_and_not_in_silence(
    offline: ModuleType, linux: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (linux / "model.onnx").write_bytes(b"another")
    offline.require_files()
    assert "model.onnx is not the one that was packed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("platform", "libc", "said"),
    [
        ("linux-aarch64", ("glibc", "2.36"), "this bundle is for linux with a 64-bit Python"),
        ("linux-x86_64", ("glibc", "2.27"), "glibc 2.27; expected glibc 2.28 or newer"),
        ("linux-x86_64", ("", ""), "not glibc"),
    ],
)
def test_a_pc_that_the_wheels_are_not_for_is_refused(
    platform: str,
    libc: tuple[str, str],
    said: str,
    offline: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sysconfig.get_platform", lambda: platform)
    monkeypatch.setattr("platform.libc_ver", lambda: libc)
    assert offline.main(["install"]) == 2
    assert said in one_line(capsys.readouterr().err)


def test_inspecting_gives_what_the_program_gives_in_a_new_folder_each_time(
    offline: ModuleType,
    linux: Path,
    parts: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(strftime=lambda _: "2026-11-27_0810")
    monkeypatch.setattr(offline, "time", clock)
    for _ in range(2):
        assert offline.main(["inspect", f"{parts / 'test'}/.", "--device", "cpu"]) == 1
    results = linux / "results"
    assert sorted(each.name for each in results.iterdir()) == [
        "2026-11-27_0810",
        "2026-11-27_0810_2",
    ]
    command("inspect", linux / "model.onnx", parts / "test", "--out", tmp_path / "here")
    here, there = (
        pd.read_csv(folder / "images.csv").drop(columns="inspected_at")
        for folder in (tmp_path / "here", results / "2026-11-27_0810_2")
    )
    pd.testing.assert_frame_equal(here, there)


def test_what_cannot_be_inspected_is_one_line_and_leaves_no_folder(
    offline: ModuleType, linux: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (linux / "empty").mkdir()
    for arguments, said in (
        ([], "expected a folder of photographs: inspect.sh FOLDER"),
        ([str(linux / "none")], "not there; expected a folder of photographs"),
        ([str(linux / "README.txt")], "a file; expected a folder of photographs"),
        ([str(linux / "empty")], "holds no images"),
    ):
        assert offline.main(["inspect", *arguments]) == 2
        assert said in one_line(capsys.readouterr().err)
    assert not list((linux / "results").iterdir())
    assert offline.main([]) == 2
    (linux / "results").rmdir()
    (linux / "results").touch()
    assert offline.main(["inspect", str(linux / "empty")]) == 2
    assert "move the bundle to a folder that you may write to" in capsys.readouterr().err


# The real thing.


def verdicts(folder: Path) -> list[tuple[str, str]]:
    with (folder / "images.csv").open(encoding="utf-8", newline="") as file:
        return [(row["path"], row["verdict"]) for row in csv.DictReader(file)]


def scores(folder: Path) -> list[float]:
    with (folder / "images.csv").open(encoding="utf-8", newline="") as file:
        return [float(row["score"]) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="these are shell scripts")
def test_a_bundle_installs_without_network_and_inspects(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    place = tmp_path / "of the line"
    place.mkdir()
    out = place / "a.zip"
    assert bundle.main([str(run / "model.onnx"), "--out", str(out)]) == 0
    folder = unzipped(out, place)
    # Neither settings of pip nor other packages of the PC may have a say.
    (tmp_path / "numpy.py").write_text("raise ImportError('another numpy')")
    other = {"PYTHON": sys.executable, "PYTHONPATH": str(tmp_path), "PIP_REQUIRE_VIRTUALENV": "x"}
    for _ in range(2):  # it can be repeated
        done = shell(folder / "install.sh", **other)
        assert (done.returncode, done.stderr) == (0, "")
        assert "model.onnx was loaded" in done.stdout
    done = shell(folder / "inspect.sh", parts / "test", **other)
    assert done.returncode == 1, done.stderr
    (results,) = (folder / "results").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d{4}", results.name)
    assert (results / "report.html").is_file()
    command("inspect", run / "model.onnx", parts / "test", "--out", tmp_path / "here")
    assert verdicts(results) == verdicts(tmp_path / "here")
    assert scores(results) == pytest.approx(scores(tmp_path / "here"), rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_a_bundle_for_windows_has_every_wheel_it_needs(run: Path, tmp_path: Path) -> None:
    folder = unzipped(zipped("windows", run, tmp_path / "a.zip"), tmp_path)
    files = list((folder / "wheels").iterdir())
    tags = {tag.platform for file in files for tag in parse_wheel_filename(file.name)[3]}
    assert tags == {"any", "win_amd64"}
    target = Target(SYSTEMS["windows"], "3.11")
    names = {parse_wheel_filename(file.name)[0] for file in files}
    options = ["--no-index", "--find-links", folder / "wheels"]
    pins = wheels.compiled("anomaly-vae", target, options, "incomplete")
    assert {pin.partition("==")[0] for pin in pins} == names
    assert {"onnxruntime-gpu", "colorama"} <= names
    next((folder / "wheels").glob("colorama-*")).unlink()
    with pytest.raises(BundleError, match="colorama"):
        wheels.require_complete(folder / "wheels", target)
