"""How small a defect shows at which detail."""

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.images.detail import SHOWN, detail_for, in_pixels, smallest_shown
from anomaly_vae.settings.images import ImageSettings


def test_the_frame_is_so_much_finer() -> None:
    sides = [ImageSettings(size=320, detail=detail).shape for detail in (1, 2, 2.5, 3.3)]
    assert sides == [(320, 320), (640, 640), (800, 800), (1056, 1056)]
    assert ImageSettings(size=300).shape == (300, 300)  # as it was asked for


@pytest.mark.parametrize(
    ("fit", "length"),
    [("keep", 400), ("stretch", 800), ("letterbox", 800)],  # 800 x 200 pixels
)
def test_the_smallest_defect_is_that_of_the_largest_photograph(fit: str, length: int) -> None:
    sizes, settings = [(800, 200), (40, 40)], ImageSettings(size=64, fit=fit)
    assert smallest_shown(sizes, settings) == pytest.approx(SHOWN * length / 64)
    assert smallest_shown([(8, 8)], settings) == SHOWN  # of the photograph, which is enlarged
    detail = detail_for(length / 32, sizes, settings)
    shown = smallest_shown(sizes, ImageSettings(size=64, fit=fit, detail=detail))
    assert shown <= length / 32 * 1.01


def test_what_shows_already_takes_no_detail() -> None:
    assert detail_for(26, [(2048, 2048)], ImageSettings(size=320)) == 1
    assert detail_for(1e9, [], ImageSettings()) == 1


@pytest.mark.parametrize(
    ("smallest", "what"), [(SHOWN * 0.9, "from nearer"), (SHOWN * 1.1, "raise images.size")]
)
def test_a_defect_that_cannot_show_is_refused(smallest: float, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        detail_for(smallest, [(20_000, 20_000)], ImageSettings(size=64))


def test_lengths_are_pixels_or_millimetres() -> None:
    assert in_pixels(" 12 ", None) == in_pixels("12", 0.1) == 12
    assert in_pixels("0.4mm", 0.05) == in_pixels("0.4 mm", 0.05) == pytest.approx(8)


@pytest.mark.parametrize("text", ["", "mm", "0", "-3", "nan", "inf", "3px", "4 mm x"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected pixels"):
        in_pixels(text, 0.1)


def test_millimetres_need_the_size_of_a_pixel() -> None:
    with pytest.raises(ConfigError, match="--mm-per-pixel"):
        in_pixels("0.4mm", None)
