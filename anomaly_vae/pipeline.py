"""The steps joined: train a run folder, calibrate it, evaluate a model, inspect a folder.

Everything here works on files; what it returns is what a program would show to a person.
"""

import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from anomaly_vae import __version__
from anomaly_vae.calibration import (
    Criterion,
    OperatingPoint,
    choose_operating_point,
    good_only_threshold,
    roc_threshold,
)
from anomaly_vae.config import Config, config_from_dict, config_to_dict, config_to_yaml, load_config
from anomaly_vae.dataset import (
    CALIBRATION,
    STOPPING,
    TRAINING,
    ImageSet,
    Track,
    read_images,
    split_parts,
    untracked,
)
from anomaly_vae.errors import FolderError, ModelFileError, OutputError, TrainingError
from anomaly_vae.evaluation import ImageMetrics, PixelMetrics, image_metrics, pixel_metrics
from anomaly_vae.export import Parity, export_model, replace_card
from anomaly_vae.features import TrunkFeatures, load_trunk_weights
from anomaly_vae.images import find_images
from anomaly_vae.inspection import Device, Finding, Inspector
from anomaly_vae.metadata import ModelCard, Threshold
from anomaly_vae.regions import enlarged
from anomaly_vae.reporting import figures
from anomaly_vae.scoring import Detector, build_detector, score_images
from anomaly_vae.training import EpochRecord, Items, Trainer, select_device

STATE = ".state"
