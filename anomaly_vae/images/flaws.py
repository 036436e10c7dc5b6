"""Defects of the drawn plate: each changes the surface, never the finished picture.

So lamp and lens act on a defect as on the part. Height, albedo, gloss and tint are those of
``Surface``; ``force`` is how striking a defect is to be, 1 at first.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from anomaly_vae.images.plate import (
    Field,
    Scene,
    Surface,
    as_field,
    length,
    made_features,
    make_surface,
    mix,
)


def _place(rng: np.random.Generator, scene: Scene, surface: Surface) -> tuple[Field, Field]:
    """Return coordinates with a random spot of the metal as origin, turned at random."""
    spots = np.flatnonzero(surface.metal > 0.99)
    spot = spots[int(rng.random() * len(spots))]
    x, y = scene.x - scene.x.flat[spot], scene.y - scene.y.flat[spot]
    bearing = rng.uniform(0, 2 * np.pi)
    c, s = as_field(np.cos(bearing)), as_field(np.sin(bearing))
    return c * x + s * y, c * y - s * x


def blob(
    rng: np.random.Generator, place: tuple[Field, Field], radius: float, ragged: float
) -> Field:
    """Return the distance from the centre of an irregular spot: 1.0 on its outline.

    ``place`` are coordinates x and y with its centre as origin, in the unit of ``radius``.
    """
    x, y = place
    bearing, outline = np.arctan2(y, x), np.ones_like(x)
    for wave in range(2, 6):
        swing, phase = as_field(rng.normal(0, ragged / wave)), as_field(rng.uniform(0, 2 * np.pi))
        outline += swing * np.cos(wave * bearing + phase)
    distance = length(x * as_field(rng.uniform(0.6, 1)), y)
    return distance / (as_field(radius) * np.maximum(outline, as_field(0.5)))


def streak(along: Field, across: Field, half: float, width: float) -> Field:
    """Return a line that fades to its ends and sides: 1.0 in its middle."""
    rest = np.maximum(1 - (along / half) ** 2, 0)
    line: Field = np.sqrt(rest) * np.exp(-((across / width) ** 2))
    return line


def _scratch(rng: np.random.Generator, scene: Scene, surface: Surface, force: float) -> Surface:
    x, y = _place(rng, scene, surface)
    bend, bright = rng.normal(0, 0.35), rng.random() < 0.6
    half = np.exp(rng.uniform(np.log(0.08), np.log(0.4)))
    width = max(rng.uniform(0.005, 0.011), 0.6 * float(scene.pixel))
    line = np.zeros_like(x)
    for stroke in range(rng.choice([1, 2, 4], p=[0.6, 0.2, 0.2])):
        along = x + as_field(rng.normal(0, 0.03))
        across = y - bend * x**2 - 0.008 * np.sin(x / 0.1 + stroke) - 3.2 * width * stroke
        line = np.maximum(line, streak(along, across, half, width))
    cover = as_field(np.clip(0.6 * force * line, 0, 1))
    return replace(
        surface,
        height=as_field(surface.height - 0.6 * force * width * line),
        albedo=mix(surface.albedo, 0.5 if bright else 0.03, cover),
        gloss=mix(surface.gloss, 0.4 if bright else 0.05, cover),
    )


def _dent(rng: np.random.Generator, scene: Scene, surface: Surface, force: float) -> Surface:
    radius = max(rng.uniform(0.03, 0.095), 2.5 * float(scene.pixel))
    t = blob(rng, _place(rng, scene, surface), radius, ragged=0.06)
    bowl = np.exp(-1.2 * t**2) - 0.2 * np.exp(-(((t - 1.35) / 0.3) ** 2))
    return replace(surface, height=as_field(surface.height - 0.4 * force * radius * bowl))


_DIRT = (  # colour, gloss, most of the metal that it hides
    ((0.012, 0.010, 0.007), 0.03, 0.96),  # grease
    ((0.10, 0.045, 0.02), 0.0, 0.85),  # rust
    ((0.62, 0.58, 0.46), 0.03, 0.9),  # sealant
    ((0.03, 0.06, 0.13), 0.05, 0.9),  # marking paint
)


def _contamination(
    rng: np.random.Generator, scene: Scene, surface: Surface, _force: float
) -> Surface:
    colour, gloss, opacity = _DIRT[rng.integers(len(_DIRT))]
    for _ in range(rng.integers(1, 5)):
        radius = max(np.exp(rng.uniform(np.log(0.025), np.log(0.11))), 1.2 * float(scene.pixel))
        t = blob(rng, _place(rng, scene, surface), radius, ragged=0.22)
        cover = np.clip((as_field(1.1) - t) / as_field(0.3), 0, 1) * as_field(opacity)
        lump = as_field(0.25 * radius) * np.maximum(1 - t**2, 0)
        surface = replace(
            surface,
            height=surface.height + lump,
            turned=mix(surface.turned, 0, cover),
            albedo=mix(surface.albedo, 1, cover),
            gloss=mix(surface.gloss, gloss / 0.1, cover),
            tint=mix(surface.tint, colour, cover[..., None]),
        )
    return surface


def _missing_feature(
    rng: np.random.Generator, scene: Scene, _surface_made: Surface, _force: float
) -> Surface:
    return make_surface(scene, missing=int(rng.integers(len(made_features(scene)))))


_TINTS = (  # colour in the middle and at the edge
    ((0.42, 0.5, 0.85), (0.95, 0.72, 0.4)),  # heat: blue to straw
    ((0.6, 0.42, 0.6), (0.95, 0.75, 0.45)),  # heat: purple to straw
    ((0.36, 0.34, 0.3), (0.45, 0.42, 0.37)),  # oil film
    ((0.85, 0.62, 0.42), (0.75, 0.5, 0.32)),  # rust film
)


def _colour(rng: np.random.Generator, scene: Scene, surface: Surface, force: float) -> Surface:
    radius = rng.uniform(0.13, 0.28)
    t = blob(rng, _place(rng, scene, surface), radius, ragged=0.22)[..., None]
    middle, edge = _TINTS[rng.integers(len(_TINTS))]
    colour = mix(as_field(middle), edge, np.clip(t, 0, 1))
    cover = np.clip((as_field(1.2) - t) / as_field(0.6), 0, 1) * as_field(min(1.0, 0.9 * force))
    return replace(surface, tint=mix(surface.tint, colour, cover))


DRAW: dict[str, Callable[[np.random.Generator, Scene, Surface, float], Surface]] = {
    "scratch": _scratch,
    "dent": _dent,
    "contamination": _contamination,
    "missing_feature": _missing_feature,
    "colour": _colour,
}
DEFECTS: tuple[str, ...] = tuple(DRAW)
