"""Inspection of image folders with a ``model.onnx``: ONNX Runtime, no torch.

Letters: N images of a batch, S x S pixels of the square, h x w map.
"""

import ctypes
import hashlib
import io
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, redirect_stdout
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from anomaly_vae.errors import DeviceError, ImageReadError, ModelFileError
from anomaly_vae.images import LoadedImage, load_image
from anomaly_vae.metadata import METADATA_KEY, RECONSTRUCTION, ModelCard, card_from_json
from anomaly_vae.profile import GoodProfile, good_profile
from anomaly_vae.reading import Stamp, read_ahead, stamp
from anomaly_vae.regions import Region, find_regions

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
Verdict = Literal["pass", "review", "fail", "error"]

_OUTPUTS = ["score", "reconstruction_error", "kl", "anomaly_map"]
_PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}
_BATCH_SIZE_CPU, _BATCH_SIZE_GPU = 8, 32
# Seconds: longer than a busy drive takes, shorter than a shift.
READING_PATIENCE = 60.0


class Outputs(NamedTuple):
    """What the model gives for a batch; see the formula in its card."""

    score: NDArray[np.float32]
    """[N]"""
    reconstruction_error: NDArray[np.float32]
    """[N], in usual spreads of its place (see the formula in the card)"""
    kl: NDArray[np.float32]
    """[N], in the same unit"""
    anomaly_map: NDArray[np.float32]
    """[N, h, w], in the unit of the score"""


@dataclass(frozen=True)
class Finding:
    """What inspection found out about one file."""

    path: str
    """Relative to the inspected folder, with ``/``."""
    verdict: Verdict
    error: str = ""
    """Why the file could not be inspected."""
    score: float = math.nan
    reconstruction_error: float = math.nan
    kl: float = math.nan
    p_value: float = math.nan
    """Share of held-out good images at least as unusual; see ``GoodProfile.p_value``."""
    quality: str = ""
    """In what the photograph itself is unlike all good ones."""
    regions: tuple[Region, ...] = ()
    image: LoadedImage | None = None
    anomaly_map: NDArray[np.float32] | None = None
    stamp: Stamp | None = None
    """Of the file, when it was read."""


class _Read(NamedTuple):
    """A file, decoded if that was possible."""

    path: str
    stamp: Stamp | None
    image: LoadedImage | ImageReadError


class Inspector:
    """A model, ready to inspect images on one device.

    Defect regions below ``min_area`` (square pixels of the photograph) are left out, which changes
    no verdict: see ``find_regions``.

    Raises:
        ModelFileError: the file is not a model of this program, or is damaged.
        DeviceError: the device asked for cannot run it.
    """

    def __init__(
        self,
        model: Path,
        *,
        device: Device = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        min_area: float = 0.0,
    ) -> None:
        data = _read(model)
        self.model_id = model_id(data)
        self._session = _start(data, model, device)
        self.provider = self._session.get_providers()[0]
        self._draws = RECONSTRUCTION in (each.name for each in self._session.get_outputs())
        self.card = _read_card(self._session, model)
        on_cpu = self.provider == "CPUExecutionProvider"
        self.batch_size = batch_size or (_BATCH_SIZE_CPU if on_cpu else _BATCH_SIZE_GPU)
        self.workers = workers or max(1, min(8, os.cpu_count() or 1))
        self.min_area = min_area

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Score images, uint8 [N, S, S, 3] RGB."""
        return Outputs(*self._computed(_OUTPUTS, images))

    def expected(self, image: LoadedImage) -> NDArray[np.uint8] | None:
        """Give what the model expects to see, [S, S, 3]; None if it cannot draw."""
        if not self._draws:
            return None
        (drawn,) = self._computed([RECONSTRUCTION], image.pixels[None])
        picture: NDArray[np.uint8] = drawn[0]
        return picture

    def _computed(self, names: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Give some outputs of the model; nothing is drawn that nobody looks at."""
        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        outputs: list[NDArray[Any]] = self._session.run(names, {"images": images}, options)
        return outputs

    def inspect(self, folder: Path, paths: Iterable[str]) -> Iterator[Finding]:
        """Inspect the files at ``paths`` below ``folder``, in their order.

        Files are decoded on threads while the model runs. One that cannot be read gives a
        finding with the verdict ``error``; it never stops the run.
        """

        def load(path: str) -> _Read:
            seen = stamp(folder / path)
            try:
                return _Read(path, seen, load_image(folder / path, self.card.images))
            except ImageReadError as error:
                return _Read(path, seen, error)

        ahead = 2 * self.batch_size + self.workers
        reading = read_ahead(
            paths, load, workers=self.workers, ahead=ahead, patience=READING_PATIENCE
        )
        with closing(reading), ThreadPoolExecutor(1, "model") as runner:
            read = (
                _Read(path, None, result) if isinstance(result, ImageReadError) else result
                for path, result in reading
            )
            # While the model runs on a batch, what it said of the one before is worked on.
            waiting: tuple[list[_Read], Future[Outputs | None]] | None = None
            sizes = self._batch_sizes()
            while batch := list(islice(read, next(sizes))):
                outputs = runner.submit(self._outputs, batch)
                if waiting:
                    yield from self._judge(*waiting)
                waiting = batch, outputs
            if waiting:
                yield from self._judge(*waiting)

    def _batch_sizes(self) -> Iterator[int]:
        """Begin small on a CPU, so that the first results are there at once."""
        if self.provider == "CPUExecutionProvider":
            yield from (size for size in (1, 2, 4) if size < self.batch_size)
        yield from repeat(self.batch_size)

    def _outputs(self, batch: Sequence[_Read]) -> Outputs | None:
        """Run the model on the images of a batch, if there are any."""
        images = [each.image.pixels for each in batch if isinstance(each.image, LoadedImage)]
        return self.run(np.stack(images)) if images else None

    def _judge(
        self, batch: Sequence[_Read], outputs: "Future[Outputs | None]"
    ) -> Iterator[Finding]:
        rows = zip(*(outputs.result() or ()), strict=True)
        for path, seen, image in batch:
            if isinstance(image, ImageReadError):
                yield Finding(path, "error", error=str(image), stamp=seen)
            else:
                yield replace(self.judge(path, image, next(rows)), stamp=seen)

    def judge(self, path: str, image: LoadedImage, row: tuple[NDArray[np.float32], ...]) -> Finding:
        """Say what the model's outputs for one image mean."""
        score, error, kl = (float(value) for value in row[:3])
        anomaly_map, limit, good = row[3], self.card.threshold, self.card.good
        if not all(np.isfinite(each).all() for each in row):
            return Finding(path, "error", error="the model gave a value that is not a number")
        quality = good.objections(image) if good else ""
        verdict = limit.verdict(score)
        regions: list[Region] = []
        if verdict != "pass":
            regions = find_regions(anomaly_map, image, limit.anomaly_map, self.min_area)
        return Finding(
            path,
            # A defect may look like a bad photograph: it is not let pass, and keeps its score.
            verdict="review" if quality and verdict == "pass" else verdict,
            score=score,
            reconstruction_error=error,
            kl=kl,
            p_value=good.p_value(score) if good else math.nan,
            quality=quality,
            regions=tuple(regions),
            image=image,
            anomaly_map=anomaly_map,
        )


