"""Settings: frozen dataclasses, one sentence and one unit per field, checked when made.

The values written here are the defaults for features of a trunk of torchvision; ``files`` reads
others. pydantic checks the types and reports all mistakes at once, which is what a person editing a
file by hand needs. It does so when the first settings are made: inspection starts sooner with those
alone that a model holds.
"""

from collections.abc import Iterator
from dataclasses import field
from itertools import chain
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.values import OddNumber, Pattern

_STRICT = ConfigDict(extra="forbid", strict=True, defer_build=True)

ModelKind = Literal["patch", "linear", "image", "dense", "ladder", "vq", "volume"]
USUAL_SOURCE = "embedded"
"""Source of features where none is named: it needs no download, and is fast without a GPU."""
OLDER = {
    "images": {"filter": "bilinear"},
    "features": {"source": "resnet18"},
    "model": {"position": False},
}
"""What settings of earlier versions meant that do not say it: there was no choice."""
CONVOLUTIONAL = ("image", "ladder", "vq", "volume")
"""Kinds whose convolutions halve the image, so that its side must be a multiple."""


@dataclass(frozen=True, config=_STRICT)
class FeatureSettings:
    """What the VAE sees of an image."""

    source: str = "resnet18"
    """`pixels`; or a frozen trunk: `embedded`, or a torchvision classification model."""
    layers: tuple[str, ...] = ()
    """Layers of the trunk to join; empty: the last one at strides 4, 8 and 16."""
    local_mean: OddNumber = Field(default=3, ge=1, le=15)
    """Side of the window over which feature maps are averaged, in locations (odd), however fine."""
    components: int = Field(default=256, ge=0)
    """Principal components of a trunk's channels, made equally strong (0: its channels)."""
    border: int = Field(default=1, ge=0, le=256)
    """Outermost locations of a trunk's maps, on each side, that are not judged; of a finer map
    (`images.detail`) those of the same strip of the photograph."""
    align: bool = False
    """Turn and shift each image onto the mean good one first (parts that lie nearly alike)."""
    color: bool = True
    """For `pixels`: three colour channels, or one of luminance."""


@dataclass(frozen=True, config=_STRICT)
class SplitSettings:
    """How the good images are divided, once, before anything is looked at."""

    folds: int = Field(default=5, ge=1, le=20)
    """Folds, each judged by a model of the others; all set the limits (1: `stopping` and
    `calibration` are set aside instead)."""
    stopping: float = Field(default=0.2, gt=0, lt=0.5)
    """Share that decides when to stop, and says what is usual at each place (`folds` 1)."""
    calibration: float = Field(default=0.2, gt=0, lt=0.5)
    """Share that standardises the score and sets the threshold (`folds` 1)."""
    group_by: Pattern = ""
    """Regular expression on the path; images with the same match stay together (empty: off)."""


@dataclass(frozen=True, config=_STRICT)
class ModelSettings:
    """The variational autoencoder."""

    kind: ModelKind = "patch"
    """`patch`: latents per place; `linear`, `image`, `dense`: per image; `ladder`: both; `vq`;
    `volume`: per stack of slices."""
    latent_size: int = Field(default=16, ge=1, le=4096)
    """Dimensions of a latent vector."""
    position: bool | Literal["auto"] = "auto"
    """Whether encoder and decoder are told where in the frame a place is (`patch`); `auto`: both
    are trained, and good images that are held out decide."""
    local_latent_size: int = Field(default=4, ge=1, le=256)
    """Dimensions of the latent vector of a place (`ladder`)."""
    codes: int = Field(default=128, ge=2, le=65536)
    """Vectors in the codebook (`vq`)."""
    hidden_size: int = Field(default=384, ge=1, le=8192)
    """Width of the hidden layers (`patch`, `dense`)."""
    base_channels: int = Field(default=16, ge=1, le=512)
    """Channels of the first convolution, doubled at each next one (as `halvings`)."""
    halvings: int = Field(default=4, ge=1, le=6)
    """Convolutions of stride 2, each of which halves the image (`image`, `ladder`, `vq`,
    `volume`)."""
    batch_norm: bool = True
    """Batch normalisation after each convolution (as `halvings`)."""
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    """Distribution of the input given the latent; `bernoulli` is for `pixels` only."""
    variance: Literal["unit", "shared", "channel", "element", "decoded"] = "channel"
    """Gaussian variance: 1, or learned: one, per channel or element, or put out by the decoder."""
    beta: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    """Weight of the KL divergence in the loss (0: plain autoencoder, 1: the evidence bound)."""


