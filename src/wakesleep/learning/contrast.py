"""Both phases of contrastive divergence for one minibatch, and the gradients of their difference.

The negative phase starts at the data (CD-k), or goes on from chains, or from chains at several
temperatures; `cd` says where each comes from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wakesleep.compute.ops import Dense, Product, RowSum, accumulation_dtype
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.learning import unit_parameters
from wakesleep.learning.configs import CDConfig
from wakesleep.learning.momentum import Gradients
from wakesleep.models.rbm import RBM
from wakesleep.samplers import tempering
from wakesleep.sources.axes import HiddenWritten, ReplicatedWritten
from wakesleep.units import Context, Groups, sample_categorical


class Contrast:
    """Buffers for one minibatch of N cases: the first N rows hold the data, the last N what the
    model makes of them.

    `visible` is (2N, visible), `hidden` (2N, hidden) with the lower half's sign turned, so that
    visible'hidden / N is the gradient. They are of the precision of the machine they were made for,
    which may be a low-precision copy of the one that learns. `difference` (N, visible) is data less
    model, whatever is done to both afterwards.
    """

    def __init__(self, rbm: RBM, size: int, config: CDConfig) -> None:
        self.size = size
        self.label_columns = rbm.visible.one_hot_columns if config.label_first else []
        self.visible = rbm.weight.new_empty(2 * size, rbm.visible.size)
        self.hidden = rbm.weight.new_empty(2 * size, rbm.hidden.size)
        self.data, self.model = torch.split(self.visible, size)
        self.positive, self.negative = torch.split(self.hidden, size)
        self.difference = torch.empty_like(self.data, dtype=accumulation_dtype(self.data.dtype))
        self.states = rbm.weight.new_empty(size, rbm.hidden.size)
        self.scratch_probs = rbm.weight.new_empty(size, rbm.visible.size)
        self.context: Context | None = None
        """That of the data; the negative phase has the same."""
        self.given: Tensor | None = None
        """Which visible columns the negative phase of each case is given, (N, visible), see
        `left_in`; None: it begins at all of them and holds none.
        """
        self.bias_scale: Tensor | None = None
        """By what the hidden biases are multiplied in each row, (2N, 1)."""
        self.group_scales = _column_scales(rbm, config)
        """By what the input from each visible column is multiplied, (visible,)."""
        self.own: Gradients = {}
        """The gradients of the units' own parameters."""
        self.learns_visible, self.learns_hidden = (
            unit_parameters.there_are(units) for units in (rbm.visible, rbm.hidden)
        )

    def run_phases(
        self, rbm: RBM, config: CDConfig, rng: torch.Generator, chains: Tensor | None
    ) -> None:
        """Run the positive and the negative phase for the cases in the first N rows of `visible`;
        moves `chains` on, in place.

        Statistics use probabilities of hidden units, which sampling noise would only blur (Hinton
        2010, section 3).
        """
        if chains is None:
            start_at_data(self, rbm, config, rng)
        elif config.temperatures == 1:
            go_on_from_chains(self, rbm, config, rng, chains)
        else:
            go_on_from_replicas(self, rbm, config, rng, chains)
        self.compare(rbm, config)

    def compare(self, rbm: RBM, config: CDConfig) -> None:
        """Turn the sign of the negative phase, once both phases are there, and form the
        differences that gradients are made of.
        """
        if self.learns_visible or self.learns_hidden:
            self.own = _own_gradients(self, rbm, config)
        self.negative.neg_()
        if self.data.dtype == self.difference.dtype:
            torch.sub(self.data, self.model, out=self.difference)
        else:
            self.difference.copy_(self.data - self.model)

    def gradients(self) -> Gradients:
        """Return positive minus negative statistics, means over the N cases: the direction of
        ascent.
        """
        scale = 1 / self.size
        return {
            "weight": [Product(self.visible, self.hidden, scale)],
            "visible_bias": [RowSum(self.difference, scale)],
            "hidden_bias": [
                RowSum(
                    self.hidden if self.bias_scale is None else self.hidden * self.bias_scale, scale
                )
            ],
        }

    def squared_error(self) -> Tensor:
        """Return the summed squared difference of data and model, a scalar."""
        difference = self.difference.flatten()
        return difference.dot(difference)


