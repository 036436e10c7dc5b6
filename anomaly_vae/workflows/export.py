"""The model of a run written again: checked, or in lower precision if it still judges alike.

Letters: N images, S x T pixels of the frame, C channels.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from anomaly_vae.calibration.metadata import Agreement, ModelCard, card_from_json
from anomaly_vae.calibration.seen import packed
from anomaly_vae.errors import ExportError, ModelFileError, OutputError
from anomaly_vae.exporting.agreement import Lower, compare_scores, objection
from anomaly_vae.exporting.graph import export_model, set_card, to_onnx
from anomaly_vae.exporting.parity import Parity, checked
from anomaly_vae.exporting.precision import in_eight_bits, in_half_precision
from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.images.many import Chosen
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.locking import lock_folder
from anomaly_vae.outputs import prepare_file, write_bytes
from anomaly_vae.progress import Track, untracked
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.training.dataset import FEWEST_GOOD_IMAGES, ImageSet, read_images
from anomaly_vae.transaction import Transaction
from anomaly_vae.workflows.labelled import with_origins
from anomaly_vae.workflows.log import settled
from anomaly_vae.workflows.runs import CHECKPOINT, STATE, UNEXPORTED, load_detector, saved_config

_MOST_FOR_RANGES = 100


@dataclass(frozen=True)
class Changed:
    """An image with another verdict than in single precision."""

    image: str
    score_before: float
    score: float
    verdict_before: str
    verdict: str


@dataclass(frozen=True)
class LowerModel:
    """What an export in lower precision gave."""

    agreement: Agreement
    changed: list[Changed]
    unreadable: list[str]
    notes: tuple[str, ...] = ()
    """What a person should know of the images, each a line."""


@dataclass(frozen=True)
class _Images:
    """The images that both models score."""

    names: list[str]
    pixels: Sequence[Chosen | NDArray[np.uint8]]
    """[N, S, T, C] together."""
    defective: NDArray[np.bool_]
    """[N]"""


def export_run(run: Path, out: Path, *, overwrite: bool = False) -> Parity:
    """Export the model of a run folder again, with the threshold it has now.

    The check against torch uses drawn images of smooth noise: the good images may be gone. A run
    whose training ended without a model, because its export failed, gets it together with its card.

    Raises:
        ModelFileError: ``run`` is not a run folder, or is damaged.
        ExportError, OutputError: see ``export_model``.
    """
    config = saved_config(run)
    prepare_file(out, overwrite=overwrite)
    images = drawn_images(config.images.input_shape)
    with _locked(run, out):
        detector, card = load_detector(run, config), _card_of(run)
        ours = out.resolve() == (run / "model.onnx").resolve()
        if not (ours or (run / UNEXPORTED).is_file()):
            return export_model(detector, card, out, images)
        with Transaction(run) as files:
            model = files.path("model.onnx")
            parity = export_model(detector, card, model, images)
            data = model.read_bytes()
            settled(files, card, "export")
            files.remove([STATE])  # what its training was to go on from
            if not ours:
                write_bytes(out, data)
            files.commit()
        return parity


def _locked(run: Path, out: Path) -> AbstractContextManager[object]:
    """Keep other programs out of a run folder, if the model is to lie in it."""
    return lock_folder(run) if out.resolve().parent == run.resolve() else nullcontext()


def _card_of(run: Path) -> ModelCard:
    """Read the card of a run's model, or the one that it was to have."""
    model, kept = run / "model.onnx", run / UNEXPORTED
    if kept.is_file():
        return card_from_json(kept.read_text("utf-8", "replace"), origin=str(kept))
    if not model.is_file() and (run / CHECKPOINT).is_file():
        raise ModelFileError(f"{run}: its training is not finished; give 'train' --resume first")
    return Inspector(model, device="cpu").card


