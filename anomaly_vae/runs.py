"""A run folder, read: its settings, its trained model, and that model exported again."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

from anomaly_vae.config import load_config
from anomaly_vae.errors import ModelFileError
from anomaly_vae.export import Parity, export_model
from anomaly_vae.inspection import Inspector
from anomaly_vae.outputs import prepare_file
from anomaly_vae.scoring import Detector, build_detector
from anomaly_vae.settings import Config

_DRAWN_IMAGES = 20


def export_run(run: Path, out: Path, *, overwrite: bool = False) -> Parity:
    """Export the model of a run folder again, with the threshold it has now.

    The check against torch uses drawn images of smooth noise: the good images may be gone.

    Raises:
        ModelFileError: ``run`` is not a run folder, or is damaged.
        ExportError, OutputError: see ``export_model``.
    """
    config = saved_config(run)
    prepare_file(out, overwrite=overwrite)
    detector = load_detector(run, config)
    card = Inspector(run / "model.onnx", device="cpu").card
    return export_model(detector, card, out, drawn_images(config.images.size))


def drawn_images(side: int) -> NDArray[np.uint8]:
    """Draw images of smooth noise, uint8 [N, side, side, 3], to try a model without photographs."""
    noise = np.random.default_rng(0).random((_DRAWN_IMAGES, side, side, 3))
    smooth = gaussian_filter(noise, (0, side / 32, side / 32, 0))
    low, high = smooth.min(), smooth.max()
    images: NDArray[np.uint8] = ((smooth - low) / (high - low) * 255).astype(np.uint8)
    return images


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
