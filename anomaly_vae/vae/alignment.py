"""Turn and shift each image onto the mean good image, so that a pixel means the same place.

A part that lies a little differently in every photograph makes each edge look like a defect to a
model of pixels. Registration before the VAE takes that away; the anomaly map is turned back, so
that defects are reported where they are in the photograph. With a region of interest, which stays
where it is when the part moves, only pixels well inside of it are registered: its own edge, and
what is painted black beyond it, would say that nothing ever moves. After the turn, that edge lies
elsewhere in each image; so what is seen is laid over the mean good image, the backdrop.

Letters: N images, S x T pixels of the frame, s x t the same at a level; (u, v) coordinates, from -1
to 1 over a square, and in the same unit of length along both sides of other frames.
A pose, [N, 3, 3], is a similarity in homogeneous coordinates, (1 + a, -b, tx; b, 1 + a, ty;
0, 0, 1); ``pose @ other`` applies ``other`` first.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, grid_sample, max_pool2d

from anomaly_vae.vae.maps import luminance

_LEVELS = (4, 2, 1)  # the image at a quarter, half and its full size,
_STEPS = (6, 4, 3)  # and the number of steps at each
# Standard deviations of a and b (about: scale and radians) and of the shift, in half widths.
_PRIOR = (0.03, 0.06, 0.05, 0.05)
# Differences between aligned good images, as a share of white, and how many of them are
# independent (they are smooth): together they weigh what is seen against the prior.
_NOISE, _INDEPENDENT = 0.05, 100.0
# The rows turn (a, b, tx, ty) into the entries of a 3 x 3 matrix.
_GENERATORS = (
    (1.0, 0, 0, 0, 1, 0, 0, 0, 0),
    (0, -1.0, 0, 1, 0, 0, 0, 0, 0),
    (0, 0, 1.0, 0, 0, 0, 0, 0, 0),
    (0, 0, 0, 0, 0, 1.0, 0, 0, 0),
)
# Alignment is kept if it lowers the squared distance to the template to this share.
_WORTHWHILE = 0.9
# Width of the seam along the edge of a region of interest that is not registered, as a share of
# the shorter side: most parts move by less (the prior's shift is half of it).
_SEAM = 0.05
# A place of the part is known if this share of the training images shows it inside the region.
_KNOWN = 0.5


def warp(maps: Tensor, pose: Tensor, positions: Tensor | None = None) -> Tensor:
    """Resample maps, [N, C, s, t], so that (u, v) shows what was at pose(u, v).

    ``positions``, [1, s * t, 3], can be given to save their computation.
    """
    shape = maps.shape[-2:]
    where = _positions(shape).to(maps) if positions is None else positions
    grid = (where @ pose[:, :2].transpose(1, 2)).reshape(-1, *shape, 2)
    if shape[0] != shape[1]:
        grid = grid / grid.new_tensor(_reach(shape))
    return grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def inverse(pose: Tensor) -> Tensor:
    """Invert similarities in closed form (ONNX has no matrix inverse)."""
    a, b, tx, ty = pose[:, 0, 0], pose[:, 1, 0], pose[:, 0, 2], pose[:, 1, 2]
    square, zero = a**2 + b**2, torch.zeros_like(a)
    entries = [a, b, -a * tx - b * ty, -b, a, b * tx - a * ty, zero, zero, square]
    return (torch.stack(entries, -1) / square.unsqueeze(-1)).reshape(-1, 3, 3)


class Alignment(nn.Module):
    """Finds the pose of each image against the mean good image, the template.

    Inverse compositional Gauss-Newton (Baker and Matthews, IJCV 2004), coarse to fine. Each step
    is one warp and one fixed linear map, so that it exports to ONNX. Exposure and smooth light do
    not count. A Gaussian prior makes the pose a maximum a posteriori estimate: where the template
    has nothing to hold on to (textures), it stays the identity.
    """

    identity: Tensor
    limit: Tensor
    weight: Tensor
    """[1, 1, S, T], 1 where the template is compared, 0 elsewhere."""
    inspected: Tensor | None
    """[1, 1, S, T], 1 where a photograph is inspected, 0 elsewhere; none if it is everywhere."""
    backdrop: Tensor | None
    """[3, S, T], the mean good image where it is known, black elsewhere."""
    known: Tensor | None
    """[1, S, T], 1 where the part is known, 0 elsewhere."""

    def __init__(self, shape: tuple[int, int], inspected: Tensor | None = None) -> None:
        super().__init__()
        weight = torch.ones(1, 1, *shape) if inspected is None else _well_inside(inspected)
        self.register_buffer("weight", weight, persistent=False)
        kept = None if inspected is None else inspected.float()[None, None]
        self.register_buffer("inspected", kept, persistent=False)
        self.register_buffer("backdrop", None if kept is None else torch.zeros(3, *shape))
        self.register_buffer("known", None if kept is None else torch.zeros(1, *shape))
        height, width = shape
        self.shapes = tuple((height // level, width // level) for level in _LEVELS)
        self.register_buffer("identity", torch.eye(3), persistent=False)
        self.register_buffer("limit", _limit(), persistent=False)
        for level, small in enumerate(self.shapes):
            count = math.prod(small)
            self.register_buffer(f"positions{level}", _positions(small), persistent=False)
            self.register_buffer(f"template{level}", torch.zeros(count))
            self.register_buffer(f"unit{level}", torch.zeros(count, 1))  # seen to exposure
            self.register_buffer(f"gain{level}", torch.zeros(count, 9))  # residual to step
            self.register_buffer(f"pull{level}", torch.zeros(9, 9))  # pose to step, by the prior

    def forward(self, luminance: Tensor, levels: int = len(_LEVELS)) -> Tensor:
        """Give the poses, [N, 3, 3], of images, [N, 1, S, T]; ``warp(image, pose)`` is aligned."""
        pose = self.identity.expand(luminance.shape[0], 3, 3)
        for level in range(levels):
            small = avg_pool2d(luminance, _LEVELS[level])
            for _ in range(_STEPS[level]):
                pose = self._improved(pose, small, level)
            # A part that lies elsewhere must not be turned into one that lies in its place.
            pose = self.identity + (pose - self.identity).clamp(-self.limit, self.limit)
        return pose

    def laid_over(self, aligned: Tensor, pose: Tensor) -> Tensor:
        """Lay what is inspected of aligned images, [N, 3, S, T], over the backdrop.

        Black outside, they are already multiplied by how much of each pixel is inspected.
        """
        if self.inspected is None or self.backdrop is None or self.known is None:
            return aligned
        return self.known * aligned + (1 - self._shown(pose)) * self.backdrop

    @torch.no_grad()
    def set_backdrop(self, pixels: Iterable[Tensor]) -> None:
        """Set the mean good image from batches of training images, [N, 3, S, T], after ``fit``."""
        if self.inspected is None or self.backdrop is None or self.known is None:
            return
        total, shown, count = torch.zeros_like(self.backdrop), torch.zeros_like(self.known), 0
        for batch in pixels:
            pose = self(luminance(batch))
            total += warp(batch, pose).sum(0)
            shown += self._shown(pose).sum(0)
            count += len(batch)
        self.known.copy_(shown >= _KNOWN * count)
        self.backdrop.copy_(self.known * total / shown.clamp_min(1e-3))

    def _shown(self, pose: Tensor) -> Tensor:
        """Give how much of each pixel of the aligned image is inspected, [N, 1, S, T]."""
        assert self.inspected is not None  # noqa: S101 - checked by the callers
        return warp(self.inspected.expand(pose.shape[0], -1, -1, -1), pose)

    def _improved(self, pose: Tensor, luminance: Tensor, level: int) -> Tensor:
        """One step of Gauss-Newton for images, [N, 1, s, t], at the shape of ``level``."""
        seen = warp(luminance, pose, self._table("positions", level)).flatten(1)
        exposure = (seen @ self._table("unit", level)).clamp_min(1e-3)
        residual = seen / exposure - self._table("template", level)
        moved = (pose - self.identity).flatten(1)
        step = residual @ self._table("gain", level) + moved @ self._table("pull", level)
        return pose @ (self.identity - step.reshape(-1, 3, 3))

    @torch.no_grad()
    def fit(self, light: Iterable[Tensor], held_out: Iterable[Tensor]) -> None:
        """Set the template from luminances of good images: coarse first, then finer.

        Both are batches, [N, 1, S, T], that can be gone through several times. Where this brings
        ``held_out`` good images hardly nearer to the template (textures, parts at any angle), the
        alignment is switched off: all poses are the identity.
        """
        poses = [self.identity.expand(len(batch), 3, 3) for batch in light]
        for levels in range(1, len(_LEVELS) + 1):
            self._set_template(_mean(light, poses))
            poses = [self(batch, levels) for batch in light]
            mean = torch.cat(poses).mean(0, keepdim=True)
            poses = [pose @ inverse(mean) for pose in poses]  # the mean pose becomes the identity
        self._set_template(_mean(light, poses))
        if not self._helps(held_out):
            for level in range(len(_LEVELS)):
                self._table("gain", level).zero_()
                self._table("pull", level).zero_()

    def _helps(self, images: Iterable[Tensor]) -> bool:
        """Whether their own poses bring images nearer to the template than each other's do.

        (Compared with no pose at all, the smoothing of any resampling would look like a gain.)
        """
        template = self._table("template", len(_LEVELS) - 1)
        poses = [self(batch) for batch in images]
        rolled = torch.split(torch.cat(poses).roll(1, 0), [len(pose) for pose in poses])
        own, others = (
            sum(
                _distance(warp(batch, pose), template, self.weight)
                for batch, pose in zip(images, each, strict=True)
            )
            for each in (poses, rolled)
        )
        return own < _WORTHWHILE * others

    def _set_template(self, template: Tensor) -> None:
        """Precompute the steps towards ``template``, [1, 1, S, T], at all levels."""
        generators = torch.tensor(_GENERATORS).to(template)
        precision = torch.tensor(_PRIOR).to(template) ** -2
        for level, shape in enumerate(self.shapes):
            small = adaptive_avg_pool2d(template, shape)[0, 0]
            weight = adaptive_avg_pool2d(self.weight, shape)[0, 0].floor()
            jacobian = _jacobian(small, weight)
            prior = torch.diag(_NOISE**2 * math.prod(shape) / _INDEPENDENT * precision)
            hessian = jacobian.T @ jacobian + prior
            flat = (small * weight).reshape(-1, 1)
            self._table("template", level).copy_(flat[:, 0])
            self._table("unit", level).copy_(flat / flat.square().sum().clamp_min(1e-12))
            gain = torch.linalg.solve(hessian, jacobian.T).T @ generators
            self._table("gain", level).copy_(gain)
            pull = torch.linalg.pinv(generators) @ torch.linalg.solve(hessian, prior).T @ generators
            self._table("pull", level).copy_(pull)

    def _table(self, name: str, level: int) -> Tensor:
        return self.get_buffer(f"{name}{level}")


def _positions(shape: Sequence[int]) -> Tensor:
    """Homogeneous coordinates, [1, s * t, 3], of the centres of the pixels."""
    u, v = _axes(shape)
    return torch.stack([u, v, torch.ones_like(u)], -1).reshape(1, math.prod(shape), 3)


def _axes(shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Give u and v of the centres of the pixels, [s, t] each, both in the same unit of length."""
    across, down = _reach(shape)
    v, u = (
        ((torch.arange(side) + 0.5) * (2 / side) - 1) * far
        for side, far in zip(shape, (down, across), strict=True)
    )
    v, u = torch.meshgrid(v, u, indexing="ij")
    return u, v


