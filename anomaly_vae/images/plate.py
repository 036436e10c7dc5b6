"""A machined cover plate: its shape, its surface, and how lamp and lens see it.

Good parts differ as they do on a line: pose, light, exposure, finish, tolerances. A long part is a
rail: its body goes on, and what is made in a plate is made in it again and again.

H, W: height and width in pixels. A Field is float32 [H, W] unless another shape is given. Lengths
are in halves of the shorter side, x to the right, y down, from the part's centre. Light is linear,
1.0 is the sensor's white.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """What differs between two photographs of good parts."""

    x: Field  # part coordinates: the pose is taken out
    y: Field
    u: Field  # the same from the centre of the nearest plate of a rail
    v: Field
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
        """Width of a pixel."""
        return np.float32(2 / min(self.x.shape))

    @property
    def reach(self) -> tuple[float, float]:
        """Half width and half height of the picture; 1 is the shorter one."""
        return _reach(self.x.shape)


@dataclass(frozen=True)
class Surface:
    """The part as the lamp meets it."""

    height: Field
    metal: Field  # share of the pixel that is metal seen from above, not hole or bench
    turned: Field  # share with the silky gloss of turning marks
    albedo: Field  # diffuse reflectance
    gloss: Field  # specular reflectance
    tint: Field  # [H, W, 3] colour of both
    beyond: Field  # light from where there is no metal: bench, shadow, inside of holes


def draw_scene(rng: np.random.Generator, shape: tuple[int, int]) -> Scene:
    """Draw a pose, a lamp, a finish and a camera for a picture of ``shape``, height and width."""
    size, (wide, high) = min(shape), _reach(shape)
    column, row = np.meshgrid(
        *(
            (np.arange(side, dtype=np.float32) + 0.5) * (2 / size) - as_field(far)
            for side, far in ((shape[1], wide), (shape[0], high))
        )
    )
    angle = np.radians(rng.uniform(-4, 4)) / max(wide, high)  # no end leaves the picture
    scale = rng.uniform(0.98, 1.02)
    c, s = float(np.cos(angle)), float(np.sin(angle))
    right, down = ((side - rng.uniform(-0.035, 0.035)) / scale for side in (column, row))
    azimuth, tilt = np.radians(rng.normal(-125, 28)) - angle, np.radians(rng.uniform(30, 44))
    falloff, downhill = rng.uniform(0.0, 0.25), rng.uniform(0, 2 * np.pi)
    uneven = 1 + falloff * (column / wide * np.cos(downhill) + row / high * np.sin(downhill))
    white = 2 ** rng.uniform(-0.35, 0.35) * (1 + rng.normal(0, 0.025) * np.array([1, 0, -1]))
    coarse = _normal(rng, -int(-8 * high // 1), -int(-8 * wide // 1))
    clouds = ndimage.zoom(coarse, size / 8, order=1, grid_mode=True, mode="nearest")
    x, y = as_field(c * right + s * down), as_field(c * down - s * right)
    return Scene(
        x=x,
        y=y,
        u=_repeated(x, wide),
        v=_repeated(y, high),
        turn=(c, s),
        clocking=rng.uniform(-0.05, 0.05),
        bore=np.float32(rng.uniform(0.205, 0.22)),
        chamfer=np.float32(max(rng.uniform(0.018, 0.026), 3 / size)),
        finish=rng.uniform(0.16, 0.24),
        marks=1 + as_field(0.04) * _normal(rng, 64),
        grain=_unit(ndimage.gaussian_filter(_normal(rng, *shape), 0.8, truncate=3)),
        clouds=_unit(ndimage.uniform_filter(clouds[: shape[0], : shape[1]], size // 8)),
        lamp=(np.cos(azimuth) * np.sin(tilt), np.sin(azimuth) * np.sin(tilt), np.cos(tilt)),
        ambient=rng.uniform(0.3, 0.5),
        gain=as_field(uneven[..., None] * white),
        blur=rng.uniform(0.55, 0.85),
        noise=_normal(rng, *shape, 3),
    )


def as_field(values: ArrayLike) -> Field:
    """Return values as float32."""
    return np.asarray(values, dtype=np.float32)


def _reach(shape: tuple[int, ...]) -> tuple[float, float]:
    return shape[1] / min(shape), shape[0] / min(shape)


def _repeated(x: Field, reach: float) -> Field:
    """Return coordinates from the centre of the nearest of the plates that a rail consists of."""
    plates = int(reach)
    step = as_field(2 * reach / plates)
    middle = (plates - 1) / 2
    nearest = np.clip(np.rint(x / step + as_field(middle)), 0, plates - 1) - as_field(middle)
    return as_field(x - step * nearest)


def _normal(rng: np.random.Generator, *shape: int) -> Field:
    return rng.standard_normal(shape, dtype=np.float32)


def _unit(field: Field) -> Field:
    return as_field((field - field.mean()) / field.std())


def length(x: Field, y: Field) -> Field:
    """Return the length of vectors."""
    return np.sqrt(x * x + y * y)  # several times faster than numpy.hypot


def _inside(distance: Field, edge: np.float32) -> Field:
    """Return 1 inside (negative distance) and 0 outside, across an edge of the given width."""
    return np.clip(as_field(0.5) - distance / edge, 0, 1)


def _plateau(distance: Field, width: np.float32) -> Field:
    """Return the height of a plateau whose rounded edge rises inwards from distance 0."""
    t = np.clip(-distance / width, 0, 1)
    return as_field(width * t * t * (3 - 2 * t))


def _box(
    x: Field, y: Field, half: float, radius: float, reach: tuple[float, float] = (1, 1)
) -> Field:
    """Return the signed distance to a square with rounded corners, negative inside.

    In a longer picture, of a larger ``reach``, it is longer by as much.
    """
    across = np.abs(x) - as_field(half - radius + reach[0] - 1)
    along = np.abs(y) - as_field(half - radius + reach[1] - 1)
    outside = length(np.maximum(across, 0), np.maximum(along, 0))
    return outside + np.minimum(np.maximum(across, along), 0) - as_field(radius)


def _body(x: Field, y: Field, reach: tuple[float, float]) -> Field:
    return _box(x, y, 0.76, 0.24, reach)


def made_features(scene: Scene) -> list[Field]:
    """Return the distances to 4 bolt holes, 6 tapped holes and the keyway, negative inside."""
    bearings = scene.clocking + np.pi / 6 + np.arange(6) * np.pi / 3
    centres = [(sx * 0.56, sy * 0.56, 0.094) for sx in (-1, 1) for sy in (-1, 1)]
    centres += [(0.39 * np.cos(b), 0.39 * np.sin(b), 0.042) for b in bearings]
    keyway = _box(scene.u, scene.v + as_field(scene.bore), half=0.055, radius=0.012)
    holes = [
        length(scene.u - as_field(x), scene.v - as_field(y)) - as_field(r) for x, y, r in centres
    ]
    return [*holes, keyway]


def make_surface(scene: Scene, missing: int | None = None) -> Surface:
    """Return the part as it was made; `missing` is the index of a feature left out."""
    u, v, pixel, chamfer = scene.u, scene.v, scene.pixel, scene.chamfer
    radius = length(u, v)
    body, boss = _body(scene.x, scene.y, scene.reach), radius - as_field(0.53)
    spot = length(np.abs(u) - as_field(0.56), np.abs(v) - as_field(0.56)) - as_field(0.148)
    made = [feature for index, feature in enumerate(made_features(scene)) if index != missing]
    hole = np.minimum.reduce([radius - scene.bore, *made])
    groove = np.exp(-(((radius - as_field(0.485)) / np.maximum(as_field(0.011), pixel)) ** 2))
    edges = _plateau(body, 2.5 * chamfer) + _plateau(boss, 1.3 * chamfer)
    cuts = _plateau(spot, 0.8 * chamfer) + _plateau(hole - chamfer, chamfer)
    steel = np.maximum(_inside(boss, pixel), _inside(spot, pixel))
    marks = as_field(np.interp(radius, np.linspace(0, 0.6, 64), scene.marks))
    cast = as_field(0.15) * (1 + as_field(0.04) * scene.grain)
    return Surface(
        height=edges - cuts - as_field(0.012) * groove,
        metal=_inside(body, pixel) * (1 - _inside(hole, pixel)),
        turned=_inside(boss, pixel) * _inside(chamfer - hole, pixel),
        albedo=mix(cast, as_field(0.11) * marks, steel),
        gloss=mix(as_field(0.12), as_field(0.5) * marks, steel),
        tint=np.ones((*u.shape, 3), np.float32),
        beyond=np.where(body < -0.02, _inside_hole(scene, hole), _bench(scene)),
    )


def _inside_hole(scene: Scene, hole: Field) -> Field:
    """Return the light out of a hole: the wall that faces the lamp shines, the depth is dark."""
    (lx, ly, _), (c, s) = scene.lamp, scene.turn
    down, right = np.gradient(hole, scene.pixel)
    facing = np.clip(-right * (c * lx - s * ly) - down * (s * lx + c * ly), 0, 1)
    depth = np.minimum(hole, 0) / as_field(0.025)
    return as_field(0.006 + 0.25 * facing * np.exp(depth))


def _bench(scene: Scene) -> Field:
    """Return the light from the bench, with the part's soft shadow on it."""
    sx, sy, _ = 0.1 * as_field(scene.lamp)
    body = _body(scene.x + sx, scene.y + sy, scene.reach)
    shadow = 1 / (1 + np.exp(np.clip(body / as_field(0.035), -9, 9)))
    stains = 1 + as_field(0.07) * scene.clouds + as_field(0.04) * scene.grain
    return as_field(0.05 * stains * (1 - as_field(0.75) * shadow))


