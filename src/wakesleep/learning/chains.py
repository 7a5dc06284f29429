"""The last epochs of a memory: persistent chains that hold labels teach it what to dream of, and
recognition stays as it was.

Three gradients at once, for visible units x and a softmax group of labels y:

    (1 - s) (<v h'>_data - <v h'>_reconstruction)    contrastive divergence
    s (<v h'>_data - <v h'>_chains)                  log p(x | y): persistent chains hold labels
    c (<v h'>_(x, y) - <v h'>_(x, y'))               log p(y | x): y' is drawn from it, exactly

Contrastive divergence alone never visits what the memory dreams of far from the data; chains alone
spoil p(y | x), which the third gradient mends. Sources: Tieleman (2008), persistent chains;
Larochelle & Bengio (2008), log p(y | x) in an RBM; Polyak & Juditsky (1992), the running mean of
the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wakesleep.compute import precision
from wakesleep.compute.ops import Product, RowSum, accumulation_dtype
from wakesleep.foundation.arguments import check_arguments
from wakesleep.learning import cd, loop
from wakesleep.learning.cd import CDState
from wakesleep.learning.configs import CDConfig, GreedyConfig, linear_schedule
from wakesleep.learning.configs import ChainsConfig as ChainsConfig
from wakesleep.learning.contrast import held, left_in
from wakesleep.learning.momentum import Gradients, apply_update
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import RunningMean, check_fit
from wakesleep.models import normalisable
from wakesleep.models.rbm import RBM
from wakesleep.samplers.gibbs import random_hidden, restarted
from wakesleep.sources import arrays
from wakesleep.sources.arrays import one_hot
from wakesleep.sources.minibatches import Resident, Source
from wakesleep.units import sample_categorical


@dataclass
class MemoryState(CDState):
    """What the memory's last epochs need to go on after one; their chains are (pool, M, hidden)."""

    chain_labels: Tensor | None = None
    """The labels that the chains hold, (pool, M)."""
    mean: RunningMean | None = None
    """The running mean of the weights."""


@check_arguments
def epochs(
    rbm: RBM,
    cases: Tensor,
    *,
    config: ChainsConfig,
    memory: CDConfig,
    rng: torch.Generator,
    classes: Tensor | None = None,
    weights: Tensor | None = None,
    state: CDState | Mapping[str, Any],
    stage: str = "memory",
    dtype: torch.dtype | None = None,
) -> Iterator[EpochResult]:
    """Train `rbm`, one of whose visible groups is a softmax of labels, on `cases` (N, visible) for
    its last epochs, in place.

    Args:
        rbm: the memory.
        cases: as `greedy.memory_cases` gives them.
        config: the chains, and which of the epochs have them.
        memory: everything else: epochs in all, batch size, momentum, decay, Gibbs steps.
        rng: where all random choices come from.
        classes: labels (N,) by which minibatches are balanced.
        weights: how often each case is shown, relative to the others (N,).
        state: that of the last record of `cd.epochs`, or of this loop.
        stage: the name the records carry.
        dtype: the precision of products, as in `cd.epochs`.

    Yields:
        EpochResult, with metrics `reconstruction_error` (mean squared error a visible unit of the
            reconstructions) and `learning_rate`.

    Raises:
        DivergedError: a weight is NaN or infinite after an epoch.
    """
    cases = rbm.as_cases(cases, rng=rng)
    classes = None if classes is None else arrays.as_labels(classes, len(cases), None)
    source = Resident(cases, classes=classes, weights=arrays.as_weights(weights, len(cases)))
    yield from learn(
        rbm, source, config=config, memory=memory, rng=rng, state=state, stage=stage, dtype=dtype
    )


