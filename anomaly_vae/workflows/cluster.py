"""Photographs inspected by the workers of a Ray cluster, as ``Several`` does it on one machine.

Ray Data moves the work: it hands out files, starts the workers, holds back those that are ahead,
and does again what a worker or a machine that is gone had in hand. What is done with a file is
what ``Several`` does with it; what was found comes back in the order of the files, to be recorded
by the one process that writes.
"""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from anomaly_vae.errors import FolderError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector, Shown
from anomaly_vae.inspection.several import Several, Wanted, Ways
from anomaly_vae.remote import is_address
from anomaly_vae.reporting.gallery import Gallery
from anomaly_vae.workflows.connecting import ATTEMPTS, Wish, connect, explained, room
from anomaly_vae.workflows.recorder import Heatmaps, Pictures

_FILES = 64
"""What a worker has in hand at once, and is done again if it dies."""
# The workers are started anew for each portion of the files, and idle at its end; more paths than
# in one are never in memory. The first is small, so that the first results are soon there.
_FIRST, _MOST = 4_096, 262_144
_READERS = 4
"""Threads of a worker that read ahead: they wait for drives more than they compute."""
_SHARE = 0.5
"""Of a core, which Ray reserves for a worker: one whose machine is gone has a place on others."""
Row = dict[str, Any]


class OnCluster(Several):
    """Several models on a Ray cluster; ``files`` are those of the models.

    ``pictures`` says which heat maps are wanted, and whether a page is.

    Raises:
        DeviceError: the cluster cannot be reached, or has no graphics cards where some are wanted.
    """

    alone = False

    def __init__(
        self,
        inspectors: Sequence[Inspector],
        route: str,
        files: Sequence[Path],
        wish: Wish,
        pictures: tuple[Heatmaps, bool],
    ) -> None:
        super().__init__(inspectors, route)
        self._wish, self._pictures = wish, pictures
        names = [each.name for each in inspectors]
        self._models = [(name, file.read_bytes()) for name, file in zip(names, files, strict=True)]
        fit = room(connect(wish.address), wish)
        self.workers = wish.workers or fit
        """Processes that run the models, at most."""
        self._at_first = min(self.workers, fit)

    def inspect_files(
        self, folder: Path, wanted: Iterable[Wanted], _shown: Sequence[Shown]
    ) -> Iterator[tuple[int, Finding]]:
        """See ``Several.inspect_files``; what is shown, the workers know themselves.

        Raises:
            OutputError: workers die again and again; what was found before is there.
        """
        left, size = iter(wanted), _FIRST
        while portion := list(islice(left, size)):
            done = 0
            try:
                for row in self._pipeline(folder.absolute(), portion).iter_rows():
                    yield from pickle.loads(row["found"])  # noqa: S301 - our own workers wrote it
                    done += 1
            except Exception as error:
                said = explained(error, portion[done * _FILES][0])
                if said is error:
                    raise
                raise said from error
            size = min(4 * size, _MOST)

    def _pipeline(self, folder: Path, portion: Sequence[Wanted]) -> Any:
        """Give the dataset of what is found in some of the files."""
        import ray.data  # noqa: PLC0415

        parts = [portion[begin : begin + _FILES] for begin in range(0, len(portion), _FILES)]
        rows = [{"files": pickle.dumps(part)} for part in parts]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        wish = self._wish
        at_first, most = (min(each, len(rows)) for each in (self._at_first, self.workers))
        pool = ray.data.ActorPoolStrategy(min_size=at_first, max_size=most)
        if wish.gpus:  # decoding, for which a machine with cards has too few cores, is done by all
            ways = Ways([each.card.images for each in self.inspectors])
            data = data.map(partial(_read, folder, ways), num_cpus=1)
        return data.map(
            _Judge,
            fn_constructor_args=(
                self._models, folder, wish, self._pictures, self.inspectors[0].min_area
            ),
            compute=pool, num_cpus=_SHARE, num_gpus=wish.gpus or None, ray_remote_args_fn=_patience,
        )  # fmt: skip


def _patience() -> dict[str, int]:
    """Say how often a worker is begun anew, which is for ever by default.

    No other way to say so is left in Ray 2.60, which calls this one deprecated.
    """
    return {"max_restarts": ATTEMPTS}


class _Judge:
    """A worker: the models, on one core or a share of a graphics card."""

    def __init__(
        self,
        models: Sequence[tuple[str, bytes]],
        folder: Path,
        wish: Wish,
        pictures: tuple[Heatmaps, bool],
        min_area: float,
    ) -> None:
        self._folder = folder
        with TemporaryDirectory() as place:
            inspectors = []
            for name, data in models:
                file = Path(place, f"{name}.onnx")
                file.write_bytes(data)
                inspectors.append(
                    Inspector(
                        file, device=wish.device, batch_size=wish.batch_size, workers=_READERS,
                        threads=1, min_area=min_area,
                    )
                )  # fmt: skip
        self._several = Several(inspectors)
        heatmaps, page = pictures
        # The pictures with the highest scores of all are among those with the highest here.
        self._galleries = [Gallery() for _ in models]
        self._pictures = [Pictures(heatmaps, each if page else None) for each in self._galleries]

    def __call__(self, row: Row) -> Row:
        shown = [each.show for each in self._pictures]
        if "files" in row:
            wanted = pickle.loads(row["files"])  # noqa: S301 - as is this
            _refuse_missing(self._folder, wanted)
            found = self._several.inspect_files(self._folder, wanted, shown)
        else:
            found = self._several.judge(pickle.loads(row["read"]), shown)  # noqa: S301
        return {"found": pickle.dumps([(n, self._light(n, each)) for n, each in found])}

    def _light(self, number: int, finding: Finding) -> Finding:
        """Leave out the pixels of what will be in no picture: they are most of what travels."""
        image, pictures = finding.image, self._pictures[number]
        if image is None:
            return finding
        if pictures.keep(finding.score):
            self._galleries[number].keep("", finding.score, enlarged=False)
            return finding
        if pictures.draw(finding):
            return finding
        none = np.empty((0, 0, 3), np.uint8)
        light = replace(image, pixels=none, inspected=None)
        return replace(finding, image=light, anomaly_map=None)


def _read(folder: Path, ways: Ways, row: Row) -> Row:
    """Read and decode files for a worker with a graphics card."""
    wanted = pickle.loads(row["files"])  # noqa: S301
    _refuse_missing(folder, wanted)
    reading = read_ahead(wanted, partial(ways.read, folder), workers=_READERS, ahead=_READERS)
    return {"read": pickle.dumps(list(reading))}


def _refuse_missing(folder: Path, wanted: Sequence[Wanted]) -> None:
    """Refuse to look for files in a folder that is not there: none of them would be."""
    within = any(not is_address(path) and not Path(path).is_absolute() for path, _ in wanted)
    if within and isinstance(folder, Path) and not folder.is_dir():
        import socket  # noqa: PLC0415

        raise FolderError(
            f"{folder}: is not there on {socket.gethostname()}; expected a drive that all machines "
            "of the cluster have at the same place"
        )
