"""A ``model.onnx`` on a device: ONNX Runtime, no torch.

Images are copied to the device, scores come back with each batch, and maps stay where they are
until somebody looks at one. On a CPU nothing of this copies anything.

On each GPU two batches are under way at once, on two threads: ONNX Runtime gives each run a stream,
so one batch is copied while the other is computed. Pinned memory its Python side offers only for
some of its newest providers. CUDA graphs need fixed addresses and one run at a time, and save no
more than launches, which the other batch hides.

Letters: N images of a batch, S x S pixels of the square, h x w map.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from anomaly_vae.calibration.metadata import (
    ANY_SIZE_KEY,
    METADATA_KEY,
    ModelCard,
    card_from_json,
)
from anomaly_vae.errors import DeviceError, ModelFileError
from anomaly_vae.inspection.busy import Busy
from anomaly_vae.inspection.fields import metadata_in
from anomaly_vae.inspection.providers import (
    CPU,
    Kind,
    Providers,
    device_of,
    engine_folder,
    preload_libraries,
    prepare_engines,
    providers_for,
    start_session,
    tensorrt_options,
    usual_batch,
)
from anomaly_vae.remote import Remote
from anomaly_vae.transaction import complete

Place = tuple[str, int]
"""What kind of memory, and of which device."""
_HERE: Place = "cpu", 0
_NUMBERS = ("score", "reconstruction_error", "kl")
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


class _Loaded:
    """A model on one processor."""

    def __init__(
        self, data: bytes, path: Path, providers: Providers, number: int, threads: int
    ) -> None:
        self.session = _start(data, path, providers, threads)
        self.provider: str = self.session.get_providers()[0]
        kind: Kind = "cpu" if self.provider == CPU else "cuda"
        self.place = kind, number
        self.finite = start_session(FINITE_MODEL, providers_for(kind, number), threads=1)


class LoadedModel:
    """The model in a file, loaded on a device; ``told`` hears what takes long.

    On a CPU it computes on ``threads``, or on all cores.

    On a CPU it is loaded meanwhile: ``ready`` waits for it, and so does the first use.

    Raises:
        ModelFileError: the file is not a model of this program, or is damaged.
        DeviceError: the device asked for cannot run it.
    """

    def __init__(
        self,
        path: Path,
        device: str,
        batch_size: int | None,
        told: Callable[[str], None],
        threads: int = 0,
    ) -> None:
        data, (kind, numbers) = _read(path), device_of(device)
        self.model_id, self.card = model_id(data), _read_card(data, path)
        options = dict[str, str]()
        if kind != "cpu":
            preload_libraries(tensorrt=kind == "tensorrt")
        if kind == "tensorrt":
            size = batch_size or usual_batch(self.card.images.shape, on_cpu=False)
            folder = engine_folder(self.model_id, size)
            prepare_engines(folder, told)
            shape = self.card.images.input_shape
            options = tensorrt_options(folder, self.card.precision, size, shape)
        pool = ThreadPoolExecutor(len(numbers), "load")
        self._loaded: list[Future[_Loaded]] = []
        for number in numbers:
            (name, own), *others = providers_for(kind, number)
            every = [(name, own | options), *others]
            self._loaded.append(pool.submit(_Loaded, data, path, every, number, threads))
        pool.shutdown(wait=False)
        self.provider = CPU if kind == "cpu" else self._loaded[0].result().provider
        if kind != "cpu" and device != "auto" and self.provider != name:
            raise DeviceError(
                f"--device {device}: ONNX Runtime could not load {name} and fell back "
                f"to {self.provider}; see 'anomaly-vae doctor'"
            )
        self.on_cpu = self.provider == CPU
        self.batch_size = batch_size or usual_batch(self.card.images.shape, on_cpu=self.on_cpu)
        self.at_once = 1 if self.on_cpu else 2 * len(numbers)
        """How many batches are worth being under way."""
        self.busy = Busy()
        self._running, self._lock = [0] * len(numbers), Lock()

    def ready(self) -> None:
        """Wait until the model is loaded; ``ModelFileError`` if ONNX Runtime does not take it."""
        for each in self._loaded:
            each.result()

    @cached_property
    def outputs(self) -> frozenset[str]:
        """The names of all that it can say."""
        return frozenset(each.name for each in self._loaded[0].result().session.get_outputs())

    def score(self, images: NDArray[np.uint8]) -> Outputs:
        """Score images, uint8 [N, S, S, 3] RGB; any number of threads may do so."""
        with self._least_busy() as loaded:
            places = {**dict.fromkeys(_NUMBERS, _HERE), "anomaly_map": loaded.place}
            given = _on(loaded.place, images)
            with self.busy:
                *numbers, maps = _bound(loaded.session, "images", given, places)
                (sums,) = _bound(loaded.finite, "x", maps, {"y": _HERE})
        return Outputs([each.numpy() for each in numbers], np.isfinite(sums.numpy()), maps)

    def output(self, name: str, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Give one of its ``outputs`` alone for images, uint8 [N, S, S, 3]."""
        with self._least_busy() as loaded:
            given = _on(loaded.place, images)
            (value,) = _bound(loaded.session, "images", given, {name: _HERE})
        array: NDArray[Any] = value.numpy()
        return array

    @contextmanager
    def _least_busy(self) -> Iterator[_Loaded]:
        """Lend the model on the card that has least to do."""
        with self._lock:
            which = self._running.index(min(self._running))
            self._running[which] += 1
        try:
            yield self._loaded[which].result()
        finally:
            with self._lock:
                self._running[which] -= 1


def _on(place: Place, images: NDArray[np.uint8]) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(images), *place)


def _bound(
    session: onnxruntime.InferenceSession,
    name: str,
    value: onnxruntime.OrtValue,
    places: dict[str, Place],
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
        binding.bind_output(output, *place)
    session.run_with_iobinding(binding, options)
    outputs: list[onnxruntime.OrtValue] = binding.get_outputs()
    return outputs


def model_id(data: bytes) -> str:
    """Name a model by the content of its file."""
    return hashlib.sha256(data).hexdigest()[:12]


def model_name(path: Path) -> str:
    """Give what people call a model: its file's name, or that of the run folder it lies in."""
    return path.stem if path.stem != "model" else path.resolve().parent.name


def _read(path: Path) -> bytes:
    try:
        if not isinstance(path, Remote):
            complete(path.parent)
        return path.read_bytes()
    except IsADirectoryError as error:
        raise ModelFileError(
            f"{path}: is a folder; expected a model file such as {path / 'model.onnx'}"
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{path}: {error.strerror}; expected the model.onnx that 'anomaly-vae train' writes"
        ) from error


def _start(
    data: bytes, path: Path, providers: Providers, threads: int = 0
) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    try:
        known = [each for each in providers if each[0] in available]
        return start_session(data, known, threads=threads)
    except Exception as error:  # the runtime's exceptions have no common base
        raise ModelFileError(
            f"{path}: not a usable ONNX model ({type(error).__name__}); expected the model.onnx "
            "that 'anomaly-vae train' writes"
        ) from error


def _read_card(data: bytes, path: Path) -> ModelCard:
    found = metadata_in(data)
    if METADATA_KEY not in found:
        _start(data, path, providers_for("cpu"))  # who cannot load it either, says so
        what = "one for other programs" if ANY_SIZE_KEY in found else "not one of Anomaly VAE"
        raise ModelFileError(
            f"{path}: an ONNX model, but {what}; expected the model.onnx of 'anomaly-vae train'"
        )
    return card_from_json(found[METADATA_KEY], origin=str(path))
