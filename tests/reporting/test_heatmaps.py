"""Pictures of findings: sizes, the fixed scale, and boxes where the regions are."""

from pathlib import Path
from typing import IO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anomaly_vae import outputs
from anomaly_vae.errors import OutputError
from anomaly_vae.images.decoding import load_image
from anomaly_vae.images.regions import find_regions
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.reporting.heatmaps import (
    INFERNO,
    LEGEND,
    OUTLINE,
    colored,
    draw_heatmap,
    save_picture,
    shown_photo,
)
from anomaly_vae.settings.images import ImageSettings

GAP = 8
GREY = (120, 120, 120)
BOX = np.array(OUTLINE)
Map = NDArray[np.float32]


def finding(
    folder: Path,
    anomaly_map: Map,
    *,
    size: tuple[int, int] = (120, 40),
    settings: ImageSettings,
    threshold: float = 1.0,
) -> Finding:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, GREY).save(folder / "a.png")
    image = load_image(folder / "a.png", settings)
    regions = tuple(find_regions(anomaly_map, image, threshold))
    verdict = "fail" if anomaly_map.max() > threshold else "pass"
    found = regions if verdict == "fail" else ()
    return Finding(
        "a.png",
        verdict,
        score=2.0,
        regions=found,
        image=image,
        anomaly_map=anomaly_map,  # type: ignore[arg-type]
    )


def draw(
    found: Finding, folder: Path, target: Path, *, settings: ImageSettings, threshold: float = 1.0
) -> None:
    photo = shown_photo(folder / found.path, settings)
    save_picture(draw_heatmap(found, photo, threshold), target)


def picture(tmp_path: Path, anomaly_map: Map, **options: object) -> NDArray[np.int64]:
    settings = ImageSettings(size=32, fit=options.pop("fit", "stretch"))  # type: ignore[arg-type]
    found = finding(tmp_path / "in", anomaly_map, settings=settings, **options)  # type: ignore[arg-type]
    target = tmp_path / "new" / "folder" / "a.png"  # PNG: no loss
    draw(found, tmp_path / "in", target, settings=settings)
    with Image.open(target) as image:
        return np.asarray(image).astype(int)[:-LEGEND]


def spot(rows: slice, columns: slice, value: float = 3.0) -> Map:
    values = np.zeros((32, 32), dtype=np.float32)
    values[rows, columns] = value
    return values


def test_photograph_and_overlay_stand_side_by_side(tmp_path: Path) -> None:
    pixels = picture(tmp_path, spot(slice(0), slice(0)))
    assert pixels.shape == (40, 120 + GAP + 120, 3)
    assert (pixels[:, :120] == GREY).all()
    assert (pixels[:, 120 : 120 + GAP] == 255).all()


def test_what_is_normal_stays_transparent(tmp_path: Path) -> None:
    pixels = picture(tmp_path, np.full((32, 32), 0.5, dtype=np.float32))
    assert (pixels[:, 120 + GAP :] == GREY).all()


def test_what_is_not_inspected_is_dark(tmp_path: Path) -> None:
    left = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    settings = ImageSettings(size=32, inspect=(left,))
    found = finding(tmp_path, spot(slice(None), slice(0, 12)), settings=settings)
    draw(found, tmp_path, tmp_path / "map.png", settings=settings)
    pixels = np.asarray(Image.open(tmp_path / "map.png")).astype(int)[:-LEGEND]
    photo, overlay = pixels[:, :120], pixels[:, 120 + GAP :]
    assert (photo[:, :60] == GREY).all()
    assert (photo[:, 60:] == 48).all()  # 0.4 of 120
    assert (overlay[:, 60:] == 48).all()
    assert (overlay[10:30, :40] != GREY).any(axis=-1).all()


def test_a_large_photograph_is_made_smaller(tmp_path: Path) -> None:
    pixels = picture(tmp_path, spot(slice(0), slice(0)), size=(1280, 320))
    assert pixels.shape == (160, 640 + GAP + 640, 3)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(120, 40), (40, 120), (50, 50), (49, 51)])
def test_the_spot_is_coloured_where_it_lies_in_the_photograph(
    tmp_path: Path, fit: str, size: tuple[int, int]
) -> None:
    pixels = picture(tmp_path, spot(slice(14, 18), slice(14, 18)), size=size, fit=fit)
    overlay = pixels[:, size[0] + GAP :]
    colored_in = (overlay != GREY).any(axis=-1) & (np.abs(overlay - BOX).sum(axis=-1) > 0)
    rows, columns = np.nonzero(colored_in)
    settings = ImageSettings(size=32, fit=fit)  # type: ignore[arg-type]
    place = load_image(tmp_path / "in" / "a.png", settings).placement
    expected = (16 - place.offset_x) / place.scale_x, (16 - place.offset_y) / place.scale_y
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(expected, abs=1)


def test_a_line_is_drawn_around_what_exceeds_the_threshold(tmp_path: Path) -> None:
    pixels = picture(tmp_path, spot(slice(8, 24), slice(8, 16)), size=(64, 64))
    rows, columns = np.nonzero((pixels == BOX).all(axis=-1))
    # Above it are x 16 to 31 and y 16 to 47; the line around them is 2 pixels wide.
    assert (columns.min() - 64 - GAP, rows.min()) == (14, 14)
    assert (columns.max() - 64 - GAP, rows.max()) == (33, 49)
    assert len(rows) <= 2 * 2 * (20 + 36)  # a line, and nothing inside


