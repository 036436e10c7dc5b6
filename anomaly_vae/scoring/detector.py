"""Reconstruction error and KL divergence, joined into one anomaly score and one map.

    score = (R + kl_weight * KL - center) / scale

R is minus log p(x | z) of a location, summed over its channels, at z = the posterior mean; KL is
that of its posterior to N(0, I). In nats, and at kl_weight = 1, their expectation over the
posterior bounds -log p(x) of a location of a patch model; at the mean of the posterior it is a
deterministic surrogate of that bound, so that an image has one score.

Good parts vary more in some places than in others, so each place is judged by its own: from R
and from KL their usual value there is subtracted, and both are divided by the usual spread of
R + kl_weight * KL there, known from good images not trained on. Then they are averaged over the
top_fraction of locations (at the least one) where the map is highest, so that a small defect is
not lost among good surroundings. With ``whole_map`` the mean over all locations is added, with a
weight, so that a faint defect of the whole part is not lost either. What the highest places stand
out of their map by, and the level of the map, each in its spread among good images and the second
counted half, have the sum highest + weight * mean, but for a factor, with

    weight = MAD(highest - mean) / (2 detail MAD(mean)) - 1

So the level of the map counts the more, the steadier good parts are as a whole, and not at all
where there are several kinds of them: no place may lower the score. A model with one latent vector
per image has one KL per image, which is added whole. ``center`` and ``scale`` are median and
1.4826 * MAD of R + kl_weight * KL over good images set aside for it.

No spread is smaller than what the noise of photographs (``FeatureExtractor.noise``) does to it: R
of a place rises by ``VAE.noise_error``, and the mean and the score by that of all places. So one
grey level more fails no part, even where good ones are all the same.

With a region of interest, only the places that it touches count, in all of this: a place outside
is in no average, top fraction or spread, and has the lowest value of its map. Nor does the border
of a trunk's map count, in which the map has the values of the nearest places.
Photographs that need not fill the frame count as if they did: see ``within_photographs``.

Letters: N images, S x T pixels, h x w places, b locations of border on each side.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomaly_vae.errors import TrainingError
from anomaly_vae.scoring.likeness import Likeness
from anomaly_vae.settings.schema import ScoringSettings
from anomaly_vae.vae.alignment import Alignment, inverse, warp
from anomaly_vae.vae.features import FeatureExtractor
from anomaly_vae.vae.maps import luminance, mad, smoothed, with_border, without_border
from anomaly_vae.vae.model import VAE

SCALES = ("usual_error", "usual_kl", "spread", "whole_weight", "center", "scale")
"""Buffers of a detector that held-out good images set."""

# Makes the median absolute deviation of a normal distribution its standard deviation.
_MAD_TO_STD = 1.4826
# How often the spread of all places counts beside that of a place by itself.
_SHARED = 3


class Scores(NamedTuple):
    """What the model says of a batch of images; higher is more anomalous."""

    score: Tensor
    """[N], in robust standard deviations of good images."""
    reconstruction_error: Tensor
    """[N], in usual spreads of its place."""
    kl: Tensor
    """[N], in the same unit."""
    anomaly_map: Tensor
    """[N, h + 2 b, w + 2 b], in the unit of ``score``."""


class Detector(nn.Module):
    """The whole computation from pixels to score: what is exported and runs at inspection."""

    center: Tensor
    scale: Tensor
    usual_error: Tensor
    """[h, w], in nats."""
    usual_kl: Tensor
    """[h, w], or one number where an image has one KL, in nats."""
    spread: Tensor
    """[h, w], in nats."""
    whole_weight: Tensor
    """Of the mean over all locations, beside that over the highest."""
    inside: Tensor | None
    """[h, w], whether a place is inspected; none where all are."""
    places: Tensor | None
    """The same as indices of the flat map."""
    learned: Tensor | None
    """Those that are learned from, as indices of the flat map of items with its border."""

    def __init__(
        self,
        features: FeatureExtractor,
        model: VAE,
        settings: ScoringSettings,
        alignment: Alignment | None = None,
        touched: Tensor | None = None,
        detail: float = 1,
    ) -> None:
        """Take whether each place, [h + 2 b, w + 2 b], is ``touched`` by the region of interest.

        ``detail`` is how many times finer the map is than the settings expect.
        """
        super().__init__()
        self.alignment, self.features, self.model = alignment, features, model
        self.settings, self.detail = settings, detail
        self.likeness: Likeness | None = None
        for name, start in (("center", 0.0), ("scale", 1.0), ("whole_weight", 0.0)):
            self.register_buffer(name, torch.tensor(start))
        places = features.map_shape
        self.register_buffer("usual_error", torch.zeros(places))
        self.register_buffer("usual_kl", torch.zeros(places if model.kl_per_location else ()))
        self.register_buffer("spread", torch.ones(places))
        # They follow from the settings, and are not stored with what was learned.
        inside = None if touched is None else without_border(touched, features.border)
        near = settings.window // 2  # only there are items; a part that was turned lies elsewhere
        learned = touched if alignment or touched is None else features.look_at(touched, near)
        for name, given in (("places", inside), ("learned", learned)):
            indices = None if given is None else given.flatten().nonzero()[:, 0]
            self.register_buffer(name, indices, persistent=False)
        self.register_buffer("inside", inside, persistent=False)

    def forward(self, images: Tensor) -> Scores:
        """Score images, uint8 [N, S, T, 3] RGB, or [N, S, T, 4] where padded."""
        return self.join(*self.parts(images))

    def join(self, error: Tensor, kl: Tensor, likeness: Tensor | None = None) -> Scores:
        """Make scores of what ``parts`` gave."""
        error, kl, joined = self.judged(error, kl)
        where = self.highest(joined)  # in the map of both
        error = self._reduced(error, where)
        if self.likeness is not None and likeness is not None:
            error = error + self.likeness.beyond_usual(self._reduced(likeness, where))
        kl = self._reduced(kl, where) if self.model.kl_per_location else kl
        return Scores(
            (error + self.settings.kl_weight * kl - self.center) / self.scale,
            error,
            kl,
            (self._mapped(joined) - self.center) / self.scale,
        )

    def parts(self, images: Tensor) -> tuple[Tensor, ...]:
        """Give reconstruction error, [N, h, w], and KL, [N, h, w] or [N], in nats.

        Both are averaged over ``settings.window`` and lie where they are in the photograph; and so
        does what ``likeness`` says, [N, h, w] in spreads, if there is one.
        """
        items, pose = self._items(images)
        error, kl = self.model(items)
        parts = self.placed(error, pose), kl if kl.dim() == 1 else self.placed(kl, pose)
        if self.likeness is None:
            return parts
        return *parts, self.placed(self.likeness(self.model.residual(items)), pose)

    def described(self, images: Tensor) -> tuple[Tensor, ...]:
        """Give the residual of images of a patch model, [N, C], averaged as their error is."""
        items, pose = self._items(images)
        error, kl = (self.placed(each, pose) for each in self.model(items))
        where = self.highest(self.judged(error, kl)[2])
        channels = self.model.residual(items).movedim(-1, 0)
        maps = (self._reduced(self.placed(each, pose), where) for each in channels)
        return (torch.stack([*maps], 1) / (1 + self.whole_weight),)

    def _items(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give what the model judges of images, uint8 [N, S, T, C], and the poses of the parts."""
        aligned, pose = self.aligned(images)
        items = self.features.of_photographs(self.features(aligned), images, self.features.border)
        return self.features.with_codes(items) if self.model.told else items, pose

    def aligned(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give images in [0, 1], [N, 3, S, T], turned onto the mean good one, and their poses."""
        pixels = self.features.pixels(images)
        if self.alignment is None:
            return pixels, None
        pose = self.alignment(luminance(pixels))
        return self.alignment.laid_over(warp(pixels, pose), pose), pose

    def raw_items(self, images: Tensor) -> Tensor:
        """Give what a VAE learns from, raw items [B, ...], of images, uint8 [N, S, T, C].

        Items that are single places are those that are inspected, and their border.
        """
        raw = self.features.raw(self.aligned(images)[0])
        raw = self.features.with_codes(self.features.of_photographs(raw, images, 0))
        if self.learned is not None and self.model.kl_per_location:
            raw = raw.flatten(1, 2).index_select(1, self.learned)
        return raw.reshape(-1, *self.features.stored_shape)

    def learn_places(self, error: Tensor, kl: Tensor) -> None:
        """Learn what is usual at each place from the ``parts`` of good images not trained on."""
        self.usual_error.zero_()
        self.usual_kl.zero_()
        self.spread.fill_(1)
        if not self.model.kl_per_location:
            self.usual_kl.copy_(kl.quantile(0.5))
        elif self.settings.per_place:
            self.usual_kl.copy_(self._smooth(kl.mean(0)))
        if self.settings.per_place:
            joined = error + self.settings.kl_weight * kl if self.model.kl_per_location else error
            self.usual_error.copy_(self._smooth(error.mean(0)))
            # A few images say little about a single place: what all places say counts thrice.
            everywhere = self.counted(joined).std(correction=0)
            spread = self._smooth(joined.std(0, correction=0)) + _SHARED * everywhere
            self.spread.copy_(spread.maximum(self.model.noise_error()))

    def standardise(self, error: Tensor, kl: Tensor, likeness: Tensor | None = None) -> None:
        """Set all scales from the ``parts`` of good images that nothing else was learned from.

        Raises:
            TrainingError: the scores are all the same, or not finite.
        """
        least = self.counted((self.model.noise_error() / self.spread)[None]).mean()
        self.whole_weight.zero_()
        if self.settings.whole_map:
            _, _, joined = self.judged(error, kl)
            whole = self.counted(joined).mean(1)
            outstanding = self._over(joined, self.highest(joined)) - whole
            # The mean over more places is steadier, but no better a sign of a defect.
            steady = (self.detail * mad(whole)).maximum(least / _MAD_TO_STD)
            if steady > 0:
                weight = mad(outstanding) / (2 * steady) - 1
                self.whole_weight.copy_(weight.clamp_min(0))
        scores = self.join(error, kl, likeness)
        raw = scores.reconstruction_error + self.settings.kl_weight * scores.kl
        center = raw.quantile(0.5)
        scale = (_MAD_TO_STD * mad(raw)).maximum((1 + self.whole_weight) * least)
        if not scale.isfinite() or scale <= 0 or raw.amin() == raw.amax():
            raise TrainingError(
                f"the scores of {len(raw)} held-out good images do not vary "
                f"(median {center:g}); expected different photographs"
            )
        self.center.copy_(center)
        self.scale.copy_(scale)

    def judged(self, error: Tensor, kl: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give both parts in spreads above what is usual, and the map of their weighted sum."""
        error = (error - self.usual_error) / self.spread
        if self.model.kl_per_location:
            kl = (kl - self.usual_kl) / self.spread
            return error, kl, error + self.settings.kl_weight * kl
        # The KL of a whole image says nothing about places.
        spread = self.spread if self.places is None else self.counted(self.spread[None])
        return error, (kl - self.usual_kl) / spread.mean(), error

    def counted(self, maps: Tensor) -> Tensor:
        """Give the values of maps, [N, h, w], at the places that are inspected, [N, places]."""
        flat = maps.flatten(1)
        return flat if self.places is None else flat.index_select(1, self.places)

    def highest(self, joined: Tensor) -> Tensor:
        """Give where the highest values of each map are in what ``counted`` gives, [N, count]."""
        counted = self.counted(joined)
        count = max(1, round(self.settings.top_fraction * counted.shape[1]))
        return counted.topk(count).indices

    def _over(self, maps: Tensor, where: Tensor) -> Tensor:
        """Average maps, [N, h, w], over some places, [N, count]; gives [N]."""
        return self.counted(maps).gather(1, where).mean(1)

    def _reduced(self, maps: Tensor, where: Tensor) -> Tensor:
        """Make one number of each map, [N, h, w], of some places, [N, count], and of all."""
        return self._over(maps, where) + self.whole_weight * self.counted(maps).mean(1)

    def placed(self, maps: Tensor, pose: Tensor | None) -> Tensor:
        """Make maps, [N, h, w], of those of items: turned back, averaged over the window."""
        maps, border = self.features.whole(maps), self.features.border
        if pose is not None:
            turned = warp(with_border(maps, border)[:, None], inverse(pose))[:, 0]
            maps = without_border(turned, border)
        return self.features.averaged(maps, self.settings.window)

    def _mapped(self, joined: Tensor) -> Tensor:
        """Give the map of the whole frame, [N, h + 2 b, w + 2 b], from that of the places.

        Those not inspected have the lowest value of their map. So its highest value is that of an
        inspected one, and maps can be enlarged without a jump by an invented number.
        """
        if self.inside is not None:
            lowest = self.counted(joined).amin(1)
            joined = torch.where(self.inside, joined, lowest[:, None, None])
        return with_border(joined, self.features.border)

    def _smooth(self, values: Tensor) -> Tensor:
        """Average values of places, [h, w], with their neighbours': parts never lie quite alike."""
        around = 2 * round(self.detail) + 1
        if self.inside is None:
            return self.features.averaged(values[None], around)[0]
        return smoothed(values, around, self.inside)
