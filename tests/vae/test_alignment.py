"""Registration: known moves are found, textures are left alone."""

import math

import pytest
import torch
from torch import Tensor

from anomaly_vae.images.samples import draw_sample
from anomaly_vae.vae.alignment import Alignment, inverse, warp
from anomaly_vae.vae.maps import luminance

SIDE = 64


def pose(angle: float = 0.0, scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> Tensor:
    """A similarity; the shift in half widths, the angle in degrees."""
    a, b = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    return torch.tensor([[[a, -b, x], [b, a, y], [0, 0, 1]]])


def part() -> Tensor:
    """One smooth part, [1, 1, S, S]: a plate with an off-centre slot, bright on dark."""
    axis = (torch.arange(SIDE) + 0.5) * (2 / SIDE) - 1
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    plate = torch.sigmoid((0.6 - torch.maximum(u.abs(), v.abs())) * 30)
    bar = torch.sigmoid((0.08 - (u - 0.2).abs()) * 30) * torch.sigmoid((0.4 - v.abs()) * 30)
    return (0.2 + 0.5 * plate - 0.3 * bar)[None, None]


def moved(count: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The part at random poses and exposures, and the poses."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, 4, generator=generator) * spread
    poses = torch.cat([
        pose(120 * float(a), 1 + float(s), float(x), float(y)) for a, s, x, y in values
    ])  # fmt: skip
    exposure = 1 + 0.2 * torch.rand(count, 1, 1, 1, generator=generator)
    return warp(part().expand(count, -1, -1, -1), inverse(poses)) * exposure, poses


def test_an_inverse_undoes_its_pose() -> None:
    some = torch.cat([pose(4, 1.02, 0.03, -0.1), pose(-20, 0.9, 0.2, 0.0)])
    torch.testing.assert_close(inverse(some) @ some, torch.eye(3).expand(2, 3, 3))


def test_the_identity_leaves_an_image_as_it_is() -> None:
    image = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(warp(image, pose().expand(2, 3, 3)), image)


def test_a_shift_moves_whole_pixels() -> None:
    image = torch.rand(1, 1, 16, 16)
    shifted = warp(image, pose(x=2 / 16))
    torch.testing.assert_close(shifted[..., :-1], image[..., 1:])


def test_a_turn_of_a_long_image_turns_and_does_not_shear() -> None:
    """A square part in the middle of a frame twice as wide looks turned as in a square one."""
    wide = torch.full((1, 1, SIDE, 2 * SIDE), 0.2)
    wide[..., SIDE // 2 : -SIDE // 2] = part()
    # The unit of length is half the side of a square of as many pixels.
    turned = warp(wide, pose(10, 1, 0.1 / math.sqrt(2), 0.05 / math.sqrt(2)))
    expected = warp(part(), pose(10, 1, 0.1, 0.05))
    inner = slice(8, -8)
    found = turned[..., SIDE // 2 : -SIDE // 2]
    torch.testing.assert_close(
        found[..., inner, inner], expected[..., inner, inner], atol=0.01, rtol=0
    )


def test_the_pose_of_a_long_part_is_found() -> None:
    alignment = Alignment((SIDE, 2 * SIDE))
    images, _ = moved(40, 0.015)
    wide = torch.full((40, 1, SIDE, 2 * SIDE), 0.2)
    wide[..., SIDE // 2 : -SIDE // 2] = images
    alignment.fit([wide], [wide])
    aligned = warp(wide, alignment(wide))
    exposure = wide.mean((1, 2, 3), keepdim=True)
    assert (aligned / exposure).var(0).mean() < 0.3 * (wide / exposure).var(0).mean()


def test_the_pose_of_a_moved_part_is_found() -> None:
    images, _ = moved(40, 0.015)
    alignment = Alignment((SIDE, SIDE))
    alignment.fit([images], [images])
    test, true = moved(20, 0.015, seed=1)
    found = alignment(test)
    # Up to the mean pose of the template, which is one and the same for all.
    rest = found @ inverse(true)
    assert (alignment(test) != torch.eye(3)).any()
    assert (rest - rest.mean(0)).abs().max() < 0.008  # a quarter of a pixel
    aligned = warp(test, found)
    before = test.var(0).mean()
    assert (aligned / aligned.mean((1, 2, 3), keepdim=True)).var(0).mean() < 0.05 * before


def test_the_edge_of_a_region_of_interest_does_not_hold_a_part_where_it_is() -> None:
    inspected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inspected[6:58, 6:58] = True
    images, _ = moved(40, 0.015)
    test, true = moved(20, 0.015, seed=1)
    errors = []
    for seen in (inspected, None):
        alignment = Alignment((SIDE, SIDE), seen)
        alignment.fit([images * inspected], [images * inspected])
        rest = alignment(test * inspected) @ inverse(true)
        errors.append((rest - rest.mean(0)).abs().max().item())
    assert errors[0] < 0.01  # a third of a pixel
    assert errors[0] < 0.5 * errors[1]


def test_what_is_seen_of_a_part_is_laid_over_the_mean_one() -> None:
    inspected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inspected[:, :32] = True
    alignment = Alignment((SIDE, SIDE), inspected)
    poses = torch.cat([pose(x=-0.25), pose(), pose(), pose(x=0.25)])  # 8 pixels each
    alignment.forward = lambda luminance, levels=3: poses[: len(luminance)]  # type: ignore[method-assign, assignment]
    images = (torch.rand(4, 3, SIDE, SIDE) + 0.1) * inspected
    alignment.set_backdrop([images])
    assert alignment.known is not None and alignment.backdrop is not None
    # The first image shows columns up to 40, the two next ones up to 32, the last one up to 24.
    assert torch.equal(alignment.known[0].all(0), torch.arange(SIDE) < 32)
    by_hand = (images[0, :, :, 16:24] + images[1, :, :, 24:32] + images[2, :, :, 24:32]) / 3
    torch.testing.assert_close(alignment.backdrop[:, :, 24:32], by_hand)
    laid = alignment.laid_over(warp(images, poses), poses)
    torch.testing.assert_close(laid[3, :, :, :24], images[3, :, :, 8:32])
    torch.testing.assert_close(laid[3, :, :, 24:], alignment.backdrop[:, :, 24:])
    assert not laid[..., 32:].any()


def test_nothing_is_moved_where_the_region_of_interest_is_too_thin_to_see_it() -> None:
    inspected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inspected[30:34] = True
    images, _ = moved(30, 0.015)
    alignment = Alignment((SIDE, SIDE), inspected)
    alignment.fit([images * inspected], [images * inspected])
    assert (alignment(images) == torch.eye(3)).all()


def test_textures_are_left_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(40, 1, SIDE, SIDE, generator=generator)
    alignment = Alignment((SIDE, SIDE))
    alignment.fit([texture[:30]], [texture[30:]])
    assert (alignment(texture[30:]) == torch.eye(3)).all()


def test_no_pose_runs_away() -> None:
    images, _ = moved(30, 0.01)
    alignment = Alignment((SIDE, SIDE))
    alignment.fit([images], [images])
    upside_down = torch.flip(images, (2, 3))
    assert (alignment(upside_down) - torch.eye(3)).abs().max() <= alignment.limit.max() + 1e-6


@pytest.mark.parametrize("seed", [0, 1])
def test_drawn_parts_come_to_lie_alike(seed: int) -> None:
    import numpy as np

    drawn = [draw_sample(np.random.default_rng(100 * seed + k), size=SIDE).image for k in range(30)]
    images = luminance(torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255)
    alignment = Alignment((SIDE, SIDE))
    alignment.fit([images[:20]], [images[20:]])

    def spread(pictures: Tensor) -> Tensor:
        return (pictures / pictures.mean((1, 2, 3), keepdim=True)).var(0).mean()

    held_out = images[20:]
    assert spread(warp(held_out, alignment(held_out))) < 0.6 * spread(held_out)
