"""Draws photographs of a machined cover plate, good and defective, with defect masks.

They are the data of the `demo` command and of the tests. Good parts differ as they do on a line:
pose, light, exposure, finish, tolerances. A defect changes the drawn surface (height, albedo,
gloss, tint), never the finished picture, so that lamp and lens act on it as on the part. Outside
its mask, a defective picture equals the good one drawn from the same generator state.

H, W: height and width in pixels. A Field is float32 [H, W] unless another shape is given. Lengths
are in half picture widths, x to the right, y down, from the part's centre. Light is linear, 1.0 is
the sensor's white.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import ndimage

from anomaly_vae.errors import OutputError

Field = NDArray[np.float32]
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


@dataclass(frozen=True)
class _Scene:
    """What differs between two photographs of good parts."""

    x: Field  # part coordinates: the pose is taken out
    y: Field
    turn: tuple[float, float]  # cosine and sine of the part's rotation
    clocking: float  # radians, of the tapped holes against the body
    bore: np.float32  # radius
    chamfer: np.float32  # width
    finish: float  # roughness along the turning marks
    marks: Field  # [64] reflectance from the centre outwards, about 1
    grain: Field  # of the cast skin; mean 0, variance 1
    clouds: Field  # stains of the bench; mean 0, variance 1
    lamp: tuple[float, float, float]  # unit vector towards the lamp, in part coordinates
    ambient: float
    gain: Field  # [H, W, 3] exposure, uneven light and white balance
    blur: float  # pixels
    noise: Field  # [H, W, 3]; mean 0, variance 1

    @property
    def pixel(self) -> np.float32:
        return np.float32(2 / len(self.x))  # its width


@dataclass(frozen=True)
class _Surface:
    """The part as the lamp meets it."""

    height: Field
    metal: Field  # share of the pixel that is metal seen from above, not hole or bench
    turned: Field  # share with the silky gloss of turning marks
    albedo: Field  # diffuse reflectance
    gloss: Field  # specular reflectance
    tint: Field  # [H, W, 3] colour of both
    beyond: Field  # light from where there is no metal: bench, shadow, inside of holes


def _scene(rng: np.random.Generator, size: int) -> _Scene:
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    column, row = np.meshgrid(axis, axis)
    angle, scale = np.radians(rng.uniform(-4, 4)), rng.uniform(0.98, 1.02)
    c, s = float(np.cos(angle)), float(np.sin(angle))
    u, v = ((side - rng.uniform(-0.035, 0.035)) / scale for side in (column, row))
    azimuth, tilt = np.radians(rng.normal(-125, 28)) - angle, np.radians(rng.uniform(30, 44))
    falloff, downhill = rng.uniform(0.0, 0.25), rng.uniform(0, 2 * np.pi)
    uneven = 1 + falloff * (column * np.cos(downhill) + row * np.sin(downhill))
    white = 2 ** rng.uniform(-0.35, 0.35) * (1 + rng.normal(0, 0.025) * np.array([1, 0, -1]))
    clouds = ndimage.zoom(_normal(rng, 8, 8), size / 8, order=1, grid_mode=True, mode="nearest")
    return _Scene(
        x=_field(c * u + s * v),
        y=_field(c * v - s * u),
        turn=(c, s),
        clocking=rng.uniform(-0.05, 0.05),
        bore=np.float32(rng.uniform(0.205, 0.22)),
        chamfer=np.float32(max(rng.uniform(0.018, 0.026), 3 / size)),
        finish=rng.uniform(0.16, 0.24),
        marks=1 + _field(0.04) * _normal(rng, 64),
        grain=_unit(ndimage.gaussian_filter(_normal(rng, size, size), 0.8, truncate=3)),
        clouds=_unit(ndimage.uniform_filter(clouds, size // 8)),
        lamp=(np.cos(azimuth) * np.sin(tilt), np.sin(azimuth) * np.sin(tilt), np.cos(tilt)),
        ambient=rng.uniform(0.3, 0.5),
        gain=_field(uneven[..., None] * white),
        blur=rng.uniform(0.55, 0.85),
        noise=_normal(rng, size, size, 3),
    )


def _field(values: ArrayLike) -> Field:
    return np.asarray(values, dtype=np.float32)


def _normal(rng: np.random.Generator, *shape: int) -> Field:
    return rng.standard_normal(shape, dtype=np.float32)


def _unit(field: Field) -> Field:
    return _field((field - field.mean()) / field.std())


def _length(x: Field, y: Field) -> Field:
    return np.sqrt(x * x + y * y)  # several times faster than numpy.hypot


def _inside(distance: Field, edge: np.float32) -> Field:
    """Return 1 inside (negative distance) and 0 outside, across an edge of the given width."""
    return np.clip(_field(0.5) - distance / edge, 0, 1)


def _plateau(distance: Field, width: np.float32) -> Field:
    """Return the height of a plateau whose rounded edge rises inwards from distance 0."""
    t = np.clip(-distance / width, 0, 1)
    return _field(width * t * t * (3 - 2 * t))


def _box(x: Field, y: Field, half: float, radius: float) -> Field:
    """Return the signed distance to a square with rounded corners, negative inside."""
    across, along = np.abs(x) - _field(half - radius), np.abs(y) - _field(half - radius)
    outside = _length(np.maximum(across, 0), np.maximum(along, 0))
    return outside + np.minimum(np.maximum(across, along), 0) - _field(radius)


def _body(x: Field, y: Field) -> Field:
    return _box(x, y, half=0.76, radius=0.24)


def _features(scene: _Scene) -> list[Field]:
    """Return the distances to 4 bolt holes, 6 tapped holes and the keyway, negative inside."""
    bearings = scene.clocking + np.pi / 6 + np.arange(6) * np.pi / 3
    centres = [(sx * 0.56, sy * 0.56, 0.094) for sx in (-1, 1) for sy in (-1, 1)]
    centres += [(0.39 * np.cos(b), 0.39 * np.sin(b), 0.042) for b in bearings]
    keyway = _box(scene.x, scene.y + _field(scene.bore), half=0.055, radius=0.012)
    holes = [_length(scene.x - _field(x), scene.y - _field(y)) - _field(r) for x, y, r in centres]
    return [*holes, keyway]


def _surface(scene: _Scene, missing: int | None = None) -> _Surface:
    """Return the part as it was made; `missing` is the index of a feature left out."""
    x, y, pixel, chamfer = scene.x, scene.y, scene.pixel, scene.chamfer
    radius = _length(x, y)
    body, boss = _body(x, y), radius - _field(0.53)
    spot = _length(np.abs(x) - _field(0.56), np.abs(y) - _field(0.56)) - _field(0.148)
    made = [feature for index, feature in enumerate(_features(scene)) if index != missing]
    hole = np.minimum.reduce([radius - scene.bore, *made])
    groove = np.exp(-(((radius - _field(0.485)) / np.maximum(_field(0.011), pixel)) ** 2))
    edges = _plateau(body, 2.5 * chamfer) + _plateau(boss, 1.3 * chamfer)
    cuts = _plateau(spot, 0.8 * chamfer) + _plateau(hole - chamfer, chamfer)
    steel = np.maximum(_inside(boss, pixel), _inside(spot, pixel))
    marks = _field(np.interp(radius, np.linspace(0, 0.6, 64), scene.marks))
    cast = _field(0.15) * (1 + _field(0.04) * scene.grain)
    return _Surface(
        height=edges - cuts - _field(0.012) * groove,
        metal=_inside(body, pixel) * (1 - _inside(hole, pixel)),
        turned=_inside(boss, pixel) * _inside(chamfer - hole, pixel),
        albedo=_mix(cast, _field(0.11) * marks, steel),
        gloss=_mix(_field(0.12), _field(0.5) * marks, steel),
        tint=np.ones((*x.shape, 3), np.float32),
        beyond=np.where(body < -0.02, _inside_hole(scene, hole), _bench(scene)),
    )


def _inside_hole(scene: _Scene, hole: Field) -> Field:
    """Return the light out of a hole: the wall that faces the lamp shines, the depth is dark."""
    (lx, ly, _), (c, s) = scene.lamp, scene.turn
    down, right = np.gradient(hole, scene.pixel)
    facing = np.clip(-right * (c * lx - s * ly) - down * (s * lx + c * ly), 0, 1)
    depth = np.minimum(hole, 0) / _field(0.025)
    return _field(0.006 + 0.25 * facing * np.exp(depth))


def _bench(scene: _Scene) -> Field:
    """Return the light from the bench, with the part's soft shadow on it."""
    sx, sy, _ = 0.1 * _field(scene.lamp)
    shadow = 1 / (1 + np.exp(np.clip(_body(scene.x + sx, scene.y + sy) / _field(0.035), -9, 9)))
    stains = 1 + _field(0.07) * scene.clouds + _field(0.04) * scene.grain
    return _field(0.05 * stains * (1 - _field(0.75) * shadow))


