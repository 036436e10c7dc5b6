"""Photographs looked at before any training: what is among them, and what they can promise."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.images.detail import smallest_shown
from anomaly_vae.images.files import list_images
from anomaly_vae.images.likeness import (
    bursts,
    connected,
    detail,
    strange,
    two_groups,
    unlikeness,
)
from anomaly_vae.images.rules import LeftOut
from anomaly_vae.images.survey import Look, survey
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting.check import Check, Remark
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import SplitSettings
from anomaly_vae.training.dataset import with_white

_FEWEST = 8
"""Photographs below which nothing can be said of one against the others."""
_CLIPPED = 0.02
"""Share of the pixels, beyond that of the other photographs, that counts as clipped."""
_FEW_LEVELS = 64


def check_folder(
    folder: Path,
    settings: ImageSettings,
    *,
    mm_per_pixel: float | None = None,
    skip: Path | None = None,
    track: Track = untracked,
) -> tuple[Check, list[Look]]:
    """Look at all photographs below ``folder``; gives what was found, and each look.

    ``settings.size`` is that of the frame that the model would see.

    Raises:
        FolderError: there is no readable photograph.
    """
    left_out = LeftOut()
    paths = list_images(folder, skip=skip, left_out=left_out)
    settings = with_white(folder, paths, settings, usable_cores())
    looks: list[Look] = []
    unreadable: dict[str, str] = {}
    for path, look in track(survey(folder, paths, settings), "Looking", len(paths)):
        if isinstance(look, ImageReadError):
            unreadable[path] = str(look)
        else:
            looks.append(look)
    if not looks:
        path, reason = next(iter(unreadable.items()))
        raise FolderError(f"{folder}: none of {len(paths)} images is readable; {path}: {reason}")
    copies, same = _copies(looks), _bursts(looks)
    parts = len(looks) - sum(len(each) - 1 for each in _joined(len(looks), copies, same))
    pattern = _pattern([[looks[i].path for i in each] for each in same])
    smallest = smallest_shown([(look.width, look.height) for look in looks], settings)
    check = Check(
        folder=str(folder),
        photographs=len(looks),
        parts=parts,
        sizes=_counted(f"{look.width} x {look.height}" for look in looks),
        kinds=_counted(look.kind for look in looks),
        cameras=_counted(look.camera for look in looks if look.camera),
        color=any(look.statistics.color for look in looks),
        unreadable=unreadable,
        remarks=(
            *([Remark("left out", str(left_out))] if left_out else []),
            *_remarks(looks, copies, same, pattern),
        ),
        smallest=smallest,
        smallest_mm=None if mm_per_pixel is None else smallest * mm_per_pixel,
        size=settings.size,
        held_out=max(1, round(SplitSettings().calibration * parts)),
        command=f"anomaly-vae train {folder} --out run"
        + (f" --group-by '{pattern}'" if pattern else ""),
    )
    return check, looks


def _counted(values: Iterable[str]) -> dict[str, int]:
    """Count equal values, the most frequent first."""
    return dict(Counter(values).most_common())


def _copies(looks: Sequence[Look]) -> list[list[int]]:
    """Give groups of files with the same content."""
    groups: dict[str, list[int]] = {}
    for index, look in enumerate(looks):
        groups.setdefault(look.digest, []).append(index)
    return [each for each in groups.values() if len(each) > 1]


def _bursts(looks: Sequence[Look]) -> list[list[int]]:
    """Give groups of photographs that are nearly the same, of files that differ."""
    first: dict[str, int] = {}
    for index, look in enumerate(looks):
        first.setdefault(look.digest, index)
    kept = list(first.values())
    if len(kept) < _FEWEST:
        return []
    found = bursts(detail(np.stack([looks[index].thumbnail for index in kept])))
    return [[kept[index] for index in each] for each in found]


def _joined(count: int, *groups: list[list[int]]) -> list[list[int]]:
    """Join groups that share a photograph."""
    linked = np.zeros((count, count), bool)
    for each in (group for some in groups for group in some):
        linked[np.ix_(each, each)] = True
    return connected(linked)


def _pattern(named: list[list[str]]) -> str:
    """Find a regular expression that keeps each group together, and apart from the others."""
    for pattern in (r"^.*?(?=(?:[_-][^_/-]*)?\.\w+$)", r"^.*(?=/)"):
        keys = [{match[0] if (match := re.search(pattern, p)) else p for p in g} for g in named]
        flat = [key for group in keys for key in group]
        if named and len(flat) == len(named) == len(set(flat)):
            return pattern
    return ""


def _remarks(
    looks: Sequence[Look], copies: list[list[int]], same: list[list[int]], pattern: str
) -> list[Remark]:
    """Say all that is worth saying, what touches the result most first."""
    found = [
        *(_remark("copies", looks, g, f"{len(g)} files with the same content") for g in copies),
        *_of_bursts(looks, same, pattern),
    ]
    if len(looks) >= _FEWEST:
        found += [*_sessions(looks), *_outliers(looks)]
    levels = int(np.median([look.levels for look in looks]))
    if levels <= _FEW_LEVELS:
        found.append(
            Remark("bits", f"a photograph has {levels} different grey levels: expected more than "
                   f"{_FEW_LEVELS}; raise exposure or contrast, or store more bits")
        )  # fmt: skip
    return found


def _remark(topic: str, looks: Sequence[Look], which: Sequence[int], text: str) -> Remark:
    return Remark(topic, text, tuple(looks[index].path for index in which))


def _of_bursts(looks: Sequence[Look], same: list[list[int]], pattern: str) -> list[Remark]:
    if not same:
        return []
    members = [index for group in same for index in group]
    keep = f"--group-by '{pattern}' keeps them together" if pattern else "keep one of each"
    text = f"{len(members)} photographs nearly alike, of {len(same)} parts perhaps: {keep}"
    return [_remark("near duplicates", looks, members, text)]


def _sessions(looks: Sequence[Look]) -> list[Remark]:
    """Find two groups that differ in light, colour, sharpness, camera or size."""
    measures = {
        "brightness": [look.statistics.brightness for look in looks],
        "contrast": [look.statistics.contrast for look in looks],
        "sharpness": [np.log(look.statistics.sharpness + 1e-6) for look in looks],
        "red": [look.tint[0] for look in looks],
        "blue": [look.tint[1] for look in looks],
    }
    found = []
    for name, values in measures.items():
        few = two_groups(np.array(values))
        if few is not None:
            text = f"{int(few.sum())} of {len(looks)} differ in {name}: two sessions?"
            found.append(_remark("sessions", looks, np.flatnonzero(few).tolist(), text))
    for name, kinds in (
        ("camera", [look.camera for look in looks]),
        ("size", [f"{look.width} x {look.height}" for look in looks]),
        ("format", [look.kind for look in looks]),
    ):
        usual = next(iter(_counted(kinds)))
        others = [index for index, kind in enumerate(kinds) if kind != usual]
        if others:
            text = f"{len(others)} of {len(looks)} have another {name} than {usual or 'unknown'}"
            found.append(_remark("sessions", looks, others, text))
    return found


def _outliers(looks: Sequence[Look]) -> list[Remark]:
    """Find photographs that are blurred, clipped, or unlike the others."""
    sharpness = np.log([look.statistics.sharpness + 1e-6 for look in looks])
    found = [("blurred", strange(sharpness, high=False), "blurred, beside the others")]
    for topic, values, word in (
        ("underexposed", np.array([look.dark for look in looks]), "black"),
        ("overexposed", np.array([look.bright for look in looks]), "white"),
    ):
        usual = float(np.median(values))
        far = [i for i in strange(values, low=False) if values[i] > usual + _CLIPPED]
        text = f"more of them {word} than the usual {usual:.0%} of the pixels"
        found.append((topic, far, text))
    odd = strange(unlikeness(np.stack([look.thumbnail for look in looks])), low=False)
    found.append(("odd ones out", odd, "unlike the others: are they good, and of this part?"))
    return [
        _remark(topic, looks, which, f"{len(which)} {text}")
        for topic, which, text in found
        if which
    ]
