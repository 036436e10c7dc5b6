"""What inspection found out about one photograph, and about many.

Letters: N images, h x w map.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.calibration.profile import GoodProfile, good_profile
from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.images.files import Stamp
from anomaly_vae.images.regions import Region

Verdict = Literal["pass", "review", "fail", "error"]


@dataclass(frozen=True)
class Finding:
    """What inspection found out about one file."""

    path: str
    """Relative to the inspected folder, with ``/``."""
    verdict: Verdict
    error: str = ""
    """Why the file could not be inspected."""
    score: float = math.nan
    reconstruction_error: float = math.nan
    kl: float = math.nan
    p_value: float = math.nan
    """Share of held-out good images at least as unusual; see ``GoodProfile.p_value``."""
    quality: str = ""
    """In what the photograph itself is unlike all good ones."""
    regions: tuple[Region, ...] = ()
    width: int = 0
    """Of the photograph, in pixels; 0 where it could not be read."""
    height: int = 0
    image: LoadedImage | None = None
    """What the model saw; ``Inspector.inspect`` leaves it out."""
    anomaly_map: NDArray[np.float32] | None = None
    """[h, w]; None where nobody looks at it."""
    stamp: Stamp | None = None
    """Of the file, when it was read."""
    highest: float = math.nan
    """Highest value of the anomaly map."""

    def lean(self) -> "Finding":
        """Give the same without pixels and map: ten thousand of these take megabytes."""
        return replace(self, image=self.image and self.image.without_pixels(), anomaly_map=None)

    def as_dict(self) -> dict[str, Any]:
        """Give the row of a table: plain values, and how many regions there are."""
        names = ("path", "verdict", "score", "reconstruction_error", "kl", "p_value", "quality")
        values = {name: getattr(self, name) for name in names}
        return values | {"regions": len(self.regions), "error": self.error}


def map_maxima(findings: Sequence[Finding]) -> NDArray[np.float64]:
    """Give the highest value of each anomaly map, [N]."""
    return np.array([finding.highest for finding in findings])


def profile_of(findings: Sequence[Finding]) -> GoodProfile:
    """Make the profile of held-out good images from what inspection found about them."""
    return good_profile(
        [each.score for each in findings],
        [each.image for each in findings if each.image],
        reconstruction_error=[each.reconstruction_error for each in findings],
        kl=[each.kl for each in findings],
    )
