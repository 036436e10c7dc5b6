"""What holds no photographs: the one rule for all commands.

Folders and files that systems leave, masks of defects in the layouts that are in use, and what this
program has written, which its marker says.
"""

import json
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from anomaly_vae.images.formats import EXTENSIONS
from anomaly_vae.outputs import MARKER

# Lower case. Hidden ones, which begin with a dot, need no name here.
_SYSTEMS = frozenset({
    "__macosx", "lost+found", "system volume information", "$recycle.bin", "recycler", "recycled",
    "@eadir", "@tmp", "@recycle", "@__thumb", "@recently-snapshot", "@sharebin", "#recycle",
    "#snapshot", "~snapshot", "found.000", "$extend", "temporary items", "network trash folder",
    "thevolumesettingsfolder", "__pycache__",
})  # fmt: skip
# MVTec AD, AD 2, LOCO and BTAD; MVTec 3D-AD.
_TRUTH = frozenset({"ground_truth", "groundtruth", "ground-truth", "gt"})
# Only beside what they speak of, since a part may be a mask or a label: VisA, and others like it;
# the points of MVTec 3D-AD are no photographs either.
_BESIDE = {
    "masks": ("images",), "mask": ("images", "image"), "labels": ("images",),
    "label": ("images", "image"), "annotations": ("images",), "xyz": ("rgb",),
}  # fmt: skip
MASK_ENDINGS = ("_mask", "_gt", "_label")
"""Of the name of a mask without its extension: MVTec AD, KolektorSDD2, KolektorSDD and DAGM."""
MASK_EXTENSIONS = (".png", ".bmp", ".tif", ".tiff")
_MASK = re.compile(rf"(.+)({'|'.join(MASK_ENDINGS)})\.[a-z]+", re.IGNORECASE)

Siblings = Callable[[], AbstractSet[str]]
"""Gives the names in the same folder, in lower case."""


@dataclass
class LeftOut:
    """What was left out: how much, and the first of it."""

    folders: int = 0
    files: int = 0
    first: str = ""
    """Its path, and why."""

    def note(self, path: str, why: str) -> None:
        """Count a file, or a folder, whose path ends with ``/``."""
        folder = path.endswith("/")
        self.folders += folder
        self.files += not folder
        self.first = self.first or f"{path.rstrip('/')} ({why})"

    def __bool__(self) -> bool:
        return bool(self.first)

    def __str__(self) -> str:
        counted = [
            f"{count} {name}{'s' if count > 1 else ''}"
            for count, name in ((self.folders, "folder"), (self.files, "file"))
            if count
        ]
        return f"left out as no photographs: {' and '.join(counted)}; first {self.first}"


def why_no_folder(name: str, siblings: Siblings) -> str:
    """Say why a folder of this name holds no photographs; empty if it may."""
    lower = name.lower()
    if name.startswith("."):
        return "hidden"
    if lower in _SYSTEMS or lower.startswith(".trash"):
        return "left by a system"
    beside = _BESIDE.get(lower)
    if lower in _TRUTH or (beside and not siblings().isdisjoint(beside)):
        return "ground truth"
    return ""


def why_no_photograph(name: str, siblings: Siblings) -> str:
    """Say why an image file of this name is no photograph; empty if it may be one."""
    if name.startswith("."):
        return "hidden"
    match = _MASK.fullmatch(name)
    if match:
        stem, names = match[1].lower(), siblings()
        if any(f"{stem}{extension}" in names for extension in EXTENSIONS):
            return "mask of the photograph beside it"
    return ""


def marked(folder: Path) -> frozenset[str] | None:
    """Give the names that the marker of a folder calls this program's own; None without a marker.

    None, too, where what the program has made are photographs.
    """
    try:
        data = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return frozenset()
    if not isinstance(data, dict):
        return frozenset()
    own = data.get("own", ())
    names = own if isinstance(own, list) else ()
    return None if data.get("holds") == "photographs" else frozenset(map(str, names))