@check_arguments
def start_at_data(contrast: Contrast, rbm: RBM, config: CDConfig, rng: torch.Generator) -> None:
    """CD-k: h ~ p(h | data); then k times v <- E[v | h], h ~ p(h | v) (Hinton 2002).

    With `config.sample_visible`, v ~ p(v | h). Softmax groups, labels for one, are drawn anew
    before the first h where the config says so. Of a case that is `given` in part, the first h is
    drawn from that part alone, which stays as it is: <v h'>_data less those statistics is the
    gradient of log p(what is left out | what is given), as far as k steps go.
    """
    c = contrast
    hold = None if c.given is None else held(c.given)
    if c.label_columns or c.given is not None:
        rbm.hidden_input(c.data, out=c.positive, context=c.context)
        if c.given is None:
            c.negative.copy_(c.positive)
        else:
            begin = left_in(c.data, c.given, c.label_columns)
            rbm.hidden_input(begin, out=c.negative, context=c.context)
        redrawn = draw_labels(c, rbm, c.negative, rng)
        _, hidden = rbm.hidden.mean_and_sample(redrawn, rng, mean=redrawn, out=c.states)
        rbm.hidden.mean(c.positive, out=c.positive)
    else:
        hidden = rbm.sample_hidden(c.data, rng, probs=c.positive, out=c.states, context=c.context)
    for step in range(config.gibbs_steps):
        if config.sample_visible:
            rbm.sample_visible(hidden, rng, probs=c.scratch_probs, out=c.model, context=c.context)
        elif c.learns_visible:
            rbm.visible_input(hidden, out=c.scratch_probs)
            rbm.visible.mean(c.scratch_probs, context=c.context, out=c.model)
        else:
            rbm.visible_probs(hidden, out=c.model, context=c.context)
        if hold is not None:
            torch.where(hold, c.data, c.model, out=c.model)
        if step < config.gibbs_steps - 1:
            rbm.sample_hidden(c.model, rng, probs=c.negative, out=hidden, context=c.context)
    rbm.hidden_probs(c.model, out=c.negative, context=c.context)


@check_arguments
def go_on_from_chains(
    contrast: Contrast,
    rbm: RBM,
    config: CDConfig,
    rng: torch.Generator,
    chains: HiddenWritten,
    *,
    positive: bool = True,
) -> None:
    """PCD: the k Gibbs steps go on from hidden states (chains, hidden) of the last update, which
    move on in place (Tieleman 2008). Where `positive` is false the hidden means of the data are
    there already.
    """
    _require_chains(contrast, chains)
    c, hidden = contrast, chains[: contrast.size]
    for step in range(config.gibbs_steps):
        if step:
            rbm.sample_hidden(c.model, rng, probs=c.negative, out=hidden, context=c.context)
        rbm.sample_visible(hidden, rng, probs=c.scratch_probs, out=c.model, context=c.context)
    if positive:
        # data and chains have not met: one product for both reads the weights once
        both = None if c.context is None else c.context.repeat(2)
        rbm.hidden_probs(c.visible, out=c.hidden, context=both)
    else:
        rbm.hidden_probs(c.model, out=c.negative, context=c.context)
    if rbm.hidden.settled_by_mean:
        rbm.hidden.sample_from_mean(c.negative, rng, out=hidden)
    else:
        rbm.sample_hidden(c.model, rng, out=hidden, context=c.context)


