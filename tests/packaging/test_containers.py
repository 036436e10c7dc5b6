"""The files for containers: what their linters say, and whether the commands in them exist."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..docs.pages import commands, spelled

FOLDER = Path(__file__).parents[2] / "configs" / "deploy" / "cluster"


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def pods() -> dict[str, Any]:
    """Give the descriptions of all pods."""
    cluster = read("rayjob.yaml")["spec"]["rayClusterSpec"]
    ray = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return {"job": read("job.yaml")["spec"]["template"]} | {
        f"ray {number}": each["template"] for number, each in enumerate(ray)
    }


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_kubernetes_takes_the_job_and_each_pod() -> None:
    import kubernetes_validate

    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(read("job.yaml"), version, strict=True)
    for name, pod in pods().items():
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, **pod}
        kubernetes_validate.validate(whole, version, strict=True)
        assert pod["spec"]["securityContext"]["runAsNonRoot"], name


@pytest.mark.parametrize("name", ["job.yaml", "rayjob.yaml"])
def test_the_commands_in_them_have_these_options(name: str) -> None:
    if name == "job.yaml":
        (container,) = pods()["job"]["spec"]["containers"]
        words = container["args"]
    else:
        words = shlex.split(read(name)["spec"]["entrypoint"])
    options = {each.partition("=")[0] for each in words if each.startswith("--")}
    inspect = dict(commands())["inspect"]
    assert words[:2] == ["anomaly-vae", "inspect"]
    assert options <= {each for parameter in inspect.params for each in spelled(parameter)}
