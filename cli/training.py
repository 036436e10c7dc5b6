"""The command that makes a model: train."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import Overwrite, app
from .console import talk
from .saying import say_threshold

if TYPE_CHECKING:
    from anomaly_vae.session import TrainingSession, TrainingSummary
    from anomaly_vae.training import EpochRecord


class TrainingDevice(StrEnum):
    """Where the model is trained."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@app.command()
def train(
    good_dir: Annotated[Path, typer.Argument(help="Folder of photographs of good parts.")],
    out: Annotated[Path, typer.Option(help="Run folder to make.")],
    config: Annotated[
        Path | None,
        typer.Option(help="Settings, a YAML file; or a model of the literature."),
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="pixels, or a torchvision model such as resnet18.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the trunk; default: torchvision's download.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as in training.epochs=5.")
    ] = None,
    roi: Annotated[
        Path | None, typer.Option(help="Mask of what to inspect; black is ignored.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--augment-with-samples",
            metavar="N",
            help="Learn from N parts, too, that a first VAE of the training images draws (pixels); "
            "has not been found to help.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything drawn at random.")] = None,
    device: Annotated[TrainingDevice, typer.Option(help="Where to train.")] = TrainingDevice.AUTO,
    group_by: Annotated[
        str | None, typer.Option(help="Regular expression; equal matches stay together.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn what good parts look like; ends with a model.onnx that is ready to inspect."""
    from anomaly_vae.config import load_config
    from anomaly_vae.images import read_roi
    from anomaly_vae.runs import saved_config
    from anomaly_vae.session import TrainingSession

    given = [*(settings or [])]
    for key, value in (
        ("features.source", features), ("training.seed", seed), ("split.group_by", group_by),
        ("training.samples", samples),
        ("images.roi", read_roi(roi) if roi else None),
    ):  # fmt: skip
        given += [f"{key}={json.dumps(value)}"] if value is not None else []
    goes_on = resume and (out / "config.yaml").is_file() and not given and config is None
    session = TrainingSession(
        good_dir,
        out,
        saved_config(out) if goes_on else load_config(config, given),
        weights=weights,
        device=device,
        overwrite=overwrite,
        resume=resume,
        track=talk.track,
    )
    train_session(session)


def train_session(session: "TrainingSession") -> None:
    """Train with a line per epoch, and say what came out."""
    from anomaly_vae.interest import inspected_share

    for path, reason in session.images.unreadable:
        talk.warn(f"{path} is left out: {reason}")
    counts = ", ".join(
        f"{(session.parts == part).sum()} {part}" for part in dict.fromkeys(session.parts)
    )
    talk.say(f"{len(session.images.paths)} good images: {counts}; training on {session.device}")
    if session.config.training.samples:
        talk.say(f"and {session.config.training.samples} parts drawn from a first VAE of them")
    if session.config.images.restricted:
        talk.say(f"inspected: {inspected_share(session.config.images):.1%} of each photograph")
    talk.say(" epoch       loss  reconstruction       KL    held out  active  seconds")
    try:
        for record in session.epochs():
            _say_epoch(record, session.detector.model.latent_size)
        summary = session.finish()
    except KeyboardInterrupt:
        if session.trainer.history:
            talk.warn(f"the best epoch so far is kept in {session.out}; give --resume to go on")
        raise
    if session.config.training.refit:
        talk.say(
            f"trained again on all {len(session.images.paths)} good images, as long as was best: "
            f"{session.trainer.best_epoch} epochs"
        )
    _say_summary(summary, session.out)


def _say_epoch(record: "EpochRecord", latent_size: int) -> None:
    talk.say(
        f"{record.epoch:6d} {record.loss:10.2f} {record.reconstruction_error:15.2f} "
        f"{record.kl:8.2f} {record.stopping_loss:11.2f} "
        f"{record.active_latents:4d}/{latent_size:<3d}"
        f"{record.seconds:7.1f}{' *' if record.best else ''}"
    )


def _say_summary(summary: "TrainingSummary", out: Path) -> None:
    talk.say(f"{summary.latents.summary}: {out / 'latents.csv'}")
    if summary.advice:
        talk.warn(summary.advice)
    limit = summary.card.threshold
    say_threshold(limit)
    talk.say(f"  the threshold is that of {summary.limiting}: if that is not good, take it out")
    talk.detail(f"exported model against torch: {summary.parity.largest:.1e} apart at most")
    talk.say("most suspicious good images (are they good?):")
    for path, score in summary.suspicious:
        talk.say(f"  {score:9.3f}  {path}")
    talk.say(f"model: {out / 'model.onnx'}")
