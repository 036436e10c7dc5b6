"""What is minimised: reconstruction error and KL, annealed, with free bits, or up to a capacity.

Letters: B items of a batch (locations for ``PatchVAE``, images for the others), D latent
dimensions. Errors, divergences and losses are in nats per item.
"""

from torch import Tensor

from anomaly_vae.settings.schema import Config


class Objective:
    """The loss of a batch, which depends on how far the training has come.

    Plainly it is reconstruction error + beta * KL, with beta rising over the warm-up. Two settings
    change the KL term against posterior collapse, and one the warm-up (see ``risen``):

    ``free_bits`` (Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow,
    NeurIPS 2016, equation 15): a latent dimension is not punished as long as its KL, averaged over
    the batch first, is below so many nats. Averaged first, the latents may spend them on the items
    that need them.

    ``capacity`` (Burgess et al., Understanding disentangling in beta-VAE, 2018, equation 8): beta
    times the distance of the mean KL from a target, which rises over the warm-up instead of beta.
    """

    def __init__(self, config: Config) -> None:
        self.beta, self.settings = config.model.beta, config.training

    def risen(self, step: int) -> float:
        """Give how far the KL term has risen at a step, from 0 to 1.

        Cyclical annealing (Fu et al., Cyclical Annealing Schedule, NAACL 2019): the steps are
        divided into cycles, each of which begins at 0 again, and ``kl_warmup`` is a share of each.
        """
        total = self.settings.epochs * self.settings.steps_per_epoch
        # In whole numbers: rounded, the first step of a cycle could be the last of the one before.
        done = step * self.settings.cycles % total / total
        return min(1.0, done / self.settings.kl_warmup) if self.settings.kl_warmup else 1.0

    def per_item(self, error: Tensor, kl: Tensor, risen: float = 1.0) -> Tensor:
        """Give how hard each item is, [B], from its error, [B], and its KL divergences, [B, D].

        With a capacity the error alone says so: whether the KL is too high or too low shows in the
        mean over a batch only.
        """
        return error if self.settings.capacity else error + self.beta * risen * kl.sum(-1)

    def __call__(self, error: Tensor, kl: Tensor, risen: float = 1.0) -> Tensor:
        """Give the loss of a batch from errors, [B], and KL divergences, [B, D].

        Risen all the way, it is the same function at any time, so that epochs can be compared.
        """
        if self.settings.capacity:
            target = self.settings.capacity * risen
            return error.mean() + self.beta * (kl.sum(-1).mean() - target).abs()
        if self.settings.free_bits:
            punished = kl.mean(0).clamp_min(self.settings.free_bits).sum()
            return error.mean() + self.beta * risen * punished
        return self.per_item(error, kl, risen).mean()
