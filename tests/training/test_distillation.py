"""A student learns what a teacher says, and is the same when it only runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from anomaly_vae.errors import ConfigError, FolderError, OutputError, WeightsError
from anomaly_vae.images.textures import draw_picture
from anomaly_vae.settings.schema import FeatureSettings
from anomaly_vae.training.crops import Crops
from anomaly_vae.training.distillation import Distillation, Recipe
from anomaly_vae.training.pictures import read_bank
from anomaly_vae.vae.maps import local_mean
from anomaly_vae.vae.student import COMPONENTS, Student
from anomaly_vae.vae.trunk import TrunkFeatures
from anomaly_vae.vae.weights import EMBEDDED_FILE, load_trunk_weights
from anomaly_vae.workflows.distill import Sources, distill

SMALL = ((4, 8), (8, 8), (8, 8))
CPU = torch.device("cpu")


def recipe(steps: int, **others: float) -> Recipe:
    return Recipe(minutes=10, steps=steps, batch_size=4, size=64, **others)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bank() -> Tensor:
    pictures = [draw_picture(np.random.default_rng(seed), 64) for seed in range(12)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def teacher(components: int = 8) -> TrunkFeatures:
    torch.manual_seed(0)
    return TrunkFeatures(
        FeatureSettings(source="resnet18", components=components, border=0), (64, 64)
    )


def test_pictures_are_the_same_for_the_same_seed() -> None:
    one, other = (draw_picture(np.random.default_rng(7), 96) for _ in range(2))
    assert one.shape == (96, 96, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, other)
    kinds = [draw_picture(np.random.default_rng(seed), 64).mean() for seed in range(30)]
    assert len(set(kinds)) == 30


def test_crops_come_from_the_bank_and_differ(bank: Tensor) -> None:
    crops = Crops(bank, 48, seed=3).draw(16)
    assert crops.shape == (16, 3, 48, 48)
    assert crops.min() >= 0 and crops.max() <= 1 and crops.isfinite().all()
    torch.testing.assert_close(crops, Crops(bank, 48, seed=3).draw(16))
    assert (crops - Crops(bank, 48, seed=4).draw(16)).abs().mean() > 0.01


def test_a_student_that_runs_computes_what_the_learning_one_did() -> None:
    torch.manual_seed(0)
    learning = Student(SMALL, 5, learning=True)
    images = torch.rand(8, 3, 64, 64)
    for _ in range(5):  # the statistics of batch normalisation move away from 0 and 1
        learning(images)
    plain = Student(SMALL, 5)
    plain.load_state_dict(learning.weights())
    torch.testing.assert_close(plain(images), learning.eval()(images), rtol=1e-4, atol=1e-4)


def test_a_student_goes_on_where_another_ended() -> None:
    torch.manual_seed(0)
    plain, images = Student(SMALL, 5), torch.rand(8, 3, 64, 64)
    learning = Student(SMALL, 5, learning=True)
    learning.start_from(plain.state_dict(), images)
    for mode in (False, True):  # with the statistics that it keeps, and with those of the batch
        given = learning.train(mode)(images)
        torch.testing.assert_close(given, plain(images), rtol=1e-3, atol=1e-3)


def test_the_components_are_what_the_head_makes_of_both_maps() -> None:
    torch.manual_seed(0)
    student, images = Student(SMALL, 3), torch.rand(1, 3, 64, 64)
    fine = student.fine(student.stem(images))
    coarse = local_mean(student.coarse(fine), 3)
    coarse = interpolate(coarse, fine.shape[2:], mode="bilinear")
    both = torch.cat([local_mean(fine, 3), coarse], 1)
    kernel = torch.cat([student.head["fine"].weight, student.head["coarse"].weight], 1)
    expected = conv2d(both, kernel, student.head["fine"].bias)
    torch.testing.assert_close(student(images), expected, rtol=1e-4, atol=1e-5)


def test_the_trunk_in_the_package_is_a_trunk_like_others() -> None:
    features = TrunkFeatures(
        FeatureSettings(source="embedded", components=16, local_mean=1), (64, 64)
    )
    untrained = features.trunk.state_dict()["stem.0.0.weight"].clone()
    load_trunk_weights(features, None)
    assert (features.trunk.state_dict()["stem.0.0.weight"] - untrained).abs().max() > 0.01
    images = torch.rand(2, 3, 64, 64)
    raw = features.raw(images)
    assert raw.shape == (2, 8, 8, COMPONENTS) and features.map_shape == (6, 6)
    features.fit(raw.reshape(-1, COMPONENTS).numpy())
    expected = features.standardised(raw)[:, 1:-1, 1:-1]
    torch.testing.assert_close(features(images), expected, rtol=1e-3, atol=1e-3)
    assert sum(value.numel() for value in features.trunk.parameters()) < 2_000_000
    assert EMBEDDED_FILE.stat().st_size < 4_000_000


def test_the_embedded_trunk_predicts_its_teacher_better_than_an_untrained_one(bank: Tensor) -> None:
    """Its weights are those of its network: a wrong order or form would leave nothing of it."""
    features = TrunkFeatures(
        FeatureSettings(source="embedded", components=0, local_mean=1), (64, 64)
    )
    load_trunk_weights(features, None)
    maps = features.raw(bank[:8].float() / 255).reshape(-1, COMPONENTS)
    # Components of variance 1 on what the teacher saw; drawn pictures are not far from it.
    assert 0.1 < maps[:, :32].var(0).mean() < 10


def test_a_student_learns(bank: Tensor) -> None:
    training = Distillation(teacher(), bank, recipe(40), CPU, SMALL)
    reports = list(training.train())
    assert reports[-1].done == 1 and reports[-1].steps == 40
    assert reports[-1].crops == 160
    assert reports[-1].explained > reports[0].explained
    assert all(value.dtype == torch.float16 for value in training.weights().values())


def test_a_file_is_made_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bank: Tensor
) -> None:
    monkeypatch.setattr("anomaly_vae.workflows.distill.load_trunk_weights", lambda *_: None)
    monkeypatch.setattr("anomaly_vae.workflows.distill.read_bank", lambda *_, **__: bank)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    list(distill(first, recipe(3), Sources(), device="cpu", widths=SMALL))
    with pytest.raises(OutputError, match="--overwrite"):
        list(distill(first, recipe(3), Sources(), device="cpu", widths=SMALL))
    slow = recipe(1, learning_rate=1e-9)  # it learns nothing, and so must stay what it was
    list(distill(second, slow, Sources(start=first), device="cpu", widths=SMALL))
    one, other = load_file(first), load_file(second)
    assert one.keys() == other.keys()
    for name, value in one.items():
        if name.startswith("head"):
            torch.testing.assert_close(other[name], value, rtol=1e-2, atol=1e-3)
    with pytest.raises(WeightsError, match="anomaly-vae distill"):
        list(distill(tmp_path / "third.safetensors", slow, Sources(start=first), device="cpu"))


def test_mistakes_are_told(tmp_path: Path) -> None:
    out = tmp_path / "trunk.safetensors"
    with pytest.raises(ConfigError, match="--teacher pixels"):
        list(distill(out, recipe(1), Sources("pixels"), device="cpu"))
    with pytest.raises(FolderError, match="nothing to learn from"):
        read_bank(None, 0, seed=0)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(FolderError, match="none of 1 images"):
        read_bank(tmp_path, 0, seed=0)
    with pytest.raises(WeightsError, match="no such file"):
        list(distill(out, recipe(1), Sources(weights=tmp_path / "absent.pth"), device="cpu"))


def test_pictures_that_are_left_out_are_said(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    (tmp_path / ".thumbnails").mkdir()
    said = list[str]()
    assert len(read_bank(tmp_path, 0, seed=0, side=20, warned=said.append)) == 1
    assert said == [
        "left out as unreadable: 1 of 2 pictures; first b.png: the file is empty",
        "left out as no photographs: 1 folder; first .thumbnails (hidden)",
    ]


def test_photographs_give_a_square_at_each_end(tmp_path: Path) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    bank = read_bank(tmp_path, 0, seed=0, side=20)
    assert bank.shape == (2, 3, 20, 20)
    assert bank[0].float().mean() < 5 and bank[1].float().mean() > 250