@dataclass(frozen=True, config=_STRICT)
class TrainingSettings:
    """The training loop."""

    epochs: int = Field(default=40, ge=1)
    """Number of epochs at most."""
    steps_per_epoch: int = Field(default=25, ge=1)
    """Optimiser steps in one epoch; batches are drawn at random from all training images."""
    batch_size: int = Field(default=4096, ge=1)
    """Items in one batch: locations for `patch`, images for the other models."""
    hardest: float = Field(default=0.03, gt=0, le=1)
    """Share of each batch, the items with the largest loss, that is learned from."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1000)
    """Step size of Adam at its peak."""
    kl_warmup: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps (of each cycle) over which the weight of the KL rises from 0 to beta."""
    cycles: int = Field(default=1, ge=1)
    """How many times the weight of the KL rises from 0 to beta, in cycles of equal length."""
    free_bits: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """KL of each latent dimension, in nats, that is not punished (0: all of it is)."""
    capacity: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """KL per item, in nats, that the warm-up rises to; beta weighs the distance to it (0: off)."""
    refit: bool = True
    """Train again, as long as was best, on all good images, once those held out have set all scales
    and the threshold (`false` takes `split.folds` 1)."""
    sensitivity: bool = True
    """Draw defects onto good photographs, and say which would be found (more `split.folds` than 1);
    nothing is learned from them."""
    patience: int = Field(default=10, ge=1)
    """Epochs without a better stopping loss after which training ends."""
    pictures: bool = True
    """Draw held-out parts, reconstructions and samples after each epoch (models of `pixels`)."""
    samples: int = Field(default=0, ge=0, le=10_000)
    """Parts drawn by a first VAE that are learned from beside the images (`pixels`; 0: none)."""
    cache_gib: float = Field(default=1.0, ge=0)
    """Memory for the features of the training images, in GiB; beyond it they are kept on disk."""
    places: int = Field(default=2_000_000, ge=10_000)
    """Places, of all photographs, that are learned from at most; of each as many (`patch`)."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the split, of the initial weights and of everything drawn at random."""


@dataclass(frozen=True, config=_STRICT)
class ScoringSettings:
    """How reconstruction error and KL divergence become one score."""

    kl_weight: float = Field(default=0.01, allow_inf_nan=False)
    """Weight of the KL divergence beside the error; default: model.beta, but 1 at most."""
    per_place: bool = True
    """Judge each place of the map by what is usual there in good images not trained on."""
    window: OddNumber = Field(default=1, ge=1, le=63)
    """Side of the window over which the anomaly map is averaged, in its places (odd)."""
    top_fraction: float = Field(default=0.01, ge=0, le=1)
    """Share of the map, its highest values, that is averaged (0: the maximum, 1: the mean); of a
    finer map (`images.detail`) as many places, for smaller defects."""
    whole_map: bool = True
    """Add the mean of the whole map, where faint large defects show, as far as that of good images
    is steady."""
    fail_rate: float = Field(default=0.01, gt=0, lt=1)
    """Share of the good images that may fail by a threshold from good images alone; fewer than 99
    support no less than one of them and one more."""
    review_rate: float = Field(default=0.05, ge=0, lt=1)
    """Share of the good images that may be for review or fail (0: none are for review), if that is
    more than may fail."""
    robust: bool = True
    """Leave good images whose scores lie far apart from all others out of the limits, where they
    are few (2 %): probable defects."""


