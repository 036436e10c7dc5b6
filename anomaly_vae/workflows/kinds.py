"""Named defects teach a model which kind a region shows; its scores and limits stay as they are."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.calibration.intervals import Rate, rate
from anomaly_vae.calibration.kinds import FEWEST, UNKNOWN, Kinds, learn_kinds
from anomaly_vae.calibration.metadata import RESIDUAL
from anomaly_vae.errors import ModelFileError, TrainingError
from anomaly_vae.exporting.graph import replace_card
from anomaly_vae.images.files import list_images
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.kinds import described
from anomaly_vae.progress import Track, untracked
from anomaly_vae.transaction import Transaction
from anomaly_vae.workflows.labelled import with_origins
from anomaly_vae.workflows.log import settled
from anomaly_vae.workflows.marks import names_of_marked
from anomaly_vae.workflows.runs import saved_config
from anomaly_vae.workflows.truth import good_among

_FEWEST_KINDS = 2


@dataclass(frozen=True)
class Named:
    """Defective photographs below a folder, by their paths, and what each shows."""

    folder: Path
    kinds: Mapping[str, str]
    notes: tuple[str, ...] = ()
    """What is left out, each a line."""


@dataclass(frozen=True)
class LearnedKinds:
    """What named defects taught a model, judged by those left out in turn."""

    kinds: Kinds
    right: Rate
    """Examples of which the nearest kind is their own."""
    unsure: Rate
    """Examples that are called ``unknown``, though their kind was shown."""
    strangers: Rate
    """Examples that are called ``unknown`` where their kind was not shown."""
    notes: tuple[str, ...]
    """What a person should know of the photographs, each a line."""


def named_by_folder(folder: Path) -> Named:
    """Take the folders in ``folder`` for the names of what the photographs in them show.

    That of good ones (``good``, ``ok``, ``normal``) is left out, and so is what lies beside them.

    Raises:
        FolderError: the folder is missing, or holds no image.
    """
    paths = list_images(folder)
    above = {path: path.partition("/")[0] for path in paths if "/" in path}
    good = good_among(folder, above.values())
    kinds = {path: name for path, name in above.items() if name != good}
    return Named(
        folder, kinds, _said(folder, len(paths) - len(kinds), "are good, or in no folder of a kind")
    )


def named_by_marks(table: Path, folder: Path) -> Named:
    """Take the column ``kind`` of marks for the names of what the photographs marked show.

    Raises:
        FolderError: see ``marked``.
    """
    marked = names_of_marked(table, folder)
    kinds = {path: name for path, name in marked.items() if name}
    return Named(folder, kinds, _said(table, len(marked) - len(kinds), "have no kind"))


def learn_run_kinds(run: Path, named: Named, *, track: Track = untracked) -> LearnedKinds:
    """Let ``run/model.onnx`` tell the kinds of defects apart that photographs are ``named`` for.

    Of each photograph the region with the highest peak is the example: one that passes has none,
    and is left out. Kinds with fewer than ``FEWEST`` examples are left out. What was learned before
    is replaced; scores, limits and regions stay.

    Raises:
        TrainingError: fewer than two kinds are left, or a photograph has two.
        FolderError, ModelFileError: the folder or the run cannot be used.
        OutputError: the run folder cannot be written to; then all in it is as it was.
    """
    saved_config(run)  # or it is no run
    if UNKNOWN in named.kinds.values():
        raise TrainingError(
            f"{named.folder}: a kind is called {UNKNOWN!r}, as what is of none will be; expected "
            "another name"
        )
    with Transaction(run) as files:
        inspector = Inspector(files.current("model.onnx"), device="cpu")
        if RESIDUAL not in inspector.model.outputs:
            raise ModelFileError(
                f"{run}: its model does not say in which direction a place is unusual; expected "
                "one of the features of a trunk, for photographs of one shape; one of an earlier "
                f"version gets it by 'export {run} --out {run / 'model.onnx'} --overwrite'"
            )
        seen = Examples(named)
        examples = np.array(list(seen.described_by(inspector, track)))
        which, few = _enough(seen.kinds, named.folder)
        kinds = learn_kinds(examples[which], [seen.kinds[index] for index in which])
        model, card = files.path("model.onnx"), with_origins(inspector.card, run)
        card = replace(card, kinds=kinds)
        replace_card(run / "model.onnx", card, model)
        settled(files, card, "kinds")
        files.commit()
    return _told(kinds, (*named.notes, *seen.notes, *few))


class Examples:
    """What is found out of named photographs, one after the other."""

    def __init__(self, named: Named) -> None:
        self._named, self._digests, self._counts = named, dict[str, str](), Counter[str]()
        self.kinds: list[str] = []
        """Of those that were described, in their order."""

    def described_by(self, inspector: Inspector, track: Track) -> Iterator[NDArray[np.float64]]:
        """Describe the region with the highest peak of each, [C], and note its kind."""
        folder, limit = self._named.folder, inspector.card.threshold.anomaly_map
        findings = inspector.inspect_files(folder, self._named.kinds)
        for each in track(findings, f"Looking at {folder.name}", len(self._named.kinds)):
            if each.image is None or each.anomaly_map is None:
                self._counts["cannot be read"] += 1
            elif self._is_new(each.path, each.stamp.sha256 if each.stamp else ""):
                residual = inspector.residual(each.image) if each.regions else None
                if residual is None:
                    self._counts["pass, so that no region is found in them"] += 1
                    continue
                self.kinds.append(self._named.kinds[each.path])
                yield described(each.regions[0], each.image, each.anomaly_map, residual, limit)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, each a line."""
        said = (_said(self._named.folder, count, why) for why, count in self._counts.items())
        return tuple(line for each in said for line in each)

    def _is_new(self, path: str, digest: str) -> bool:
        """Whether this content was not seen before; the same one has one kind."""
        kind, before = self._named.kinds[path], self._digests.get(digest)
        self._digests[digest] = kind
        if before is None:
            return True
        if before != kind:
            raise TrainingError(
                f"{self._named.folder / path}: is named {kind!r}, and the same photograph "
                f"{before!r}; expected one kind"
            )
        self._counts["are copies"] += 1
        return False


def _enough(kinds: list[str], folder: Path) -> tuple[list[int], list[str]]:
    """Give which examples are of a kind with enough of them, and what to say of the others.

    Raises:
        TrainingError: fewer than two kinds have.
    """
    counts = Counter(kinds)
    kept = {kind for kind, count in counts.items() if count >= FEWEST}
    few = [f"{kind} ({count})" for kind, count in sorted(counts.items()) if kind not in kept]
    if len(kept) < _FEWEST_KINDS:
        there = ", ".join(f"{kind} ({count})" for kind, count in sorted(counts.items())) or "none"
        raise TrainingError(
            f"{folder}: kinds with examples that are found: {there}; expected "
            f"{_FEWEST_KINDS} kinds or more with {FEWEST} examples each"
        )
    note = f"fewer than {FEWEST} examples, left out: {', '.join(few)}"
    return [index for index, kind in enumerate(kinds) if kind in kept], [note] if few else []


def _told(kinds: Kinds, notes: tuple[str, ...]) -> LearnedKinds:
    count = sum(kinds.examples)
    return LearnedKinds(
        kinds,
        right=rate(kinds.right, count),
        unsure=rate(kinds.unsure, count),
        strangers=rate(sum(kinds.strangers), count),
        notes=notes,
    )


def _said(place: Path, count: int, why: str) -> tuple[str, ...]:
    return (f"{place}: {count} images {why}; they are left out",) if count else ()