def photograph(scene: Scene, surface: Surface) -> Field:
    """Return the noiseless picture, [H, W, 3] in grey levels [0, 255]."""
    x, y, (lx, ly, lz), (c, s) = scene.x, scene.y, as_field(scene.lamp), as_field(scene.turn)
    down, right = np.gradient(surface.height, scene.pixel)
    slope_x, slope_y = c * right + s * down, c * down - s * right
    steep = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    diffuse = np.maximum((lz - lx * slope_x - ly * slope_y) * steep, 0)
    # half-way vector between the lamp and a camera four half lengths above the part
    far = as_field(0.25 / max(scene.reach))
    hx, hy, hz = lx - far * x, ly - far * y, 1 + lz
    norm = 1 / np.sqrt(hx**2 + hy**2 + hz**2)
    dull = np.exp(as_field(16) * ((hz - hx * slope_x - hy * slope_y) * steep * norm - 1))
    u, v = scene.u, scene.v
    outwards = norm / (length(u, v) + as_field(1e-3))  # Ward's gloss of a surface with ring marks
    along = (hy * u - hx * v + hz * (slope_y * u - slope_x * v)) * outwards
    across = (hx * u + hy * v + hz * (slope_x * u + slope_y * v)) * outwards
    silk = np.exp(-((along / as_field(scene.finish)) ** 2) - (across / as_field(0.55)) ** 2)
    shine = surface.gloss * mix(dull, silk + as_field(0.05), surface.turned)
    lit = surface.albedo * (as_field(scene.ambient) + diffuse) + as_field(1.2) * shine
    beyond = surface.beyond[..., None] * as_field([0.92, 1, 1.1])  # dark things are bluish
    picture = mix(beyond, lit[..., None] * surface.tint, surface.metal[..., None]) * scene.gain
    blurred = ndimage.gaussian_filter(picture, (scene.blur, scene.blur, 0), truncate=3)
    return as_field(255 * np.sqrt(np.clip(blurred, 0, 1)))


def mix(old: Field, new: ArrayLike, cover: Field) -> Field:
    """Lay ``new`` over ``old`` with the opacity ``cover``, from 0 to 1."""
    return old + cover * (as_field(new) - old)
