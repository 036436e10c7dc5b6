"""Where the edges of a photograph have their centre."""

import numpy as np
import pytest

from anomaly_vae.images.position import centre


def square(x: int, y: int) -> np.ndarray:
    pixels = np.full((80, 100, 3), 30, np.uint8)
    pixels[y : y + 20, x : x + 20] = 200
    return pixels


def test_the_centre_of_a_square_is_that_of_its_outline() -> None:
    x, y = centre(square(30, 40))
    assert (x, y) == (pytest.approx(0.4, abs=0.01), pytest.approx(0.625, abs=0.01))


def test_it_moves_with_the_part_and_not_with_the_light() -> None:
    before, after = centre(square(30, 40)), centre(square(40, 40) // 2)
    assert after[0] - before[0] == pytest.approx(0.1, abs=0.002)
    assert after[1] == pytest.approx(before[1], abs=0.002)


def test_an_image_without_edges_has_it_in_the_middle() -> None:
    assert centre(np.full((8, 8, 3), 9, np.uint8)) == (0.5, 0.5)
