"""Nothing leaves the machine, and no file is written that nobody asked for."""

import ctypes
import platform
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import QUICK

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="on other systems nothing stops a process at a socket"
)

# For each architecture, the number of the system call socket().
_SOCKET = {"x86_64": 41, "aarch64": 198}
_DOCUMENTED = {".cache/matplotlib"}
"""What a training writes below a user's home: docs/guide/limits.md."""


def killed_at_a_socket() -> None:
    """Let the kernel kill this process where it opens an Internet socket, as each look-up does.

    A seccomp filter needs no rights, and holds for what is not Python, too.
    """
    load, equals, result = 0x20, 0x15, 0x06
    killed, allowed = 0x80000000, 0x7FFF0000
    steps = [
        (load, 0, 0, 0),  # the number of the call
        (equals, 0, 4, _SOCKET[platform.machine()]),
        (load, 0, 0, 16),  # its first argument, the family
        (equals, 1, 0, 2),  # AF_INET
        (equals, 0, 1, 10),  # AF_INET6
        (result, 0, 0, killed),
        (result, 0, 0, allowed),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, as a filter


def offline(place: Path, *command: object) -> "subprocess.CompletedProcess[str]":
    """Run Python where nothing may look up a host, with an empty home and temporary folder."""
    for name in ("home", "temporary", "here"):
        (place / name).mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env={"HOME": str(place / "home"), "TMPDIR": str(place / "temporary"), "PATH": "",
             "OMP_NUM_THREADS": "1"},
        cwd=place / "here", capture_output=True, text=True, check=False,
        preexec_fn=killed_at_a_socket,
    )  # fmt: skip


def test_an_internet_socket_is_noticed(tmp_path: Path) -> None:
    looking_up = "import socket; socket.getaddrinfo('example.com', 80)"
    assert offline(tmp_path, "-c", looking_up).returncode == -signal.SIGSYS
    local = "import socket; socket.socket(socket.AF_UNIX)"
    assert offline(tmp_path, "-c", local).returncode == 0


def test_no_host_is_looked_up_and_no_file_left_behind(parts: Path, tmp_path: Path) -> None:
    program = ("-c", "from anomaly_vae_cli import main; main()")
    run, results = tmp_path / "run", tmp_path / "results"
    train = ("train", parts / "train" / "good", "--out", run, "--features", "pixels", *QUICK)
    inspect = ("inspect", run / "model.onnx", parts / "test" / "good", "--out", results)
    for arguments, documented in (
        (train, _DOCUMENTED),
        ((*inspect, "--exit-zero", "--workers", 2), set()),
        (("doctor",), set()),
    ):
        place = tmp_path / arguments[0]
        place.mkdir()
        done = offline(place, *program, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        left = {file.relative_to(place).parts for file in place.rglob("*") if file.is_file()}
        assert {"/".join(parts[1:3]) for parts in left} <= documented, left


@pytest.mark.parametrize("first", ["anomaly_vae", "anomaly_vae.inspection.runtime"])
def test_the_python_door_has_no_telemetry_either(tmp_path: Path, first: str) -> None:
    program = (
        f"import {first}, ctypes; from anomaly_vae.inspection.providers import start_session;"
        "from anomaly_vae.inspection.runtime import FINITE_MODEL;"
        "start_session(FINITE_MODEL, ['CPUExecutionProvider']);"
        # As C++ reads it.
        "getenv = ctypes.CDLL(None).getenv; getenv.restype = ctypes.c_char_p;"
        "print(getenv(b'ORT_DISABLE_TELEMETRY'))"
    )
    done = offline(tmp_path, "-c", program)
    assert (done.returncode, done.stdout) == (0, "b'1'\n")
    assert not list((tmp_path / "home").iterdir())
