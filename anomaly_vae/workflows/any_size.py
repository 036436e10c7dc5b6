"""The model of a run, written for other programs, and a photograph to try them with."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from anomaly_vae.errors import ExportError, ImageReadError, OutputError
from anomaly_vae.exporting.any_size import AnySize, for_any_size
from anomaly_vae.exporting.parity import MAP_TOLERANCE, TOLERANCE
from anomaly_vae.images.decoding import decode_image, load_picture
from anomaly_vae.images.files import list_images
from anomaly_vae.images.roi import mask_size
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.outputs import prepare_file, write_bytes
from anomaly_vae.progress import Track
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.workflows.runs import REFERENCE

_MOST_PHOTOGRAPHS = 20
# Of drawn photographs, the sides beside those of the frame; none is larger than so many pixels.
_SCALES, _MOST_PIXELS = (1.37, 0.9, 3.4, 7.1), 2**24


@dataclass(frozen=True)
class Alike:
    """How far a model for other programs is from this one, on the same photographs."""

    photographs: int
    drawn: bool
    largest: float
    """Largest difference of a score or its parts, relative to max(1, |value|)."""
    left_out: list[str]
    """Photographs that this program does not inspect, with the reason."""


def export_any_size(
    run: Path, out: Path, *, good: Path | None, overwrite: bool, track: Track
) -> Alike:
    """Write the model of a run for photographs of any size, and ``reference.npz`` beside the run's.

    Both are compared on photographs of ``good``, 20 at most, or on drawn ones.

    Raises:
        ExportError: a score differs by more than the tolerance, or no photograph is inspected.
        FolderError, ModelFileError, OutputError: a folder, the run or ``out`` cannot be used.
    """
    model = run / "model.onnx"
    inspector = Inspector(model, device="cpu")
    settings = inspector.card.images
    if settings.slices:
        raise ExportError(f"--any-size: {run} is a model of stacks of slices, not of photographs")
    if out.exists() and out.samefile(model):
        raise OutputError(f"{out}: the run inspects with its model; choose another --out")
    prepare_file(out, overwrite=overwrite)
    data = for_any_size(onnx.load(model), inspector.card).SerializeToString()
    other = AnySize(data)
    paths = [good / path for path in list_images(good)[:_MOST_PHOTOGRAPHS]] if good else []
    photographs = _decoded(paths, settings) if good else drawn(settings)
    largest, count, left_out = 0.0, 0, []
    for name, photograph in track(photographs, "Comparing scores", len(paths) or len(_SCALES)):
        if isinstance(photograph, ImageReadError):
            left_out.append(f"{name}: {photograph}")
            continue
        given = other.outputs(photograph)
        largest, count = max(largest, _apart(inspector, photograph, given)), count + 1
        if count == 1:
            reference = io.BytesIO()
            np.savez_compressed(reference, image=photograph, **given)  # type: ignore[arg-type]
    if not count:
        raise ExportError(
            f"{good}: none of {len(left_out)} photographs is inspected; {left_out[0]}"
        )
    write_bytes(out, data)
    write_bytes(run / REFERENCE, reference.getvalue())
    return Alike(count, not good, largest, left_out)


def _apart(
    inspector: Inspector, photograph: NDArray[np.uint8], given: dict[str, NDArray[np.float32]]
) -> float:
    """Give the largest relative difference to what the program says of a photograph.

    Raises:
        ExportError: it is more than the tolerance.
    """
    frame = load_picture(Image.fromarray(photograph), inspector.card.images).pixels
    expected, largest = inspector.run(frame[None]), 0.0
    for name, value in given.items():
        same = getattr(expected, name)
        apart = float((np.abs(value - same) / np.maximum(1, np.abs(same))).max())
        in_map = name == "anomaly_map"
        if not apart <= (MAP_TOLERANCE if in_map else TOLERANCE):  # nor a number that is none
            height, width, _ = photograph.shape
            raise ExportError(
                f"of a photograph of {width} x {height} pixels the {name} differs by {apart:.2g} "
                "from the program's; nothing was written: please report it"
            )
        largest = largest if in_map else max(largest, apart)
    return largest


def _decoded(
    paths: list[Path], settings: ImageSettings
) -> Iterator[tuple[str, NDArray[np.uint8] | ImageReadError]]:
    """Give photographs as 8-bit RGB, uint8 [H, W, 3], if they are inspected."""
    for path in paths:
        try:
            image = decode_image(path, settings)
            load_picture(image, settings)  # refuses what has other proportions, say
            yield str(path), np.asarray(image)
        except ImageReadError as error:
            yield str(path), error


def drawn(settings: ImageSettings) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Draw photographs of smooth noise, uint8 [H, W, 3], as large as the frame, larger and smaller.

    They have its proportions, or those of the region of interest.
    """
    rng = np.random.default_rng(0)
    width, height = mask_size(settings) or settings.shape[::-1]
    unit = (settings.shape[0] * settings.shape[1] / (width * height)) ** 0.5
    for scale in _SCALES:
        sides = round(scale * unit * height), round(scale * unit * width)
        if sides[0] * sides[1] > _MOST_PIXELS or min(sides) < settings.min_size:
            continue
        noise = gaussian_filter(rng.random((*sides, 3)), (sides[0] / 32, sides[1] / 32, 0))
        noise = (noise - noise.min()) / np.ptp(noise)
        fine = rng.normal(0, 8, (*sides, 3))
        yield f"drawn {scale}", np.clip(255 * noise + fine, 0, 255).astype(np.uint8)
