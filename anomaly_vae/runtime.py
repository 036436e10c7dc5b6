"""A ``model.onnx`` on a device: ONNX Runtime, no torch.

Images are copied to the device, scores come back with each batch, and maps stay where they are
until somebody looks at one. On a CPU nothing of this copies anything.

On a GPU two batches are under way at once, on two threads: ONNX Runtime lets threads share a
session and gives each run a stream, so one batch is copied while the other is computed. That takes
no pinned memory, which its Python side offers only for some of its newest providers. CUDA graphs
are left out: they need fixed addresses and one run at a time, and save no more than launches, which
the other batch hides.

Letters: N images of a batch, S x S pixels of the square, h x w map.
"""

import ctypes
import hashlib
import importlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from anomaly_vae.errors import DeviceError, ModelFileError
from anomaly_vae.metadata import METADATA_KEY, RECONSTRUCTION, ModelCard, Precision, card_from_json

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
Providers = list[tuple[str, dict[str, str]]]

_CPU, _CUDA, _TENSORRT = (f"{each}ExecutionProvider" for each in ("CPU", "CUDA", "Tensorrt"))
_NUMBERS = ("score", "reconstruction_error", "kl")
_BATCH_SIZE_CPU, _BATCH_SIZE_GPU = 8, 32
# Sums x - x over each map of [N, h, w]: 0, or NaN if any value is NaN or infinite. A score does not
# tell: it is made of the highest values, and what sorts NaN where is not said. (ONNX, opset 11.)
FINITE_MODEL = (
    b'\x08\x06:t\n\x0e\n\x01x\n\x01x\x12\x01z"\x03Sub\n1\n\x01z\x12\x01y"\tReduceSum*\r\n\x04axes'
    b"@\x01@\x02\xa0\x01\x07*\x0f\n\x08keepdims\x18\x00\xa0\x01\x02\x12\x01gZ\x1a\n\x01x\x12\x15\n"
    b"\x13\x08\x01\x12\x0f\n\x03\x12\x01N\n\x03\x12\x01h\n\x03\x12\x01wb\x10\n\x01y\x12\x0b\n\t\x08"
    b"\x01\x12\x05\n\x03\x12\x01NB\x04\n\x00\x10\x0b"
)


class Row(NamedTuple):
    """What the model gives for one image; see the formula in its card."""

    score: float
    reconstruction_error: float
    """In usual spreads of its place (see the formula in the card)."""
    kl: float
    """In the same unit."""
    finite: bool
    """Whether all of it are numbers, the map included."""
    anomaly_map: Callable[[], NDArray[np.float32]]
    """Gives the map, [h, w], in the unit of the score."""


class Outputs:
    """What the model gives for a batch; the maps stay on the device until one is asked for."""

    def __init__(
        self,
        numbers: Sequence[NDArray[np.float32]],
        finite: NDArray[np.bool_],
        maps: onnxruntime.OrtValue,
    ) -> None:
        self.score, self.reconstruction_error, self.kl = numbers
        """[N] each."""
        self.finite = np.isfinite(np.stack(numbers)).all(0) & finite
        """[N], whether all that was given for an image are numbers."""
        self._maps = maps

    @cached_property
    def anomaly_map(self) -> NDArray[np.float32]:
        """[N, h, w], fetched together: to get at a single one on a GPU takes a run of its own."""
        maps: NDArray[np.float32] = self._maps.numpy()
        return maps

    def rows(self) -> Iterator[Row]:
        """Give the outputs image by image."""
        columns = (self.score, self.reconstruction_error, self.kl, self.finite)
        values = zip(*(column.tolist() for column in columns), strict=True)
        for index, (score, error, kl, finite) in enumerate(values):
            yield Row(score, error, kl, finite, partial(self._map, index))

    def _map(self, index: int) -> NDArray[np.float32]:
        """Give the map of one image, [h, w]."""
        one: NDArray[np.float32] = self.anomaly_map[index]
        return one


