"""How each algorithm of a run learns, as data: settings with their defaults and checks. Nothing
here needs PyTorch.

So the command line can explain and check its options without loading it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from wakesleep.foundation import renamed
from wakesleep.foundation.ranges import at_least, below_one, positive, require
from wakesleep.foundation.values import check_fields


def linear_schedule(first: float, last: float, epoch: int, epochs: int) -> float:
    """Return the rate of epoch `epoch` (from 0) on the straight line from `first` in the first of
    `epochs` to `last` in the last.
    """
    return first + (last - first) * (epoch / max(epochs - 1, 1))


@renamed.fields(
    passes="epochs", initial_momentum_passes="initial_momentum_epochs", rate="learning_rate_at"
)
@dataclass(frozen=True)
class CDConfig:
    """How one RBM learns. Defaults: Hinton's MATLAB code and practical guide (2010), where a reason
    does not say otherwise.
    """

    epochs: int = 30
    """Epochs over the cases; 30 a layer in Hinton, Osindero & Teh (2006)."""
    batch_size: int = 100
    """Cases in a minibatch: ten of each of ten classes."""
    learning_rate: float = 0.1
    """Rate in the first epoch; right for pixels in [0, 1] and binary hidden units."""
    final_learning_rate: float | None = None
    """Rate in the last epoch, reached in a straight line: a falling rate averages the noise of
    sampling away. None: that of the first.
    """
    momentum: float = 0.9
    """Momentum once learning has settled."""
    initial_momentum: float = 0.5
    """Momentum of the first epochs, while the weights still make large moves."""
    initial_momentum_epochs: int = 5
    """How many epochs use the initial momentum."""
    weight_decay: float = 2e-4
    """L2 penalty, on weights only: it keeps hidden units from getting stuck."""
    l1_penalty: float = 0.0
    """L1 penalty, c sum |w|: it makes weights that do little zero."""
    l2l1_penalty: float = 0.0
    """Penalty c / 2D sum_j (sum_i |w_ij|)^2 over hidden units j, D the number of visible columns:
    an L1 penalty that is the stronger the more visible units a hidden one listens to, so that none
    listens to all and none to nothing. Source: Tubiana, Cocco & Monasson (2019).
    """
    gibbs_steps: int = 1
    """K, the Gibbs steps of the negative phase: 1 is enough to pretrain, more make a better density
    model.
    """
    persistent: bool = False
    """Go on with the chains of the last update (PCD) instead of starting at the data (CD)."""
    temperatures: int = 1
    """Of persistent chains: at how many temperatures each lives, from independent units to the
    model; they trade places (parallel tempering), so that chains cross from mode to mode. As many
    times the work of the negative phase. 1: plain chains. Source: Desjardins et al. (2010).
    """
    exchange_steps: int = 0
    """Of persistent chains: steps after each epoch in which they trade places with chains of
    earlier machines of this training, down to independent units (`learning.trajectory`), so that
    they cross from mode to mode. A step costs three products a machine of the ladder. 0: none.
    Source: Bereux et al. (2024).
    """
    sample_visible: bool = False
    """Sample reconstructed visible units instead of using their probabilities; needed where a
    distribution is claimed.
    """
    label_first: bool = True
    """Begin the negative phase by drawing the label from p(label | the other visible units), the
    hidden units summed out: the same model and an exact Gibbs step, but the hidden units can no
    longer leak the label to their own reconstruction.
    """
    centred: bool = False
    """Measure both layers from their running means, which takes the common part out of the weights'
    gradient: a better density model for the same epochs (Montavon & Muller 2012). The model itself
    is the same.
    """
    standardised: bool = False
    """Divide the centred gradient of a weight by the running variances of its two units, so that
    rare and loud units learn alike: variances of binary units lie below 1/4, so rates are some
    twenty times smaller. Only with `centred`. Source: RestrictedBoltzmannMachines.jl.
    """
    group_scales: tuple[float, ...] = ()
    """By what the input from each visible group is multiplied, in their order: weights learn as
    those of states c times as large, c^2 times as fast. With 784 pixels beside 10 labels, (1, 3)
    lets the labels count. (): 1 for all.
    """
    units_rate: float = 0.1
    """Learning rate of the units' own parameters, a precision for one, over that of the weights:
    they act on each state of a unit.
    """
    units_frozen_epochs: int = 1
    """First epochs in which the units' own parameters stay as they are: what weights will explain
    is no noise.
    """
    sparsity_target: float = 0.1
    """Wanted mean activity of a hidden unit; only used with a sparsity cost."""
    sparsity_cost: float = 0.0
    """Weight of the cross-entropy between wanted and running mean activity; 0 turns it off."""

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "epochs", "weight_decay", "l1_penalty", "l2l1_penalty", "sparsity_cost")
        at_least(0, self, "units_rate", "units_frozen_epochs", "exchange_steps")
        require(
            all(0 < scale < math.inf for scale in self.group_scales),
            f"group_scales = {self.group_scales}: expected numbers above 0, one a visible group",
        )
        at_least(1, self, "batch_size", "temperatures")
        positive(self, "learning_rate")
        if self.final_learning_rate is not None:
            positive(self, "final_learning_rate")
        below_one(self, "momentum", "initial_momentum")
        require(
            self.centred or not self.standardised,
            "standardised = True and centred = False: it is the centred gradient that is divided "
            "by variances; expected centred=True",
        )
        require(
            self.gibbs_steps >= 1,
            f"gibbs_steps = {self.gibbs_steps}: expected K >= 1; contrastive divergence "
            "needs one step",
        )
        require(
            self.persistent or self.temperatures == 1,
            f"temperatures = {self.temperatures} and persistent = False: only chains that "
            "persist can trade places; expected persistent=True",
        )
        require(
            not self.exchange_steps or (self.persistent and self.temperatures == 1),
            f"exchange_steps = {self.exchange_steps}, persistent = {self.persistent}, temperatures "
            f"= {self.temperatures}: earlier machines are exchanged with by plain persistent "
            "chains; expected persistent=True, temperatures=1",
        )
        require(
            0 < self.sparsity_target < 1,
            f"sparsity_target = {self.sparsity_target}: expected a number in (0, 1)",
        )

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of epoch `epoch` (from 0)."""
        first, last = self.learning_rate, self.final_learning_rate
        return linear_schedule(first, first if last is None else last, epoch, self.epochs)

    def momentum_at(self, epoch: int) -> float:
        """Return the momentum of epoch `epoch` (from 0)."""
        return self.initial_momentum if epoch < self.initial_momentum_epochs else self.momentum


