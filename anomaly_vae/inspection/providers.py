"""What runs a model: the execution providers of ONNX Runtime, and what each needs."""

import ctypes
import importlib
import io
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Literal, NamedTuple

import onnxruntime

from anomaly_vae.calibration.metadata import Precision
from anomaly_vae.errors import DeviceError

Kind = Literal["cpu", "cuda", "tensorrt"]
KINDS: dict[str, Kind] = {"cpu": "cpu", "cuda": "cuda", "tensorrt": "tensorrt"}
Providers = list[tuple[str, dict[str, str]]]


class Device(NamedTuple):
    """Which processor to take."""

    kind: Kind
    numbers: tuple[int, ...] = (0,)
    """Of the graphics cards, as the driver counts them."""


CPU, CUDA, TENSORRT = (f"{each}ExecutionProvider" for each in ("CPU", "CUDA", "Tensorrt"))

BATCH_SIZE_CPU, BATCH_SIZE_GPU = 8, 32
# What a ResNet-18 makes of so many pixels takes about 1 and 3 GB.
_PIXELS_CPU, _PIXELS_GPU = 2**22, 2**24


def usual_batch(shape: tuple[int, int], *, on_cpu: bool) -> int:
    """Give how many frames of ``shape`` are computed at once where nobody says it."""
    most, pixels = (BATCH_SIZE_CPU, _PIXELS_CPU) if on_cpu else (BATCH_SIZE_GPU, _PIXELS_GPU)
    return max(1, min(most, pixels // math.prod(shape)))


def cuda_devices() -> int:
    """Count the CUDA devices that the driver of this machine offers; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
        return count.value
    except OSError:
        return 0


def preload_libraries(*, tensorrt: bool = False) -> None:
    """Load the CUDA libraries that pip has installed, if there are any, without a word."""
    with redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()
    if tensorrt:
        # Its engines would compute in TF32, and the provider has no option against it.
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        with suppress(ImportError, OSError):  # it may be installed otherwise
            importlib.import_module("tensorrt")


def providers_for(kind: Kind, number: int = 0) -> Providers:
    """Give the providers for a device, and after them those that take what it cannot do."""
    last: Providers = [(CPU, {})]
    which = {"device_id": str(number)}
    # Without TF32, whose 10 bits of mantissa would move scores by far more than 1e-4.
    cuda: Providers = [(CUDA, {**which, "use_tf32": "0"}), *last]
    return {"cpu": last, "cuda": cuda, "tensorrt": [(TENSORRT, which), *cuda]}[kind]


def engine_folder(name: str, batch_size: int) -> Path:
    """Give where TensorRT keeps what it built for the model of this name; it may not exist yet."""
    variable, default = "XDG_CACHE_HOME", Path.home() / ".cache"
    if sys.platform == "win32":
        variable, default = "LOCALAPPDATA", Path.home() / "AppData" / "Local"
    caches = Path(os.environ.get(variable) or default)
    return caches / "anomaly-vae" / "tensorrt" / f"{name}-{batch_size}"


def tensorrt_options(
    folder: Path, precision: Precision, batch_size: int, image: tuple[int, ...]
) -> dict[str, str]:
    """Give the options of the TensorRT provider, as its documentation names them."""
    smallest, largest = ("images:" + "x".join(map(str, (n, *image))) for n in (1, batch_size))
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        # Only what was compared with single precision may be in a lower one.
        "trt_fp16_enable": str(precision == "fp16"),
        "trt_int8_enable": str(precision == "int8"),
        # One engine for batches of all sizes: else each new size would build one.
        "trt_profile_min_shapes": smallest,
        "trt_profile_opt_shapes": largest,
        "trt_profile_max_shapes": largest,
    }


def start_session(
    data: bytes,
    providers: Sequence[str | tuple[str, dict[str, str]]],
    *,
    threads: int = 0,
) -> onnxruntime.InferenceSession:
    """Load a model without the lines that the runtime itself would print, and no telemetry.

    It computes on ``threads``, or on all cores. What a provider cannot load, the next one does.
    """
    onnxruntime.set_default_logger_severity(4)
    onnxruntime.disable_telemetry_events()  # nothing leaves the machine
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    # Threads that spin while they wait would take the cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    left = list(providers)
    while True:
        try:
            # Not by the runtime's own way to the next provider: that prints, which cannot be kept
            # back where other threads print, too, and forgets the options.
            return onnxruntime.InferenceSession(data, options, providers=left, enable_fallback=0)
        except (ValueError, RuntimeError):
            if len(left) < 2:
                raise
            left = left[1:]


def device_of(text: str) -> Device:
    """Say which processor to take: auto, cpu, cuda, tensorrt, or with numbers as in cuda:0,1.

    Raises:
        DeviceError: it is none of these, or a graphics card that is asked for is not there.
    """
    found = re.fullmatch(r"(auto|cpu)|(cuda|tensorrt)(?::(\d{1,3}(?:,\d{1,3})*))?", text)
    if not found:
        raise DeviceError(
            f"--device {text}: expected auto, cpu, cuda or tensorrt; of several graphics cards "
            "cuda:1, or cuda:0,1 to use both"
        )
    if text == "cpu":
        return Device("cpu")
    gpus = cuda_devices()
    if text == "auto":
        return Device("cuda" if gpus else "cpu")
    if not gpus:
        raise DeviceError(
            f"--device {text}: no NVIDIA driver or GPU was found; use --device cpu, or see "
            "'anomaly-vae doctor'"
        )
    numbers = tuple(dict.fromkeys(int(each) for each in (found[3] or "0").split(",")))
    if max(numbers) >= gpus:
        raise DeviceError(
            f"--device {text}: there are {gpus} graphics cards here, numbered from 0; expected "
            f"at most {gpus - 1}"
        )
    return Device(KINDS[found[2]], numbers)


def prepare_engines(folder: Path, told: Callable[[str], None]) -> None:
    """Make the folder of the engines, and tell if there is none yet.

    Raises:
        DeviceError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeviceError(
            f"--device tensorrt: {folder} cannot be made ({error.strerror}); its engine is kept "
            "there: make room, or use --device cuda"
        ) from error
    if not any(folder.glob("*.engine")):
        told(
            "TensorRT builds an engine for this model and batch size, which takes minutes; it is "
            f"kept in {folder}"
        )
