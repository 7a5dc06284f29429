"""How a feed-forward net learns from labels, as data: settings with their defaults and checks.
Nothing here needs PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wakesleep.foundation import renamed
from wakesleep.foundation.ranges import at_least, below_one, positive, require
from wakesleep.foundation.values import check_fields
from wakesleep.learning.configs import linear_schedule


@renamed.fields(passes="epochs", cg_top_passes="cg_top_epochs", rate="learning_rate_at")
@dataclass(frozen=True)
class BackpropConfig:
    """How the feed-forward net is fine-tuned."""

    epochs: int = 30
    """Epochs over the labelled cases."""
    method: Literal["sgd", "cg"] = "sgd"
    """Stochastic gradient descent, or conjugate gradient as in the 2006 code (slower; no rate to
    choose).
    """
    batch_size: int = 100
    """Cases in a minibatch of SGD."""
    learning_rate: float = 0.2
    """Rate of SGD in the first epoch: large steps find flatter places; 0.02 ended with a third more
    validation errors on MNIST.
    """
    final_learning_rate: float = 0.001
    """Rate of SGD in the last epoch, reached in a straight line: the last epochs average, they do
    not wander.
    """
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 0.0
    """L2 penalty on weights; the 2006 code has none."""
    sample_pixels: bool = True
    """SGD sees each pixel as a binary state drawn anew with its intensity as probability, as the
    generative model means it: each epoch shows other pictures, so the net overfits less. Conjugate
    gradient and recognition see intensities.
    """
    leave_out: float = 0.0
    """Chance that a sense is left out of a case that SGD sees, of a net of several senses: it then
    learns to tell the class by the others.
    """
    cg_batch_size: int = 1000
    """Cases in a minibatch of conjugate gradient: large, because a line search trusts its
    gradient.
    """
    cg_line_searches: int = 3
    """Line searches a minibatch of conjugate gradient."""
    cg_top_epochs: int = 5
    """First epochs of conjugate gradient in which only the label layer moves, so that its noise
    does not spoil the features.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "epochs", "final_learning_rate", "weight_decay", "cg_top_epochs")
        at_least(1, self, "batch_size", "cg_batch_size", "cg_line_searches")
        positive(self, "learning_rate")
        below_one(self, "momentum", "leave_out")
        require(self.method in ("sgd", "cg"), f"method = {self.method!r}: expected 'sgd' or 'cg'")

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of epoch `epoch` (from 0)."""
        return linear_schedule(self.learning_rate, self.final_learning_rate, epoch, self.epochs)


@dataclass(frozen=True)
class SemiSupervisedConfig:
    """How the net learns from labelled and unlabelled cases together."""

    epochs: int = 30
    """Epochs over all cases."""
    batch_size: int = 100
    """Labelled cases in a minibatch, and as many of all cases beside them."""
    learning_rate: float = 0.154
    """Rate of SGD in the first epoch."""
    final_learning_rate: float = 0.00154
    """Rate in the last epoch, reached in a straight line."""
    momentum: float = 0.9
    """Momentum of SGD, in all epochs."""
    vat_epsilon_relative: float = 0.45
    """Distance around each case within which the answer should not change, as a share of the median
    distance between nearest neighbours: 2.0 on MNIST, 0.5 on the digits, where twice as much did as
    well.
    """
    smooth_weight: float | None = None
    """Weight of smoothness beside the cross-entropy of the labelled cases. None asks the labels
    (`semi_supervised.suited`): 1 where clusters are classes, on MNIST and the digits, else 0.1, on
    Fashion-MNIST, where 1 cost 0.7 points on held-out cases.
    """
    entropy_weight: float = 0.1
    """Weight of the entropy of the answers: boundaries between classes should not cross where cases
    are dense.
    """
    self_weight: float = 0.1
    """Weight of the labels that the net gives itself."""
    certainty: float = 0.95
    """Probability from which on the net's own answer counts as a label; they are given anew before
    each epoch.
    """
    dropout_visible: float = 0.0
    """Share of the pixels that are left out of each case."""
    dropout_hidden: float = 0.0
    """Share of the units of each hidden layer that are left out."""
    mean_epochs: float = 1.0
    """How many epochs the running mean of the weights looks back, which is the model and gives the
    labels; 0: no mean.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "epochs", "final_learning_rate", "vat_epsilon_relative")
        if self.smooth_weight is not None:
            at_least(0, self, "smooth_weight")
        at_least(0, self, "entropy_weight", "self_weight", "mean_epochs")
        at_least(1, self, "batch_size")
        positive(self, "learning_rate")
        below_one(self, "momentum", "dropout_visible", "dropout_hidden")
        require(
            0.5 <= self.certainty <= 1,
            f"certainty = {self.certainty}: expected a probability from 0.5 to 1",
        )

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of epoch `epoch` (from 0)."""
        return linear_schedule(self.learning_rate, self.final_learning_rate, epoch, self.epochs)