@dataclass(frozen=True)
class DBMConfig(CDConfig):
    """How a deep Boltzmann machine learns; what is not said here is as in CDConfig."""

    epochs: int = 100
    """Epochs over the cases."""
    learning_rate: float = 0.01
    """Rate in the first epoch: chains that persist follow weights that move slowly."""
    final_learning_rate: float | None = 0.0005
    """Rate in the last epoch, reached in a straight line; None: that of the first."""
    persistent: bool = True
    """Always: the negative phase goes on with the chains of the last update."""
    gibbs_steps: int = 5
    """Gibbs steps of the chains between two updates (Salakhutdinov & Hinton 2009)."""
    mean_field_steps: int = 10
    """Steps of mean field a minibatch; the metric `mean_field_change` says whether they do."""
    average: float = 1.0
    """Length in epochs of the running mean of the weights, which is the model; 0: no mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.persistent, "persistent = False: the negative phase of a DBM is persistent")
        require(
            self.temperatures == 1,
            f"temperatures = {self.temperatures}: expected 1; chains of a DBM are plain ones",
        )
        require(
            self.mean_field_steps >= 1,
            f"mean_field_steps = {self.mean_field_steps}: expected at least 1",
        )
        require(
            0 <= self.average < math.inf, f"average = {self.average}: expected 0 or more epochs"
        )


@renamed.fields(passes="epochs")
@dataclass(frozen=True)
class ChainsConfig:
    """How a memory learns in its last epochs. What is not said here is as in its CDConfig: batch,
    momentum, decay, Gibbs steps.
    """

    share: float = 1 / 3
    """Share of the memory's epochs that have chains, the last ones: of ten such epochs on MNIST
    dreams need two, and recognition five. 0: none.
    """
    learning_rate: float = 0.01
    """Rate in the first of these epochs. A case whose label is drawn wrong weighs `label_weight` /
    batch size: minibatches of 100 bear 0.03, of 20 at times not.
    """
    final_learning_rate: float = 0.001
    """Rate in the last epoch, reached in a straight line: chains that persist are noisy, and follow
    weights that move slowly.
    """
    persistent: float = 0.3
    """Share of the negative cases that go on from the chains; the others are contrastive
    divergence, which keeps recognition good.
    """
    pool: int = 5
    """Persistent chains kept for each that moves in an update; they take turns. With 30 each goes
    too few steps in ten epochs: of MNIST's dreams after 1,000 steps 92 % carry their label instead
    of 98.
    """
    restart: float = 0.003
    """Chance, at each move, that a chain starts again from random hidden states: dreams start
    there, so what lies on the way from there must be unlearned too; a chain goes some 300 steps on
    the average.
    """
    label_weight: float = 20.0
    """Weight of the gradient of log p(label | the other visible units). It is zero for a case whose
    drawn label is right, so nearly all are. With 0 the chains double the memory's errors on
    MNIST.
    """
    average: float = 1.0
    """Length in epochs of the running mean of the weights, which is the model; 0: no mean."""

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "label_weight", "average")
        at_least(1, self, "pool")
        positive(self, "learning_rate", "final_learning_rate")
        require(
            0 <= self.share <= 1, f"share = {self.share}: expected a share of the epochs in [0, 1]"
        )
        require(
            0 < self.persistent <= 1,
            f"persistent = {self.persistent}: expected a share of the negative cases above "
            "0 and up to 1",
        )
        require(0 <= self.restart <= 1, f"restart = {self.restart}: expected a chance in [0, 1]")

    def epochs(self, memory: CDConfig) -> int:
        """Return how many of the memory's epochs have chains; none where it is persistent, centred
        or sparse from the start.
        """
        return (
            0
            if memory.persistent or memory.centred or memory.sparsity_cost
            else round(self.share * memory.epochs)
        )

    def count(self, memory: CDConfig) -> int:
        """Return how many negative cases of a minibatch are chains, at least one."""
        return max(1, round(self.persistent * memory.batch_size))


@dataclass(frozen=True)
class GreedyConfig:
    """How a stack of RBMs learns."""

    layer: CDConfig = field(default_factory=CDConfig)
    """How each directed layer learns while it is still an RBM."""
    memory: CDConfig = field(default_factory=CDConfig)
    """How the associative memory learns; it carries the labels, so it is worth more care."""
    chains: ChainsConfig = field(default_factory=ChainsConfig)
    """How its last epochs learn, with persistent chains that hold labels, so that it dreams of what
    a label means. Contrastive divergence alone leaves a memory that recognises but dreams of one
    blob whatever the label.
    """

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class MultimodalConfig(GreedyConfig):
    """How a net of several senses learns greedily; what is not said here is as in GreedyConfig."""

    senses: Mapping[str, CDConfig] = field(default_factory=dict)
    """How the directed layers of a sense learn, by its name, where not as `layer` says: real
    numbers need smaller rates than bits, and small sets more epochs.
    """
    leave_out: float = 0.5
    """Chance of a sense to be left out of a case where the memory's negative phase begins: it
    begins with the others alone and holds them, or with the label alone where none is left, and so
    learns to find what was left out, as `recall` will ask it to. 0: no case is left out in part,
    and what is recalled of one sense may be of another class than that sense.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        below_one(self, "leave_out")


