"""Which good images do what: without a leak between the parts, or the folds."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from anomaly_vae.errors import TrainingError
from anomaly_vae.settings.schema import SplitSettings
from anomaly_vae.training.split import CALIBRATION, PARTS, STOPPING, TRAINING, split_images

from ..small import image_set, numbered

SINGLE = SplitSettings(folds=1)


def counts(parts: np.ndarray) -> dict[str, int]:
    return {part: int((parts == part).sum()) for part in PARTS}


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
    settings = SplitSettings(folds=1, stopping=stopping, calibration=calibration)
    parts = split_images(numbered(count), settings, seed=0).parts
    assert counts(parts) == expected
    assert sum(expected.values()) == len(parts) == count


def test_the_same_seed_gives_the_same_split_and_another_one_another() -> None:
    first, again, other = (split_images(numbered(60), SINGLE, seed=s) for s in (4, 4, 5))
    assert np.array_equal(first.parts, again.parts)
    assert not np.array_equal(first.parts, other.parts)


def test_over_many_seeds_every_image_is_calibrated_on() -> None:
    drawn = [split_images(numbered(20), SINGLE, seed=s).calibration for s in range(60)]
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
        parts = split_images(images, SINGLE, seed=seed).parts
        assert all(len(set(parts[3 * n : 3 * n + 3])) == 1 for n in range(20))


@pytest.mark.parametrize("pattern", [r"^part\d+", r"(part\d+)_", r"^part(\d+)(_)"])
def test_images_with_the_same_match_stay_together(pattern: str) -> None:
    images = image_set(*(f"part{n:02d}_{view}.png" for n in range(20) for view in "abc"))
    for seed in range(10):
        parts = split_images(images, SplitSettings(folds=1, group_by=pattern), seed=seed).parts
        assert all(len(set(parts[3 * n : 3 * n + 3])) == 1 for n in range(20))
        assert counts(parts) == {TRAINING: 36, STOPPING: 12, CALIBRATION: 12}


def test_a_copy_keeps_the_groups_that_it_lies_in_together() -> None:
    paths = tuple(f"part{n:02d}_{view}.png" for n in range(20) for view in "abc")
    contents = [f"content {n}" for n in range(60)]
    contents[0] = contents[5] = contents[59]  # of parts 0, 1 and 19
    images = image_set(*paths, digests=tuple(contents))
    for seed in range(10):
        parts = split_images(images, SplitSettings(folds=1, group_by=r"^part\d+"), seed=seed).parts
        assert len({*parts[:6], *parts[57:]}) == 1


def test_only_the_bracketed_part_of_a_match_counts() -> None:
    images = image_set(*(f"{view}_part{n:02d}.png" for n in range(20) for view in "abc"))
    parts = split_images(images, SplitSettings(folds=1, group_by=r"^._(part\d+)"), seed=1).parts
    assert all(len(set(parts[3 * n : 3 * n + 3])) == 1 for n in range(20))


@pytest.mark.parametrize("count", [1, 19])
def test_fewer_than_20_images_are_refused(count: int) -> None:
    with pytest.raises(TrainingError, match=f"good: {count} readable images; expected 20"):
        split_images(numbered(count), SINGLE, seed=0)


def test_a_path_without_a_match_is_named() -> None:
    images = image_set(*(f"part{n:02d}.png" for n in range(20)), "other.png")
    with pytest.raises(TrainingError, match=r"'part\\\\d\+' does not match 'other.png'"):
        split_images(images, SplitSettings(folds=1, group_by=r"part\d+"), seed=0)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(TrainingError, match="gives 2 different groups; expected 3 or more"):
        split_images(
            image_set(*(f"{n % 2}_{n}.png" for n in range(20))),
            SplitSettings(folds=1, group_by="^."),
            seed=0,
        )


def test_copies_of_one_image_are_called_so() -> None:
    images = numbered(20)
    images = replace(images, digests=("same",) * 20, pixels=images.pixels * 0)
    with pytest.raises(TrainingError) as caught:
        split_images(images, SINGLE, seed=0)
    assert "group_by" not in str(caught.value)


def test_groups_of_very_different_sizes_give_a_split_or_an_error() -> None:
    images = image_set(*(f"a{n}.png" for n in range(18)), "b.png", "c.png")
    for seed in range(6):
        try:
            parts = split_images(images, SplitSettings(folds=1, group_by="^."), seed=seed).parts
        except TrainingError as error:
            assert "split.group_by = '^.'" in str(error)
        else:
            assert set(parts) == set(PARTS)


# --- folds


@pytest.mark.parametrize(("count", "folds"), [(20, 5), (57, 5), (101, 2), (20, 20)])
def test_folds_are_of_nearly_one_size_and_hold_each_image_once(count: int, folds: int) -> None:
    split = split_images(numbered(count), SplitSettings(folds=folds), seed=3)
    sizes = Counter(split.parts.tolist())
    assert list(split.names) == [f"fold {number}" for number in range(1, folds + 1)]
    assert set(sizes) == set(split.names)
    assert max(sizes.values()) - min(sizes.values()) <= 1
    assert (split.folds, sum(sizes.values())) == (folds, count)


def test_the_first_fold_stops_the_first_training_and_all_set_the_limits() -> None:
    split = split_images(numbered(23), SplitSettings(), seed=0)
    assert np.array_equal(split.stopping, split.of("fold 1"))
    assert np.array_equal(split.training, ~split.stopping)
    assert split.calibration.all()
    assert str(split) == "5 folds of about 4"


def test_folds_differ_with_the_seed_and_every_image_may_be_in_any() -> None:
    drawn = [split_images(numbered(20), SplitSettings(), seed=s).of("fold 1") for s in range(60)]
    assert np.mean(drawn, axis=0).min() > 0.02
    assert np.mean(drawn) == pytest.approx(0.2)


def test_groups_and_copies_stay_in_one_fold() -> None:
    paths = [f"part{n:02d}_{view}.png" for n in range(20) for view in "abc"]
    contents = [f"content {n}" for n in range(60)]
    contents[0] = contents[59]  # of parts 0 and 19
    images = image_set(*paths, digests=tuple(contents))
    for seed in range(5):
        parts = split_images(images, SplitSettings(group_by=r"^part\d+"), seed=seed).parts
        assert all(len(set(parts[3 * n : 3 * n + 3])) == 1 for n in range(20))
        assert parts[0] == parts[59]


def test_fewer_groups_than_folds_and_one_that_is_most_of_all_are_refused() -> None:
    four = image_set(*(f"{n % 4}_{n}.png" for n in range(20)))
    with pytest.raises(TrainingError, match="gives 4 different groups; expected 5 or more"):
        split_images(four, SplitSettings(group_by="^."), seed=0)
    uneven = image_set(*(f"a{n}.png" for n in range(18)), *(f"{n}.png" for n in range(4)))
    with pytest.raises(TrainingError, match="groups too large to be split"):
        split_images(uneven, SplitSettings(group_by="^."), seed=0)
