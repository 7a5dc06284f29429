"""How typical a case is for a deep belief net, cheaply and without chance: its bound on log p(v),
with means in place of samples.

    log p(v) + log Z >= sum_l E_q[log p(s_l | s_l+1)] + H(q) - E_q[F(s_top-1)],

here with each state at its mean under the up-pass q.

Means stand for samples, so that this is no bound but a score that orders cases; log Z, the same for
all cases, is left out. For a net of one hidden layer it is exactly log p(v) + log Z = -F(v). Source
of the bound: Hinton, Osindero & Teh (2006), section 4.
"""

from __future__ import annotations

from torch import Tensor

from wakesleep.foundation.arguments import check_arguments
from wakesleep.models.dbn import DBN


@check_arguments
def score(dbn: DBN, images: Tensor, *, checked: bool = False) -> Tensor:
    """Return the score of each image (N, pixels in [0, 1]), the label summed out where the memory
    holds labels: (N,), nats.

    `checked` says that the images were looked at already.

    Raises:
        DataError: images that do not fit the net, NaN, or values out of range.
    """
    images = images if checked else dbn.as_cases(images)
    layers = dbn.up(images)
    total = -dbn.memory_free_energy(layers[-1])
    for generative, recognition, below, above in zip(
        dbn.generative, dbn.recognition, layers[:-1], layers[1:], strict=True
    ):
        down_input = generative.total_input(above)
        total += (below * down_input).sum(1) - generative.units.log_partition(down_input)
        total -= generative.units.potential(below)
        up_input = recognition.total_input(below)
        # the entropy of the units above
        total += recognition.units.log_partition(up_input) - (above * up_input).sum(1)
        total += recognition.units.potential(above)
    return total
