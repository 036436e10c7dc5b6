"""Draws pictures of nothing in particular, for a trunk to learn from: all kinds of surfaces.

S: side of a square picture in pixels. Grey fields are float32 [S, S] in [0, 1], pictures uint8
[S, S, 3]. Everything is drawn from a generator; nothing is read from a file.
"""

import string
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from anomaly_vae.images.flaws import DEFECTS
from anomaly_vae.images.samples import draw_sample

Field = NDArray[np.float32]
Picture = NDArray[np.uint8]
_LETTERS = string.ascii_letters + string.digits + string.punctuation


def draw_picture(rng: np.random.Generator, size: int) -> Picture:
    """Draw one picture of any kind, ``size`` pixels a side."""
    kind = _PICTURES[rng.integers(len(_PICTURES))]
    return kind(rng, size)


def _cloud(rng: np.random.Generator, size: int) -> Field:
    """Noise of all scales, from white to cloudy; along one direction it may be brushed metal."""
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    angle, stretch = rng.uniform(0, np.pi), 10 ** (rng.uniform(0, 2) * rng.integers(2))
    along = rows * np.cos(angle) + columns * np.sin(angle)
    across = columns * np.cos(angle) - rows * np.sin(angle)
    frequency = np.hypot(along * stretch, across) + 0.5 / size
    shape = np.fft.rfft2(rng.standard_normal((size, size)))
    return _levelled(np.fft.irfft2(shape * frequency ** -rng.uniform(0, 2.2), (size, size)))


def _fabric(rng: np.random.Generator, size: int) -> Field:
    """Two families of threads or grooves, slightly wavy: fabric, knurling, gratings, boards."""
    row, column = np.mgrid[:size, :size].astype(np.float32)
    total = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 4)):
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(size / 3)))
        bent = rng.uniform(0, 0.5) * period * ndimage.zoom(rng.standard_normal((4, 4)), size / 4)
        phase = (row * np.cos(angle) + column * np.sin(angle) + bent[:size, :size]) / period
        wave = np.sin(2 * np.pi * phase)
        total += np.sign(wave) if rng.random() < 0.3 else np.abs(wave) ** rng.uniform(0.3, 3)
    return _levelled(total)


def _fractal(rng: np.random.Generator, size: int) -> Field:
    """The escape times of a Julia set: edges and curls of all sizes."""
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 0.82)
    constant = radius * np.exp(1j * angle)
    zoom, (x, y) = 1.6 * 10 ** -rng.uniform(0, 1.2), rng.uniform(-0.6, 0.6, 2)
    axis = np.linspace(-zoom, zoom, size)
    z = (axis[None] + x + 1j * (axis[:, None] + y)).astype(np.complex64)
    steps = np.zeros((size, size), np.float32)
    for _ in range(40):
        inside = np.abs(z) < 2
        z = np.where(inside, z * z + constant, z)
        steps += inside
    return _levelled(np.log1p(steps))


def _levelled(field: NDArray[np.floating]) -> Field:
    """Bring a field to [0, 1], but for its extremes, which are cut off."""
    low, high = np.percentile(field, (1, 99))
    levelled = np.clip((field - low) / max(high - low, 1e-6), 0, 1)
    return np.asarray(levelled, dtype=np.float32)


def _surface(rng: np.random.Generator, size: int) -> Picture:
    """One field, or one that shows through another, in the colours between two or three."""
    field = _FIELDS[rng.integers(len(_FIELDS))](rng, size)
    if rng.random() < 0.4:
        other = _FIELDS[rng.integers(len(_FIELDS))](rng, size)
        field = np.clip(field + rng.uniform(-0.5, 0.5) * (other - 0.5), 0, 1)
    colours = rng.uniform(0, 255, (rng.integers(2, 4), 3))
    if rng.random() < 0.5:  # metals, papers, rubbers: hardly coloured
        colours = colours.mean(1, keepdims=True) + rng.normal(0, 10, (len(colours), 3))
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(field, stops, colours[:, channel]) for channel in range(3)]
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def _leaves(rng: np.random.Generator, size: int) -> Picture:
    """Dead leaves: shapes that hide each other, small ones being the most (Lee et al., 2001)."""
    picture = Image.fromarray(_surface(rng, size))
    skin = Image.fromarray(_surface(rng, size))
    for _ in range(rng.integers(5, 150)):
        cover = Image.new("L", (size, size))
        _draw_shape(rng, ImageDraw.Draw(cover), size)
        box = cover.getbbox()
        if box is None:
            continue
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        filling = skin.crop(box) if rng.random() < 0.4 else colour
        picture.paste(filling, box, cover.crop(box))
    return np.asarray(picture)


def _draw_shape(rng: np.random.Generator, canvas: ImageDraw.ImageDraw, size: int) -> None:
    """Draw an ellipse, a rectangle, a polygon or a stroke, of a size by a power law."""
    radius = min(3 / rng.uniform(0.01, 1), size / 2)
    x, y = rng.uniform(0, size, 2)
    turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
    corners = [(x + radius * np.cos(t), y + radius * np.sin(t)) for t in turns]
    wide, high = radius * rng.uniform(0.2, 1, 2)
    match rng.integers(4):
        case 0:
            canvas.ellipse((x - wide, y - high, x + wide, y + high), fill=255)
        case 1:
            canvas.rectangle((x - wide, y - high, x + wide, y + high), fill=255)
        case 2:
            canvas.polygon(corners, fill=255)
        case _:
            canvas.line(corners, fill=255, width=int(rng.integers(1, 6)))


def _writing(rng: np.random.Generator, size: int) -> Picture:
    """Lines of letters, turned, on a surface: prints, labels, engravings."""
    ground, ink = Image.fromarray(_surface(rng, size)), Image.new("L", (size, size))
    height = int(np.exp(rng.uniform(np.log(8), np.log(size / 3))))
    font, canvas = ImageFont.load_default(height), ImageDraw.Draw(ink)
    for row in range(0, size, max(1, int(height * rng.uniform(1, 2)))):
        letters = rng.choice(list(_LETTERS + " " * 20), 2 * size // height + 1)
        canvas.text(
            (int(rng.integers(-height, height)), row), "".join(letters), fill=255, font=font
        )
    ink = ink.rotate(rng.uniform(-180, 180), Image.Resampling.BILINEAR)
    colour = tuple(int(level) for level in rng.integers(0, 256, 3))
    ground.paste(colour, (0, 0, size, size), ink)
    return np.asarray(ground)


def _part(rng: np.random.Generator, size: int) -> Picture:
    """A machined part, good or not, as the samples are."""
    return draw_sample(rng, ("good", *DEFECTS)[rng.integers(len(DEFECTS) + 1)], size=size).image


_FIELDS: tuple[Callable[[np.random.Generator, int], Field], ...] = (_cloud, _fabric, _fractal)
_PICTURES: tuple[Callable[[np.random.Generator, int], Picture], ...] = (
    *(_surface, _surface, _leaves, _leaves, _writing, _part),
)
