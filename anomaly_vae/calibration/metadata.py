"""What a ``model.onnx`` says of itself: written by export and calibration, read by inspection.

It stands as one JSON text under the key ``anomaly_vae`` in the metadata of the ONNX file.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from anomaly_vae.calibration.kinds import Kinds
from anomaly_vae.calibration.profile import GoodProfile
from anomaly_vae.calibration.seen import packed
from anomaly_vae.errors import ModelFileError
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import OLDER

METADATA_KEY = "anomaly_vae"
ANY_SIZE_KEY = "anomaly_vae.any_size"
"""The same of a model for other programs, which takes photographs instead of frames."""
RECONSTRUCTION = "reconstruction"
"""Output of models of pixels beside those that all have: what they expect to see."""
RESIDUAL = "residual"
"""Output of most models of trunk features beside those: in which direction a place is unusual."""
SCHEMA_VERSION = 2
Precision = Literal["fp32", "fp16", "int8"]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, config=_STRICT)
class Threshold:
    """The limit between pass and fail, and what it is founded on."""

    score: float
    """An image fails if and only if its score is above this."""
    anomaly_map: float
    """A location belongs to a defect region if its value is above this."""
    criterion: str
    """How the limit was chosen: ``good-only``, ``youden``, ``cost``, ``review``, …"""
    promise: str
    """What will happen, in a plain sentence: the rates of false alarms or escapes."""
    good: int
    """Number of good images it was set on: different ones, or groups of them."""
    defective: int = 0
    """Number of defective images it was set on."""
    review: float | None = None
    """An image with a score above this, but not above ``score``, is for a person to review."""
    assurance: str = ""
    """How sure the promise is, and from how many images."""
    advice: str = ""
    """What would make it better."""
    conditions: tuple[str, ...] = ()
    """On what it rests, for an auditor; older models have all in ``promise``."""
    fail_rate: float | None = None
    """Share of the good images that may fail, where that was what the limit was set by."""
    review_rate: float | None = None
    """Share of the good images that may fail or be for review, likewise."""
    apart: int = 0
    """Number of good images, or groups, left out because they lie far apart from all others."""

    def verdict(self, score: float, quality: str = "") -> Literal["pass", "review", "fail"]:
        """Judge an image by its score, and by ``quality``: in what it is unlike all good ones.

        Every verdict comes from here. A defect may look like a bad photograph: such a one is not
        let pass, and keeps its score.
        """
        if score > self.score:
            return "fail"
        between = self.review is not None and score > self.review
        return "review" if between or quality else "pass"


@dataclass(frozen=True, config=_STRICT)
class Agreement:
    """How near the scores of a model in lower precision are to those in single precision."""

    good: int
    """Number of good images that both have scored, or of drawn ones."""
    largest: float
    """Largest |difference| / max(1, |score|)."""
    changed: int
    """Number of images, good and defective, that get another verdict."""
    changed_good: int = 0
    defective: int = 0
    drawn: bool = False
    """Whether the images were drawn noise, because no photographs were given."""
    rank_correlation: float | None = None
    """Spearman's, of the scores of the good images."""
    auroc: float | None = None
    auroc_before: float | None = None
    """In single precision."""


@dataclass(frozen=True, config=_STRICT)
class ModelCard:
    """Everything about a model that is not a weight."""

    images: ImageSettings
    """The pre-processing that stands before the graph."""
    features: str
    """Source of features and its layers."""
    model: str
    """Kind of VAE, latent size, likelihood and beta."""
    kl_weight: float
    center: float
    """Median of reconstruction_error + kl_weight * kl of the good images set aside."""
    scale: float
    """1.4826 times their median absolute deviation."""
    threshold: Threshold
    training_images: int
    training_fingerprint: str
    """SHA-256 over paths and contents of all good images that were given."""
    program_version: str
    created: str
    """Date and time of the export, ISO 8601, UTC."""
    good: GoodProfile | None = None
    """The good images that the threshold was set on; none before it is set."""
    defective_scores: tuple[float, ...] = ()
    """Of the defective images that the threshold was set on, in ascending order."""
    learned_from: str = ""
    """Digests of the images that its weights come from, see ``seen``; older models have none."""
    set_with: str = ""
    """Digests of those that scales, threshold or numbers in 8 bits were set with."""
    formula: str = "score = (reconstruction_error + kl_weight * kl - center) / scale"
    unit: str = (
        "score: robust standard deviations of good images; reconstruction_error and kl: nats, less "
        "what is usual at their place, divided by its spread there (unless scoring.per_place is "
        "off), averaged over the most unusual places, plus what scoring.whole_map adds of the mean "
        "over all"
    )
    schema_version: int = SCHEMA_VERSION
    precision: Precision = "fp32"
    """Of trunk and VAE; what makes scores of their outputs always computes in 32 bits."""
    agreement: Agreement | None = None
    """With the same model in single precision, where ``precision`` is lower."""
    kinds: Kinds | None = None
    """The kinds of defects that it tells apart, where it was shown some."""

    def calibrated(
        self,
        threshold: Threshold,
        good: GoodProfile,
        defective_scores: Iterable[float] = (),
        digests: Iterable[str] = (),
    ) -> "ModelCard":
        """Give the same card with another threshold, and the images it was set on.

        ``digests`` are their SHA-256. Those of an earlier threshold stay: it may have led to more.
        """
        return replace(
            self,
            threshold=threshold,
            good=good,
            defective_scores=tuple(sorted(float(score) for score in defective_scores)),
            set_with=packed(digests, self.set_with),
        )


_ADAPTER: TypeAdapter[ModelCard] = TypeAdapter(ModelCard)


def card_to_json(card: ModelCard) -> str:
    """Write a card as JSON."""
    return _ADAPTER.dump_json(card).decode()


def card_to_dict(card: ModelCard) -> dict[str, Any]:
    """Give a card as nested dictionaries of plain JSON values."""
    data: dict[str, Any] = _ADAPTER.dump_python(card, mode="json")
    return data


def card_from_json(text: str, *, origin: str) -> ModelCard:
    """Read a card; ``origin`` names the file in the message.

    Raises:
        ModelFileError: the text is not a card of this version of the program.
    """
    try:
        card = _ADAPTER.validate_json(_with_older(text))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelFileError(
            f"{origin}: its metadata do not fit this version of the program ({place}: "
            f"{first['msg']}); export it again with the version that inspects"
        ) from error
    if card.schema_version != SCHEMA_VERSION:
        raise ModelFileError(
            f"{origin}: its metadata have version {card.schema_version}, expected "
            f"{SCHEMA_VERSION}; export it again with the version that inspects"
        )
    return card


def _with_older(text: str) -> str:
    """Say in a card of an earlier version what its settings meant; others stay as they are."""
    try:
        data = json.loads(text)
        data["images"] = OLDER["images"] | data["images"]
    except (ValueError, TypeError, KeyError):
        return text  # whoever reads it says what is wrong
    return json.dumps(data)
