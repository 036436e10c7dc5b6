"""Weights of a trunk: from a file, or torchvision's download; checked name by name."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision import models

from anomaly_vae.errors import WeightsError
from anomaly_vae.vae.networks import build_network
from anomaly_vae.vae.student import EMBEDDED, Student, Widths
from anomaly_vae.vae.trunk import TrunkFeatures

EMBEDDED_FILE = Path(__file__).parent / "embedded" / "trunk.safetensors"


def load_trunk_weights(features: TrunkFeatures, file: Path | None) -> None:
    """Fill the trunk from ``file``, or from torchvision's download when there is none.

    Our own trunk comes with the program.

    ``file`` is ``.safetensors``, or ``.pth``/``.pt`` read with ``weights_only=True``. Layers
    that are not used may be missing.

    Raises:
        WeightsError: no such file, no network, or the names or shapes do not fit.
    """
    if features.source == EMBEDDED:
        file = file or EMBEDDED_FILE
    state = _read_weights(file) if file else _download_weights(features.source)
    # torchvision's published DenseNets carry old names, which it changes on loading.
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    state = {old.sub(r"\1\2", name): value for name, value in state.items()}
    origin = str(file) if file else f"torchvision's weights of {features.source}"
    wanted = features.trunk.state_dict()
    # Counters of training batches: not used in evaluation, and often not stored.
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = sorted(wanted.keys() - state.keys() - optional)
    with torch.device("meta"):  # only the names are wanted
        known = build_network(features.source).state_dict().keys()
    foreign = sorted(state.keys() - known)
    wrong = sorted(n for n in wanted.keys() & state.keys() if wanted[n].shape != state[n].shape)
    problems = [
        f"{what}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unknown", foreign), ("other shape", wrong))
        if names
    ]
    if problems:
        if features.source == EMBEDDED:
            problems.append("name the network that they are of, as in --features resnet18")
        raise WeightsError(f"{origin} does not fit {features.source}: {'; '.join(problems)}")
    features.trunk.load_state_dict(
        {n: state[n] for n in wanted.keys() & state.keys()}, strict=False
    )


def read_student(file: Path, widths: Widths, components: int) -> dict[str, Tensor]:
    """Read a distilled trunk, in single precision.

    Raises:
        WeightsError: no such file, or it holds another network.
    """
    state = {name: value.float() for name, value in _read_weights(file).items()}
    wanted = Student(widths, components).state_dict()
    if any(name not in state or state[name].shape != wanted[name].shape for name in wanted):
        raise WeightsError(f"{file}: expected a trunk that 'anomaly-vae distill' has made")
    return state


def _read_weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise WeightsError(f"{file}: no such file; expected weights as .safetensors or .pth")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a foreign file
        raise WeightsError(
            f"{file}: not a weights file ({type(error).__name__}); expected .safetensors, or a "
            ".pth that holds nothing but tensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{file}: expected a dictionary of tensors (a state_dict)")
    return state


def _download_weights(source: str) -> dict[str, Tensor]:
    try:
        weights = models.get_model_weights(source)["DEFAULT"]
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights of {source} could not be downloaded ({error}); without a network, copy "
            "them here and give --weights FILE, or use --features pixels or embedded, which need "
            "none"
        ) from error