def _photograph(scene: _Scene, surface: _Surface) -> Field:
    """Return the noiseless picture, [H, W, 3] in grey levels [0, 255]."""
    x, y, (lx, ly, lz), (c, s) = scene.x, scene.y, _field(scene.lamp), _field(scene.turn)
    down, right = np.gradient(surface.height, scene.pixel)
    slope_x, slope_y = c * right + s * down, c * down - s * right
    steep = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    diffuse = np.maximum((lz - lx * slope_x - ly * slope_y) * steep, 0)
    # half-way vector between the lamp and a camera four half widths above the part
    hx, hy, hz = lx - _field(0.25) * x, ly - _field(0.25) * y, 1 + lz
    norm = 1 / np.sqrt(hx**2 + hy**2 + hz**2)
    dull = np.exp(_field(16) * ((hz - hx * slope_x - hy * slope_y) * steep * norm - 1))
    outwards = norm / (_length(x, y) + _field(1e-3))  # Ward's gloss of a surface with ring marks
    along = (hy * x - hx * y + hz * (slope_y * x - slope_x * y)) * outwards
    across = (hx * x + hy * y + hz * (slope_x * x + slope_y * y)) * outwards
    silk = np.exp(-((along / _field(scene.finish)) ** 2) - (across / _field(0.55)) ** 2)
    shine = surface.gloss * _mix(dull, silk + _field(0.05), surface.turned)
    lit = surface.albedo * (_field(scene.ambient) + diffuse) + _field(1.2) * shine
    beyond = surface.beyond[..., None] * _field([0.92, 1, 1.1])  # dark things are bluish
    picture = _mix(beyond, lit[..., None] * surface.tint, surface.metal[..., None]) * scene.gain
    blurred = ndimage.gaussian_filter(picture, (scene.blur, scene.blur, 0), truncate=3)
    return _field(255 * np.sqrt(np.clip(blurred, 0, 1)))


