"""The frame that the model sees has the shape of the photographs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.decoding import Placement, load_image, without_padding
from anomaly_vae.images.masks import load_truth
from anomaly_vae.images.proportions import fitted, frame_of, with_frame
from anomaly_vae.images.quality import image_statistics
from anomaly_vae.images.regions import find_regions
from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config, FeatureSettings

PADDED = ImageSettings(size=64, min_size=2, frame=(64, 64), padded=True)


def drawn(path: Path, size: tuple[int, int]) -> Path:
    width, height = size
    grain = np.random.default_rng(width).integers(60, 200, (height, width, 3), dtype=np.uint8)
    Image.fromarray(grain).save(path)
    return path


def found(
    tmp_path: Path, sizes: list[tuple[int, int]], config: Config
) -> tuple[ImageSettings, str]:
    names = [f"{number}.png" for number in range(len(sizes))]
    for name, size in zip(names, sizes, strict=True):
        drawn(tmp_path / name, size)
    return with_frame(tmp_path, names, config, workers=1)


# --- the frame


@pytest.mark.parametrize(
    ("ratio", "size", "expected"),
    [
        (1.0, 320, (320, 320)),
        (1.0, 300, (300, 300)),  # a square has the size that was asked for, whatever it is
        (4.0, 320, (160, 640)),
        (0.25, 320, (640, 160)),
        (1.002, 320, (320, 320)),
        (2.52, 320, (192, 480)),
        (4 / 3, 320, (288, 384)),
    ],
)
def test_a_frame_has_the_proportions_and_about_as_many_pixels(
    ratio: float, size: int, expected: tuple[int, int]
) -> None:
    assert frame_of(ratio, size, 32) == expected


@pytest.mark.parametrize("ratio", np.geomspace(1 / 16, 16, 60))
def test_frames_of_all_proportions_are_near_to_them(ratio: float) -> None:
    height, width = frame_of(ratio, 320, 32)
    assert height % 32 == width % 32 == 0
    assert 0.7 < width / height / ratio < 1.4
    assert 0.7 < height * width / 320**2 < 1.4


def test_photographs_of_one_shape_fill_a_frame_of_that_shape(tmp_path: Path) -> None:
    sizes = [(80, 20), (82, 20), (40, 10)]
    images, note = found(tmp_path, sizes, Config(images=ImageSettings(min_size=2)))
    assert (images.shape, images.padded) == ((160, 640), False)
    assert note == "photographs are seen at 640 x 160 pixels"
    image = load_image(tmp_path / "0.png", images)
    assert image.pixels.shape == (160, 640, 3)
    assert image.placement == Placement(8, 8, 0, 0)


def test_square_photographs_are_seen_as_they_were_stretched(tmp_path: Path) -> None:
    images, note = found(tmp_path, [(50, 50), (70, 70)], Config())
    assert note == ""
    kept, stretched = (
        load_image(tmp_path / "1.png", each).pixels
        for each in (images, ImageSettings(fit="stretch"))
    )
    assert np.array_equal(kept, stretched)


def test_what_is_asked_for_stays(tmp_path: Path) -> None:
    for given in (ImageSettings(fit="stretch"), ImageSettings(frame=(64, 96))):
        assert found(tmp_path, [(80, 20)], Config(images=given)) == (given, "")


@pytest.mark.parametrize(
    ("features", "padded"),
    [({}, True), ({"features.source": "pixels"}, False), ({"features.align": "true"}, False)],
)
def test_photographs_of_many_shapes_are_fitted_where_the_model_can_leave_out_the_rest(
    tmp_path: Path, features: dict[str, str], padded: bool
) -> None:
    config = load_config(None, [f"{key}={value}" for key, value in features.items()])
    images, note = found(tmp_path, [(30, 30), (60, 20), (20, 60)], config)
    assert images.padded is padded
    # They fill all and twice a third of the frame, 5/9 of it in the mean: 320 / sqrt(5/9) is 429.
    size = 416 if padded else config.images.size
    how = "fitted into" if padded else "stretched to"
    assert note == (
        f"photographs are 0.33 to 3.00 times as wide as high: they are {how} {size} x {size} pixels"
    )


def test_a_photograph_of_another_shape_is_refused_not_squeezed(tmp_path: Path) -> None:
    settings = ImageSettings(size=64, min_size=2, frame=(32, 128))
    assert load_image(drawn(tmp_path / "a.png", (90, 20)), settings).pixels.shape == (32, 128, 3)
    with pytest.raises(ImageReadError, match="20 x 80 pixels do not have the proportions"):
        load_image(drawn(tmp_path / "b.png", (20, 80)), settings)


def test_jpegs_of_any_orientation_are_decoded_no_smaller_than_the_frame_needs(
    tmp_path: Path,
) -> None:
    settings = ImageSettings(size=64, frame=(32, 128))
    for orientation, size in ((1, (1024, 256)), (6, (256, 1024))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        row = np.linspace(0, 255, 1024, dtype=np.uint8)
        smooth = np.broadcast_to(row if size[0] > size[1] else row[:, None], size[::-1])
        Image.fromarray(smooth).save(tmp_path / "a.jpg", exif=exif, quality=95)
        image = load_image(tmp_path / "a.jpg", settings)
        assert (image.width, image.height) == (1024, 256)
        steps = np.abs(np.diff(image.pixels[16, :, 0].astype(int)))
        assert steps.max() <= 4  # not enlarged again from a smaller one


# --- photographs beside which there is something


def test_a_padded_photograph_lies_in_its_corner_and_says_where_it_ends(tmp_path: Path) -> None:
    image = load_image(drawn(tmp_path / "a.png", (30, 10)), PADDED)
    assert image.pixels.shape == (64, 64, 4)
    assert (image.pixels[:21, :, 3] == 255).all()
    assert not image.pixels[21:].any()
    assert without_padding(image.pixels).shape == (21, 64, 3)
    assert fitted((30, 10), PADDED) == (64, 21)


def test_padding_counts_in_no_statistic(tmp_path: Path) -> None:
    image = load_image(drawn(tmp_path / "a.png", (30, 10)), PADDED)
    assert image.statistics == image_statistics(without_padding(image.pixels))
    assert image.statistics.brightness > 0.4
    half = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    left = load_image(tmp_path / "a.png", replace(PADDED, inspect=(half,)))
    assert left.statistics.brightness == pytest.approx(
        image_statistics(without_padding(image.pixels)[:, :32]).brightness, abs=0.02
    )


@pytest.mark.parametrize("size", [(60, 20), (20, 60), (40, 40)])
def test_maps_and_masks_lie_over_the_whole_photograph(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    image = load_image(drawn(tmp_path / "a.png", size), PADDED)
    mask = np.zeros(size[::-1], dtype=np.uint8)
    right, lower = size[0] // 2, size[1] // 2
    mask[lower:, right:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    truth = load_truth([tmp_path / "mask.png"], size, 1, PADDED).square
    assert truth[32:, 32:].all()
    assert truth.mean() == 0.25
    (region,) = find_regions(truth.astype(np.float32), image, 0.5)
    assert (region.x, region.y) == (right, lower)
    assert (region.x + region.width, region.y + region.height) == size


# --- settings


def test_a_frame_is_for_keep_and_padding_for_trunks() -> None:
    with pytest.raises(
        ValueError, match=r"images\.frame and images\.padded need images\.fit 'keep'"
    ):
        ImageSettings(fit="stretch", frame=(64, 64))
    for features in (FeatureSettings(source="pixels"), FeatureSettings(align=True)):
        with pytest.raises(ValueError, match=r"images\.padded needs the features of a trunk"):
            Config(images=PADDED, features=features)
    with pytest.raises(ValueError, match="each 16 pixels or more"):
        ImageSettings(frame=(64,))