def test_where_nothing_exceeds_the_threshold_a_box_shows_the_peak(tmp_path: Path) -> None:
    settings = ImageSettings(size=32)
    found = finding(tmp_path / "in", spot(slice(8, 24), slice(8, 16)), size=(64, 64),
                    settings=settings)  # fmt: skip
    target = tmp_path / "a.png"
    draw(found, tmp_path / "in", target, settings=settings, threshold=5.0)
    with Image.open(target) as image:
        rows, columns = np.nonzero((np.asarray(image) == BOX).all(axis=-1))
    # The region is x 16 to 32 and y 16 to 48; the box leaves 2 pixels of room.
    assert (columns.min() - 64 - GAP, rows.min()) == (14, 14)
    assert (columns.max() - 64 - GAP, rows.max()) == (34, 50)


def test_a_picture_is_on_the_disk_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, target = Image.new("RGB", (64, 64), GREY), tmp_path / "a" / "b.jpg"
    synced: list[bool] = []
    monkeypatch.setattr(outputs.os, "fsync", lambda _: synced.append(target.exists()))
    save_picture(picture, target)
    assert synced[0] is False  # its bytes are on the disk before it has its name
    before = target.read_bytes()

    def failing(_self: Image.Image, file: IO[bytes], *_: object, **__: object) -> None:
        file.write(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", failing)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        save_picture(picture, target)
    assert [path.name for path in target.parent.iterdir()] == ["b.jpg"]
    assert target.read_bytes() == before


def test_what_was_expected_stands_between_them(tmp_path: Path) -> None:
    settings = ImageSettings(size=32)
    found = finding(tmp_path, spot(slice(0), slice(0)), settings=settings)
    photo = shown_photo(tmp_path / "a.png", settings)
    pixels = np.asarray(draw_heatmap(found, photo, 1.0, Image.new("RGB", photo.size, "red")))
    assert pixels.shape == (40 + LEGEND, 3 * 120 + 2 * GAP, 3)
    assert (pixels[:40, 120 + GAP : 240 + GAP] == (255, 0, 0)).all()
    assert (pixels[:40, 240 + 2 * GAP :] == GREY).all()


def test_a_colour_scale_stands_below_the_map(tmp_path: Path) -> None:
    settings = ImageSettings(size=32)
    found = finding(tmp_path / "in", spot(slice(0), slice(0)), size=(400, 300), settings=settings)
    draw(found, tmp_path / "in", tmp_path / "a.png", settings=settings)
    with Image.open(tmp_path / "a.png") as image:
        scale = np.asarray(image)[300 + 8, 400 + GAP :].astype(int)
    assert scale.shape == (400, 3)
    assert (scale[:100] == 128).all()  # what is normal is clear
    assert np.ptp(scale[100:], axis=0).min() > 50


def test_the_same_value_has_the_same_colour_in_every_picture(tmp_path: Path) -> None:
    low, high = spot(slice(8, 24), slice(8, 24), 1.5), spot(slice(8, 24), slice(8, 24), 1.5)
    high[28:, 28:] = 50
    first = picture(tmp_path / "1", low, size=(64, 64))[32, 64 + GAP + 32]
    second = picture(tmp_path / "2", high, size=(64, 64))[32, 64 + GAP + 32]
    assert first.tolist() == second.tolist() != [*GREY]


@pytest.mark.parametrize("threshold", [0.0, -1.0])
def test_a_threshold_that_is_not_positive_gives_a_picture_too(
    tmp_path: Path, threshold: float
) -> None:
    settings = ImageSettings(size=32)
    found = finding(tmp_path / "in", spot(slice(4, 8), slice(4, 8)), settings=settings)
    target = tmp_path / "a.png"
    draw(found, tmp_path / "in", target, settings=settings, threshold=threshold)
    with Image.open(target) as image:
        assert (np.asarray(image)[:, 120 + GAP :] != GREY).any()


def test_colours_go_through_the_stations_of_inferno() -> None:
    assert np.array_equal(colored(np.linspace(0, 1, 9, dtype=np.float32)), INFERNO)
    assert np.allclose(colored(np.array([1 / 16], np.float32)), (INFERNO[0] + INFERNO[1]) / 2)


def test_colours_are_those_of_matplotlib() -> None:
    colormaps = pytest.importorskip("matplotlib").colormaps
    values = np.linspace(0, 1, 101, dtype=np.float32)
    expected = colormaps["inferno"](values)[:, :3] * 255
    assert np.abs(colored(values) - expected).max() < 16  # nine stations, straight lines between


def test_values_outside_the_scale_have_the_colours_of_its_ends() -> None:
    ends = colored(np.array([-3, 7], dtype=np.float32))
    assert np.array_equal(ends, INFERNO[[0, -1]])


def test_lighter_means_higher() -> None:
    luminance = colored(np.linspace(0, 1, 50, dtype=np.float32)) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > 0).all()


def test_a_finding_without_an_image_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was not inspected"):
        draw_heatmap(Finding("a.png", "error", error="empty"), Image.new("RGB", (4, 4)), 1.0)


def test_a_picture_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    settings = ImageSettings(size=32)
    found = finding(tmp_path / "in", spot(slice(4, 8), slice(4, 8)), settings=settings)
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "a.jpg"
    with pytest.raises(OutputError, match=r"a\.jpg: cannot be written"):
        draw(found, tmp_path / "in", target, settings=settings)
