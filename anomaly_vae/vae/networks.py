"""Torchvision's networks and ours as trunks: made by name, cut behind the layers that are used."""

import math
import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from anomaly_vae.errors import ConfigError
from anomaly_vae.vae.student import EMBEDDED, LAYERS, Student

_STRIDES = (4, 8, 16)
_HEADS = ("classifier", "fc", "head", "heads")  # what torchvision calls the layers after the maps


def default_layers(source: str, trunk: nn.Module) -> tuple[str, ...]:
    """Find the last layer at each of the strides 4, 8 and 16, by running the trunk once.

    One rule for all families instead of a table: it gives ``layer1`` to ``layer3`` of a ResNet
    and the last block before each halving in MobileNet, EfficientNet, ConvNeXt, VGG or DenseNet.
    """
    if isinstance(trunk, Student):
        return LAYERS
    side, found = 128, dict[int, str]()

    def remember(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.dim() == 4:
                height, width = output.shape[2:]
                # To the nearest power of two: some families lose a border (31 for 128 / 4).
                stride = 2 ** round(math.log2(side / height))
                if height == width and stride in _STRIDES:
                    found[stride] = name

        return hook

    handles = [
        module.register_forward_hook(remember(name))
        for name, module in trunk.named_modules()
        if name and name.count(".") < 2 and name.split(".")[0] not in _HEADS
    ]
    try:
        with torch.no_grad():
            trunk(torch.zeros(1, 3, side, side))
    except (AssertionError, RuntimeError):
        found.clear()  # a transformer that insists on its own image size
    finally:
        for handle in handles:
            handle.remove()
    layers = tuple(found[stride] for stride in _STRIDES if stride in found)
    if len(layers) < 2:
        raise ConfigError(
            f"features.source {source!r} has no maps at strides 4, 8 or 16; expected a "
            "convolutional network such as resnet18, or its layers in features.layers"
        )
    return layers


def build_network(source: str) -> nn.Module:
    """Make a classification network of torchvision, or our own, with random weights.

    Raises:
        ConfigError: torchvision has none of that name.
    """
    if source == EMBEDDED:
        return Student().eval()
    names = models.list_models(module=models)
    if source not in names:
        raise ConfigError(
            f"features.source = {source!r}: expected 'pixels' or 'embedded', or a classification "
            f"model of torchvision, such as resnet18, wide_resnet50_2 or efficientnet_b0"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some families announce a change of their random weights
        return cast(nn.Module, models.get_model(source, weights=None).eval())


def cut_network(trunk: nn.Module, source: str, layers: tuple[str, ...]) -> nn.Module:
    """Keep only what is needed to compute ``layers``.

    Raises:
        ConfigError: not all are layers of the network.
    """
    try:
        return cast(nn.Module, create_feature_extractor(trunk, list(layers)).eval())
    except ValueError as error:
        known = ", ".join(default_layers(source, trunk))
        raise ConfigError(
            f"features.layers = {list(layers)}: not all are layers of {source}; default: {known}"
        ) from error
