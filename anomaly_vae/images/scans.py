"""Draws parts that are stacks of slices, good and defective: castings in a scanner, turning wheels.

They are the data of the tests, and of ``samples --volumes``.

Letters: D slices, H x W pixels of one.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from anomaly_vae.errors import OutputError

Stack = NDArray[np.uint8]
_Field = NDArray[np.float64]

SHAPE = (32, 64, 64)
"""Slices, height and width of what is drawn."""
KINDS = {"castings": "pore", "wheels": "blind"}
"""What can be drawn, and the class of its defects."""
PORE = 3.0
"""Diameter of a pore, in voxels."""
_METAL, _AIR, _NOISE = 150.0, 25.0, 4.0
_HOLES = 6
_EDGE = 0.7  # voxels over which an edge is blurred


def draw_stack(rng: np.random.Generator, kind: str, *, defective: bool = False) -> Stack:
    """Draw a part, uint8 [D, H, W]: ``castings`` or ``wheels``."""
    scene = {"castings": _casting, "wheels": _wheel}[kind](rng, defective)
    return np.clip(np.rint(scene + rng.normal(0, _NOISE, SHAPE)), 0, 255).astype(np.uint8)


def write_stacks(
    folder: Path,
    kind: str,
    *,
    train: int = 200,
    test_good: int = 40,
    test_defective: int = 60,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> None:
    """Write parts as TIFFs, a slice a page, in folders as ``write_samples`` does; without masks.

    Each has a seed of its own, so that the counts change how many there are, never what they show.

    Raises:
        OutputError: one cannot be written.
    """
    wanted = (
        ("train/good", train),
        ("test/good", test_good),
        (f"test/{KINDS[kind]}", test_defective),
    )
    for place, (name, count) in enumerate(wanted):
        for number in range(count):
            stream = np.random.SeedSequence(seed, spawn_key=(place, number))
            stack = draw_stack(np.random.default_rng(stream), kind, defective=place == 2)
            save_stack(stack, folder / name / f"{number:03d}.tif")
            if progress is not None:
                progress()


def save_stack(stack: Stack, path: Path) -> None:
    """Write a stack, [D, H, W], as a TIFF, a slice a page.

    Raises:
        OutputError: it cannot be written.
    """
    first, *others = (Image.fromarray(each) for each in stack)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        first.save(path, save_all=True, append_images=others, compression="tiff_deflate")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error


def _casting(rng: np.random.Generator, defective: bool) -> _Field:
    """Draw a flanged sleeve with a web, scanned along its axis; a pore lies within its metal."""
    z, y, x = _places(rng)
    wide = np.where(np.abs(z) > SHAPE[0] * 0.32, 27.0, 22.0 + rng.normal(0, 0.15))
    radius = np.hypot(x, y)
    solid = np.minimum(wide - radius, SHAPE[0] * 0.45 - np.abs(z))
    bore = radius - (10.0 + rng.normal(0, 0.15))
    web = np.minimum(1.8 - np.abs(x), 11.0 - radius)
    depth = np.minimum(solid, np.maximum(bore, web))
    if defective:
        # Well inside: near a face it would be a dent of the surface.
        places = np.argwhere(ndimage.distance_transform_edt(depth > 0) > PORE)
        centre = places[rng.integers(len(places))] + rng.uniform(-0.5, 0.5, 3)
        apart = np.sqrt(((np.indices(SHAPE) - centre[:, None, None, None]) ** 2).sum(0))
        depth = np.minimum(depth, apart - PORE / 2)
    # A scanner shows the middle of thick metal darker: beam hardening.
    level: _Field = _METAL * (1 - 0.002 * np.clip(depth, 0, 8)) * rng.normal(1, 0.01)
    scene: _Field = _AIR + (level - _AIR) * _covered(depth)
    return scene


def _wheel(rng: np.random.Generator, defective: bool) -> _Field:
    """Draw a wheel that turns before a camera that was triggered; one of its holes is blind."""
    _, y, x = _places(rng)
    turned = rng.normal(0, 0.02) + np.arange(SHAPE[0])[:, None, None] * 2 * np.pi / SHAPE[0]
    radius, angle = np.hypot(x, y), np.arctan2(y, x) + turned
    depth = np.minimum(26.0 - radius, radius - 5.0)
    blind = rng.integers(_HOLES) if defective else -1
    for hole in range(_HOLES):
        at = 2 * np.pi * hole / _HOLES
        away = np.hypot(radius * np.cos(angle - at) - 16, radius * np.sin(angle - at)) - 4.0
        depth = np.minimum(depth, away) if hole != blind else depth
    key = np.maximum(np.abs(radius * np.sin(angle)) - 1.5, np.abs(radius * np.cos(angle) - 6) - 3)
    return _AIR + (_METAL * rng.normal(1, 0.01) - _AIR) * _covered(np.minimum(depth, key))


def _places(rng: np.random.Generator) -> list[_Field]:
    """Give z, y and x of all voxels from the middle of a part, which never lies quite alike."""
    sides = [np.arange(side) - (side - 1) / 2 - rng.normal(0, 0.3) for side in SHAPE]
    return list(np.meshgrid(*sides, indexing="ij"))


def _covered(depth: _Field) -> _Field:
    """Give the share of voxels that metal fills, which begins where ``depth`` is 0."""
    share: _Field = 1 / (1 + np.exp(-np.clip(depth / _EDGE * 2, -50, 50)))
    return share
