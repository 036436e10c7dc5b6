"""A run folder: what lies in it, its settings, its trained model."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from anomaly_vae.errors import ConfigError, ModelFileError, OutputError
from anomaly_vae.locking import lock_folder
from anomaly_vae.outputs import Made, refuse_folder, write_bytes
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.scoring.likeness import Likeness
from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.folds import first_is_done
from anomaly_vae.transaction import complete
from anomaly_vae.vae.trunk import TrunkFeatures
from anomaly_vae.vae.weights import load_trunk_weights

STATE = ".state"
CHECKPOINT = Path(STATE) / "checkpoint.safetensors"
UNEXPORTED = Path(STATE) / "card.json"
"""The model card of a training that ended without a model, because its export failed."""
REFERENCE = "reference.npz"
"""A photograph, and what a model for other programs says of it."""
RESULTS = (
    "config.yaml",
    "vae.safetensors",
    "history.csv",
    "training.png",
    "latents.csv",
    "latents.png",
    "rate_distortion.png",
    "epochs",
    "reconstructions.png",
    "normals.csv",
    "unseen.npz",
    "refinement.json",
    "suspicious.csv",
    "suspicious.jpg",
    "sensitivity.csv",
    "sensitivity.png",
    "drawn.jpg",
    "calibration.json",
    "roc.png",
    "scores.png",
    "training.json",
    "thumbnails.jpg",
    "card.html",
    "model.onnx",
    REFERENCE,
    STATE,
)


def _is_run(folder: Path) -> bool:
    """Tell a run folder by its content."""
    try:
        saved_config(folder)
    except (ConfigError, ModelFileError):
        return False
    return (folder / "vae.safetensors").is_file()


RUN = Made("train", RESULTS, known=_is_run)


def saved_config(run: Path) -> Config:
    """Read the settings of a run folder.

    Raises:
        ModelFileError: ``run`` is not a run folder.
        ConfigError: its ``config.yaml`` was damaged.
    """
    complete(run)
    path = run / "config.yaml"
    if not path.is_file():
        raise ModelFileError(f"{run}: not a run folder (no config.yaml); expected --out of 'train'")
    return load_config(path, of_run=True)


def built_in(out: Path, *, overwrite: bool = False) -> Path:
    """Where the training of a run folder writes: beside a finished model, which works until then.

    Without ``overwrite``, where the training goes on that was begun.
    """
    complete(out)
    new = out / STATE / "new"
    beside = (out / "model.onnx" if overwrite else new / CHECKPOINT).is_file()
    return new if beside else out


def settings_of(
    out: Path,
    config: Path | None,
    settings: Sequence[str],
    given: Mapping[str, Any],
    *,
    resume: bool,
) -> Config:
    """Give the settings of a training: of its ``config``, of each ``SECTION.KEY=VALUE``, as given.

    One that is resumed, and given nothing (None does not count), goes on with those it began with.

    Raises:
        ConfigError: a setting is unknown, wrong, or given twice.
    """
    asked, built = asked_settings(config, settings, given), built_in(out)
    if asked is None and resume and (built / "config.yaml").is_file():
        return saved_config(built)
    return asked or load_config(None, ())


def asked_settings(
    config: Path | None, settings: Sequence[str], given: Mapping[str, Any]
) -> Config | None:
    """Give the settings that are asked for, as ``settings_of`` takes them; None if nothing is.

    Raises:
        ConfigError: a setting is unknown, wrong, or given twice.
    """
    given = {key: value for key, value in given.items() if value is not None}
    refuse_twice(settings, given)
    assignments = [*settings, *(f"{key}={json.dumps(value)}" for key, value in given.items())]
    return load_config(config, assignments) if config or assignments else None


def untrained(config: Config, weights: Path | None) -> Detector:
    """Make a detector; its trunk, if it has one, knows what its weights know.

    Raises:
        ConfigError, WeightsError: the features, or their weights, cannot be had.
    """
    detector = build_detector(config)
    if isinstance(detector.features, TrunkFeatures):
        load_trunk_weights(detector.features, weights)
    return detector


def refuse_twice(settings: Iterable[str], others: Iterable[str]) -> None:
    """Make sure that no other option gives what ``SECTION.KEY=VALUE`` does: one would be ignored.

    Raises:
        ConfigError: a setting is given by two options.
    """
    both = {each.partition("=")[0].strip() for each in settings} & set(others)
    for key in sorted(both):
        raise ConfigError(f"{key} is given twice; give it once")


def load_detector(run: Path, config: Config) -> Detector:
    """Read the trained model of a run folder.

    Raises:
        ModelFileError: ``vae.safetensors`` is missing or does not fit ``config``.
    """
    try:
        state = load_file(run / "vae.safetensors")
        detector = build_detector(_settled(config, state))
        if "likeness.direction" in state:
            detector.likeness = Likeness(len(state["likeness.direction"]))
        state.setdefault("model.noise", detector.model.noise)  # 0, as runs before it had none
        detector.load_state_dict(state)
    except (OSError, RuntimeError, SafetensorError) as error:
        first = " ".join(str(error).split())[:120]
        raise ModelFileError(
            f"{run / 'vae.safetensors'}: does not fit config.yaml ({first}); it may be of "
            "another version: train again, or use that version"
        ) from error
    return detector


def _settled(config: Config, state: Mapping[str, Tensor]) -> Config:
    """Give the settings with what ``model.position`` auto came to, which the weights show."""
    model, decoder = config.model, state.get("model.decoder.0.weight")
    if model.kind != "patch" or model.position != "auto" or decoder is None:
        return config
    return replace(config, model=replace(model, position=decoder.shape[1] > model.latent_size))


def begun_detector(run: Path, config: Config) -> Detector:
    """Read a detector whose training goes on: from its checkpoint, with the model of its begin.

    Raises:
        ModelFileError: see ``load_detector``.
    """
    detector, known = build_detector(config), load_detector(run, config).state_dict()
    others = {name: value for name, value in known.items() if not name.startswith("model.")}
    detector.load_state_dict(others, strict=False)
    return detector


def save_detector(detector: Detector, run: Path) -> None:
    """Write what ``load_detector`` reads.

    Raises:
        OutputError: it cannot be written.
    """
    state = {name: value.cpu() for name, value in detector.state_dict().items()}
    write_bytes(run / "vae.safetensors", save(state))


def goes_on(
    out: Path, config: Config, weights: Path | None, *, overwrite: bool, resume: bool
) -> bool:
    """Say whether a training that was begun in ``out`` goes on; refuse what cannot be.

    Raises:
        OutputError: ``out`` is in use, also by another program, or its training is finished.
        ConfigError: its training began with other settings, or pixels are to have weights.
    """
    refuse_folder(out, RUN, overwrite=overwrite, resume=resume)
    if out.is_dir():  # said before any work; whoever trains locks it for as long as that takes
        lock_folder(out).release()
    built = built_in(out, overwrite=overwrite)
    begun = resume and (built / CHECKPOINT).is_file()
    if begun and not _may_go_on(as_given(saved_config(built), config), config, built / STATE):
        raise ConfigError(
            f"{out}: its training began with other settings; give --resume without settings, "
            "or --overwrite"
        )
    if resume and not begun and (out / "model.onnx").is_file():
        raise OutputError(
            f"{out}: its training is finished; give --overwrite instead of --resume to train anew"
        )
    refuse_weights(config, weights)
    if weights and begun:
        raise ConfigError(f"--weights: the training in {out} goes on with its own; leave it out")
    return begun


def refuse_weights(config: Config, weights: Path | None) -> None:
    """Make sure that weights are given to features that have some.

    Raises:
        ConfigError: these are pixels.
    """
    if weights and config.features.source == "pixels":
        raise ConfigError("--weights is for a trunk; features.source 'pixels' has no weights")


def as_given(saved: Config, given: Config) -> Config:
    """Give saved settings with a white level, slices and a frame to be found, where given so."""
    images = saved.images
    if given.images.white_level == "auto":
        images = replace(images, white_level="auto")
    if given.images.slices == "auto":
        images = replace(images, slices="auto")
    if not given.images.frame:
        images = replace(images, frame=(), padded=False)
    return replace(saved, images=images)


def _may_go_on(saved: Config, given: Config, state: Path) -> bool:
    """Say whether a training may go on with other settings than it began with.

    Its length may change as long as no other training has taken it over.
    """
    now = given.training
    training = replace(saved.training, pictures=now.pictures, cache_gib=now.cache_gib)
    if not first_is_done(state):
        training = replace(training, epochs=now.epochs, patience=now.patience)
    return replace(saved, training=training) == given