def _mix(old: Field, new: ArrayLike, cover: Field) -> Field:
    return old + cover * (_field(new) - old)


def _place(rng: np.random.Generator, scene: _Scene, surface: _Surface) -> tuple[Field, Field]:
    """Return coordinates with a random spot of the metal as origin, turned at random."""
    spots = np.flatnonzero(surface.metal > 0.99)
    spot = spots[int(rng.random() * len(spots))]
    x, y = scene.x - scene.x.flat[spot], scene.y - scene.y.flat[spot]
    bearing = rng.uniform(0, 2 * np.pi)
    c, s = _field(np.cos(bearing)), _field(np.sin(bearing))
    return c * x + s * y, c * y - s * x


def _blob(
    rng: np.random.Generator, place: tuple[Field, Field], radius: float, ragged: float
) -> Field:
    """Return the distance from the centre of an irregular spot: 1.0 on its outline."""
    x, y = place
    bearing, outline = np.arctan2(y, x), np.ones_like(x)
    for wave in range(2, 6):
        swing, phase = _field(rng.normal(0, ragged / wave)), _field(rng.uniform(0, 2 * np.pi))
        outline += swing * np.cos(wave * bearing + phase)
    distance = _length(x * _field(rng.uniform(0.6, 1)), y)
    return distance / (_field(radius) * np.maximum(outline, _field(0.5)))


def _scratch(rng: np.random.Generator, scene: _Scene, surface: _Surface, force: float) -> _Surface:
    x, y = _place(rng, scene, surface)
    bend, bright = rng.normal(0, 0.35), rng.random() < 0.6
    half = np.exp(rng.uniform(np.log(0.08), np.log(0.4)))
    width = max(rng.uniform(0.005, 0.011), 0.6 * float(scene.pixel))
    line = np.zeros_like(x)
    for stroke in range(rng.choice([1, 2, 4], p=[0.6, 0.2, 0.2])):
        along = np.maximum(1 - ((x + _field(rng.normal(0, 0.03))) / half) ** 2, 0)
        across = y - bend * x**2 - 0.008 * np.sin(x / 0.1 + stroke) - 3.2 * width * stroke
        line = np.maximum(line, np.sqrt(along) * np.exp(-((across / width) ** 2)))
    cover = _field(np.clip(0.6 * force * line, 0, 1))
    return replace(
        surface,
        height=_field(surface.height - 0.6 * force * width * line),
        albedo=_mix(surface.albedo, 0.5 if bright else 0.03, cover),
        gloss=_mix(surface.gloss, 0.4 if bright else 0.05, cover),
    )


def _dent(rng: np.random.Generator, scene: _Scene, surface: _Surface, force: float) -> _Surface:
    radius = max(rng.uniform(0.03, 0.095), 2.5 * float(scene.pixel))
    t = _blob(rng, _place(rng, scene, surface), radius, ragged=0.06)
    bowl = np.exp(-1.2 * t**2) - 0.2 * np.exp(-(((t - 1.35) / 0.3) ** 2))
    return replace(surface, height=_field(surface.height - 0.4 * force * radius * bowl))