class Busy:
    """For how long at least one thread was inside."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside, self._since, self._lock = 0, 0.0, Lock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._since = time.perf_counter()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self.seconds += time.perf_counter() - self._since


class LoadedModel:
    """The model in a file, loaded on a device; ``told`` hears what takes long.

    Raises:
        ModelFileError: the file is not a model of this program, or is damaged.
        DeviceError: the device asked for cannot run it.
    """

    def __init__(
        self, path: Path, device: Device, batch_size: int | None, told: Callable[[str], None]
    ) -> None:
        data, wanted = _read(path), _wanted(device)
        self.model_id = model_id(data)
        if wanted != "cpu":
            preload_libraries(tensorrt=wanted == "tensorrt")
        providers = providers_for(wanted)
        if wanted == "tensorrt":
            # What its engine is to be made for stands in the card.
            card = _read_card(_start(data, path, providers_for("cpu")), path)
            size = batch_size or _BATCH_SIZE_GPU
            folder = engine_folder(self.model_id, size)
            _prepare(folder, told)
            options = tensorrt_options(folder, card.precision, size, card.images.size)
            providers[0] = _TENSORRT, options
        self._session = _start(data, path, providers)
        self.provider: str = self._session.get_providers()[0]
        if device in ("cuda", "tensorrt") and self.provider != providers[0][0]:
            raise DeviceError(
                f"--device {device}: ONNX Runtime could not load {providers[0][0]} and fell back "
                f"to {self.provider}; see 'anomaly-vae doctor'"
            )
        self.card = _read_card(self._session, path)
        self.draws = RECONSTRUCTION in (each.name for each in self._session.get_outputs())
        self.on_cpu = self.provider == _CPU
        self.batch_size = batch_size or (_BATCH_SIZE_CPU if self.on_cpu else _BATCH_SIZE_GPU)
        self.at_once = 1 if self.on_cpu else 2
        """How many batches are worth being under way."""
        self.busy = Busy()
        self._where = "cpu" if self.on_cpu else "cuda"
        self._finite = start_session(FINITE_MODEL, providers_for(self._where), threads=1)

    def score(self, images: NDArray[np.uint8]) -> Outputs:
        """Score images, uint8 [N, S, S, 3] RGB; any number of threads may do so."""
        places = {**dict.fromkeys(_NUMBERS, "cpu"), "anomaly_map": self._where}
        given = self._given(images)
        with self.busy:
            *numbers, maps = _bound(self._session, "images", given, places)
            (sums,) = _bound(self._finite, "x", maps, {"y": "cpu"})
        return Outputs([each.numpy() for each in numbers], np.isfinite(sums.numpy()), maps)

    def draw(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give what a model that draws expects to see, alike."""
        (drawn,) = _bound(self._session, "images", self._given(images), {RECONSTRUCTION: "cpu"})
        pictures: NDArray[np.uint8] = drawn.numpy()
        return pictures

    def _given(self, images: NDArray[np.uint8]) -> onnxruntime.OrtValue:
        """Give images as they lie on the device; on a CPU the same memory."""
        whole = np.ascontiguousarray(images)
        return onnxruntime.OrtValue.ortvalue_from_numpy(whole, self._where, 0)


def _bound(
    session: onnxruntime.InferenceSession,
    name: str,
    value: onnxruntime.OrtValue,
    places: dict[str, str],
) -> list[onnxruntime.OrtValue]:
    """Run a session on its one input; ``places`` are the outputs wanted, and where.

    Nothing is computed that nobody asked for. All is computed, and what is wanted on the CPU is
    there, when this returns.
    """
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    binding = session.io_binding()
    binding.bind_ortvalue_input(name, value)
    for output, place in places.items():
        binding.bind_output(output, place)
    session.run_with_iobinding(binding, options)
    outputs: list[onnxruntime.OrtValue] = binding.get_outputs()
    return outputs


def model_id(data: bytes) -> str:
    """Name a model by the content of its file."""
    return hashlib.sha256(data).hexdigest()[:12]


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


def providers_for(device: str) -> Providers:
    """Give the providers for a device, and after them those that take what it cannot do."""
    last: Providers = [(_CPU, {})]
    # Without TF32, whose 10 bits of mantissa would move scores by far more than 1e-4.
    cuda: Providers = [(_CUDA, {"use_tf32": "0"}), *last]
    return {"cpu": last, "cuda": cuda, "tensorrt": [(_TENSORRT, {}), *cuda]}[device]


def engine_folder(name: str, batch_size: int) -> Path:
    """Give where TensorRT keeps what it built for the model of this name; it may not exist yet."""
    variable, default = "XDG_CACHE_HOME", Path.home() / ".cache"
    if sys.platform == "win32":
        variable, default = "LOCALAPPDATA", Path.home() / "AppData" / "Local"
    caches = Path(os.environ.get(variable) or default)
    return caches / "anomaly-vae" / "tensorrt" / f"{name}-{batch_size}"


def tensorrt_options(
    folder: Path, precision: Precision, batch_size: int, side: int
) -> dict[str, str]:
    """Give the options of the TensorRT provider, as its documentation names them."""
    smallest, largest = (f"images:{n}x{side}x{side}x3" for n in (1, batch_size))
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

    It computes on ``threads``, or on all cores.
    """
    onnxruntime.set_default_logger_severity(4)
    onnxruntime.disable_telemetry_events()  # nothing leaves the machine
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    # Threads that spin while they wait would take the cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with redirect_stdout(io.StringIO()):
        return onnxruntime.InferenceSession(data, options, providers=list(providers))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError as error:
        raise ModelFileError(
            f"{path}: is a folder; expected a model file such as {path / 'model.onnx'}"
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{path}: {error.strerror}; expected the model.onnx that 'anomaly-vae train' writes"
        ) from error


def _wanted(device: Device) -> Literal["cpu", "cuda", "tensorrt"]:
    """Say which processor to take."""
    if device == "cpu":
        return device
    gpus = cuda_devices()
    if device == "auto":
        return "cuda" if gpus else "cpu"
    if not gpus:
        raise DeviceError(
            f"--device {device}: no NVIDIA driver or GPU was found; use --device cpu, or see "
            "'anomaly-vae doctor'"
        )
    return device


def _prepare(folder: Path, told: Callable[[str], None]) -> None:
    """Make the folder of the engines, and tell if there is none yet."""
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


def _start(data: bytes, path: Path, providers: Providers) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    try:
        return start_session(data, [each for each in providers if each[0] in available])
    except Exception as error:  # the runtime's exceptions have no common base
        raise ModelFileError(
            f"{path}: not a usable ONNX model ({type(error).__name__}); expected the model.onnx "
            "that 'anomaly-vae train' writes"
        ) from error


def _read_card(session: onnxruntime.InferenceSession, path: Path) -> ModelCard:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{path}: an ONNX model, but not one of Anomaly VAE; expected the model.onnx that "
            "'anomaly-vae train' writes"
        )
    return card_from_json(text, origin=str(path))