def learn(
    rbm: RBM,
    source: Source,
    *,
    config: ChainsConfig,
    memory: CDConfig,
    rng: torch.Generator,
    state: CDState | Mapping[str, Any],
    stage: str = "memory",
    dtype: torch.dtype | None = None,
) -> Iterator[EpochResult]:
    """Train the memory on any source of cases (n, visible): `epochs`, for cases that were looked at
    already.
    """
    if not isinstance(state, Mapping | CDState):
        CDState.read(state)  # which refuses it
    state = MemoryState.from_tensors(
        state.to_tensors() if isinstance(state, CDState) else state or {}
    )
    check_fit(state, expected_state(rbm, config, memory, state), type(rbm).__name__)
    algorithm = MemoryWithChains(rbm, config, memory, state, rng, dtype)
    yield from loop.run(
        algorithm,
        source,
        epochs=memory.epochs,
        batch_size=memory.batch_size,
        rng=rng,
        stage=stage,
        mean_epochs=config.average,
    )


@check_arguments
def memory_epochs(
    memory: RBM,
    source: Source,
    config: GreedyConfig,
    *,
    rng: torch.Generator,
    state: MemoryState | Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[EpochResult]:
    """Train the memory, in place: CD, then, where it holds labels, `chains.learn`, as `config`
    says.
    """
    alone = config.memory.epochs - (chained_epochs(config) if memory.visible.one_hot_columns else 0)
    now: CDState | None = state if isinstance(state, CDState) else MemoryState.read(state)
    if now is None or now.epoch < alone or alone == config.memory.epochs:
        for record in cd.learn(
            memory, source, config.memory, rng, now, "memory", dtype, epochs=alone
        ):
            now = record.state
            yield record
    if alone < config.memory.epochs:
        now = cd.init_state(memory, config.memory, rng) if now is None else now
        yield from learn(
            memory,
            source,
            config=config.chains,
            memory=config.memory,
            rng=rng,
            state=now,
            dtype=dtype,
        )


@check_arguments
def chained_epochs(config: GreedyConfig) -> int:
    """Return how many epochs of a memory that holds labels have persistent chains."""
    return config.chains.epochs(config.memory)


def expected_state(
    rbm: RBM, config: ChainsConfig, memory: CDConfig, state: MemoryState
) -> dict[str, Any]:
    """Return the shapes of what the state holds, by field, for `misfits`; before the first epoch
    there are no chains and no mean.
    """
    started = state.chains is not None or state.chain_labels is not None
    pool = (config.pool, config.count(memory))
    return {
        "velocity": dict(rbm.named_parameters())
        if memory.momentum or memory.initial_momentum or state.velocity
        else {},
        "chains": (*pool, rbm.hidden.size) if started else None,
        "chain_labels": pool if started else None,
        "mean": dict(rbm.named_parameters()) if config.average and state.mean is not None else None,
    }


def init_chains(
    rbm: RBM,
    cases: Resident,
    config: ChainsConfig,
    memory: CDConfig,
    state: MemoryState,
    rng: torch.Generator,
    dtype: torch.dtype | None,
) -> None:
    """Fill chains (pool, M, hidden) with random states, and the labels (pool, M) that they hold, in
    place.

    All chains of the pool together hold labels in the proportions of the cases shown, and those of
    one turn nearly: others would teach that some classes are rarer than they are.
    """
    count = config.count(memory)
    states = random_hidden(rbm, config.pool * count, rng).to(dtype or rbm.weight.dtype)
    state.chains = states.view(config.pool, count, -1)
    assert isinstance(cases.cases, Tensor)
    labels = cases.cases[:, rbm.visible.one_hot_columns[-1]].argmax(1)
    shown = (
        labels
        if cases.weights is None
        else labels[arrays.order(cases.classes, len(cases), rng, cases.weights)]
    )
    state.chain_labels = (
        arrays.labels_in_proportion(shown, len(states)).view(count, config.pool).t().contiguous()
    )


class MemoryWithChains(loop.Algorithm):
    """The memory's last epochs, for `loop.run`."""

    net: RBM

    def __init__(
        self,
        rbm: RBM,
        config: ChainsConfig,
        memory: CDConfig,
        state: MemoryState,
        rng: torch.Generator,
        dtype: torch.dtype | None,
    ) -> None:
        self.net, self.config, self.memory, self.state, self.rng, self.dtype = (
            rbm,
            config,
            memory,
            state,
            rng,
            dtype,
        )
        self.copy = precision.low_precision_copy(rbm, dtype)
        self.error = torch.zeros((), device=rbm.weight.device)
        self.chain_index = torch.zeros(1, dtype=torch.int64, device=rbm.weight.device)
        self.guard = normalisable.Guard(rbm, self.copy)
        self.epoch, self.rate, self.reconstructed = 0, 0.0, 0
        if config.average and state.mean is None:
            state.mean = RunningMean.start(rbm)

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return the rate: it falls in a straight line over the epochs that have chains."""
        many = self.config.epochs(self.memory)
        done = epoch - (self.memory.epochs - many)
        self.epoch, self.rate = (
            epoch,
            linear_schedule(self.config.learning_rate, self.config.final_learning_rate, done, many),
        )
        self.guard.begin_epoch()
        precision.sync(self.copy, self.net)
        self.error.zero_()
        self.chain_index.zero_()
        return self.rate, self.memory.momentum_at(epoch)

    def begin_chunk(self, cases: Resident) -> None:
        """Start the chains before the first minibatch, with labels in the proportions of these
        cases.
        """
        if self.state.chains is None:
            init_chains(self.net, cases, self.config, self.memory, self.state, self.rng, self.dtype)

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Learn from the cases `index` (n,); the chains of the pool whose turn it is move on."""
        (index,) = batch
        assert self.state.chains is not None
        assert self.state.chain_labels is not None
        n = len(index)
        pool = self.state.chains[:, :n]
        chains = restarted(
            self.copy, pool.index_select(0, self.chain_index)[0], self.config.restart, self.rng
        )
        chain_labels = self.state.chain_labels[:, :n].index_select(0, self.chain_index)[0]
        data = cases.gather(index, self.copy.weight.new_empty(n, self.copy.visible.size))
        weight = self.config.label_weight
        gradients, model, after = phases(
            self.copy,
            data,
            chains,
            chain_labels,
            label_weight=weight,
            memory=self.memory,
            rng=self.rng,
            given=cases.given_of(index),
        )
        pool.index_copy_(0, self.chain_index, after.unsqueeze(0))
        self.chain_index.add_(1).remainder_(self.config.pool)
        decay, momentum = {"weight": self.memory.weight_decay}, self.memory.momentum_at(self.epoch)
        apply_update(
            self.net,
            gradients,
            self.state.velocity,
            rate=self.rate,
            momentum=momentum,
            decay=decay,
            copy=self.copy,
        )
        self.guard.after_update()
        first = n - len(chains)
        wrong = (data[:first] - model[:first]).to(accumulation_dtype(data.dtype)).flatten()
        self.error += wrong.dot(wrong)

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return the rate, and the mean squared error of the reconstructions a visible unit."""
        each = self.memory.batch_size
        reconstructed = max(each - self.config.count(self.memory), 1) / each * cases
        return {
            "learning_rate": self.rate,
            "reconstruction_error": float(self.error) / (reconstructed * self.net.visible.size),
        }


def phases(
    rbm: RBM,
    data: Tensor,
    chains: Tensor,
    chain_labels: Tensor,
    *,
    label_weight: float,
    memory: CDConfig,
    rng: torch.Generator,
    given: Tensor | None = None,
) -> tuple[Gradients, Tensor, Tensor]:
    """Return the gradients of the cases `data` (N, visible) beside M persistent chains, the
    negative cases, and the chains moved on.

    `chains` (M, hidden) are states that hold `chain_labels` (M,); they are the last M of N negative
    cases. The others are reconstructions, begun with the label drawn from p(label | the other
    visible units). Where cases are `given` in part (N, visible), these begin with that part alone,
    which they hold, and p(label | that part) is taught, all else left out.
    """
    n, first = len(data), len(data) - len(chains)
    columns = rbm.visible.one_hot_columns[-1]
    visible, hidden = (
        rbm.weight.new_empty((3 if given is None else 4) * n, units.size)
        for units in (rbm.visible, rbm.hidden)
    )
    visible[:n], model = data, visible[n : 2 * n]
    positive, negative = hidden[:n], hidden[n : 2 * n]
    total_input, known, hold, fixed = rbm.hidden_input(data), positive, None, None
    rbm.hidden.mean(total_input, out=positive)
    if given is not None:
        hold, known = held(given), hidden[3 * n :]
        fixed = hold[:, columns.start].clone()
        hold[first:] = False
        visible[3 * n :] = left_in(data, given, [columns])
        total_input = rbm.hidden_input(visible[3 * n :])
        rbm.hidden.mean(total_input, out=known)
    begin, states, change = _other_labels(rbm, data, total_input, columns, rng, fixed)
    states[first:] = chains
    for _ in range(memory.gibbs_steps):
        _visible_states(rbm, states, 0 if memory.sample_visible else first, rng, out=model)
        model[first:, columns] = one_hot(chain_labels, change.shape[1], model.dtype)
        if hold is not None:
            torch.where(hold, data, model, out=model)
        states = rbm.sample_hidden(model, rng, probs=negative)
    difference = torch.sub(data.to(accumulation_dtype(data.dtype)), model)
    negative.neg_()
    # x (h - h')', exactly 0 where the label that is drawn is the right one
    weighted = label_weight * (known - begin)
    if given is None:
        positive += weighted
    else:
        known.copy_(weighted)
    # and y h' - y' h'', less the y (h - h')' that is in the rows above
    visible[2 * n : 3 * n].zero_()[:, columns] = change
    torch.mul(begin, label_weight, out=hidden[2 * n : 3 * n])
    difference[:, columns] += label_weight * change
    gradients: Gradients = {
        "weight": [Product(visible, hidden, 1 / n)],
        "visible_bias": [RowSum(difference, 1 / n)],
        "hidden_bias": [RowSum(hidden[: 2 * n], 1 / n)],
    }
    if given is not None:
        gradients["hidden_bias"].append(RowSum(known, 1 / n))
    return gradients, model, states[first:]


def _visible_states(
    rbm: RBM, hidden: Tensor, first: int, rng: torch.Generator, out: Tensor
) -> None:
    """Write E[v | h] to the rows of `out` (N, visible) before `first`, and v ~ p(v | h) to the
    others.
    """
    if rbm.visible.settled_by_mean:
        rbm.visible_probs(hidden, out=out)
        out[first:] = rbm.visible.sample_from_mean(out[first:].clone(), rng)
    else:
        total_input = rbm.visible_input(hidden)
        rbm.visible.mean(total_input, out=out)
        out[first:] = rbm.visible.sample(total_input[first:], rng)


def _other_labels(
    rbm: RBM,
    data: Tensor,
    total_input: Tensor,
    columns: slice,
    rng: torch.Generator,
    fixed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return E[h | x, y'] (N, hidden), in place of the hidden units' `total_input`, for y' drawn
    from p(y | x); states drawn with it, (N, hidden); and y - y', (N, labels). Labels that
    are `fixed` (N,) are not drawn.
    """
    weight = rbm.weight[columns]
    total_input.addmm_(data[:, columns], weight, alpha=-1.0)
    sampled = sample_categorical(torch.softmax(rbm.group_scores(total_input, columns), 1), rng)
    if fixed is not None:
        sampled = torch.where(fixed, data[:, columns].argmax(1), sampled)
    total_input += weight[sampled]
    begin, states = rbm.hidden.mean_and_sample(total_input, rng, mean=total_input)
    return begin, states, data[:, columns] - one_hot(sampled, len(weight), data.dtype)
