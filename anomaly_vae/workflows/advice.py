"""Which way of inspecting is the fastest on this machine, of those that judge alike."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from anomaly_vae.errors import DeviceError, ModelFileError
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.providers import cuda_devices

_BATCHES = {"cpu": (1, 4, 8, 16, 32), "cuda": (16, 32, 64, 128), "tensorrt": (32,)}


@dataclass(frozen=True)
class Way:
    """A way of inspecting, and what it gave."""

    model: Path
    precision: str
    device: str
    batch_size: int
    images_per_second: float
    """From files to verdicts, without tables and pictures."""
    changed: int
    """Number of photographs that get another verdict than by the model that was given, on a CPU."""

    @property
    def words(self) -> list[str]:
        """What to give to ``inspect``."""
        size = str(self.batch_size)
        return [str(self.model), "--device", self.device, "--batch-size", size]


def ways(
    model: Path, folder: Path, paths: Sequence[str], count: int, warned: Callable[[str], None]
) -> Iterator[Way]:
    """Try what there is on ``count`` images, those at ``paths`` over and over.

    That is: the processors of this machine, sizes of batches, and besides ``model`` those in its
    folder that were exported of the same training. ``warned`` hears of what cannot be tried.

    Raises:
        ModelFileError: the model cannot be used.
    """
    with Inspector(model, device="cpu") as plain:
        expected = {each.path: each.verdict for each in plain.inspect_files(folder, paths)}
        siblings = [model, *_same(model, plain.card.training_fingerprint)]
    devices = ["cpu", *(["cuda", "tensorrt"] if cuda_devices() else [])]
    names = list(islice(cycle(paths), count))
    for each in siblings:
        for device in devices:
            for size in _BATCHES[device]:
                try:
                    inspector = Inspector(each, device=device, batch_size=size, told=warned)
                except DeviceError as error:
                    warned(str(error))
                    break
                with inspector:
                    rate, changed = _tried(inspector, folder, names, expected)
                    yield Way(each, inspector.card.precision, device, size, rate, changed)


def fastest(tried: Sequence[Way]) -> Way:
    """Choose among the ways that judge alike, of which the plain one is one."""
    alike = [way for way in tried if not way.changed]
    return max(alike or tried[:1], key=lambda way: way.images_per_second)


def _same(model: Path, fingerprint: str) -> Iterator[Path]:
    """Find the other models beside one that come from the same training."""
    for path in sorted(model.parent.glob("*.onnx")):
        if path.samefile(model):
            continue
        try:
            with Inspector(path, device="cpu") as other:
                if other.card.training_fingerprint == fingerprint:
                    yield path
        except ModelFileError:
            continue


def _tried(
    inspector: Inspector, folder: Path, names: Sequence[str], expected: Mapping[str, str]
) -> tuple[float, int]:
    """Inspect the photographs; gives images per second, and how many are judged otherwise."""
    list(inspector.inspect_files(folder, names[: inspector.batch_size]))  # the first run allocates
    begin = time.perf_counter()
    found = {each.path: each.verdict for each in inspector.inspect_files(folder, names)}
    rate = len(names) / (time.perf_counter() - begin)
    return rate, sum(expected[path] != verdict for path, verdict in found.items())
