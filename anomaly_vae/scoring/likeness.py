"""What marked defects teach the score: in which direction they differ from what is expected.

The reconstruction error of a place has the squares of its residual, which is how far each channel
is from what is expected, in the spread that the decoder expects. The direction is lost in them.
Here it counts: a place is as like the marked defects as its residual lies in their direction, which
``calibration.likeness`` learns. Of a photograph the likeness is averaged over the places that its
error is averaged over, in the same way, and what hardly any good one has of it is added to that
error. It never takes anything away: a defect unlike all that were marked has the score it had.

Letters: N images, C channels, h x w places.
"""

import torch
from torch import Tensor, nn


class Likeness(nn.Module):
    """How far places lie in the direction of marked defects, in usual spreads of their error."""

    direction: Tensor
    """[C], per unit of residual."""
    usual: Tensor
    """What nearly all good photographs have of it at the most."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("direction", torch.zeros(channels))
        self.register_buffer("usual", torch.zeros(()))

    def forward(self, residual: Tensor) -> Tensor:
        """Give a map, [N, h, w], of residuals, [N, h, w, C]."""
        return (residual * self.direction).sum(-1)

    def beyond_usual(self, likeness: Tensor) -> Tensor:
        """Give what of a photograph's likeness, [N], good ones usually do not have."""
        return (likeness - self.usual).clamp_min(0)
