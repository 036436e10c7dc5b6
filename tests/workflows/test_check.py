"""A look at photographs before a training: it finds what was planted, and nothing else."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from anomaly_vae.images.likeness import bursts, connected, detail, strange, two_groups
from anomaly_vae.images.samples import write_samples
from anomaly_vae.reporting.check import Check
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.workflows.check import check_folder

from ..conftest import SHARED, Command

SIZE = ImageSettings(size=96)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 drawn parts of 128 x 128 pixels; tests must not change them."""
    folder = tmp_path_factory.mktemp("check")
    write_samples(folder, train=60, test_good=0, test_defective=0, size=128)
    return folder / "train" / "good"


@pytest.fixture
def own(photographs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photographs, tmp_path / "good"))


def topics(check: Check) -> dict[str, tuple[str, ...]]:
    return {each.topic: each.paths for each in check.remarks}


def checked(folder: Path) -> Check:
    return check_folder(folder, SIZE)[0]


def noisy(path: Path, seed: int) -> Image.Image:
    """The same part again: other noise, a little more or less light."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(Image.open(path), np.float32) * rng.uniform(0.98, 1.02)
    return Image.fromarray((pixels + rng.normal(0, 2, pixels.shape)).clip(0, 255).astype(np.uint8))


def test_nothing_is_found_where_nothing_is(photographs: Path) -> None:
    check = checked(photographs)
    assert check.remarks == ()
    assert (check.photographs, check.parts, check.held_out) == (60, 60, 12)
    assert check.promise == pytest.approx(1 / 13)
    assert check.sizes == {"128 x 128": 60} and check.kinds == {"PNG RGB": 60} and check.color
    assert check.smallest == pytest.approx(4 * 128 / 96)


def test_copies_and_bursts_count_once_and_how_to_keep_them_together_is_said(own: Path) -> None:
    shutil.copy(own / "000.png", own / "copy.png")
    for number in range(10, 20):
        noisy(own / f"{number:03d}.png", number).save(own / f"{number:03d}_b.png")
    check = checked(own)
    found = topics(check)
    assert found["copies"] == ("000.png", "copy.png")
    pairs = {f"{number:03d}{end}.png" for number in range(10, 20) for end in ("", "_b")}
    assert set(found["near duplicates"]) == pairs
    assert check.parts == 60
    (pattern,) = re.findall("--group-by '(.*)'", check.command)
    for name in ("011.png", "011_b.png", "line-2/011_c.png"):
        match = re.search(pattern, name)
        assert match and match[0].endswith("011") and not match.groups()


@pytest.mark.parametrize("what", ["brightness", "red", "sharpness"])
def test_a_second_session_is_found(own: Path, what: str) -> None:
    later = sorted(own.iterdir())[40:]
    for path in later:
        image = Image.open(path)
        if what == "sharpness":
            image.filter(ImageFilter.GaussianBlur(3)).save(path)
        else:
            gain = np.array([1.5, 0.9, 0.8]) if what == "red" else np.full(3, 0.2)
            Image.fromarray((np.asarray(image) * gain).clip(0, 255).astype(np.uint8)).save(path)
    said = [each for each in checked(own).remarks if each.topic == "sessions"]
    assert any(each.paths == tuple(path.name for path in later) for each in said), said
    assert any(f"20 of 60 differ in {what}" in each.text for each in said)


def test_blurred_clipped_strange_and_small_ones_are_found(own: Path) -> None:
    for name in ("003.png", "030.png"):
        Image.open(own / name).filter(ImageFilter.GaussianBlur(4)).save(own / name)
    white = np.asarray(Image.open(own / "007.png")).copy()
    white[:, 70:] = 255
    Image.fromarray(white).save(own / "007.png")
    other = np.random.default_rng(0).integers(0, 160, (16, 16, 3), np.uint8)
    Image.fromarray(other).resize((128, 128), Image.Resampling.NEAREST).save(own / "040.png")
    Image.open(own / "050.png").resize((100, 100)).save(own / "050.png")
    (own / "text.png").write_text("no image")
    check = checked(own)
    found = topics(check)
    assert set(found["blurred"]) == {"003.png", "030.png"}
    assert found["overexposed"] == ("007.png",)
    assert {"007.png", "040.png"} <= set(found["odd ones out"])
    assert found["sessions"] == ("050.png",)
    assert list(check.unreadable) == ["text.png"]


def test_the_command_says_it_in_80_columns_and_writes_a_page(
    photographs: Path, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "check"
    outcome = command("check", photographs, "--out", out, "--size", 96, "--mm-per-pixel", 0.1)
    assert outcome.code == 0 and outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0] == "60 photographs of 60 parts or more, colour"
    paths = str(photographs), str(out)  # longer than anybody's
    assert max(len(line) for line in lines if not any(path in line for path in paths)) <= 80
    told = json.loads((out / "check.json").read_text())
    assert told["smallest_mm"] == pytest.approx(0.1 * 4 * 128 / 96)
    page = (out / "check.html").read_text()
    assert page.count("<img") == 24 and "000.png" in page
    assert command("check", photographs, "--out", out).code == 2


def test_a_few_photographs_are_counted_but_not_compared(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "a.png")
    check = checked(tmp_path)
    assert check.photographs == 1
    assert [each.topic for each in check.remarks] == ["bits"]


def test_two_groups_are_not_seen_in_one() -> None:
    rng = np.random.default_rng(0)
    for draw in (rng.normal(size=200), rng.uniform(size=200), rng.lognormal(0, 0.5, 200)):
        assert two_groups(draw) is None
    both = np.r_[rng.normal(0, 1, 150), rng.normal(9, 1, 50)]
    few = two_groups(both)
    assert few is not None and few.tolist() == [False] * 150 + [True] * 50


def test_groups_hold_together_by_links_and_by_likeness() -> None:
    linked = np.zeros((6, 6), bool)
    linked[0, 4] = linked[4, 5] = linked[2, 3] = True
    assert connected(linked) == [[0, 4, 5], [2, 3]]
    rng = np.random.default_rng(0)
    thumbnails = rng.normal(size=(40, 64, 64)).astype(np.float32)
    thumbnails[7] = thumbnails[3] + 0.1 * thumbnails[9]
    assert bursts(detail(thumbnails)) == [[3, 7]]
    assert strange(np.array([1.0, 1.1, 0.9, 1.05, 9.0, 0.95, -8.0])) == [6, 4]


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", ["bottle", "elpv"])
def test_real_photographs_of_one_session_are_not_doubted(name: str) -> None:
    folder = SHARED / "data" / name / "train" / "good"
    if not folder.is_dir():
        pytest.skip("the shared images are not here")
    check = check_folder(folder, ImageSettings())[0]
    found = topics(check)
    # Five cells are brighter than the others: they are.
    assert not found.keys() - {"near duplicates", "overexposed"}
    assert len(found.get("near duplicates", ())) <= 2  # 069 and 070 of bottle are the same again
