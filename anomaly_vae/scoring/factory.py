"""The untrained detector that settings describe.

Letters: S x T pixels of the frame, h x w places, b locations of border on each side.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from anomaly_vae.errors import ConfigError
from anomaly_vae.images.decoding import inspected_frame
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.vae.alignment import Alignment
from anomaly_vae.vae.architectures import build_model
from anomaly_vae.vae.features import FeatureExtractor
from anomaly_vae.vae.maps import without_border
from anomaly_vae.vae.trunk import build_features

# Fewer places of a map tell nothing of what is usual.
_FEWEST_PLACES = 5


def build_detector(config: Config) -> Detector:
    """Make the untrained detector of ``config``; its trunk has random weights.

    Raises:
        ConfigError: the feature source or its layers do not exist, or nearly nothing of the map is
            inspected.
    """
    torch.manual_seed(config.training.seed)
    images, config = config.images, finer(config)
    coded = config.model.kind == "patch" and config.model.position is not False
    features = build_features(
        config.features, images.shape, padded=images.padded, coded=coded, slices=images.stacked
    )
    model = build_model(config.model, features.item_shape, images.stacked)
    kept = inspected_frame(images)
    framed = None if kept is None else torch.from_numpy(kept)
    alignment = Alignment(images.shape, framed) if config.features.align else None
    touched = None if framed is None else inspected_places(framed, features)
    return Detector(features, model, config.scoring, alignment, touched, images.detail)


def finer(config: Config) -> Config:
    """Give settings whose numbers of places, and shares of them, are those of the finer map.

    The border is the same strip of the photograph. The highest values are as many places as at
    detail 1: smaller defects are asked for, and a place shows the smallest. So the window, which is
    counted in places, stays. All places (``top_fraction`` 1) stay all. ``Detector`` does the rest.
    Of a stack as many places count as of one slice: few slices show a defect.
    """
    detail, features, scoring = config.images.detail, config.features, config.scoring
    top, times = scoring.top_fraction, detail**2 * config.images.stacked
    return replace(
        config,
        features=replace(features, border=round(features.border * detail)),
        scoring=replace(scoring, top_fraction=top / times if top < 1 else 1.0),
    )


def inspected_places(framed: Tensor, features: FeatureExtractor) -> Tensor | None:
    """Give the places of which any pixel of the frame, bool [S, T], is inspected.

    [h + 2 b, w + 2 b], or None if all are.

    Raises:
        ConfigError: they are too few to learn from.
    """
    touched = adaptive_max_pool2d(framed.float()[None], features.grid)[0] > 0
    judged = without_border(touched, features.border)
    count = int(judged.sum())
    if count < _FEWEST_PLACES:
        raise ConfigError(
            f"images.roi, images.inspect and images.ignore leave {count} of {judged.numel()} "
            f"places of the map to inspect; expected {_FEWEST_PLACES} or more: inspect a larger "
            "region, or raise images.size"
        )
    return None if touched.all() else touched
