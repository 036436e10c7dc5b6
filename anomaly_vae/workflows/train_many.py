"""A model for each part number: a folder of parts in, a folder of runs and a table of them out.

Each training is one of ``train``, in a process of its own: what ends one ends no other. On this
machine threads wait for these processes, on a cluster Ray does. No two parts share photographs, so
there are no features to share; trunk weights are read from one file.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd

from anomaly_vae.errors import AnomalyVAEError, ConfigError, FolderError
from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.images.formats import is_image
from anomaly_vae.images.rules import why_no_folder
from anomaly_vae.outputs import Made, prepare_folder, refuse_folder, write_json, write_text
from anomaly_vae.settings.files import config_to_yaml, load_config
from anomaly_vae.settings.schema import Config
from anomaly_vae.workflows.connecting import ATTEMPTS, Wish, connect, room
from anomaly_vae.workflows.parts_table import COUNTS, row_of
from anomaly_vae.workflows.runs import CHECKPOINT, built_in, refuse_weights

TABLE, SETTINGS, ASKED = "parts.csv", "config.yaml", "asked.json"
MANY = Made("train-many", (TABLE, SETTINGS, ASKED))
_GOOD = (Path("train", "good"), Path("good"))
"""Where the good photographs of a part lie, if not in its folder itself."""
_PAUSE = 0.1  # seconds between looks at processes that are to end


@dataclass(frozen=True)
class Part:
    """A part number: its good photographs, and the run folder of its model."""

    name: str
    good: Path
    run: Path


@dataclass(frozen=True)
class Asked:
    """What every training is given; see ``api.train``."""

    settings: Path
    weights: Path | None
    device: str
    begun: float
    """When all of it was begun: what is older in a run folder was there before."""

    def has(self, file: Path) -> bool:
        """Whether a file was made since."""
        return file.is_file() and file.stat().st_mtime >= self.begun


@dataclass
class Many:
    """The trainings of all parts of a folder.

    Raises:
        FolderError: it has no folders of parts.
        OutputError: ``out`` cannot be written to, or gone on with.
        ConfigError: what was begun had other settings.
    """

    folder: Path
    out: Path
    config: Config | None
    """None: the usual settings, or those it was begun with."""
    weights: Path | None = None
    device: str = "auto"
    overwrite: bool = False
    resume: bool = False
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of the table, by part."""

    def __post_init__(self) -> None:
        self.parts, self.notes = _parts_below(self.folder, self.out)
        refuse_folder(self.out, MANY, overwrite=self.overwrite, resume=self.resume)
        settings, asked = self.out / SETTINGS, self.out / ASKED
        if self.resume and settings.is_file():
            self._go_on(settings, asked)
        else:
            config = self.config or load_config(None, ())
            refuse_weights(config, self.weights)
            prepare_folder(self.out, MANY, overwrite=self.overwrite, resume=self.resume)
            weights = self.weights and self.weights.absolute()
            # The settings last: where they are, the other is.
            write_json(asked, {"weights": str(weights) if weights else None})
            write_text(settings, config_to_yaml(config))
        self._asked = Asked(settings.absolute(), self.weights, self.device, asked.stat().st_mtime)

    def _go_on(self, settings: Path, asked: Path) -> None:
        """Take what it was begun with; what is given again must be the same."""
        try:
            begun = json.loads(asked.read_text(encoding="utf-8"))["weights"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{asked}: missing or damaged ({type(error).__name__}), so that the weights it was "
                "begun with are not known; give --overwrite"
            ) from error
        if self.config is not None and load_config(settings, ()) != self.config:
            raise ConfigError(
                f"{self.out}: was begun with other settings; give --resume without settings, "
                "or --overwrite"
            )
        if self.weights and str(self.weights.absolute()) != begun:
            raise ConfigError(
                f"--weights {self.weights}: {self.out} was begun with {begun or 'none'}; leave it "
                "out, or give --overwrite"
            )
        self.weights = Path(begun) if begun else None

    def train(self, wish: Wish | None, workers: int | None) -> Iterator[dict[str, Any]]:
        """Train, in this machine's processes or a cluster's; gives the row of each part.

        The table is written anew with each.
        """
        waiting = [part for part in self.parts if not _is_done(part, self._asked)]
        names = {part.name for part in waiting}
        before = ((part, "") for part in self.parts if part.name not in names)
        trained = self._on_ray(waiting, wish) if wish else self._here(waiting, workers)
        for part, error in chain(before, trained):
            row = row_of(part.name, part.run, error)
            self.rows[part.name] = row
            table = pd.DataFrame([self.rows[name] for name in sorted(self.rows)])
            write_text(self.out / TABLE, table.astype(COUNTS).to_csv(index=False))
            yield row | {"before": part.name not in names}

    def _here(self, parts: list[Part], workers: int | None) -> Iterator[tuple[Part, str]]:
        """Train in processes of this machine, so many at a time."""
        at_once = workers or max(1, usable_cores() // 4)
        cores = max(1, usable_cores() // at_once)
        running: dict[str, BaseProcess] = {}
        with ThreadPoolExecutor(at_once, "train") as pool:
            futures = {
                pool.submit(_alone, part, self._asked, cores, running): part for part in parts
            }
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                while not all(each.done() for each in futures):
                    for process in list(running.values()):
                        if process.pid:  # one that is about to start is met the next time
                            process.terminate()
                    time.sleep(_PAUSE)
                raise

    def _on_ray(self, parts: list[Part], wish: Wish) -> Iterator[tuple[Part, str]]:
        """Train as tasks of a cluster."""
        import ray  # noqa: PLC0415

        has = connect(wish.address)
        at_once = wish.workers or room(has, wish)
        cores = max(1, int(has["CPU"] // at_once))
        task = ray.remote(num_cpus=cores, num_gpus=wish.gpus, max_calls=1, max_retries=ATTEMPTS)(
            train_part
        )
        left, waiting = iter(parts), dict[Any, Part]()
        while True:
            for part in islice(left, at_once - len(waiting)):
                waiting[task.remote(part, self._asked, cores)] = part
            if not waiting:
                return
            (done,), _ = ray.wait(list(waiting))
            try:
                error = ray.get(done)
            except ray.exceptions.RayError as failed:
                error = str(failed).strip().partition("\n")[0]
            yield waiting.pop(done), error


def train_part(part: Part, asked: Asked, cores: int) -> str:
    """Train a part, or go on with it; gives why there is no model, or nothing."""
    import torch  # noqa: PLC0415

    from anomaly_vae.workflows.api import train  # noqa: PLC0415

    torch.set_num_threads(cores)
    checkpoint = built_in(part.run) / CHECKPOINT
    begun = asked.has(checkpoint)
    anew = not begun and (checkpoint.is_file() or (part.run / "model.onnx").is_file())
    try:
        train(
            part.good, part.run, config=None if begun else asked.settings,
            weights=None if begun else asked.weights, device=asked.device,
            overwrite=anew, resume=not anew,
        )  # fmt: skip
    except AnomalyVAEError as error:
        return str(error)
    except Exception as error:  # of one part, and none of the others' business
        return f"internal error: {type(error).__name__}: {error}"
    return ""


def _alone(part: Part, asked: Asked, cores: int, running: dict[str, BaseProcess]) -> str:
    """Train a part in a process of its own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, part, asked, cores), daemon=True)
    running[part.name] = process
    process.start()
    theirs.close()
    error = None
    with suppress(EOFError, OSError):
        error = str(ours.recv())
    process.join()
    del running[part.name]
    return f"its process died ({process.exitcode})" if error is None else error


def _child(channel: Connection, part: Part, asked: Asked, cores: int) -> None:
    """Be the process of one training; end with the one that waits for it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with, args=(channel,), daemon=True).start()
    channel.send(train_part(part, asked, cores))


def _end_with(channel: Connection) -> None:
    with suppress(EOFError, OSError):
        channel.recv()
    os._exit(1)


def _is_done(part: Part, asked: Asked) -> bool:
    """Whether a part has its model."""
    begun = asked.has(built_in(part.run) / CHECKPOINT)
    return not begun and asked.has(part.run / "model.onnx")


def _parts_below(folder: Path, out: Path) -> tuple[list[Part], list[str]]:
    """Find the folders of parts, and what is left out."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise FolderError(
            f"{folder}: {error.strerror}; expected a folder with a folder for each part"
        ) from error
    parts = [
        Part(each.name, next((each / g for g in _GOOD if (each / g).is_dir()), each).absolute(),
             (out / each.name).absolute())
        for each in found
        if each.is_dir() and each.resolve() != out.resolve() and not why_no_folder(each.name, set)
    ]  # fmt: skip
    if not parts:
        raise FolderError(f"{folder}: has no folders; expected one for each part")
    loose = sum(is_image(each) for each in found if each.is_file())
    note = f"{loose} photographs lie in {folder} itself, in no part's folder: left out"
    return parts, [note] if loose else []
