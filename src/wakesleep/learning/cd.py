"""Contrastive divergence: an RBM learns by comparing the data with its own reconstructions of them.

    dW = <v h'>_data - <v h'>_reconstruction

CD-k starts its k Gibbs steps at the data (Hinton 2002); with `persistent=True` they go on from where the last update left them (PCD,
Tieleman 2008), at several `temperatures` if asked (Desjardins et al. 2010). `epochs` is the loop; everything else is one minibatch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wakesleep.compute import distributed, ops, precision
from wakesleep.compute.ops import Product, RowSum, accumulation_dtype
from wakesleep.learning import momentum
from wakesleep.learning.configs import CDConfig as CDConfig
from wakesleep.learning.records import Pass, State, check_finite, velocities
from wakesleep.model.rbm import RBM, Statistics
from wakesleep.model.units import biases_of_means, pick, softmax_columns
from wakesleep.sampling import tempering
from wakesleep.sampling.gibbs import random_hidden
from wakesleep.sources import cases as rows


class Contrast:
    """Buffers for one minibatch of N cases: the first N rows hold the data, the last N what the model makes of them.

    `visible` is (2N, visible), `hidden` (2N, hidden) with the lower half's sign turned, so that visible'hidden / N is the gradient. They are
    of the precision of the machine they were made for, which may be a coarse twin of the one that learns. `difference` (N, visible) is
    data less model, whatever is done to both afterwards.
    """

    def __init__(self, rbm: RBM, size: int, config: CDConfig) -> None:
        self.size = size
        self.labels = softmax_columns(rbm.visible) if config.label_first else []
        self.visible = rbm.weight.new_empty(2 * size, rbm.visible.size)
        self.hidden = rbm.weight.new_empty(2 * size, rbm.hidden.size)
        self.data, self.model = torch.split(self.visible, size)
        self.positive, self.negative = torch.split(self.hidden, size)
        self.difference = torch.empty_like(self.data, dtype=accumulation_dtype(self.data.dtype))
        self.states = rbm.weight.new_empty(size, rbm.hidden.size)
        self.visible_states = rbm.weight.new_empty(size, rbm.visible.size)

    def fill(self, rbm: RBM, config: CDConfig, rng: torch.Generator, chains: Tensor | None) -> None:
        """Run the positive and the negative phase for the cases in the first N rows of `visible`; moves `chains` on, in place.

        Chains are hidden states (chains, hidden), or visible ones at each temperature (R, chains, visible). Hidden units driven by data are
        sampled to start the negative phase; statistics use probabilities (Hinton 2010, section 3).
        """
        if chains is not None and config.temperatures > 1:
            self._temper(rbm, config, rng, chains)
        else:
            self._sample(rbm, config, rng, chains)
        self.negative.neg_()
        if self.data.dtype == self.difference.dtype:
            torch.sub(self.data, self.model, out=self.difference)
        else:
            self.difference.copy_(self.data - self.model)

    def _temper(self, rbm: RBM, config: CDConfig, rng: torch.Generator, chains: Tensor) -> None:
        """Move the replicas (R, chains, visible) of N chains; those of the model itself, the coldest, are what the data are compared with."""
        visible = chains[:, : self.size]
        betas = torch.linspace(0, 1, config.temperatures, dtype=chains.dtype, device=chains.device)
        for _ in range(config.gibbs_steps):
            visible = tempering.move(rbm, rbm.visible_bias, betas, visible, rng)
            for parity in (0, 1):
                tempering.swap(rbm, rbm.visible_bias, betas, visible, rng, parity)
        chains[:, : self.size] = visible
        self.model.copy_(visible[-1])
        rbm.hidden_probs(self.visible, out=self.hidden)

    def _sample(self, rbm: RBM, config: CDConfig, rng: torch.Generator, chains: Tensor | None) -> None:
        """Run the Gibbs steps of the negative phase from the data, or from persistent chains, hidden states that move on in place."""
        data, model, positive, negative = self.data, self.model, self.positive, self.negative
        states = self.states if chains is None else chains[: self.size]
        if chains is None and self.labels:
            rbm.hidden_input(data, out=positive)
            begin = rbm.hidden.mean(self._draw_labels(rbm, negative.copy_(positive), rng), out=negative)
            rbm.hidden.sample(begin, rng, out=states)
            rbm.hidden.mean(positive, out=positive)
        elif chains is None:
            rbm.sample_hidden(data, rng, probs=positive, out=states)
        for more in range(config.gibbs_steps - 1, -1, -1):
            if config.sample_visible or config.persistent:
                rbm.sample_visible(states, rng, probs=self.visible_states, out=model)
            else:
                rbm.visible_probs(states, out=model)
            if more:
                rbm.sample_hidden(model, rng, probs=negative, out=states)
            elif chains is None:
                rbm.hidden_probs(model, out=negative)
        if chains is not None:  # data and chains have not met: one product for both reads the weights once
            rbm.hidden_probs(self.visible, out=self.hidden)
            rbm.hidden.sample(negative, rng, out=states)

    def _draw_labels(self, rbm: RBM, total_input: Tensor, rng: torch.Generator) -> Tensor:
        """Return the hidden units' input (N, hidden), in place, with each softmax group redrawn given all other visible units."""
        data = self.data
        for columns in self.labels:
            weight = rbm.weight[columns]
            total_input.addmm_(data[:, columns], weight, alpha=-1.0)
            probs = torch.softmax(rbm.group_scores(total_input, columns), 1)
            total_input += weight[pick(probs, rng)]
        return total_input

    def gradients(self) -> momentum.Gradients:
        """Return positive minus negative statistics, means over the N cases: the direction of ascent."""
        scale = 1 / self.size
        return {
            "weight": [Product(self.visible, self.hidden, scale)],
            "visible_bias": [RowSum(self.difference, scale)],
            "hidden_bias": [RowSum(self.hidden, scale)],
        }

    def gradient(self) -> Statistics:
        """Return positive minus negative statistics: the direction of ascent, means over the N cases."""
        return Statistics(self.visible.t() @ self.hidden / self.size, self.visible_gradient(), self.hidden_gradient())

    def visible_gradient(self) -> Tensor:
        """Return <v>_data - <v>_model, (visible,)."""
        return self.difference.sum(0) / self.size

    def hidden_gradient(self) -> Tensor:
        """Return <h>_data - <h>_model, (hidden,)."""
        return self.hidden.sum(0, dtype=accumulation_dtype(self.hidden.dtype)) / self.size

    def squared_error(self) -> Tensor:
        """Return the summed squared difference of data and model, a scalar."""
        difference = self.difference.flatten()
        return difference.dot(difference)


