"""Finding files folder by folder, and reading them ahead of their use."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images import files as reading
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.images.files import Counting, find_images, is_photograph, list_images, stamp
from anomaly_vae.images.formats import EXTENSIONS
from anomaly_vae.images.rules import LeftOut
from anomaly_vae.outputs import MARKER
from anomaly_vae.settings.images import ImageSettings

SETTINGS = ImageSettings(size=32, min_size=2)
COLOR = (200, 100, 50)


def flat(color: tuple[int, int, int] = COLOR) -> Image.Image:
    return Image.new("RGB", (20, 20), color)


def refusal(path: Path) -> str:
    with pytest.raises(ImageReadError) as caught:
        load_image(path, SETTINGS)
    return str(caught.value)


# --- finding files


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_every_extension_is_found_in_any_case(tmp_path: Path) -> None:
    names = [f"a{n}{ext}" for n, ext in enumerate(EXTENSIONS)]
    names += [f"b{n}{ext.upper()}" for n, ext in enumerate(EXTENSIONS)]
    fill(tmp_path, *names, "a.txt", "png", "c.png.bak", "d.npy")
    assert list(find_images(tmp_path)) == sorted(names)


def test_the_walk_is_in_the_order_of_the_paths(tmp_path: Path) -> None:
    names = ["a/b.png", "a-b.png", "a.png", "a/a-b/c.png", "a/a.png", "B.png", "a0.png", "ä.png"]
    names += ["a b/c.png", "a/a/z.png", "a!/x.png", "z/y/x/w.png"]
    fill(tmp_path, *names)
    assert list(find_images(tmp_path)) == sorted(names)


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path: Path) -> None:
    fill(tmp_path, "a.png/b.png")
    assert list(find_images(tmp_path)) == ["a.png/b.png"]


def test_a_linked_folder_is_followed_once(tmp_path: Path) -> None:
    fill(tmp_path, "in/a.png", "in/d/e.png", "out/b.png", "out/.store/g.png")
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "linked.png").symlink_to(outside, target_is_directory=True)
    (inside / "once more").symlink_to(outside, target_is_directory=True)
    (inside / "loop").symlink_to(inside, target_is_directory=True)
    (inside / "above").symlink_to(tmp_path, target_is_directory=True)
    (inside / "c").symlink_to(inside / "d", target_is_directory=True)
    (inside / "c.png").symlink_to(outside / "b.png")
    left_out = LeftOut()
    found = list(find_images(inside, left_out=left_out))
    # By way of "above", too, "out" is reached; "in" was entered before.
    assert found == ["a.png", "above/out/b.png", "c.png", "d/e.png"]
    assert (left_out.folders, left_out.files) == (6, 0)
    assert left_out.first == "above/in (a link to what was found already)"


def test_what_is_stored_in_a_hidden_folder_is_reached_by_its_link(tmp_path: Path) -> None:
    fill(tmp_path, ".store/x/a.png")
    (tmp_path / "scratch").symlink_to(tmp_path / ".store" / "x", target_is_directory=True)
    assert list(find_images(tmp_path)) == ["scratch/a.png"]


def test_a_linked_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    (tmp_path / "scratch").symlink_to(tmp_path / "drive", target_is_directory=True)
    left_out = LeftOut()
    assert list(find_images(tmp_path, left_out=left_out)) == ["a.png"]
    assert str(left_out) == (
        "left out as no photographs: 1 file; first scratch (a link that leads nowhere)"
    )


# --- what holds no photographs

NONE_IN = [
    ".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbnails", "System Volume Information",
    "$RECYCLE.BIN", "lost+found", ".Trash-1000", "ground_truth", "Ground_Truth", "gt",
]  # fmt: skip


def test_folders_of_systems_and_of_masks_hold_no_photographs(tmp_path: Path) -> None:
    fill(tmp_path, "good/a.png", *(f"{name}/b.png" for name in NONE_IN))
    left_out = LeftOut()
    assert list(find_images(tmp_path, left_out=left_out)) == ["good/a.png"]
    assert (left_out.folders, left_out.files) == (len(NONE_IN), 0)
    assert not any(is_photograph(tmp_path, f"{name}/b.png") for name in NONE_IN)
    assert is_photograph(tmp_path, "good/a.png")
    assert not is_photograph(tmp_path, "good/a.txt")


def test_masks_are_known_by_what_they_lie_beside(tmp_path: Path) -> None:
    parts = ("only/masks/a.png", "only/b_mask.png", "only/b.txt")  # photographs of face masks
    fill(tmp_path, "visa/Images/a.JPG", "visa/Masks/a.png", "3d/rgb/a.png", "3d/xyz/a.tiff",
         "ksdd2/1.png", "ksdd2/1_GT.png", "dagm/2.PNG", "dagm/2_label.PNG", *parts)  # fmt: skip
    found = set(find_images(tmp_path))
    photographs = {"visa/Images/a.JPG", "3d/rgb/a.png", "ksdd2/1.png", "dagm/2.PNG", *parts[:2]}
    assert found == photographs
    assert {path for path in found if is_photograph(tmp_path, path)} == photographs
    assert not is_photograph(tmp_path, "ksdd2/1_GT.png")
    assert not is_photograph(tmp_path, "visa/Masks/a.png")


def test_hidden_files_are_left_out_and_counted(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "._a.png", ".DS_Store")
    left_out = LeftOut()
    assert list(find_images(tmp_path, left_out=left_out)) == ["a.png"]
    assert str(left_out) == "left out as no photographs: 1 file; first ._a.png (hidden)"


@pytest.mark.parametrize(
    ("marker", "found"),
    [
        ('{"holds": "results", "own": []}', ["a.png"]),
        ('{"made_by": "train"}', ["a.png"]),
        ("damaged", ["a.png"]),
        ('{"holds": "photographs", "own": ["train"]}', ["a.png", "r/train/b.png"]),
    ],
)
def test_what_this_program_has_written_is_known_by_its_marker(
    tmp_path: Path, marker: str, found: list[str]
) -> None:
    fill(tmp_path, "a.png", "r/train/b.png")
    (tmp_path / "r" / MARKER).write_text(marker)
    assert list(find_images(tmp_path)) == found
    assert is_photograph(tmp_path, "r/train/b.png") is (len(found) == 2)


def test_of_a_folder_with_results_that_is_given_only_they_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "heatmaps/b.png", "roc.png")
    (tmp_path / MARKER).write_text('{"holds": "results", "own": ["heatmaps", "roc.png"]}')
    assert list(find_images(tmp_path)) == ["a.png"]


def test_a_folder_of_which_all_is_left_out_says_so(tmp_path: Path) -> None:
    fill(tmp_path, ".cache/a.png")
    with pytest.raises(FolderError, match=r"no images \(left out .*: 1 folder; first .cache"):
        list_images(tmp_path)


# --- links to files


def test_a_broken_link_is_listed_and_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("missing.png")
    assert list(find_images(tmp_path)) == ["a.png"]
    assert refusal(tmp_path / "a.png") == "the file no longer exists"


def test_a_link_to_itself_is_listed_and_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("a.png")
    assert list(find_images(tmp_path)) == ["a.png"]
    assert refusal(tmp_path / "a.png").startswith("cannot be decoded: ")


def test_the_skipped_folder_and_what_lies_below_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a.png", "out/b.png", "out/c/d.png", "e/out/f.png")
    expected = ["a.png", "e/out/f.png"]
    assert list(find_images(tmp_path, skip=tmp_path / "out")) == expected
    monkeypatch.chdir(tmp_path)
    assert list(find_images(tmp_path, skip=Path("e/../out"))) == expected


def test_a_skipped_folder_that_does_not_exist_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    assert list(find_images(tmp_path, skip=tmp_path / "later")) == ["a.png"]


def test_names_that_are_not_utf8_are_found_and_read(tmp_path: Path) -> None:
    name = b"\xe9.png".decode("utf-8", "surrogateescape")
    flat().save(tmp_path / "a.png")
    try:
        (tmp_path / "a.png").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert list(find_images(tmp_path)) == [name]
    assert (load_image(tmp_path / name, SETTINGS).pixels == COLOR).all()


@pytest.mark.parametrize("name", ["missing", "file.png"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "file.png")
    with pytest.raises(FolderError, match=rf"{name}: .*; expected a folder of images"):
        list(find_images(tmp_path / name))


@pytest.mark.usefixtures("forbidden_b")
def test_a_folder_that_cannot_be_listed_is_told_of_and_the_others_go_on(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    told: list[FolderError] = []
    assert list(find_images(tmp_path, refused=told.append)) == ["a/1.png", "c/3.png"]
    assert [str(error) for error in told] == [
        f"{tmp_path / 'b'}: Permission denied; expected a folder of images"
    ]
    with pytest.raises(FolderError, match="Permission denied"):
        list(find_images(tmp_path))
    with pytest.raises(FolderError, match="Permission denied"):
        list(find_images(tmp_path / "b", refused=told.append))


def test_one_folder_is_listed_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    seen: list[str] = []
    listed = reading._listed
    monkeypatch.setattr(reading, "_listed", lambda each: (seen.append(each.name), listed(each))[1])
    assert next(find_images(tmp_path)) == "a/1.png"
    assert seen == [tmp_path.name, "a"]


def test_a_folder_without_images_is_refused_at_once(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt")
    with pytest.raises(FolderError, match=r"holds no images; expected files such as \*.png"):
        list_images(tmp_path)


def test_the_number_of_images_is_known_after_a_while(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "out/3.png", "c.txt")
    total = Counting(tmp_path, skip=tmp_path / "out")
    total()
    for thread in threading.enumerate():
        if thread.name == "count":
            thread.join()
    assert total() == 2


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert stamp(path) is None
    path.write_bytes(b"one")
    first = stamp(path)
    path.write_bytes(b"longer")
    assert first is not None and first.size == 3
    assert stamp(path) != first


# --- reading ahead


def loader(folder: Path) -> Callable[[str], LoadedImage]:
    return lambda name: load_image(folder / name, SETTINGS)


def test_reading_ahead_keeps_the_order_and_the_errors(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(12)]
    for shade, name in enumerate(names):
        flat((shade, shade, shade)).save(tmp_path / name)
    (tmp_path / "5.png").write_bytes(b"")
    results = list(read_ahead(names, loader(tmp_path), workers=3, ahead=4))
    assert [name for name, _ in results] == names
    for shade, (_, image) in enumerate(results):
        if shade == 5:
            assert isinstance(image, ImageReadError)
        else:
            assert isinstance(image, LoadedImage)
            assert (image.pixels == shade).all()


def test_reading_ahead_takes_no_more_than_it_may(tmp_path: Path) -> None:
    flat().save(tmp_path / "a.png")
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    images = read_ahead(
        items(), lambda _: load_image(tmp_path / "a.png", SETTINGS), workers=2, ahead=3
    )
    next(images)
    assert len(taken) == 4
    images.close()  # type: ignore[attr-defined]


def test_closing_the_reader_early_ends_its_threads(tmp_path: Path) -> None:
    flat().save(tmp_path / "a.png")
    images = read_ahead(["a.png"] * 50, loader(tmp_path), workers=2, ahead=8)
    next(images)
    images.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_reading_nothing_ahead_gives_nothing() -> None:
    assert list(read_ahead([], lambda _: pytest.fail("called"), workers=1, ahead=1)) == []


def test_what_stalls_is_an_error_and_holds_up_nothing_else() -> None:
    ever = threading.Event()

    def load(number: int) -> int:
        if number in (1, 2):
            ever.wait()
        return number

    results = list(read_ahead(range(6), load, workers=2, ahead=2, patience=0.05))
    ever.set()
    assert [item for item, _ in results] == list(range(6))
    assert [value for _, value in results if isinstance(value, int)] == [0, 3, 4, 5]
    assert {str(value) for _, value in results if not isinstance(value, int)} == {
        "could not be read within 0.05 seconds"
    }


def test_an_error_that_nobody_expects_comes_out_where_it_is_waited_for() -> None:
    def load(number: int) -> int:
        raise TimeoutError(str(number))

    with pytest.raises(TimeoutError, match="0"):
        list(read_ahead(range(3), load, workers=1, ahead=1, patience=5))
