"""What a model sees of stacks: voxels in three dimensions, or each slice for itself."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv3d

from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.schema import FeatureSettings
from anomaly_vae.vae.architectures import build_model
from anomaly_vae.vae.maps import local_mean, stacked
from anomaly_vae.vae.trunk import build_features


@pytest.mark.parametrize("slices", [8, 11])
def test_a_volume_has_one_latent_vector_and_every_voxel_is_explained(slices: int) -> None:
    model = build_model(load_config(Path("volume")).model, (1, slices * 16, 16), slices)
    sheets = torch.randn(2, 1, slices * 16, 16)
    assert model.encode(sheets).mean.shape == (2, 16)
    assert model.reconstruct(sheets).shape == sheets.shape
    assert model(sheets).reconstruction_error.shape == (2, slices * 16, 16)


def test_what_lies_in_the_next_slice_is_seen() -> None:
    model = build_model(load_config(Path("volume")).model, (1, 8 * 16, 16), 8).eval()
    first = model.encoder[1](model.encoder[0](torch.zeros(1, 1, 128, 16)))
    changed = torch.zeros(1, 1, 128, 16)
    changed[:, :, 16:32] = 1  # the second slice
    other = model.encoder[1](model.encoder[0](changed))
    seen = (first != other).any(1).any(-1).any(-1)[0]
    assert seen.tolist() == [True, True, False, False]


def test_maps_of_a_stack_are_averaged_over_cubes() -> None:
    sheets = torch.randn(2, 1, 4 * 6, 5)
    ones = torch.ones(1, 1, 3, 3, 3)
    stacks = stacked(sheets, 4)
    sums, counts = (conv3d(each, ones, padding=1) for each in (stacks, torch.ones_like(stacks)))
    expected = (sums / counts).flatten(2, 3)
    assert torch.allclose(local_mean(sheets, 3, 4), expected, atol=1e-6)


@pytest.mark.parametrize("components", [0, 8])
def test_a_trunk_sees_each_slice_as_a_photograph(components: int) -> None:
    settings = FeatureSettings(source="embedded", border=0, components=components)
    torch.manual_seed(0)
    stacks = build_features(settings, (3 * 64, 64), slices=3, coded=True)
    one = build_features(settings, (64, 64), coded=True)
    one.load_state_dict(
        {name: value for name, value in stacks.state_dict().items() if name in one.state_dict()}
    )
    images = torch.rand(2, 3, 3 * 64, 64)
    slices = images.reshape(2, 3, 3, 64, 64)
    with torch.no_grad():
        seen = stacks.with_codes(stacks(images)).unflatten(1, (3, -1))
        for number in range(3):
            alone = one.with_codes(one(slices[:, :, number]))
            assert torch.allclose(seen[:, number], alone, atol=1e-5)
