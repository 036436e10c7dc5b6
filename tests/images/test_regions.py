"""From an anomaly map to boxes, areas and centroids in pixels of the photograph."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from anomaly_vae.images.decoding import LoadedImage, Placement
from anomaly_vae.images.quality import image_statistics
from anomaly_vae.images.regions import Region, enlarged, find_regions

SIDE = 64
Map = NDArray[np.float32]


def photo(width: int, height: int, *, fit: str = "stretch", side: int = SIDE) -> LoadedImage:
    """What ``load_image`` gives for a photograph of this size, in black."""
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    if fit == "stretch":
        place = Placement(side / width, side / height, 0, 0)
        return LoadedImage(pixels, width, height, place, image_statistics(pixels))
    scale = side / max(width, height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - inner[0]) // 2, (side - inner[1]) // 2
    place = Placement(inner[0] / width, inner[1] / height, left, top)
    return LoadedImage(pixels, width, height, place, image_statistics(pixels))


def painted(*spots: tuple[slice, slice, float], side: int = SIDE) -> Map:
    values = np.zeros((side, side), dtype=np.float32)
    for rows, columns, value in spots:
        values[rows, columns] = value
    return values


def box(region: Region) -> tuple[int, int, int, int]:
    return region.x, region.y, region.width, region.height


# --- where a region lies


def test_a_stretched_photograph_gets_its_own_proportions_back() -> None:
    # 128 x 32 in a square of 64: a pixel of the square is 2 wide and half a pixel high.
    spots = painted((slice(8, 16), slice(20, 30), 5))
    (region,) = find_regions(spots, photo(128, 32), 1)
    assert box(region) == (40, 4, 20, 4)
    assert region.area == pytest.approx(80)
    assert (region.centroid_x, region.centroid_y) == (pytest.approx(50), pytest.approx(6))
    assert (region.peak, region.mean) == (5, 5)


def test_a_letterboxed_photograph_gets_its_own_place_back() -> None:
    # 128 x 32 in a square of 64: half the size, in the rows 24 to 40.
    spots = painted((slice(28, 32), slice(20, 30), 5))
    (region,) = find_regions(spots, photo(128, 32, fit="letterbox"), 1)
    assert box(region) == (40, 8, 20, 8)
    assert region.area == pytest.approx(160)
    assert (region.centroid_x, region.centroid_y) == (pytest.approx(50), pytest.approx(12))


def test_the_border_of_a_letterbox_is_never_part_of_a_region() -> None:
    everywhere = painted((slice(None), slice(None), 5))
    (region,) = find_regions(everywhere, photo(128, 32, fit="letterbox"), 1)
    assert box(region) == (0, 0, 128, 32)
    assert region.area == pytest.approx(128 * 32)


def test_a_peak_in_the_border_of_a_letterbox_does_not_count() -> None:
    spots = painted((slice(0, 4), slice(0, 4), 100), (slice(30, 32), slice(10, 12), 3))
    (region,) = find_regions(spots, photo(128, 32, fit="letterbox"), 1)
    assert (region.x, region.peak) == (20, 3)


def test_the_whole_square_is_the_whole_photograph() -> None:
    (region,) = find_regions(painted((slice(None), slice(None), 5)), photo(50, 77), 1)
    assert box(region) == (0, 0, 50, 77)
    assert region.area == pytest.approx(50 * 77)


def test_a_region_at_the_far_corner_of_a_small_photograph_lies_in_it() -> None:
    spots = painted((slice(SIDE - 1, SIDE), slice(SIDE - 1, SIDE), 5))
    (region,) = find_regions(spots, photo(16, 16), 1)  # a quarter of a pixel wide
    assert box(region) == (15, 15, 1, 1)


@settings(deadline=None, max_examples=40, derandomize=True, database=None)
@given(
    width=st.integers(2, 300),
    height=st.integers(2, 300),
    fit=st.sampled_from(["stretch", "letterbox"]),
    seed=st.integers(0, 50),
)
def test_every_box_lies_in_the_photograph_and_holds_its_centroid(
    width: int, height: int, fit: str, seed: int
) -> None:
    noisy = np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)
    for region in find_regions(noisy, photo(width, height, fit=fit), 2.5):
        assert 0 <= region.x < region.x + region.width <= width
        assert 0 <= region.y < region.y + region.height <= height
        assert region.x <= region.centroid_x <= region.x + region.width
        assert region.y <= region.centroid_y <= region.y + region.height


def test_the_mean_is_that_of_the_region_alone() -> None:
    spots = painted((slice(4, 6), slice(4, 6), 2), (slice(6, 8), slice(4, 6), 4))
    (region,) = find_regions(spots, photo(64, 64), 1)
    assert (region.peak, region.mean) == (4, 3)


# --- what shape it has


@pytest.mark.parametrize(
    ("rows", "columns", "elongation"),
    [
        (slice(8, 16), slice(20, 30), 5.0),  # 20 x 4 pixels of the photograph
        (slice(8, 16), slice(20, 22), 1.0),  # 4 x 4
        (slice(8, 9), slice(20, 21), 4.0),  # 2 x 1/2: one pixel of the square
        (slice(0, 64), slice(20, 21), 16.0),  # 2 x 32, upright
    ],
)
def test_the_elongation_of_a_rectangle_is_that_of_its_sides(
    rows: slice, columns: slice, elongation: float
) -> None:
    (region,) = find_regions(painted((rows, columns, 5)), photo(128, 32), 1)
    assert region.elongation == pytest.approx(elongation)


@pytest.mark.parametrize("size", [(256, 256), (512, 128)])
@pytest.mark.parametrize(("long", "short"), [(30, 30), (40, 10), (50, 25)])
@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_an_ellipse_has_the_elongation_of_its_axes_at_any_angle(
    size: tuple[int, int], long: int, short: int, angle: int
) -> None:
    image, side, turn = photo(*size, side=256), 256, np.radians(angle)
    place = image.placement
    centres = np.arange(side) + 0.5
    x, y = centres / place.scale_x - size[0] / 2, centres[:, None] / place.scale_y - size[1] / 2
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    ellipse = (along / long) ** 2 + (across / short) ** 2 <= 1
    (region,) = find_regions(ellipse.astype(np.float32), image, 0.5)
    assert region.elongation == pytest.approx(long / short, rel=0.03)
    assert region.area == pytest.approx(np.pi * long * short, rel=0.03)
    assert region.equivalent_diameter == pytest.approx(2 * np.sqrt(long * short), rel=0.015)


@settings(deadline=None, max_examples=40, derandomize=True, database=None)
@given(width=st.integers(2, 300), height=st.integers(2, 300), seed=st.integers(0, 50))
def test_the_elongation_is_that_of_points_spread_over_the_region(
    width: int, height: int, seed: int
) -> None:
    image, fine = photo(width, height), 30
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    smooth = ndimage.gaussian_filter(noise, 2).astype(np.float32)
    limit = float(smooth.max() * 0.8)
    region = find_regions(smooth, image, limit)[0]
    labels, _ = ndimage.label(smooth > limit, np.ones((3, 3)))
    member = labels == labels.flat[np.argmax(smooth)]
    ys, xs = (np.nonzero(np.kron(member, np.ones((fine, fine)))) + np.full((2, 1), 0.5)) / fine
    minor, major = np.linalg.eigvalsh(
        np.cov(xs / image.placement.scale_x, ys / image.placement.scale_y)
    )
    assert region.elongation == pytest.approx(np.sqrt(major / minor), rel=2e-3)


def test_the_elongation_of_a_very_long_photograph_is_a_number() -> None:
    everywhere = painted((slice(None), slice(None), 5))
    (region,) = find_regions(everywhere, photo(10_000_000, 1), 1)
    assert region.elongation == pytest.approx(10_000_000)


# --- which regions are left out

THREE = painted(
    (slice(4, 6), slice(4, 6), 9),  # 4 pixels
    (slice(20, 23), slice(4, 7), 2),  # 9
    (slice(40, 44), slice(4, 8), 5),  # 16
)


@pytest.mark.parametrize(
    ("min_area", "peaks"),
    [(0, [9, 5, 2]), (4, [9, 5, 2]), (4.5, [5, 2]), (16, [5]), (16.5, [9]), (1e9, [9])],
)
def test_small_regions_are_left_out_but_never_all(min_area: float, peaks: list[float]) -> None:
    regions = find_regions(THREE, photo(64, 64), 1, min_area)
    assert [region.peak for region in regions] == peaks


def test_what_is_small_is_measured_in_the_photograph() -> None:
    # Twice as wide and twice as high: four times the area.
    regions = find_regions(THREE, photo(128, 128), 1, 17)
    assert [region.area for region in regions] == [64, 36]


def test_the_surroundings_of_the_peak_are_kept_however_small() -> None:
    (region,) = find_regions(THREE, photo(64, 64), 100, 5)
    assert region.peak == 9


# --- what is one region


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    spots = painted((slice(4, 6), slice(4, 6), 2), (slice(6, 8), slice(6, 8), 2))
    assert len(find_regions(spots, photo(64, 64), 1)) == 1


def test_pixels_apart_are_regions_of_their_own_the_highest_peak_first() -> None:
    spots = painted(
        (slice(4, 6), slice(4, 6), 2),
        (slice(20, 22), slice(4, 6), 9),
        (slice(40, 42), slice(4, 6), 5),
    )
    regions = find_regions(spots, photo(64, 64), 1)
    assert [region.peak for region in regions] == [9, 5, 2]
    assert [region.y for region in regions] == [20, 40, 4]


def test_overlapping_boxes_do_not_share_their_values() -> None:
    spots = painted((slice(0, 20), slice(0, 1), 2), (slice(0, 1), slice(0, 20), 2))
    spots[10:12, 10:12] = 7  # within the box of the corner, but not touching it
    first, second = find_regions(spots, photo(64, 64), 1)
    assert (first.peak, first.area) == (7, 4)
    assert (second.peak, second.area, second.mean) == (2, 39, 2)


def test_a_value_at_the_threshold_is_not_above_it() -> None:
    spots = painted((slice(4, 6), slice(4, 6), 2), (slice(20, 22), slice(4, 6), 3))
    assert [region.peak for region in find_regions(spots, photo(64, 64), 2)] == [3]


@pytest.mark.parametrize("threshold", [10.0, np.inf])
def test_where_nothing_exceeds_the_threshold_the_surroundings_of_the_peak_are_the_region(
    threshold: float,
) -> None:
    spots = painted((slice(4, 8), slice(4, 8), 4), (slice(40, 48), slice(40, 48), 3))
    spots[5, 5] = 5  # half-way to the median, 0, is 2.5
    (region,) = find_regions(spots, photo(64, 64), threshold)
    assert box(region) == (4, 4, 4, 4)
    assert region.peak == 5


def test_a_flat_map_gives_one_region_too() -> None:
    (region,) = find_regions(painted(), photo(64, 64), 1)
    assert box(region) == (0, 0, 64, 64)


def test_a_coarse_map_gives_a_region_around_its_cell() -> None:
    coarse = np.zeros((8, 8), dtype=np.float32)
    coarse[2, 5] = 1
    (region,) = find_regions(coarse, photo(64, 64), 0.5)
    assert (region.centroid_x, region.centroid_y) == (pytest.approx(44), pytest.approx(20))
    assert region.area < 64


# --- enlarging


@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (1, 1), (1, 6), (33, 64)])
@pytest.mark.parametrize("size", [16, 50, 64])
def test_enlarging_is_the_bilinear_interpolation_of_scipy(
    shape: tuple[int, int], size: int
) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    # Output pixel i has its centre at (i + 1/2) h / size - 1/2 in cells of the map.
    grid = [(np.arange(size) + 0.5) * length / size - 0.5 for length in shape]
    expected = ndimage.map_coordinates(
        values.astype(float), np.meshgrid(*grid, indexing="ij"), order=1, mode="nearest"
    )
    assert np.allclose(enlarged(values, (size, size)), expected, atol=1e-5)


def test_enlarging_by_two_worked_out_by_hand() -> None:
    values = np.array([[0, 4], [8, 12]], dtype=np.float32)
    assert enlarged(values, (4, 4))[0].tolist() == [0, 1, 3, 4]
    assert enlarged(values, (4, 4))[:, 0].tolist() == [0, 2, 6, 8]


def test_enlarging_to_the_same_size_changes_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    assert np.array_equal(enlarged(values, (9, 9)), values)


def test_enlarging_keeps_float32() -> None:
    assert enlarged(np.zeros((3, 3), dtype=np.float32), (10, 10)).dtype == np.float32
