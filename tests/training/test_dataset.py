"""Reading the good images and splitting them, once, without a leak between the parts."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.errors import FolderError, TrainingError
from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.settings.schema import ImageSettings, SplitSettings
from anomaly_vae.training import dataset
from anomaly_vae.training.dataset import (
    CALIBRATION,
    PARTS,
    STOPPING,
    TRAINING,
    ImageSet,
    read_images,
    refuse_unusable,
    split_parts,
)

SETTINGS = ImageSettings(size=16, min_size=2)


def image_set(*paths: str, digests: tuple[str, ...] | None = None) -> ImageSet:
    pixels = np.arange(len(paths), dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    own = tuple(f"digest of {number}" for number in range(len(paths)))
    return ImageSet(Path("good"), paths, pixels, digests or own, ())


def numbered(count: int) -> ImageSet:
    return image_set(*(f"{number:03d}.png" for number in range(count)))


def counts(parts: np.ndarray) -> dict[str, int]:
    return {part: int((parts == part).sum()) for part in PARTS}


def save(folder: Path, name: str, shade: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(folder / name)


# --- splitting


@pytest.mark.parametrize(
    ("count", "stopping", "calibration", "expected"),
    [
        (20, 0.1, 0.2, {TRAINING: 14, STOPPING: 2, CALIBRATION: 4}),
        (100, 0.1, 0.2, {TRAINING: 70, STOPPING: 10, CALIBRATION: 20}),
        (57, 0.25, 0.45, {TRAINING: 17, STOPPING: 14, CALIBRATION: 26}),
        (20, 0.001, 0.001, {TRAINING: 18, STOPPING: 1, CALIBRATION: 1}),
    ],
)
def test_each_part_has_its_share_and_each_image_its_part(
    count: int, stopping: float, calibration: float, expected: dict[str, int]
) -> None:
    settings = SplitSettings(stopping=stopping, calibration=calibration)
    parts = split_parts(numbered(count), settings, seed=0)
    assert counts(parts) == expected
    assert sum(expected.values()) == len(parts) == count


def test_the_same_seed_gives_the_same_split_and_another_one_another() -> None:
    first, again, other = (split_parts(numbered(60), SplitSettings(), seed=s) for s in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_over_many_seeds_every_image_is_calibrated_on() -> None:
    drawn = [split_parts(numbered(20), SplitSettings(), seed=s) == CALIBRATION for s in range(60)]
    assert np.mean(drawn, axis=0).min() > 0.02
    assert np.mean(drawn) == pytest.approx(0.2)


@pytest.mark.parametrize("what", ["file", "pixels"])
def test_images_with_the_same_content_stay_together(what: str) -> None:
    images = numbered(60)
    if what == "file":
        digests = tuple(f"content {number // 3}" for number in range(60))
        images = replace(images, digests=digests)
    images = replace(images, pixels=images.pixels // 3)
    for seed in range(10):
        parts = split_parts(images, SplitSettings(), seed=seed)
        assert all(len(set(parts[3 * n : 3 * n + 3])) == 1 for n in range(20))


@pytest.mark.parametrize("pattern", [r"^part\d+", r"(part\d+)_", r"^part(\d+)(_)"])
def test_images_with_the_same_match_stay_together(pattern: str) -> None:
    images = image_set(*(f"part{n:02d}_{view}.png" for n in range(20) for view in "abc"))
    for seed in range(10):
        parts = split_parts(images, SplitSettings(group_by=pattern), seed=seed)
        assert all(len(set(parts[3 * n : 3 * n + 3])) == 1 for n in range(20))
        assert counts(parts) == {TRAINING: 36, STOPPING: 12, CALIBRATION: 12}


def test_a_copy_keeps_the_groups_that_it_lies_in_together() -> None:
    paths = tuple(f"part{n:02d}_{view}.png" for n in range(20) for view in "abc")
    contents = [f"content {n}" for n in range(60)]
    contents[0] = contents[5] = contents[59]  # of parts 0, 1 and 19
    images = image_set(*paths, digests=tuple(contents))
    for seed in range(10):
        parts = split_parts(images, SplitSettings(group_by=r"^part\d+"), seed=seed)
        assert len({*parts[:6], *parts[57:]}) == 1


def test_only_the_bracketed_part_of_a_match_counts() -> None:
    images = image_set(*(f"{view}_part{n:02d}.png" for n in range(20) for view in "abc"))
    parts = split_parts(images, SplitSettings(group_by=r"^._(part\d+)"), seed=1)
    assert all(len(set(parts[3 * n : 3 * n + 3])) == 1 for n in range(20))


@pytest.mark.parametrize("count", [1, 19])
def test_fewer_than_20_images_are_refused(count: int) -> None:
    with pytest.raises(TrainingError, match=f"good: {count} readable images; expected 20"):
        split_parts(numbered(count), SplitSettings(), seed=0)


def test_a_path_without_a_match_is_named() -> None:
    images = image_set(*(f"part{n:02d}.png" for n in range(20)), "other.png")
    with pytest.raises(TrainingError, match=r"'part\\\\d\+' does not match 'other.png'"):
        split_parts(images, SplitSettings(group_by=r"part\d+"), seed=0)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(TrainingError, match="gives 2 different groups; expected 3 or more"):
        split_parts(
            image_set(*(f"{n % 2}_{n}.png" for n in range(20))),
            SplitSettings(group_by="^."),
            seed=0,
        )


def test_copies_of_one_image_are_called_so() -> None:
    images = numbered(20)
    images = replace(images, digests=("same",) * 20, pixels=images.pixels * 0)
    with pytest.raises(TrainingError) as caught:
        split_parts(images, SplitSettings(), seed=0)
    assert "group_by" not in str(caught.value)


def test_groups_of_very_different_sizes_give_a_split_or_an_error() -> None:
    images = image_set(*(f"a{n}.png" for n in range(18)), "b.png", "c.png")
    for seed in range(6):
        try:
            parts = split_parts(images, SplitSettings(group_by="^."), seed=seed)
        except TrainingError as error:
            assert "split.group_by = '^.'" in str(error)
        else:
            assert set(parts) == set(PARTS)


# --- reading


def test_images_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for shade, name in enumerate(["a-b.png", "a/z.png", "a.png", "b.png"]):
        save(tmp_path, name, shade)
    images = read_images(tmp_path, SETTINGS, workers=2)
    assert images.paths == ("a-b.png", "a.png", "a/z.png", "b.png")
    assert (images.pixels.shape, images.pixels.dtype) == ((4, 16, 16, 3), np.uint8)
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 2, 1, 3]
    expected = tuple(hashlib.sha256((tmp_path / p).read_bytes()).hexdigest() for p in images.paths)
    assert images.digests == expected


def test_unreadable_files_are_left_out_and_named(tmp_path: Path) -> None:
    save(tmp_path, "a.png", 1)
    (tmp_path / "b.png").touch()
    images = read_images(tmp_path, SETTINGS, workers=1)
    assert images.paths == ("a.png",)
    assert images.unreadable == (("b.png", "the file is empty"),)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(FolderError, match=r"holds no images; expected files such as \*.png, "):
        read_images(tmp_path, SETTINGS, workers=1)


def test_a_folder_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(
        FolderError, match=r"none of 2 images is readable; a.png: the file is empty"
    ):
        read_images(tmp_path, SETTINGS, workers=1)


def test_a_file_that_vanishes_between_decoding_and_hashing_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "a.png", 1)
    save(tmp_path, "b.png", 2)
    loaded = dataset.load_image

    def load(path: Path, settings: ImageSettings) -> LoadedImage:
        image = loaded(path, settings)
        if path.name == "b.png":
            path.unlink()
        return image

    monkeypatch.setattr(dataset, "load_image", load)
    images = read_images(tmp_path, SETTINGS, workers=1)
    assert images.unreadable == (("b.png", "can be read no more"),)


def test_what_is_left_out_and_what_uses_little_of_its_range_is_said(tmp_path: Path) -> None:
    save(tmp_path, "a.png", 1)
    save(tmp_path, ".cache/b.png", 1)
    assert read_images(tmp_path, SETTINGS, workers=1).notes == (
        "left out as no photographs: 1 folder; first .cache (hidden)",
        "a.png: less than 10% of the range from black to white is used; if that is not how it "
        "should be, set images.black_level and images.white_level",
    )


# --- what nothing can be learned from


def test_images_that_show_nothing_are_refused() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 4, 4, 3), dtype=np.uint8)
    images = replace(numbered(20), pixels=pixels)
    refuse_unusable(images)
    pixels[3], pixels[5] = (200, 100, 50), 0
    with pytest.raises(TrainingError, match="003.png and 1 more show nothing, .*; take them out"):
        refuse_unusable(images)


def test_images_of_the_same_pixels_are_refused() -> None:
    images = replace(
        numbered(20), pixels=np.zeros((20, 2, 2, 3), np.uint8) + np.arange(3, dtype=np.uint8)
    )
    images.pixels[:, 0] = 9
    with pytest.raises(TrainingError, match="all 20 images have the same pixels; expected 20"):
        refuse_unusable(images)


# --- the fingerprint


def test_the_fingerprint_is_that_of_sha256sum(tmp_path: Path) -> None:
    images = image_set("a.png", "b/ä.png", digests=("11", "22"))
    assert images.fingerprint == hashlib.sha256("11  a.png\n22  b/ä.png\n".encode()).hexdigest()


def test_the_fingerprint_is_the_same_in_another_folder(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for shade, name in enumerate(["a.png", "b.png"]):
            save(tmp_path / folder, name, shade)
    one, two = (read_images(tmp_path / folder, SETTINGS, workers=1) for folder in ("one", "two"))
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("change", [{"paths": ("a", "c")}, {"digests": ("1", "3")}])
def test_the_fingerprint_changes_with_a_name_or_a_content(change: dict[str, tuple[str]]) -> None:
    images = image_set("a", "b", digests=("1", "2"))
    assert replace(images, **change).fingerprint != images.fingerprint  # type: ignore[arg-type]


def test_a_name_that_is_not_utf8_has_a_fingerprint() -> None:
    name = b"\xe9.png".decode("utf-8", "surrogateescape")
    expected = hashlib.sha256(b"1  \xe9.png\n").hexdigest()
    assert image_set(name, digests=("1",)).fingerprint == expected