def set_base_rates(rbm: RBM, cases: Tensor) -> None:
    """Start the visible biases at log p_i / (1 - p_i), in a softmax group at log p_i, p_i the mean of unit i over the cases.

    One case on and one case off are added (in a group, one case of each of its units), so that a pixel that is never on gets a finite bias;
    means beyond [0, 1] count as 0 or 1.
    Source: Hinton (2010), section 8.1.
    """
    total = torch.zeros(rbm.visible.size, dtype=torch.float64, device=cases.device)
    for chunk in rows.chunks(cases):
        total += chunk.sum(0)
    count = len(cases) * distributed.ranks()
    p = (distributed.total(total).clamp(0, count) + 1) / (count + 2)
    rbm.visible_bias.copy_(biases_of_means(rbm.visible, p))


def start(rbm: RBM, config: CDConfig, rng: torch.Generator) -> State:
    """Return the state before the first pass: still increments, and chains (see `Contrast.fill`) at random where CD is persistent.

    Increments are float32 or better, whatever the precision of `rbm`; chains have that precision. Without momentum (or centring) there are no
    increments: small minibatches cost what touching the weights costs.
    """
    state: State = {"epoch": 0}
    if config.momentum or config.initial_momentum or config.centred:
        still = {name: torch.zeros_like(parameter, dtype=accumulation_dtype(parameter.dtype)) for name, parameter in rbm.named_parameters()}
        state |= {f"increment.{name}": increment for name, increment in still.items()}
    if config.persistent:
        state["chains"] = random_hidden(rbm, config.temperatures * config.batch_size, rng)
        if config.temperatures > 1:
            replicas = rbm.visible.sample(rbm.visible_probs(state["chains"]), rng)
            state["chains"] = replicas.view(config.temperatures, config.batch_size, -1)
    if config.sparsity_cost:
        state["activity"] = torch.full_like(rbm.hidden_bias, config.sparsity_target, dtype=accumulation_dtype(rbm.hidden_bias.dtype))
    if config.centred:
        for layer, units, bias in (("visible", rbm.visible, rbm.visible_bias), ("hidden", rbm.hidden, rbm.hidden_bias)):
            state[f"{layer}_mean"] = units.mean(bias[None].to(accumulation_dtype(bias.dtype)))[0]
    return state


def update(rbm: RBM, contrast: Contrast, config: CDConfig, epoch: int, state: State, rng: torch.Generator, coarse: RBM | None = None) -> None:
    """One minibatch: fill the contrast, then move the weights and both biases up the gradient. The data are in contrast.visible[:N].

    `coarse` is the RBM's twin of lower precision where the contrast was made for one; it is refreshed.
    """
    contrast.fill(coarse or rbm, config, rng, state.get("chains"))
    if config.sparsity_cost:
        _push_to_target(contrast, config, state["activity"])
    if config.centred:
        _centre(contrast, state)
    momentum.apply_update(
        rbm,
        contrast.gradients(),
        velocities(state),
        rate=config.rate(epoch),
        momentum=config.momentum_at(epoch),
        decay={"weight": config.weight_decay},
        copy=coarse,
    )
    if config.centred:  # the biases that learn are a + W h_mean and b + v_mean W: what the weights' move added to them is taken back
        rbm.visible_bias.addmv_(state["increment.weight"], state["hidden_mean"], alpha=-1.0)
        rbm.hidden_bias.addmv_(state["increment.weight"].t(), state["visible_mean"], alpha=-1.0)
        precision.sync(coarse or rbm, rbm)


