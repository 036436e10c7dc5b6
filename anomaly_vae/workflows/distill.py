"""Makes a trunk of one's own: distilled from a larger one, as one small file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch

from anomaly_vae.errors import ConfigError
from anomaly_vae.outputs import prepare_file, write_bytes
from anomaly_vae.progress import Track, untracked
from anomaly_vae.settings.schema import FeatureSettings
from anomaly_vae.training.distillation import Distillation, Progress, Recipe
from anomaly_vae.training.loop import select_device
from anomaly_vae.training.pictures import read_bank
from anomaly_vae.vae.student import COMPONENTS, EMBEDDED, WIDTHS, Widths
from anomaly_vae.vae.trunk import TrunkFeatures
from anomaly_vae.vae.weights import load_trunk_weights, read_student


@dataclass(frozen=True)
class Sources:
    """What a trunk is made of."""

    teacher: str = "resnet18"
    """A classification model of torchvision."""
    weights: Path | None = None
    """Its weights; none: torchvision's download."""
    pictures: Path | None = None
    """Folder of photographs."""
    drawn: int = 1000
    """How many pictures are drawn beside them."""
    start: Path | None = None
    """A trunk to go on from; none: random weights."""


def distill(
    out: Path,
    recipe: Recipe,
    sources: Sources,
    *,
    device: str = "auto",
    widths: Widths = WIDTHS,
    overwrite: bool = False,
    track: Track = untracked,
    warned: Callable[[str], None] = lambda _: None,
) -> Iterator[Progress]:
    """Distill a trunk into the file ``out``, which is there from the first report on.

    ``warned`` hears of pictures that are left out.

    Raises:
        ConfigError: the teacher is no network of torchvision.
        WeightsError: the teacher's weights, or those to start from, are missing or do not fit.
        FolderError: there are no pictures.
        TrainingError: the loss is no longer a number.
        OutputError: the file is there already, or cannot be written.
    """
    prepare_file(out, overwrite=overwrite)
    chosen = select_device(device)
    first = read_student(sources.start, widths, COMPONENTS) if sources.start else None
    large = _teacher(sources.teacher, sources.weights, recipe.size)
    bank = read_bank(sources.pictures, sources.drawn, seed=recipe.seed, track=track, warned=warned)
    training = Distillation(large, bank, recipe, chosen, widths, first)
    for progress in training.train():
        described = {
            "teacher": sources.teacher,
            "seed": str(recipe.seed),
            "pictures": str(len(bank)),
            "crops": str(progress.crops),
            "minutes": f"{progress.seconds / 60:.2f}",
            "explained": f"{progress.explained:.4f}",
        }
        write_bytes(out, safetensors.torch.save(training.weights(), described))
        yield progress


def _teacher(source: str, weights: Path | None, size: int) -> TrunkFeatures:
    if source in ("pixels", EMBEDDED):
        raise ConfigError(
            f"--teacher {source}: expected a classification model of torchvision, such as resnet18"
        )
    settings = FeatureSettings(source=source, components=COMPONENTS, border=0)
    large = TrunkFeatures(settings, (size, size))
    load_trunk_weights(large, weights)
    return large
