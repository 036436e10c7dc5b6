"""Draws photographs of a machined cover plate, good and defective, with defect masks.

They are the data of the `demo` command and of the tests. Outside its mask, a defective picture
equals the good one drawn from the same generator state.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from anomaly_vae.errors import OutputError
from anomaly_vae.images.flaws import DEFECTS, DRAW
from anomaly_vae.images.plate import (
    Field,
    Scene,
    Surface,
    as_field,
    draw_scene,
    make_surface,
    photograph,
)

SMALLEST_SIZE = 32  # pixels; in smaller pictures the tapped holes vanish
VISIBLE = 6.0  # grey levels before noise; a pixel that changed by more belongs to the mask
STRIKING = 24.0  # grey levels; each defect changes some pixel by more, and 3/4 on average
SMALLEST_DEFECT = 0.0005  # share of the picture


@dataclass(frozen=True)
class Sample:
    """One photograph and the truth about it."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    mask: NDArray[np.bool_]  # [H, W], True on the defect; all False for a good part
    kind: str  # "good" or one of DEFECTS


def draw_sample(rng: np.random.Generator, kind: str = "good", *, size: int = 256) -> Sample:
    """Draw a square photograph, `size` pixels a side, of a good part or of one with a defect."""
    if kind != "good" and kind not in DEFECTS:
        raise ValueError(f"unknown kind {kind!r}: expected good, {', '.join(DEFECTS)}")
    if size < SMALLEST_SIZE:
        raise ValueError(f"size is {size} pixels: expected at least {SMALLEST_SIZE}")
    scene = draw_scene(rng, size)
    surface = make_surface(scene)
    picture = photograph(scene, surface)
    mask = np.zeros((size, size), dtype=np.bool_)
    if kind != "good":
        defective, mask = _deface(rng, scene, surface, picture, kind)
        picture = np.where(mask[..., None], defective, picture)
    noisy = picture + scene.noise * np.sqrt(as_field(0.6) + as_field(0.02) * picture)
    return Sample(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), mask, kind)


def _deface(
    rng: np.random.Generator, scene: Scene, surface: Surface, good: Field, kind: str
) -> tuple[Field, NDArray[np.bool_]]:
    """Return the defective picture and its mask; draw again, stronger, until it strikes the eye."""
    force = 1.0
    while True:
        picture = photograph(scene, DRAW[kind](rng, scene, surface, force))
        change = np.abs(picture - good).max(axis=-1)
        changed = change > VISIBLE
        if (
            changed.mean() > SMALLEST_DEFECT
            and change.max() > STRIKING
            and change[changed].mean() > STRIKING * 0.75
        ):
            return picture, changed | ndimage.binary_closing(changed, iterations=2)
        force *= 1.2


def write_samples(
    folder: Path,
    *,
    train: int = 200,
    test_good: int = 40,
    test_defective: int = 60,
    size: int = 256,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> None:
    """Write training and test photographs and masks in the MVTec AD layout.

    `test_defective` is spread evenly over DEFECTS. Each image has a seed of its own, so that the
    counts change how many there are, never what they show. `progress` is called after each image.
    """
    for image, mask, kind, stream in _plan(folder, train, test_good, test_defective):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))
        sample = draw_sample(rng, kind, size=size)
        _save(image, sample.image)
        if mask is not None:
            _save(mask, sample.mask.astype(np.uint8) * 255)
        if progress is not None:
            progress()


def _plan(
    folder: Path, train: int, test_good: int, test_defective: int
) -> Iterator[tuple[Path, Path | None, str, tuple[int, int]]]:
    """Yield image path, mask path, kind and seed key of each sample."""
    for part, (name, count) in enumerate((("train", train), ("test", test_good))):
        for k in range(count):
            yield folder / name / "good" / f"{k:03d}.png", None, "good", (part, k)
    for place, kind in enumerate(DEFECTS):
        for k in range((test_defective + len(DEFECTS) - 1 - place) // len(DEFECTS)):
            mask = folder / "ground_truth" / kind / f"{k:03d}_mask.png"
            yield folder / "test" / kind / f"{k:03d}.png", mask, kind, (2 + place, k)


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error