def _centre(contrast: Contrast, state: State) -> None:
    """Move the running means of both layers a hundredth of the way to the data's, and measure both halves of the contrast from them.

    The biases' gradients, differences of two means, stay as they were.
    """
    n = contrast.size
    for rows_now, mean in ((contrast.visible, state["visible_mean"]), (contrast.hidden, state["hidden_mean"])):
        mean.lerp_(distributed.average(rows_now[:n].mean(0, dtype=mean.dtype)), 0.01)
    contrast.visible -= state["visible_mean"]
    contrast.hidden[:n] -= state["hidden_mean"]
    contrast.hidden[n:] += state["hidden_mean"]


def _push_to_target(contrast: Contrast, config: CDConfig, activity: Tensor) -> None:
    """Add cost * (target - running mean activity) to every positive row: the cross-entropy's gradient (Hinton 2010, section 11)."""
    positive = contrast.hidden[: contrast.size]
    activity.mul_(0.9).add_(positive.mean(0, dtype=activity.dtype), alpha=0.1)
    positive.add_(config.sparsity_cost * (config.sparsity_target - activity))


def _step(
    rbm: RBM,
    coarse: RBM,
    cases: Tensor | rows.Rows,
    index: Tensor,
    *,
    config: CDConfig,
    epoch: int,
    state: State,
    rng: torch.Generator,
    buffers: dict[int, Contrast],
    error: Tensor,
) -> None:
    """Learn from the minibatch of the cases `index` (n,), in place, and add what was reconstructed wrongly to `error`, a scalar."""
    if len(index) not in buffers:
        buffers[len(index)] = Contrast(coarse, len(index), config)
    contrast = buffers[len(index)]
    rows.gather(cases, index, contrast.data)
    update(rbm, contrast, config, epoch, state, rng, coarse)
    if not config.persistent:
        error += contrast.squared_error()


def epochs(
    rbm: RBM,
    cases: Tensor | rows.Rows,
    *,
    config: CDConfig,
    rng: torch.Generator,
    classes: Tensor | None = None,
    weights: Tensor | None = None,
    state: State | None = None,
    stage: str = "cd",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[Pass]:
    """Train `rbm` on `cases` (N, visible; uint8 pixels or floats in [0, 1]), yielding a record after each pass.

    Args:
        rbm: the machine that learns, in place.
        cases: data on the RBM's device, or `Rows` that put them there.
        config: rates, passes and kind of negative phase.
        rng: where all random choices come from; its device is the RBM's.
        classes: labels (N,) by which minibatches are balanced; without them the order is plain random.
        weights: how often each case is shown, relative to the others (N,); by default once a pass.
        state: the `state` of an earlier record, to go on after it (`rng` must stand where it stood then).
        stage: the name the records carry.
        dtype: the precision of products, e.g. torch.bfloat16 (`compute.select.pick_precision("auto", device)` says whether it pays);
            by default that of the weights.
        checked: cases, classes and weights were looked at already: leave that out.

    Yields:
        Pass, with metrics `reconstruction_error` (mean squared error a pixel; not for PCD, and not to be trusted as a measure of the
        model) and `learning_rate`.

    Raises:
        DataError: cases, classes or weights that do not fit the machine or each other, NaN, or values out of range.
        DivergedError: a weight is NaN or infinite after a pass.
    """
    if not checked:
        cases = rows.as_cases(cases, rbm.visible.size, rbm.weight, rng=rng)
        classes = None if classes is None else rows.as_labels(classes, len(cases), None)
        weights = rows.as_weights(weights, len(cases))
    coarse = precision.low_precision_copy(rbm, dtype)
    state = start(coarse, config, rng) if state is None else state
    buffers: dict[int, Contrast] = {}
    error = torch.zeros((), device=rbm.weight.device)
    numbers: tuple[float, float] | None = None
    for epoch in range(int(state["epoch"]), config.passes):
        error.zero_()
        if numbers != (config.rate(epoch), config.momentum_at(epoch)):  # a capture holds them
            numbers = config.rate(epoch), config.momentum_at(epoch)
            many = len(cases) // config.batch_size if isinstance(cases, Tensor) else 0
            plain = partial(_step, rbm, coarse, cases, config=config, epoch=epoch, state=state, rng=rng, buffers=buffers, error=error)
            step = ops.of(rbm.weight).replay(plain, rng, many)
        with ops.of(rbm.weight).learning(), torch.inference_mode():
            for index in torch.split(rows.order(classes, len(cases), rng, weights), config.batch_size):
                step(index)
        check_finite(dict(rbm.named_parameters()), config.rate(epoch))
        state = {**state, "epoch": epoch + 1}
        metrics: dict[str, Any] = {"learning_rate": config.rate(epoch)}
        if not config.persistent:
            metrics["reconstruction_error"] = float(error) / (len(cases) * rbm.visible.size)
        yield Pass(stage, epoch + 1, config.passes, len(cases), metrics, state)
