"""Draws photographs of a machined cover plate, good and defective, with defect masks.

They are the data of the `demo` command and of the tests. Outside its mask, a defective picture
equals the good one drawn from the same generator state.
"""

import math
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
SMALLEST_DEFECT = 0.0005  # share of the picture, or of a square of its shorter side


@dataclass(frozen=True)
class Sample:
    """One photograph and the truth about it."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    mask: NDArray[np.bool_]  # [H, W], True on the defect; all False for a good part
    kind: str  # "good" or one of DEFECTS


def draw_sample(
    rng: np.random.Generator,
    kind: str = "good",
    *,
    size: int = 256,
    proportions: tuple[float, float] = (1, 1),
) -> Sample:
    """Draw a photograph, `size` pixels on its shorter side, of a good part or one with a defect.

    Its width by its height is drawn between the two `proportions`.
    """
    if kind != "good" and kind not in DEFECTS:
        raise ValueError(f"unknown kind {kind!r}: expected good, {', '.join(DEFECTS)}")
    if size < SMALLEST_SIZE:
        raise ValueError(f"size is {size} pixels: expected at least {SMALLEST_SIZE}")
    scene = draw_scene(rng, _shape(rng, size, proportions))
    surface = make_surface(scene)
    picture = photograph(scene, surface)
    mask = np.zeros(picture.shape[:2], dtype=np.bool_)
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
            changed.sum() > SMALLEST_DEFECT * min(changed.shape) ** 2
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
    proportions: tuple[float, float] = (1, 1),
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> None:
    """Write training and test photographs and masks in the MVTec AD layout.

    `test_defective` is spread evenly over DEFECTS. Each image has a seed of its own, so that the
    counts change how many there are, never what they show. `progress` is called after each image.
    """
    for image, mask, kind, stream in _plan(folder, train, test_good, test_defective):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))
        sample = draw_sample(rng, kind, size=size, proportions=proportions)
        _save(image, sample.image)
        if mask is not None:
            _save(mask, sample.mask.astype(np.uint8) * 255)
        if progress is not None:
            progress()


def parse_proportions(text: str) -> tuple[float, float]:
    """Read `1:4`, or `1:3-3:1`: height and width of photographs, or of the two that bound them.

    Gives width by height of both.

    Raises:
        ValueError: it is something else, or beyond 1:16 and 16:1.
    """
    ratios = []
    for each in text.split("-"):
        height, _, width = each.partition(":")
        if not (height.strip().isdecimal() and width.strip().isdecimal() and int(height)):
            raise ValueError(f"{text!r}: expected height:width, as in 1:4, or two as in 1:3-3:1")
        ratios.append(int(width) / int(height))
    if len(ratios) > 2 or not 1 / 16 <= min(ratios) <= max(ratios) <= 16:
        raise ValueError(f"{text!r}: expected one or two of 1:16 to 16:1")
    return min(ratios), max(ratios)


def _shape(
    rng: np.random.Generator, size: int, proportions: tuple[float, float]
) -> tuple[int, int]:
    """Return height and width of a photograph; where there is a choice, it is drawn first."""
    low, high = proportions
    ratio = low if low == high else math.exp(rng.uniform(math.log(low), math.log(high)))
    return max(size, round(size / ratio)), max(size, round(size * ratio))


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