_DIRT = (  # colour, gloss, most of the metal that it hides
    ((0.012, 0.010, 0.007), 0.03, 0.96),  # grease
    ((0.10, 0.045, 0.02), 0.0, 0.85),  # rust
    ((0.62, 0.58, 0.46), 0.03, 0.9),  # sealant
    ((0.03, 0.06, 0.13), 0.05, 0.9),  # marking paint
)


def _contamination(
    rng: np.random.Generator, scene: _Scene, surface: _Surface, _force: float
) -> _Surface:
    colour, gloss, opacity = _DIRT[rng.integers(len(_DIRT))]
    for _ in range(rng.integers(1, 5)):
        radius = max(np.exp(rng.uniform(np.log(0.025), np.log(0.11))), 1.2 * float(scene.pixel))
        t = _blob(rng, _place(rng, scene, surface), radius, ragged=0.22)
        cover = np.clip((_field(1.1) - t) / _field(0.3), 0, 1) * _field(opacity)
        lump = _field(0.25 * radius) * np.maximum(1 - t**2, 0)
        surface = replace(
            surface,
            height=surface.height + lump,
            turned=_mix(surface.turned, 0, cover),
            albedo=_mix(surface.albedo, 1, cover),
            gloss=_mix(surface.gloss, gloss / 0.1, cover),
            tint=_mix(surface.tint, colour, cover[..., None]),
        )
    return surface


def _missing_feature(
    rng: np.random.Generator, scene: _Scene, _surface_made: _Surface, _force: float
) -> _Surface:
    return _surface(scene, missing=int(rng.integers(len(_features(scene)))))


_TINTS = (  # colour in the middle and at the edge
    ((0.42, 0.5, 0.85), (0.95, 0.72, 0.4)),  # heat: blue to straw
    ((0.6, 0.42, 0.6), (0.95, 0.75, 0.45)),  # heat: purple to straw
    ((0.36, 0.34, 0.3), (0.45, 0.42, 0.37)),  # oil film
    ((0.85, 0.62, 0.42), (0.75, 0.5, 0.32)),  # rust film
)


def _colour(rng: np.random.Generator, scene: _Scene, surface: _Surface, force: float) -> _Surface:
    radius = rng.uniform(0.13, 0.28)
    t = _blob(rng, _place(rng, scene, surface), radius, ragged=0.22)[..., None]
    middle, edge = _TINTS[rng.integers(len(_TINTS))]
    colour = _mix(_field(middle), edge, np.clip(t, 0, 1))
    cover = np.clip((_field(1.2) - t) / _field(0.6), 0, 1) * _field(min(1.0, 0.9 * force))
    return replace(surface, tint=_mix(surface.tint, colour, cover))


_DRAW: dict[str, Callable[[np.random.Generator, _Scene, _Surface, float], _Surface]] = {
    "scratch": _scratch,
    "dent": _dent,
    "contamination": _contamination,
    "missing_feature": _missing_feature,
    "colour": _colour,
}
DEFECTS: tuple[str, ...] = tuple(_DRAW)


def draw_sample(rng: np.random.Generator, kind: str = "good", *, size: int = 256) -> Sample:
    """Draw a square photograph, `size` pixels a side, of a good part or of one with a defect."""
    if kind != "good" and kind not in DEFECTS:
        raise ValueError(f"unknown kind {kind!r}: expected good, {', '.join(DEFECTS)}")
    if size < SMALLEST_SIZE:
        raise ValueError(f"size is {size} pixels: expected at least {SMALLEST_SIZE}")
    scene = _scene(rng, size)
    surface = _surface(scene)
    picture = _photograph(scene, surface)
    mask = np.zeros((size, size), dtype=np.bool_)
    if kind != "good":
        defective, mask = _deface(rng, scene, surface, picture, kind)
        picture = np.where(mask[..., None], defective, picture)
    noisy = picture + scene.noise * np.sqrt(_field(0.6) + _field(0.02) * picture)
    return Sample(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), mask, kind)


def _deface(
    rng: np.random.Generator, scene: _Scene, surface: _Surface, good: Field, kind: str
) -> tuple[Field, NDArray[np.bool_]]:
    """Return the defective picture and its mask; draw again, stronger, until it strikes the eye."""
    force = 1.0
    while True:
        picture = _photograph(scene, _DRAW[kind](rng, scene, surface, force))
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