@renamed.fields(passes="epochs", rate="learning_rate_at")
@dataclass(frozen=True)
class UpDownConfig:
    """How the whole net learns, once its layers are pretrained."""

    epochs: int = 60
    """Epochs over the cases; 300 in 2006. A running mean of the weights and a falling rate do much
    of what long training does.
    """
    batch_size: int = 100
    """Cases in a minibatch."""
    learning_rate: float = 0.01
    """Rate of the first epoch, for directed layers and memory alike; the published rates are not
    known. Higher ones undo what the greedy stage learned before they mend the memory's dreams.
    """
    final_learning_rate: float = 0.0001
    """Rate of the last epoch, reached in a straight line."""
    momentum: float = 0.9
    """Momentum of all weights."""
    weight_decay: float = 2e-4
    """L2 penalty on the memory's weights; directed layers have none, for their delta rules do not
    run away.
    """
    gibbs_steps: tuple[int, ...] = (3, 3, 5)
    """K, the Gibbs steps of the memory, in equal shares of the epochs; 3, 6, 10 for a hundred
    epochs each in 2006. Chains that persist need fewer.
    """
    sample_labels: bool = False
    """Draw the label in each Gibbs step instead of using its probabilities. The published listing
    uses probabilities, which is quieter but not exactly the model's own chain.
    """
    label_first: bool = True
    """Begin the memory's negative phase by drawing the label anew from p(label | penultimate
    units), the top units summed out.
    """
    label_weight: float = 0.0
    """Weight of a gradient of log p(label | penultimate units) of the memory beside contrastive
    divergence, as in ChainsConfig. On a few hundred pictures persistent chains at these rates spoil
    that probability: of three drawn shapes the label free energies got 2 % wrong before, and 9 %
    after; with 20 they stay at 2 %. 0 is the published algorithm.
    """
    persistent: float = 0.2
    """Share of the memory's negative cases whose chains go on from the last minibatch instead of
    starting at the up-pass. Chains that start at the data never find what the memory dreams of far
    from them; 0 is the published algorithm, 1 is PCD.
    """
    chain_pool: int = 10
    """Persistent chains kept for each that moves in an update. They take turns: a few chains that
    hardly move between updates would push the same few dreams down again and again.
    """
    hold_labels: bool = True
    """Let each persistent chain hold one label, so that the memory learns what to dream of when a
    label is clamped; free chains drift between classes and teach little about any.
    """
    restart: float = 0.01
    """Chance, at each minibatch, that a persistent chain starts again from random top states:
    dreams start there, so what lies on the way from there must be unlearned too.
    """

    average: float = 1.0
    """Length in epochs of the running mean of the weights, which is the model: chains that persist
    make the last steps noisy. 0: no mean.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "epochs", "weight_decay", "average")
        at_least(1, self, "batch_size", "chain_pool")
        positive(self, "learning_rate", "final_learning_rate")
        below_one(self, "momentum")
        require(
            0 <= self.persistent <= 1, f"persistent = {self.persistent}: expected a share in [0, 1]"
        )
        require(
            0 <= self.label_weight < math.inf,
            f"label_weight = {self.label_weight}: expected 0 or more",
        )
        require(
            self.label_first or not self.label_weight,
            f"label_weight = {self.label_weight} compares the label with one that is drawn anew: "
            "expected label_first = True, or label_weight = 0",
        )
        require(0 <= self.restart <= 1, f"restart = {self.restart}: expected a chance in [0, 1]")
        steps = self.gibbs_steps
        require(
            len(steps) > 0 and min(steps) >= 1,
            f"gibbs_steps = {steps}: expected K >= 1 in each share of the epochs, e.g. (3, 6, 10)",
        )

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of epoch `epoch` (from 0)."""
        return linear_schedule(self.learning_rate, self.final_learning_rate, epoch, self.epochs)

    def steps_at(self, epoch: int) -> int:
        """Return K in epoch `epoch` (from 0)."""
        return self.gibbs_steps[
            min(epoch * len(self.gibbs_steps) // max(self.epochs, 1), len(self.gibbs_steps) - 1)
        ]


@dataclass(frozen=True)
class HybridConfig:
    """How the two aims are joined."""

    updown: UpDownConfig = field(default_factory=lambda: UpDownConfig(epochs=30, gibbs_steps=(3,)))
    """Contrastive wake-sleep: epochs, rates, Gibbs steps."""
    weight: float = 20.0
    """What a nat of log p(label | image) counts against a nat of the generative model: the rates
    that suit contrastive wake-sleep are some twenty times too small for backpropagation.
    """
    alternate: bool = False
    """Take turns, a minibatch of one and a minibatch of the other on the same cases, instead of one
    update by the sum.
    """
    sample_pixels: bool = True
    """Backpropagation sees pixels as binary states drawn anew with their intensities as
    probabilities, so that it overfits less.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            0 <= self.weight < math.inf,
            f"weight = {self.weight}: expected 0 (contrastive wake-sleep alone) or more, e.g. 10",
        )
