"""The command that makes a small trunk out of a large one."""

from pathlib import Path
from typing import Annotated

import typer

from ..console import talk
from ..options import Overwrite, TrainingDevice, TrainOn

EXAMPLES = """
anomaly-vae distill --out trunk.safetensors --pictures photos --minutes 120
anomaly-vae distill --out longer.safetensors --pictures photos --start trunk.safetensors
"""


def distill(
    out: Annotated[Path, typer.Option(help="Weights file to make, .safetensors.")],
    teacher: Annotated[
        str, typer.Option(help="Large trunk to learn from, a torchvision model.")
    ] = "resnet18",
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the teacher; default: torchvision's download.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of photographs to learn from; any will do.")
    ] = None,
    drawn: Annotated[
        int, typer.Option(min=0, max=100_000, help="Pictures that are drawn, beside those.")
    ] = 1000,
    minutes: Annotated[
        float, typer.Option(min=0.01, max=10_000, help="Length of the training.")
    ] = 120,
    start: Annotated[
        Path | None, typer.Option(help="Weights file of this command, to go on from.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=2, max=4096, help="Crops per step; default: 32, or 128 on a GPU."),
    ] = None,
    learning_rate: Annotated[
        float, typer.Option(min=1e-6, max=1, help="Step size of AdamW at its peak.")
    ] = 3e-3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn at random.")] = 0,
    device: TrainOn = TrainingDevice.AUTO,
    overwrite: Overwrite = False,
) -> None:
    """Teach a small, fast trunk what a large one sees, from pictures of anything."""
    from anomaly_vae.training.distillation import REPORTS, Recipe
    from anomaly_vae.training.loop import select_device
    from anomaly_vae.workflows.distill import Sources
    from anomaly_vae.workflows.distill import distill as run

    chosen = select_device(device).type
    size = batch_size or (32 if chosen == "cpu" else 128)
    recipe = Recipe(
        minutes,
        batch_size=size,
        learning_rate=learning_rate,
        seed=seed,
        compiled=chosen == "cuda",
    )
    reports = run(
        out,
        recipe,
        Sources(teacher, weights, pictures, drawn, start),
        device=chosen,
        overwrite=overwrite,
        track=talk.track,
        warned=talk.warn,
    )
    talk.say("  done      steps       crops  seconds    loss  explained  (strongest 96)")
    for each in talk.track(reports, "Distilling", REPORTS):
        talk.say(
            f"{each.done:6.0%} {each.steps:10d} {each.crops:11d} {each.seconds:8.0f} "
            f"{each.loss:7.4f} {each.explained:10.1%} {each.explained_strongest:14.1%}"
        )
    talk.say(f"trunk: {out}; use it with --features embedded --weights {out}")