def model_id(data: bytes) -> str:
    """Name a model by the content of its file."""
    return hashlib.sha256(data).hexdigest()[:12]


def map_maxima(findings: Sequence[Finding]) -> NDArray[np.float64]:
    """Give the highest value of each anomaly map, [N]."""
    maps = (finding.anomaly_map for finding in findings)
    return np.array([each.max() for each in maps if each is not None], dtype=np.float64)


def profile_of(findings: Sequence[Finding]) -> GoodProfile:
    """Make the profile of held-out good images from what inspection found about them."""
    return good_profile(
        [each.score for each in findings],
        [each.image for each in findings if each.image],
        reconstruction_error=[each.reconstruction_error for each in findings],
        kl=[each.kl for each in findings],
    )


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


def preload_libraries() -> None:
    """Load the CUDA libraries that pip has installed, if there are any, without a word."""
    with redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


def start_session(
    data: bytes, providers: Sequence[str | tuple[str, dict[str, str]]]
) -> onnxruntime.InferenceSession:
    """Load a model without the lines that the runtime itself would print, and no telemetry."""
    onnxruntime.set_default_logger_severity(4)
    onnxruntime.disable_telemetry_events()  # nothing leaves the machine
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Threads that spin while they wait would take the cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with redirect_stdout(io.StringIO()):
        return onnxruntime.InferenceSession(data, options, providers=list(providers))


def _read(model: Path) -> bytes:
    try:
        return model.read_bytes()
    except IsADirectoryError as error:
        raise ModelFileError(
            f"{model}: is a folder; expected a model file such as {model / 'model.onnx'}"
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{model}: {error.strerror}; expected the model.onnx that 'anomaly-vae train' writes"
        ) from error


def _start(data: bytes, model: Path, device: Device) -> onnxruntime.InferenceSession:
    """Load the model on the device, and make sure that it runs there and nowhere else."""
    on_gpu = device in ("cuda", "tensorrt")
    gpus = 0 if device == "cpu" else cuda_devices()
    if on_gpu and not gpus:
        raise DeviceError(
            f"--device {device}: no NVIDIA driver or GPU was found; use --device cpu, or see "
            "'anomaly-vae doctor'"
        )
    wanted = device if device != "auto" else ("cuda" if gpus else "cpu")
    if wanted != "cpu":
        preload_libraries()
    available = onnxruntime.get_available_providers()
    # Without TF32, whose 10 bits of mantissa would move scores by far more than 1e-4.
    providers = [
        (name, {"use_tf32": "0"} if name == "CUDAExecutionProvider" else {})
        for name in _PROVIDERS[wanted]
        if name in available
    ]
    try:
        session = start_session(data, providers)
    except Exception as error:  # the runtime's exceptions have no common base
        raise ModelFileError(
            f"{model}: not a usable ONNX model ({type(error).__name__}); expected the model.onnx "
            "that 'anomaly-vae train' writes"
        ) from error
    if on_gpu and session.get_providers()[0] != _PROVIDERS[wanted][0]:
        raise DeviceError(
            f"--device {device}: ONNX Runtime could not load {_PROVIDERS[wanted][0]} and fell back "
            f"to {session.get_providers()[0]}; see 'anomaly-vae doctor'"
        )
    return session


def _read_card(session: onnxruntime.InferenceSession, model: Path) -> ModelCard:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{model}: an ONNX model, but not one of Anomaly VAE; expected the model.onnx that "
            "'anomaly-vae train' writes"
        )
    return card_from_json(text, origin=str(model))
