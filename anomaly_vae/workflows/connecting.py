"""A Ray cluster: how to reach it, what its workers are to be, and what it says when it gives up.

Nothing is reported to anybody: Ray's statistics of use are turned off.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from anomaly_vae.errors import AnomalyVAEError, DeviceError, OutputError

ATTEMPTS = 5
"""How often a worker that dies is begun anew: a photograph may be what kills it."""
_STORE = 200 * 2**20
"""Bytes that wait between the processes of a Ray that is started for this inspection."""


@dataclass(frozen=True)
class Wish:
    """How the workers are to be."""

    address: str | None = None
    """Of the cluster; without one that of ``RAY_ADDRESS``, or a Ray of this machine alone."""
    workers: int | None = None
    """Processes that run the models; by default as many as the cluster has room for."""
    gpus: float = 0.0
    """Graphics cards of each, such as 0.5; without any, it computes on one core."""
    device: str = "cpu"
    batch_size: int | None = None


def connect(address: str | None) -> dict[str, float]:
    """Connect to a cluster, or start a Ray of this machine alone; gives what it has, by name.

    Raises:
        DeviceError: it cannot be reached.
    """
    import ray  # noqa: PLC0415

    quiet()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    ours = {"include_dashboard": False, "object_store_memory": _STORE} if address == "local" else {}
    try:
        with _muted():  # a program that is connected stays so
            ray.init(
                address, log_to_driver=False, logging_level="critical", ignore_reinit_error=True,
                **ours,
            )  # fmt: skip
    except Exception as error:  # of no common kind
        first = str(error).strip().partition("\n")[0]
        raise DeviceError(
            f"--address {address}: no Ray cluster can be reached ({first}); expected auto or "
            "HOST:PORT of its head, on a machine of the cluster"
        ) from error
    has: dict[str, float] = ray.cluster_resources()
    return has


def room(has: dict[str, float], wish: Wish) -> int:
    """Say for how many workers a cluster has room.

    Raises:
        DeviceError: it has no graphics cards where some are wanted.
    """
    cores, cards = int(has.get("CPU", 0)), has.get("GPU", 0.0)
    if not wish.gpus:
        return max(1, cores)
    if cards < wish.gpus:
        raise DeviceError(
            f"--gpus-per-worker {wish.gpus:g}: the cluster has {cards:g} graphics cards; leave it "
            "out to compute on its cores"
        )
    return max(1, min(cores, int(cards / wish.gpus)))


@contextmanager
def _muted() -> Iterator[None]:
    """Keep off the terminal what Ray's own library writes there, past Python, when it starts."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def quiet() -> None:
    """Let Ray say nothing of its own, to the terminal or to its makers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray.data  # noqa: PLC0415
    from ray.util.annotations import RayDeprecationWarning  # noqa: PLC0415

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)  # see _patience
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    context.execution_options.preserve_order = True


def explained(error: Exception, path: str) -> Exception:
    """Say in our words what went wrong on the cluster; ``path`` is the first that is not done."""
    from ray.data.exceptions import ExecutionTimeoutError  # noqa: PLC0415
    from ray.exceptions import RayError, RayTaskError  # noqa: PLC0415

    if isinstance(error, RayTaskError):  # what our own code has raised there
        return error.cause if isinstance(error.cause, AnomalyVAEError) else error
    if not isinstance(error, RayError | ExecutionTimeoutError):
        return error
    lines = str(error).strip().splitlines()
    ours = [each.partition(": ")[2] for each in lines if each.startswith("anomaly_vae.errors.")]
    return OutputError(
        f"the cluster has given up: {(ours or lines)[0]} What was found before is kept; give "
        f"--resume to go on. First that is not done: {path} (a worker that dies is begun anew "
        f"{ATTEMPTS} times: a photograph may kill it, or memory be short for so many --workers)"
    )