def _reach(shape: Sequence[int]) -> tuple[float, float]:
    """Give the largest u and v of a shape, [s, t]: 1 each of a square, of as many pixels others."""
    return math.sqrt(shape[1] / shape[0]), math.sqrt(shape[0] / shape[1])


def _limit() -> Tensor:
    """Largest deviation from the identity, [3, 3]: four standard deviations of the prior."""
    a, b, tx, ty = (4 * deviation for deviation in _PRIOR)
    return torch.tensor([[a, b, tx], [b, a, ty], [0, 0, 0]])


def _well_inside(inspected: Tensor) -> Tensor:
    """Give a weight, [1, 1, S, T], of 1 where all pixels around are inspected, and 0 elsewhere."""
    seam = max(1, round(_SEAM * min(inspected.shape)))
    outside = (~inspected).float()[None, None]
    return 1 - max_pool2d(outside, 2 * seam + 1, 1, seam)


def _distance(images: Tensor, template: Tensor, weight: Tensor) -> float:
    """Squared difference to the template, of all, after each image's own exposure is taken out."""
    rows, template = (images * weight).flatten(1), template.flatten()
    exposure = (rows @ template / template.square().sum()).unsqueeze(1).clamp_min(1e-3)
    return float((rows / exposure - template).square().mean(1).sum())


def _mean(light: Iterable[Tensor], poses: Sequence[Tensor]) -> Tensor:
    pairs = zip(light, poses, strict=True)
    total = torch.stack([warp(batch, pose).sum(0) for batch, pose in pairs]).sum(0)
    return total.unsqueeze(0) / sum(map(len, poses))


def _jacobian(template: Tensor, weight: Tensor) -> Tensor:
    """How the template, [s, t], changes with (a, b, tx, ty), [s * t, 4], smooth light left out.

    Only where ``weight``, [s, t], is 1.
    """
    u, v = (axis.to(template) for axis in _axes(template.shape))
    # Pixels are as far apart along both.
    along_v, along_u = torch.gradient(template, spacing=2 / math.sqrt(template.numel()))
    columns = [along_u * u + along_v * v, along_v * u - along_u * v, along_u, along_v]
    jacobian = (torch.stack(columns, -1) * weight[..., None]).reshape(-1, 4)
    smooth = [torch.ones_like(u), u, v, template, template * u, template * v]
    light, _ = torch.linalg.qr((torch.stack(smooth, -1) * weight[..., None]).reshape(-1, 6))
    steep: Tensor = jacobian - light @ (light.T @ jacobian)
    return steep
