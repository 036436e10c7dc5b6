"""Drawn defects: as large and as strong as wished, on the part, the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import lil_array
from scipy.sparse.linalg import spsolve

from anomaly_vae.images.drawn import AS_THEY_ARE, KINDS, Drawn, Wish, draw_defects
from anomaly_vae.images.part import Part, measure_part
from anomaly_vae.images.patches import blended
from anomaly_vae.images.samples import draw_sample

CONTRASTS = (10.0, 40.0)
WISHES = [
    Wish(number % 4, kind, size, CONTRASTS[0] if kind in AS_THEY_ARE else contrast)
    for number, (kind, size, contrast) in enumerate(
        (kind, size, contrast) for kind in KINDS for size in (4.0, 12.0) for contrast in CONTRASTS
    )
]


@pytest.fixture(scope="module")
def photographs() -> list[NDArray[np.uint8]]:
    return [draw_sample(np.random.default_rng(seed), size=160).image for seed in range(4)]


@pytest.fixture(scope="module")
def part(photographs: list[NDArray[np.uint8]]) -> Part:
    return measure_part(photographs)


@pytest.fixture(scope="module")
def drawn(photographs: list[NDArray[np.uint8]], part: Part) -> list[Drawn]:
    return list(draw_defects(photographs, part, WISHES, seed=0))


def test_each_kind_is_drawn_in_each_size(drawn: list[Drawn]) -> None:
    assert {(each.wish.kind, each.wish.size) for each in drawn} == {
        (kind, size) for kind in KINDS for size in (4.0, 12.0)
    }
    assert len(drawn) >= 0.9 * len(WISHES)


def test_size_and_contrast_are_those_that_were_wished(
    drawn: list[Drawn], photographs: list[NDArray[np.uint8]]
) -> None:
    for each in drawn:
        before = photographs[each.wish.photograph].astype(int)
        change = np.abs(each.image - before).max(-1)
        assert each.contrast == pytest.approx(change[each.mask].mean())
        assert each.size == pytest.approx(2 * np.sqrt(each.mask.sum() / np.pi))
        assert 1 / 1.6 <= each.size / each.wish.size <= 1.6
        assert each.contrast >= each.wish.contrast / 1.3
        assert each.wish.kind in AS_THEY_ARE or each.contrast <= 1.3 * each.wish.contrast


def test_it_lies_on_the_part_and_changes_nothing_far_from_it(
    drawn: list[Drawn], photographs: list[NDArray[np.uint8]], part: Part
) -> None:
    for each in drawn:
        photograph = photographs[each.wish.photograph]
        assert part.mask(photograph)[each.mask].mean() >= 0.95
        left, top, right, bottom = each.box
        far = 10 + int(2 * each.wish.size)
        rest = np.ones(each.mask.shape, bool)
        rest[max(0, top - far) : bottom + far, max(0, left - far) : right + far] = False
        assert rest.any()
        assert (each.image == photograph)[rest].all()
        assert not each.mask[rest].any()


def test_the_same_seed_draws_the_same(
    drawn: list[Drawn], photographs: list[NDArray[np.uint8]], part: Part
) -> None:
    def first(seed: int) -> list[Drawn]:
        return list(draw_defects(photographs, part, WISHES[:6], seed=seed))

    for again, each in zip(first(0), drawn, strict=False):
        np.testing.assert_array_equal(again.image, each.image)
    assert any((a.mask != b.mask).any() for a, b in zip(first(0), first(1), strict=False))


def test_a_grey_photograph_stays_grey_and_a_coloured_one_gets_spots_of_colour(
    photographs: list[NDArray[np.uint8]], part: Part
) -> None:
    wish = Wish(0, "stain", 12.0, 30.0)
    grey = np.repeat(photographs[0][..., :1], 3, -1)
    (on_grey,) = draw_defects([grey], part, [wish], seed=0)
    assert (np.ptp(on_grey.image, axis=-1) == 0).all()
    (coloured,) = draw_defects(photographs, part, [wish], seed=0)
    change = (coloured.image - photographs[0].astype(int))[coloured.mask].mean(0)
    assert np.ptp(np.abs(change)) > 3


def test_what_a_photograph_does_not_allow_is_left_out(
    photographs: list[NDArray[np.uint8]], part: Part
) -> None:
    flat = np.full((160, 160, 3), 90, np.uint8)
    everywhere = replace(part, background=False)
    # Nothing is strange there, so that what blends in or takes away changes nothing.
    wishes = [Wish(0, "blended", 12.0, 5.0), Wish(0, "missing", 12.0, 5.0)]
    assert list(draw_defects([flat], everywhere, wishes, seed=0)) == []
    assert list(draw_defects(photographs, part, [Wish(0, "spot", 150.0, 20.0)], seed=0)) == []
    wish = Wish(0, "spot", 6.0, 20.0)
    nowhere = np.zeros((160, 160), bool)
    drawn = draw_defects(photographs, part, [wish], seed=0, inspected=lambda *_: nowhere)
    assert list(drawn) == []


def test_a_blended_patch_solves_the_poisson_equation() -> None:
    rng = np.random.default_rng(0)
    before, patch = rng.uniform(0, 255, (2, 12, 14, 3)).astype(np.float32)
    cover = np.zeros((12, 14), np.float32)
    cover[3:9, 4:11] = 1
    inside = np.argwhere(cover == 1)
    number = {tuple(place): i for i, place in enumerate(inside)}
    matrix, right = lil_array((len(inside), len(inside))), np.zeros((len(inside), 3))
    for (row, column), i in number.items():
        matrix[i, i] = -4
        for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            right[i] += patch[near] - patch[row, column]
            if near in number:
                matrix[i, number[near]] = 1
            else:
                right[i] -= before[near]
    expected = before.copy()
    expected[3:9, 4:11] = spsolve(matrix.tocsr(), right).reshape(6, 7, 3)
    np.testing.assert_allclose(blended(before, patch, cover), expected, atol=1e-2)


def test_nothing_changes_beside_what_counts_as_the_defect(
    drawn: list[Drawn], photographs: list[NDArray[np.uint8]]
) -> None:
    # Soft edges apart: those are half as strong at the outline.
    for each in drawn:
        if each.wish.kind != "stain":
            change = np.abs(each.image - photographs[each.wish.photograph].astype(int)).max(-1)
            beside = (change > 0.75 * each.contrast) & ~each.mask
            assert beside.sum() <= 0.1 * each.mask.sum() + 2, each.wish
