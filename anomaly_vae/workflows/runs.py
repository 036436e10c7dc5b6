"""A run folder: what lies in it, its settings, its trained model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from anomaly_vae.errors import ConfigError, ModelFileError, OutputError
from anomaly_vae.outputs import refuse_used, write_bytes
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.schema import Config

STATE = ".state"
CHECKPOINT = Path(STATE) / "checkpoint.safetensors"
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
    "calibration.json",
    "roc.png",
    "scores.png",
    "training.json",
    "thumbnails.jpg",
    "card.html",
    "model.onnx",
    STATE,
)


def saved_config(run: Path) -> Config:
    """Read the settings of a run folder.

    Raises:
        ModelFileError: ``run`` is not a run folder.
        ConfigError: its ``config.yaml`` was damaged.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise ModelFileError(f"{run}: not a run folder (no config.yaml); expected --out of 'train'")
    return load_config(path)


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
        ConfigError: a setting is unknown or wrong.
    """
    assignments = [
        f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None
    ]
    assignments = [*settings, *assignments]
    if resume and config is None and not assignments and (out / "config.yaml").is_file():
        return saved_config(out)
    return load_config(config, assignments)


def load_detector(run: Path, config: Config) -> Detector:
    """Read the trained model of a run folder.

    Raises:
        ModelFileError: ``vae.safetensors`` is missing or does not fit ``config``.
    """
    detector = build_detector(config)
    try:
        detector.load_state_dict(load_file(run / "vae.safetensors"))
    except (OSError, RuntimeError, SafetensorError) as error:
        first = " ".join(str(error).split())[:120]
        raise ModelFileError(
            f"{run / 'vae.safetensors'}: does not fit config.yaml ({first}); it may be of "
            "another version: train again, or use that version"
        ) from error
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
        OutputError: ``out`` is in use, or its training is finished.
        ConfigError: its training began with other settings, or pixels are to have weights.
    """
    if not (overwrite or resume):
        refuse_used(out)
    begun = resume and (out / CHECKPOINT).is_file()
    if begun and _fixed(saved_config(out)) != _fixed(config):
        raise ConfigError(
            f"{out}: its training began with other settings; give --resume without settings, "
            "or --overwrite"
        )
    if resume and not begun and (out / "model.onnx").is_file():
        raise OutputError(f"{out}: its training is finished; give --overwrite to train anew")
    if weights and config.features.source == "pixels":
        raise ConfigError("--weights is for a trunk; features.source 'pixels' has no weights")
    return begun


def _fixed(config: Config) -> Config:
    """Give the settings without those that may change when a training is resumed."""
    free = replace(config.training, epochs=1, patience=1, pictures=True, cache_gib=0.0)
    return replace(config, training=free)