def drawn_images(image: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Draw images of smooth noise, uint8 [N, S, T, C], to try a model without photographs.

    They are of the shape ``image``; those that may be padded are not.
    """
    height, width, channels = image
    noise = np.random.default_rng(0).random((checked(image), height, width, 3))
    smooth = gaussian_filter(noise, (0, height / 32, width / 32, 0))
    low, high = smooth.min(), smooth.max()
    images: NDArray[np.uint8] = ((smooth - low) / (high - low) * 255).astype(np.uint8)
    beside = ((0, 0), (0, 0), (0, 0), (0, channels - 3))
    return np.pad(images, beside, constant_values=255)


def export_lower(
    run: Path,
    out: Path,
    precision: Lower,
    *,
    good: Path | None = None,
    defective: Path | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> LowerModel:
    """Write the model of ``run`` in lower precision to ``out``, if it still judges alike.

    For fp16, drawn noise is compared where no ``good`` images are given. For int8, half of the
    good images, 100 at most, give the ranges of the numbers, and the others are compared.

    Raises:
        ExportError: it does not judge alike, or there are too few good images to tell.
        FolderError, ModelFileError, OutputError: a folder, the run or ``out`` cannot be used.
    """
    _refuse(precision, good, defective)
    config, model = saved_config(run), run / "model.onnx"
    # What is meant for graphics cards is compared on one, if there is any.
    single = Inspector(model, device="auto" if precision == "fp16" else "cpu")
    if out.exists() and out.samefile(model):
        raise OutputError(f"{out}: the run keeps its model in fp32; choose another --out")
    prepare_file(out, overwrite=overwrite)
    sets = _read(good, defective, config.images, out.parent, track)
    if precision == "fp16":
        lower = to_onnx(in_half_precision(load_detector(run, config)), config.images.input_shape)
        compared, used = _joined(sets) if sets else _drawn(config.images.input_shape), set()
    else:
        used = _chosen(sets[0])
        lower = in_eight_bits(onnx.load(model), sets[0].chosen(_among(sets[0], used))[:])
        compared = _joined(sets, used)
    result = _compare(single, lower, compared, precision, track)
    agreement = replace(result.agreement, drawn=not sets)
    card = with_origins(single.card, run)
    card = replace(card, precision=precision, agreement=agreement)
    set_card(lower, replace(card, set_with=packed(used, card.set_with)))
    write_bytes(out, lower.SerializeToString())
    unreadable = [f"{each.folder / path}" for each in sets for path, _ in each.unreadable]
    notes = tuple(note for each in sets for note in each.notes)
    return replace(result, agreement=agreement, unreadable=unreadable, notes=notes)


def _refuse(precision: Lower, good: Path | None, defective: Path | None) -> None:
    if good is None and (defective or precision == "int8"):
        what = "--defective" if defective else "--precision int8"
        raise ExportError(f"{what} needs good images to compare with; give --good DIR")


def _read(
    good: Path | None, defective: Path | None, settings: ImageSettings, scratch: Path, track: Track
) -> list[ImageSet]:
    """Read the good images, then the defective ones, where they are given."""
    sets = [
        read_images(folder, settings, workers=usable_cores(), scratch=scratch, track=track)
        for folder in (good, defective)
        if folder
    ]
    both = set.intersection(*(set(each.digests) for each in sets)) if len(sets) > 1 else set()
    if both:
        raise ExportError(
            f"{len(both)} images are in {good} and in {defective}; an image is either good or "
            "defective"
        )
    return sets


def _chosen(images: ImageSet) -> set[str]:
    """Choose the images for the ranges, by their SHA-256: copies of one are never compared."""
    different = sorted(set(images.digests))  # in an order that has nothing to do with their paths
    if len(different) < FEWEST_GOOD_IMAGES:
        raise ExportError(
            f"{images.folder}: {len(different)} different images; --precision int8 needs "
            f"{FEWEST_GOOD_IMAGES} good ones or more, half of them to compare with"
        )
    return set(different[: min(len(different) // 2, _MOST_FOR_RANGES)])


def _among(images: ImageSet, digests: Collection[str]) -> NDArray[np.bool_]:
    """Say of which images, [N], the SHA-256 is one of ``digests``."""
    return np.array([digest in digests for digest in images.digests])


def _joined(sets: Sequence[ImageSet], without: Collection[str] = ()) -> _Images:
    """Join good images and defective ones, but for those with the SHA-256 ``without``."""
    kept = [~_among(each, without) for each in sets]
    names = [
        f"{each.folder.name}/{path}"
        for each, which in zip(sets, kept, strict=True)
        for path in compress(each.paths, which)
    ]
    pixels = [each.chosen(which) for each, which in zip(sets, kept, strict=True)]
    return _Images(names, pixels, np.arange(len(names)) >= len(pixels[0]))


def _drawn(image: tuple[int, int, int]) -> _Images:
    pixels = drawn_images(image)
    names = [f"drawn image {number}" for number in range(1, len(pixels) + 1)]
    return _Images(names, [pixels], np.zeros(len(names), bool))


def _compare(
    single: Inspector, lower: onnx.ModelProto, images: _Images, precision: Lower, track: Track
) -> LowerModel:
    before, limit = _scores(single, images.pixels, track), single.card.threshold
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        set_card(lower, single.card)
        write_bytes(path, lower.SerializeToString())
        device = "cpu" if single.model.on_cpu else "auto"
        after = _scores(Inspector(path, device=device), images.pixels, track)
    agreement = compare_scores(before, after, images.defective, limit)
    why = objection(agreement, precision)
    if why:
        raise ExportError(f"{precision} is not kept: {why}; nothing was written: use fp32")
    rows = zip(images.names, before.tolist(), after.tolist(), strict=True)
    changed = [
        Changed(name, one, other, limit.verdict(one), limit.verdict(other))
        for name, one, other in rows
        if limit.verdict(one) != limit.verdict(other)
    ]
    return LowerModel(agreement, changed, [])


def _scores(
    inspector: Inspector, images: Sequence[Chosen | NDArray[np.uint8]], track: Track
) -> NDArray[np.float32]:
    size = inspector.batch_size
    batches = [(each, begin) for each in images for begin in range(0, len(each), size)]
    tracked = track(batches, "Scoring images", len(batches))
    return np.concatenate(
        [inspector.run(each[begin : begin + size]).score for each, begin in tracked]
    )