@dataclass(frozen=True, config=_STRICT)
class Config:
    """All settings of one model."""

    images: ImageSettings = field(default_factory=ImageSettings)
    """From a file to a frame of pixels."""
    features: FeatureSettings = field(default_factory=FeatureSettings)
    """From pixels to what the model sees."""
    split: SplitSettings = field(default_factory=SplitSettings)
    """Which good images do what."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """The variational autoencoder."""
    training: TrainingSettings = field(default_factory=TrainingSettings)
    """The training loop."""
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    """From the model's output to the score."""

    def __post_init__(self) -> None:
        """Check what concerns more than one field; one ``ValueError`` names all mistakes."""
        rules = chain(self._seeing_rules(), self._stack_rules(), self._learning_rules())
        mistakes = [text for wrong, text in rules if wrong]
        if mistakes:
            raise ValueError("; ".join(mistakes))

    def _seeing_rules(self) -> Iterator[tuple[bool, str]]:
        """Give what must not be of images, features and model, and what to say then."""
        patch, pixels = self.model.kind == "patch", self.features.source == "pixels"
        yield patch and pixels, "model.kind 'patch' needs a trunk in features.source, not 'pixels'"
        yield (
            not patch and not pixels,
            f"model.kind {self.model.kind!r} needs features.source 'pixels'",
        )
        name = "images.frame" if self.images.frame else "images.size"
        sides = self.images.of_slice.shape
        step = 2**self.model.halvings
        yield (
            self.model.kind in CONVOLUTIONAL
            and any(side < 2 * step or side % step > 0 for side in sides),
            f"{name} must be a multiple of {step}, {2 * step} or more, for kind "
            f"{self.model.kind!r} with model.halvings {self.model.halvings}",
        )
        yield (
            self.features.align and any(side % 4 > 0 for side in sides),
            f"{name} must be a multiple of 4 for features.align",
        )
        yield (
            self.images.padded and (pixels or self.features.align),
            "images.padded needs the features of a trunk, without features.align",
        )
        # Where they lie in the square depends on the proportions, which a mask has.
        yield (
            self.images.fit == "letterbox" and self.images.restricted and not self.images.roi,
            "images.inspect and images.ignore need images.fit 'stretch', or --roi",
        )
        yield (
            self.model.position is True and not patch,
            "model.position is for model.kind 'patch': others see the whole frame",
        )
        yield (
            self.model.likelihood == "bernoulli" and patch,
            "model.likelihood 'bernoulli' needs features.source 'pixels'",
        )

    def _stack_rules(self) -> Iterator[tuple[bool, str]]:
        """Give what must not be where a part is a stack of slices, and what to say then."""
        images, stacks = self.images, bool(self.images.slices)
        yield (
            self.model.kind == "volume" and not stacks,
            "model.kind 'volume' needs images.slices, such as auto",
        )
        yield (
            stacks and self.model.kind not in ("volume", "linear", "patch"),
            f"images.slices is for model.kind 'volume', 'linear' and 'patch', not "
            f"{self.model.kind!r}",
        )
        photographs = {
            "features.align": self.features.align,
            "features.border": self.features.source != "pixels" and self.features.border > 0,
            "images.fit letterbox": images.fit == "letterbox",
            "images.padded": images.padded,
            "images.detail": images.detail != 1,
            "images.roi, images.inspect and images.ignore": images.restricted,
            "training.sensitivity": self.training.sensitivity,
            "training.samples": self.training.samples > 0,
        }
        given = [name for name, wanted in photographs.items() if stacks and wanted]
        yield bool(given), f"{', '.join(given)}: for photographs, not with images.slices"

    def _learning_rules(self) -> Iterator[tuple[bool, str]]:
        """Give what must not be of split and training, and what to say then."""
        training = self.training
        yield (
            training.samples > 0 and self.features.source != "pixels",
            "training.samples needs features.source 'pixels': others draw no parts",
        )
        yield (
            training.samples > 0 and training.refit,
            "training.samples needs training.refit false (and split.folds 1)",
        )
        yield (
            self.split.folds > 1 and not training.refit,
            "training.refit false needs split.folds 1: folds end with a training on all images",
        )
        yield (
            training.free_bits > 0 and training.capacity > 0,
            "training.free_bits and training.capacity exclude each other; set one",
        )
        yield (
            training.cycles > 1 and not training.kl_warmup,
            "training.cycles repeats the warm-up: set training.kl_warmup, to 0.5 say",
        )
        yield (
            self.split.stopping + self.split.calibration > 0.8,
            "split.stopping + split.calibration must leave 0.2 for training",
        )
