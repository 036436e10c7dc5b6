"""Which images of a labelled folder are defective, and where: classes and masks of all layouts.

Letters: N images, S x T pixels of the frame that the model sees.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.ahead import read_ahead, usable_cores
from anomaly_vae.images.files import list_images
from anomaly_vae.images.masks import Truth, load_truth
from anomaly_vae.images.opening import upright_size
from anomaly_vae.images.rules import MASK_ENDINGS, MASK_EXTENSIONS
from anomaly_vae.settings.images import ImageSettings

GOOD, DEFECTIVE = "good", "defective"
_GOOD_NAMES = (GOOD, "ok", "normal")  # in any case


def check_labelled(test: Path, good: str | None = None) -> None:
    """Make sure that a folder has one sub-folder per class, one of them the good one.

    That is called good, ok or normal in any case, or as ``good`` says. Without sub-folders, each
    image needs a mask beside it, a black one if it is good (KolektorSDD2).

    Raises:
        FolderError: it has not.
    """
    name_classes(test, list_images(test), good)


def name_classes(test: Path, paths: Sequence[str], good: str | None = None) -> NDArray[np.str_]:
    """Give the class of each image of a labelled folder, [N]: its sub-folder, or ``good``.

    Raises:
        FolderError: the folder is none; see ``check_labelled``.
    """
    stray = [path for path in paths if "/" not in path]
    if len(stray) == len(paths):
        return _by_masks(test, paths)
    classes = np.array([path.split("/")[0] for path in paths])
    names = sorted(set(classes.tolist()) - set(stray))
    known = _good_ones(names, good)
    if len(known) != 1 or len(names) < 2:
        raise FolderError(
            f"{test}: has the sub-folders {names} with images; expected one per class, one of "
            "them good, ok or normal, or what --good-class says"
        )
    if stray:
        raise FolderError(f"{test}: {stray[0]} lies in no class folder; move it into one")
    # A class of defects that bears the name stays one.
    others = np.where(classes == GOOD, f"{GOOD} (not the good class)", classes)
    return np.where(classes == known[0], GOOD, others)


def good_among(folder: Path, names: Iterable[str], good: str | None = None) -> str | None:
    """Say which of the classes in a folder is the good one, if any is; see ``check_labelled``.

    Raises:
        FolderError: it holds no class ``good``.
    """
    known = _good_ones(sorted(set(names)), good)
    if good and not known:
        raise FolderError(f"{folder}: has no sub-folder {good} with images, as --good-class says")
    return known[0] if len(known) == 1 else None


def _good_ones(names: Iterable[str], good: str | None) -> list[str]:
    return [each for each in names if each == good or (not good and each.lower() in _GOOD_NAMES)]


def _by_masks(test: Path, paths: Sequence[str]) -> NDArray[np.str_]:
    classes = []
    for path, truth in _read_all(_Masks(test, None), paths, ImageSettings(min_size=1)):
        if truth is None:
            raise FolderError(
                f"{test}: has no sub-folders, and no mask beside {path}; expected one sub-folder "
                "per class, one of them good, ok or normal"
            )
        classes.append(DEFECTIVE if truth.square.any() else GOOD)
    return np.array(classes)


@dataclass(frozen=True)
class Truths:
    """Where labelled images are defective, as far as it is known."""

    squares: NDArray[np.bool_]
    """Pixels of the frame that any defective pixel touches, [N, S, T]."""
    shares: NDArray[np.float64]
    """Defective share of the photograph, [N]: exact, at its own size."""
    known: NDArray[np.bool_]
    """Whether an image is good, or has a mask that shows a defect, [N]."""
    missing: list[str] = field(default_factory=list)
    """Defective images without a mask."""
    black: list[str] = field(default_factory=list)
    """Defective images whose mask shows nothing that is inspected."""


def read_truths(
    test: Path,
    paths: Sequence[str],
    classes: NDArray[np.str_],
    settings: ImageSettings,
    masks: Path | None = None,
) -> Truths:
    """Read the masks of the images at ``paths`` below ``test``; good ones need none.

    They lie in ``masks``, or where the layouts in use have them: see ``_Masks``.

    Raises:
        FolderError: there is no folder ``masks`` or none in it, or a mask cannot be used.
    """
    defective = np.flatnonzero(classes != GOOD).tolist()
    if settings.slices:
        if masks is not None:
            raise FolderError(f"{masks}: masks of stacks of slices are not read; leave --masks out")
        known, without = classes == GOOD, [paths[number] for number in defective]
        return Truths(np.zeros((0, *settings.shape), bool), np.zeros(len(paths)), known, without)
    squares = np.zeros((len(paths), *settings.shape), dtype=bool)
    shares = np.zeros(len(paths))
    missing, black = [], []
    read = _read_all(_Masks(test, masks), [paths[number] for number in defective], settings)
    for number, (path, truth) in zip(defective, read, strict=True):
        if truth is None:
            missing.append(path)
            continue
        squares[number], shares[number] = truth
        if not truth.square.any():
            black.append(path)
    if masks is not None and missing and len(missing) == len(defective):
        raise FolderError(
            f"{masks}: has no mask for {missing[0]}, nor for another image; expected "
            "CLASS/NAME_mask.png or what data sets have instead"
        )
    return Truths(squares, shares, (classes == GOOD) | (shares > 0), missing, black)


def _read_all(
    finder: "_Masks", paths: Sequence[str], settings: ImageSettings
) -> Iterator[tuple[str, Truth | None]]:
    """Read the masks of photographs on threads, in their order; None stands where there is none.

    Raises:
        FolderError: one cannot be used, or its drive does not answer.
    """
    workers = usable_cores()

    def read(path: str) -> Truth | None:
        return _read(finder, path, settings)

    for path, truth in read_ahead(paths, read, workers=workers, ahead=2 * workers):
        if isinstance(truth, ImageReadError):
            raise FolderError(f"{finder.test / path}: it or its mask {truth}")
        yield path, truth


def _read(finder: "_Masks", path: str, settings: ImageSettings) -> Truth | None:
    files = finder.of(path)
    if not files:
        return None
    try:
        size, orientation = upright_size(finder.test / path)
    except ImageReadError as error:
        raise FolderError(f"{finder.test / path}: {error}") from error
    try:
        return load_truth(files, size, orientation, settings)
    except ImageReadError as error:
        raise FolderError(str(error)) from error


class _Masks:
    """Finds the masks of photographs by their names.

    In a folder beside the classes or in it, below the name of the class: ``NAME_mask.png`` (MVTec
    AD and AD 2), ``NAME.bmp`` (BTAD), any file in a folder ``NAME`` (LOCO); in ``Masks`` beside
    ``Images`` (VisA); in ``gt`` beside ``rgb`` (MVTec 3D-AD); beside the photograph itself
    (KolektorSDD2). Upper and lower case do not matter.
    """

    def __init__(self, test: Path, masks: Path | None) -> None:
        self.test, self._names = test, dict[Path, dict[str, str]]()
        if masks is not None and not masks.is_dir():
            raise FolderError(f"{masks}: no such folder; expected that of the masks")
        above = test.resolve().parent
        self._folders = [masks] if masks else [
            *self._called(test, "ground_truth"), *self._called(above, "ground_truth"),
            *(self._called(above, "masks") if test.resolve().name.lower() == "images" else ()),
        ]  # fmt: skip

    def of(self, path: str) -> list[Path]:
        """Give the mask of a photograph, or several that are to be joined; empty without one."""
        photograph = Path(path)
        place, stem = photograph.parent, photograph.stem
        beside = self.test / place
        for folder in self._folders:
            if found := self._in(folder / place, stem):
                return found
        if beside.name.lower() == "rgb":
            for folder in self._called(beside.parent, "gt"):
                if found := self._in(folder, stem):
                    return found
        return self._in(beside, stem, MASK_ENDINGS)

    def _in(
        self, folder: Path, stem: str, endings: Sequence[str] = (*MASK_ENDINGS, "")
    ) -> list[Path]:
        names = self._listed(folder)
        for ending in endings:
            for extension in MASK_EXTENSIONS:
                if name := names.get(f"{stem}{ending}{extension}".lower()):
                    return [folder / name]
        if "" not in endings or stem.lower() not in names:
            return []
        inner = folder / names[stem.lower()]
        each = sorted(self._listed(inner).items())
        return [inner / name for lower, name in each if lower.endswith(MASK_EXTENSIONS)]

    def _called(self, folder: Path, name: str) -> list[Path]:
        names = self._listed(folder)
        return [folder / names[name]] if name in names else []

    def _listed(self, folder: Path) -> dict[str, str]:
        """Give the names in a folder by their lower case; none if it is not there."""
        if folder not in self._names:
            try:
                names = os.listdir(folder)  # noqa: PTH208
            except OSError:
                names = []
            self._names[folder] = {name.lower(): name for name in names}
        return self._names[folder]
