"""Inspection of image folders with a ``model.onnx``: ONNX Runtime, no torch.

Letters: N images of a batch, S x S pixels of the square, h x w map.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice, repeat
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomaly_vae.calibration.metadata import RECONSTRUCTION, RESIDUAL
from anomaly_vae.errors import ImageReadError, InputError, ModelFileError
from anomaly_vae.images.ahead import PATIENCE, read_ahead, usable_cores
from anomaly_vae.images.arrays import Order, picture_from
from anomaly_vae.images.decoding import LoadedImage, load_image, load_picture
from anomaly_vae.images.files import Stamp
from anomaly_vae.images.regions import Region, find_regions
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.kinds import described
from anomaly_vae.inspection.reading import Read, read_known
from anomaly_vae.inspection.runtime import LoadedModel, Outputs, Row, model_name
from anomaly_vae.remote import at

T = TypeVar("T")
Photograph = str | Path | bytes | Image.Image | NDArray[np.uint8] | NDArray[np.uint16]

_PHOTOGRAPHS = "expected a photograph: a path, bytes, a PIL.Image, or an array"

Shown = Callable[[float], bool]
"""Whether anybody will look at the anomaly map of an image that passes with this score."""


def always(_score: float) -> bool:
    """Somebody will."""
    return True


class Inspector:
    """A model, ready to inspect images on one device, from any number of threads.

    ``model`` is a ``model.onnx``. ``device`` is ``auto``, ``cpu``, ``cuda`` or ``tensorrt``, with
    the numbers of graphics cards as in ``cuda:0,1``. The model runs on ``batch_size`` images at
    once (default: 8 on a CPU, 32 on a GPU), and ``workers`` threads decode files (default: one per
    core); on a CPU, ``threads`` compute (default: on all cores). Defect regions below ``min_area``
    (square pixels of the photograph) are left out, which changes no verdict: see ``find_regions``.
    ``told`` hears of what takes long. Without ``wait``, the model is loaded meanwhile, and
    ``model.ready`` says what is wrong with its graph. A ``with`` block gives the memory back at its
    end.

    Raises:
        ModelFileError: the file is not a model of this program, or is damaged.
        DeviceError: the device asked for cannot run it.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        threads: int = 0,
        min_area: float = 0.0,
        told: Callable[[str], None] = lambda _: None,
        wait: bool = True,
    ) -> None:
        file = Path(model) if isinstance(model, str) else model
        self._model: LoadedModel | None = LoadedModel(file, device, batch_size, told, threads)
        if wait:
            self.model.ready()
        self.name = model_name(file)
        self.model_id, self.card = self.model.model_id, self.model.card
        self.provider, self.batch_size = self.model.provider, self.model.batch_size
        self.workers = workers or usable_cores()
        self.min_area = min_area
        self._begun = False

    def __enter__(self) -> "Inspector":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory of the model back; it can inspect no more."""
        self._model = None

    @property
    def model(self) -> LoadedModel:
        """The model on its device.

        Raises:
            ModelFileError: the inspector was closed.
        """
        if self._model is None:
            raise ModelFileError("this Inspector was closed; make a new one")
        return self._model

    @overload  # a str is an iterable of str, too, but always a path here
    def inspect(  # type: ignore[overload-overlap]
        self, photographs: Photograph, *, order: Order = "rgb"
    ) -> Finding: ...

    @overload
    def inspect(
        self, photographs: Iterable[Photograph], *, order: Order = "rgb"
    ) -> Iterator[Finding]: ...

    def inspect(
        self, photographs: Photograph | Iterable[Photograph], *, order: Order = "rgb"
    ) -> Finding | Iterator[Finding]:
        """Inspect one photograph, or any number of them in their order.

        A photograph is a path, the bytes of a file, a ``PIL.Image``, or an array: uint8 or uint16,
        H x W (grey) or H x W x 3, whose channels are red, green, blue, or as ``order`` ``bgr``
        says, OpenCV's. Values of 16 bits are brought to 8 by the model's ``images.white_level``.
        Files are decoded ahead on threads, and the model runs on batches. What an iterable gives is
        taken when the findings are asked for, and some of it ahead of them: give the frames of a
        live camera one by one.

        What cannot be read of a file gives a finding with the verdict ``error``.

        Raises:
            InputError: something is no photograph; of an iterable, when its turn comes.
        """
        if isinstance(photographs, str | Path | bytes | Image.Image | np.ndarray):
            read = [self._read(photographs, order)]
            (finding,) = self._judge(read, self._outputs(read), always)
            return replace(finding, image=None)
        if isinstance(photographs, Mapping) or not isinstance(photographs, Iterable):
            raise InputError(f"{type(photographs).__name__}: {_PHOTOGRAPHS}, or several")
        findings = self._inspect_ahead(photographs, lambda each: self._read(each, order), always)
        return (replace(finding, image=None) for finding in findings)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Score images, uint8 [N, S, S, 3] RGB."""
        return self.model.score(images)

    def expected(self, image: LoadedImage) -> NDArray[np.uint8] | None:
        """Give what the model expects to see, [S, S, 3]; None if it cannot draw."""
        return self._told(RECONSTRUCTION, image)

    def residual(self, image: LoadedImage) -> NDArray[np.float32] | None:
        """Give how far each place is from what is expected, [C, h, w]; None if it cannot say."""
        return self._told(RESIDUAL, image)

    def _told(self, name: str, image: LoadedImage) -> NDArray[Any] | None:
        """Give what the model computes of an image only where it is asked for, if it can."""
        if name not in self.model.outputs:
            return None
        array: NDArray[Any] = self.model.output(name, image.pixels[None])[0]
        return array

    def inspect_files(
        self, folder: Path, paths: Iterable[str], shown: Shown = always
    ) -> Iterator[Finding]:
        """Inspect the files at ``paths`` below ``folder``, in their order.

        Files are decoded on threads while the model runs. One that cannot be read gives a
        finding with the verdict ``error``; it never stops the run.
        """
        return self._inspect_ahead(paths, lambda path: self._known(at(folder, path), path), shown)

    def _known(self, file: Path, path: str) -> Read:
        (read,) = read_known(file, path, [self.card.images])
        return read

    def _read(self, photograph: Any, order: Order) -> Read:
        """Read a photograph of any kind; those in memory have no path."""
        settings = self.card.images
        if isinstance(photograph, str | Path):
            return self._known(Path(photograph), Path(photograph).as_posix())
        if settings.slices:
            raise InputError(
                f"{type(photograph).__name__}: this model takes stacks of {settings.slices} "
                "slices; expected a path"
            )
        if isinstance(photograph, np.ndarray):
            photograph = picture_from(photograph, order, settings)
        if not isinstance(photograph, bytes | Image.Image):
            raise InputError(f"{type(photograph).__name__}: {_PHOTOGRAPHS}")
        try:
            if isinstance(photograph, bytes):
                return Read("", None, load_image(Path(), settings, photograph))
            return Read("", None, load_picture(photograph, settings))
        except ImageReadError as error:
            return Read("", None, error)

    def _inspect_ahead(
        self, items: Iterable[T], load: Callable[[T], Read], shown: Shown
    ) -> Iterator[Finding]:
        """Inspect items that are read on threads, ahead of the model."""
        ahead = (1 + self.model.at_once) * self.batch_size + self.workers
        reading = read_ahead(items, load, workers=self.workers, ahead=ahead, patience=PATIENCE)
        with closing(reading):
            # An item that comes with an error is a path: nothing else can stall.
            read = (
                Read(str(item), None, result) if isinstance(result, ImageReadError) else result
                for item, result in reading
            )
            yield from self.inspect_read(read, shown)

    def inspect_read(self, files: Iterable[Read], shown: Shown = always) -> Iterator[Finding]:
        """Inspect files that have been read, in their order.

        Of those that pass, only those ``shown`` come with their map.
        """
        at_once, sizes, read = self.model.at_once, self._batch_sizes(), iter(files)
        with ThreadPoolExecutor(at_once, "model") as runner:
            # While the model runs on some batches, what it said of the one before is worked on.
            waiting: deque[tuple[list[Read], Future[Outputs | None]]] = deque()
            while batch := list(islice(read, next(sizes))):
                waiting.append((batch, runner.submit(self._outputs, batch)))
                if len(waiting) > at_once:
                    begun, outputs = waiting.popleft()
                    yield from self._judge(begun, outputs.result(), shown)
            for begun, outputs in waiting:
                yield from self._judge(begun, outputs.result(), shown)

    def _batch_sizes(self) -> Iterator[int]:
        """Begin small on a CPU, so that the first results of all are there at once."""
        if self.model.on_cpu and not self._begun:
            self._begun = True
            yield from (size for size in (1, 2, 4) if size < self.batch_size)
        yield from repeat(self.batch_size)

    def _outputs(self, batch: Sequence[Read]) -> Outputs | None:
        """Run the model on the images of a batch, if there are any."""
        images = [each.image.pixels for each in batch if isinstance(each.image, LoadedImage)]
        return self.run(np.stack(images)) if images else None

    def _judge(
        self, batch: Sequence[Read], outputs: Outputs | None, shown: Shown
    ) -> Iterator[Finding]:
        rows = outputs.rows() if outputs else iter(())
        for path, seen, image in batch:
            if isinstance(image, ImageReadError):
                yield Finding(path, "error", error=str(image), stamp=seen)
            else:
                yield self.judge(path, image, next(rows), shown, seen)

    def judge(
        self,
        path: str,
        image: LoadedImage,
        row: Row,
        shown: Shown = always,
        seen: Stamp | None = None,
    ) -> Finding:
        """Say what the model's outputs for one image mean."""
        if not row.finite:
            return Finding(path, "error", error="the model gave a value that is not a number",
                           stamp=seen)  # fmt: skip
        score, limit, good = row.score, self.card.threshold, self.card.good
        quality = good.objections(image) if good else ""
        unusual = limit.verdict(score) != "pass"
        anomaly_map = row.anomaly_map() if unusual or shown(score) else None
        regions: list[Region] = []
        if unusual and anomaly_map is not None:
            regions = find_regions(anomaly_map, image, limit.anomaly_map, self.min_area)
            regions = self._named(regions, image, anomaly_map)
        return Finding(
            path,
            limit.verdict(score, quality),
            score=score,
            reconstruction_error=row.reconstruction_error,
            kl=row.kl,
            p_value=good.p_value(score) if good else math.nan,
            quality=quality,
            regions=tuple(regions),
            width=image.width,
            height=image.height,
            image=image,
            anomaly_map=anomaly_map,
            stamp=seen,
            highest=math.nan if anomaly_map is None else float(anomaly_map.max()),
        )

    def _named(
        self, regions: list[Region], image: LoadedImage, anomaly_map: NDArray[np.float32]
    ) -> list[Region]:
        """Say of which kind each region is, if the model was shown kinds."""
        kinds, limit = self.card.kinds, self.card.threshold.anomaly_map
        residual = self.residual(image) if kinds and regions else None
        if kinds is None or residual is None:
            return regions
        told = [kinds.named(described(each, image, anomaly_map, residual, limit))
                for each in regions]  # fmt: skip
        return [replace(each, kind=kind, kind_probability=probability)
                for each, (kind, probability) in zip(regions, told, strict=True)]  # fmt: skip
