"""Where the work of a command is done: on this machine, or on a Ray cluster."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .options import within

if TYPE_CHECKING:
    from anomaly_vae.workflows.connecting import Wish


class Engine(StrEnum):
    """What hands out the work."""

    LOCAL = "local"
    RAY = "ray"


OnEngine = Annotated[
    Engine, typer.Option("--engine", help="What hands out the work: this process, or Ray.")
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="<auto|HOST:PORT>",
        help="The Ray cluster; default: RAY_ADDRESS, or a Ray of this machine alone.",
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        callback=within(0.01, 64),
        help="Graphics cards of each worker of --engine ray, such as 0.5; default: none, but a "
        "core.",
    ),
]


def wished(
    engine: Engine,
    address: str | None,
    gpus: float | None,
    device: str,
    workers: int | None,
    batch_size: int | None,
) -> "Wish | None":
    """Say how the workers of a Ray cluster are to be; None for this process."""
    if engine is Engine.LOCAL:
        if address is not None or gpus is not None:
            option = "--address" if address is not None else "--gpus-per-worker"
            raise typer.BadParameter("goes with --engine ray", param_hint=option)
        return None
    kind, _, numbers = device.partition(":")
    if numbers:
        raise typer.BadParameter(
            f"{device}: Ray chooses the cards; give --device {kind}", param_hint="--device"
        )
    if kind in ("cuda", "tensorrt") and not gpus:
        raise typer.BadParameter(f"needed by --device {kind}", param_hint="--gpus-per-worker")
    if kind == "cpu" and gpus:
        raise typer.BadParameter("contradicts --device cpu", param_hint="--gpus-per-worker")
    from anomaly_vae.workflows.connecting import Wish

    usual = "cuda" if gpus else "cpu"
    return Wish(address, workers, gpus or 0.0, usual if kind == "auto" else kind, batch_size)
