"""What this machine can do: versions, processors, and why a GPU is not used."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator

import onnxruntime

from anomaly_vae import __version__
from anomaly_vae.inspection.providers import cuda_devices, preload_libraries, start_session

# An ONNX model of one Identity node (float [1], opset 13), so that the onnx package, which belongs
# to the training side, is not needed to try a provider.
_IDENTITY_MODEL = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01'
    b"\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
_TRAINING_PACKAGES = ("torch", "torchvision", "scikit-learn", "onnx", "onnxscript", "safetensors")


def diagnose() -> Iterator[tuple[str, str]]:
    """Yield a name and a finding for each thing that matters."""
    yield "anomaly-vae", __version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    yield "cpu", f"{os.cpu_count()} cores"
    yield "onnxruntime", _runtime()
    gpus = cuda_devices()
    yield "nvidia driver", f"{gpus} CUDA device(s)" if gpus else "none found: models run on the CPU"
    if gpus:
        yield from _providers()
    missing = [name for name in _TRAINING_PACKAGES if not _version(name)]
    if missing:
        remedy = "pip install 'anomaly-vae[train]' (inspection does not need it)"
        yield "training", f"not possible: {', '.join(missing)} not installed; {remedy}"
    else:
        yield "training", ", ".join(f"{name} {_version(name)}" for name in _TRAINING_PACKAGES[:3])
        yield "torch cuda", _torch_cuda()


def _runtime() -> str:
    installed = [name for name in ("onnxruntime-gpu", "onnxruntime") if _version(name)]
    text = ", ".join(f"{name} {_version(name)}" for name in installed)
    if len(installed) > 1:
        text += ": both write the same folder; uninstall both, then install onnxruntime-gpu"
    return text


def _providers() -> Iterator[tuple[str, str]]:
    """Try each GPU provider for real: the list of available ones says nothing about it."""
    preload_libraries(tensorrt=True)
    for name in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        if name not in onnxruntime.get_available_providers():
            yield name, "not in this build of ONNX Runtime"
            continue
        session = start_session(_IDENTITY_MODEL, [name])
        runs = session.get_providers()[0] == name
        remedy = "its libraries do not load: pip install 'anomaly-vae[cuda]'"
        if name.startswith("Tensorrt"):
            remedy = "its libraries are not installed (optional)"
        yield name, "works" if runs else remedy


def _torch_cuda() -> str:
    import torch  # noqa: PLC0415 - an inspection machine has none

    if torch.cuda.is_available():
        return f"trains on {torch.cuda.get_device_name(0)}"
    return "none: trains on the CPU"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
