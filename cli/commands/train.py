"""The command that makes a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import (
    ConfigFile,
    Features,
    GoodDir,
    MmPerPixel,
    Overwrite,
    Resume,
    Seed,
    Settings,
    TrainingDevice,
    TrainOn,
    Volumes,
    Weights,
)
from ..saying import say_filled, say_threshold, shortened, warn_notes

if TYPE_CHECKING:
    from anomaly_vae.training.loop import EpochRecord
    from anomaly_vae.workflows.record import TrainingSummary
    from anomaly_vae.workflows.train import TrainingSession


EXAMPLES = """
anomaly-vae train photos/good --out run
anomaly-vae train photos/good --out run --features pixels --set training.epochs=5
"""


def train(
    good_dir: GoodDir,
    out: Annotated[Path, typer.Option(help="Run folder to make.")],
    config: ConfigFile = None,
    features: Features = None,
    weights: Weights = None,
    settings: Settings = None,
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
    detail: Annotated[
        float | None,
        typer.Option(
            help="How many times finer it looks than images.size; 2: at 4 times the places."
        ),
    ] = None,
    smallest_defect: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            help="Smallest defect of interest, in pixels of a photograph, or as in 0.4mm (with "
            "--mm-per-pixel); chooses --detail.",
        ),
    ] = None,
    seed: Seed = None,
    device: TrainOn = TrainingDevice.AUTO,
    group_by: Annotated[
        str | None, typer.Option(help="Regular expression; equal matches stay together.")
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(help="suspicious.csv of a run; leaves out what is marked in it."),
    ] = None,
    exclude_above: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help="Leaves out what has a higher score in --exclude."),
    ] = None,
    mm_per_pixel: MmPerPixel = None,
    volumes: Volumes = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn what good parts look like; ends with a model.onnx that is ready to inspect."""
    from anomaly_vae.images.detail import in_pixels
    from anomaly_vae.images.masks import read_roi
    from anomaly_vae.workflows.detail import cost, detail_of
    from anomaly_vae.workflows.runs import settings_of
    from anomaly_vae.workflows.suspects import read_exclusion
    from anomaly_vae.workflows.train import TrainingSession

    _refuse_pairs(exclude, exclude_above, detail, smallest_defect, volumes)
    given = {
        "features.source": features,
        "images.detail": detail,
        "training.seed": seed,
        "split.group_by": group_by,
        "training.samples": samples,
        # What is drawn must not show what is held out from some model.
        "training.refit": False if samples else None,
        "split.folds": 1 if samples else None,
        "images.roi": read_roi(roi) if roi else None,
        "images.volumes": volumes,
    }
    good = read_exclusion(exclude, good_dir, exclude_above) if exclude else good_dir
    asked = settings_of(out, config, settings or (), given, resume=resume)
    if smallest_defect is not None:
        pixels = in_pixels(smallest_defect, mm_per_pixel)
        given["images.detail"] = detail_of(pixels, good, asked.images, skip=out)
        asked = settings_of(out, config, settings or (), given, resume=resume)
        talk.say(f"defects of {pixels:.3g} pixels show at --detail {asked.images.detail:g}")
    for line in cost(asked, good, device, skip=out):
        talk.say(line)
    session = TrainingSession(
        good,
        out,
        asked,
        weights=weights,
        device=device,
        overwrite=overwrite,
        resume=resume,
        track=talk.track,
    )
    train_session(session, mm_per_pixel)


def _refuse_pairs(
    exclude: Path | None,
    above: float | None,
    detail: float | None,
    smallest: str | None,
    volumes: str | None,
) -> None:
    """Refuse options of which one would be ignored."""
    from anomaly_vae.errors import ConfigError

    if above is not None and exclude is None:
        raise ConfigError("--exclude-above goes with --exclude, the suspicious.csv of a run")
    if detail is not None and smallest is not None:
        raise ConfigError("--smallest-defect chooses --detail; give one of them")
    if exclude and volumes is not None:
        raise ConfigError("--exclude goes with stacks that are one file each, not with --volumes")


def train_session(session: "TrainingSession", mm_per_pixel: float | None = None) -> None:
    """Train with a line per epoch, and say what came out."""
    from anomaly_vae.images.roi import inspected_share
    from anomaly_vae.settings.values import FULL_RANGE

    for path, reason in session.images.unreadable:
        talk.warn(f"{path} is left out: {reason}")
    warn_notes(session.images.notes)
    if session.exclusion:
        talk.say(session.exclusion.note)
    for note in session.notes:
        talk.say(note)
    talk.say(
        f"{len(session.images.paths)} good images: {session.split}; training on {session.device}"
    )
    if session.config.training.samples:
        talk.say(
            f"and {session.config.training.samples} parts drawn from a first VAE of them; so there "
            "are no folds, and no training on all"
        )
    images = session.config.images
    if (images.black_level, images.white) != (0, FULL_RANGE):
        talk.say(f"of 16 bits, {images.black_level} is black and {images.white} white")
    if session.config.images.restricted:
        talk.say(f"inspected: {inspected_share(session.config.images):.1%} of each photograph")
    talk.say(" epoch       loss  reconstruction       KL    held out  active  seconds")
    try:
        for record in session.epochs():
            _say_epoch(record, session.detector.model.latent_size)
        summary = session.finish(mm_per_pixel=mm_per_pixel)
    except KeyboardInterrupt:
        if session.trainer.history:
            talk.warn(f"the best epoch so far is kept in {session.run}; give --resume to go on")
        raise
    if session.config.training.refit:
        others = f"on {session.split.folds - 1} other folds and " if session.split.folds > 1 else ""
        talk.say(
            f"trained again {others}on all {len(session.images.paths)} good images, as long as was "
            f"best: {session.trainer.best_epoch} epochs"
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
    if summary.position:
        say_filled(summary.position)
    talk.say(f"{summary.latents.summary}: {out / 'latents.csv'}")
    if summary.advice:
        talk.warn(summary.advice)
    limit = summary.card.threshold
    say_threshold(limit)
    if summary.drawn:
        say_filled(summary.drawn)
    talk.detail(f"exported model against torch: {summary.parity.largest:.1e} apart at most")
    talk.say("most suspicious good images, by a model that has not seen them (are they good?):")
    for suspect in summary.suspects:
        mark = "*" if suspect.path == summary.limiting else " "
        talk.say(f"{suspect.score:10.3f}{mark} {shortened(suspect.path)}")
    talk.say(f"  * sets the threshold; mark those that are not good in {out / 'suspicious.csv'},")
    talk.say("    and 'anomaly-vae train --exclude' that file leaves them out")
    talk.say(f"model: {out / 'model.onnx'}")