@check_arguments
def go_on_from_replicas(
    contrast: Contrast,
    rbm: RBM,
    config: CDConfig,
    rng: torch.Generator,
    replicas: ReplicatedWritten,
) -> None:
    """Tempered PCD: move replicas (R, chains, visible) on, in place; the last, the model's own, is
    its side (Desjardins et al. 2010).
    """
    if len(replicas) != config.temperatures:
        raise DataError(f"{len(replicas)} replicas came for {config.temperatures} temperatures")
    _require_chains(contrast, replicas[0])
    visible = replicas[:, : contrast.size]
    betas = torch.linspace(0, 1, config.temperatures, dtype=replicas.dtype, device=replicas.device)
    for _ in range(config.gibbs_steps):
        visible = tempering.move(
            rbm, rbm.visible_bias, betas, visible, rng, context=contrast.context
        )
        for parity in (0, 1):
            tempering.swap(rbm, rbm.visible_bias, betas, visible, rng, parity, contrast.context)
    replicas[:, : contrast.size] = visible
    contrast.model.copy_(visible[-1])
    both = None if contrast.context is None else contrast.context.repeat(2)
    rbm.hidden_probs(contrast.visible, out=contrast.hidden, context=both)


def _require_chains(contrast: Contrast, chains: Tensor) -> None:
    """Raise DataError unless there is a chain for each case."""
    if len(chains) < contrast.size:
        raise DataError(f"{len(chains)} chains came for {contrast.size} cases; expected as many")


def left_in(data: Tensor, given: Tensor, label_columns: Sequence[slice]) -> Tensor:
    """Return cases (N, visible) with 0 where nothing is given, but in the columns of labels."""
    left = torch.where(given, data, torch.zeros_like(data))
    for columns in label_columns:
        left[:, columns] = data[:, columns]
    return left


def held(given: Tensor) -> Tensor:
    """Return which columns stay as they are in the negative phase, (N, visible): those that are
    given of a case that is given in part.
    """
    return given & ~given.all(1, keepdim=True)


@check_arguments
def draw_labels(
    contrast: Contrast, rbm: RBM, total_input: HiddenWritten, rng: torch.Generator
) -> Tensor:
    """Return the hidden units' input (N, hidden), in place, with each softmax group drawn anew
    given all other visible units; those that are held stay.
    """
    for columns in contrast.label_columns:
        weight = rbm.weight[columns]
        total_input.addmm_(contrast.data[:, columns], weight, alpha=-1.0)
        probs = torch.softmax(rbm.group_scores(total_input, columns), 1)
        sampled = sample_categorical(probs, rng)
        if contrast.given is not None:
            own = contrast.data[:, columns].argmax(1)
            sampled = torch.where(held(contrast.given)[:, columns.start], own, sampled)
        total_input += weight[sampled]
    return total_input


def _own_gradients(contrast: Contrast, rbm: RBM, config: CDConfig) -> Gradients:
    """Return the gradients of the units' own parameters: their sufficient statistics T over the
    data less under the model.

    The model's are those of sampled states, or, where means stand for visible states, E[T | h] of
    the hidden states they were made from, whose total input lies in `scratch_probs`. Hidden units
    learn no scale: their weights have one.
    """
    c, own = contrast, dict[str, Tensor]()
    if c.learns_visible:
        if config.sample_visible or config.persistent:
            model = rbm.visible.statistics(c.model)
        else:
            model = rbm.visible.moments(c.scratch_probs, c.context)
        visible = unit_parameters.visible_gradients(rbm.visible, c.data, model)
        own |= {f"visible.{name}": gradient for name, gradient in visible.items()}
    if c.learns_hidden:
        hidden = unit_parameters.hidden_gradients(rbm, c.data, c.model, c.context)
        own |= {f"hidden.{name}": gradient for name, gradient in hidden.items()}
    return {name: [Dense(gradient, 1.0)] for name, gradient in own.items()}


def _column_scales(rbm: RBM, config: CDConfig) -> Tensor | None:
    """Return `CDConfig.group_scales` for each visible column, (visible,); None for 1.

    Raises:
        ConfigError: not one for each visible group.
    """
    if not config.group_scales:
        return None
    groups = rbm.visible.parts if isinstance(rbm.visible, Groups) else (rbm.visible,)
    if len(groups) != len(config.group_scales):
        raise ConfigError(
            f"group_scales = {config.group_scales} of {rbm.visible}: expected {len(groups)} "
            "numbers, one a visible group"
        )
    scales = torch.tensor(config.group_scales, dtype=accumulation_dtype(rbm.weight.dtype))
    sizes = torch.tensor([part.size for part in groups])
    return scales.repeat_interleave(sizes).to(rbm.weight.device)
