"""The last passes of a memory: persistent chains that hold labels teach it what to dream of, and recognition stays as it was.

Three gradients at once, for visible units x and a softmax group of labels y:

    (1 - s) (<v h'>_data - <v h'>_reconstruction)    contrastive divergence
    s (<v h'>_data - <v h'>_chains)                  log p(x | y): persistent chains, each with its label clamped
    c (<v h'>_(x, y) - <v h'>_(x, y'))               log p(y | x): the label y' is drawn from p(y | x), exactly

Contrastive divergence alone never visits what the memory dreams of far from the data; chains alone spoil p(y | x), which the third
gradient mends. Sources: Tieleman (2008), persistent chains; Larochelle & Bengio (2008), log p(y | x) in an RBM; Polyak & Juditsky (1992),
the running mean of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from wakesleep.compute import ops, precision
from wakesleep.compute.ops import Product, RowSum, accumulation_dtype
from wakesleep.learning import averaging
from wakesleep.learning.configs import CDConfig, straight_line
from wakesleep.learning.configs import ChainsConfig as ChainsConfig
from wakesleep.learning.momentum import Gradients, apply_update
from wakesleep.learning.records import Pass, State, check_finite, velocities
from wakesleep.model.rbm import RBM
from wakesleep.model.units import pick, softmax_columns
from wakesleep.sampling.gibbs import random_hidden, restarted
from wakesleep.sources import cases as rows
from wakesleep.sources.cases import one_hot


def epochs(
    rbm: RBM,
    cases: Tensor,
    *,
    config: ChainsConfig,
    memory: CDConfig,
    rng: torch.Generator,
    classes: Tensor | None = None,
    weights: Tensor | None = None,
    state: State,
    stage: str = "memory",
    dtype: torch.dtype | None = None,
) -> Iterator[Pass]:
    """Train `rbm`, one of whose visible groups is a softmax of labels, on `cases` (N, visible) for its last passes, in place.

    Args:
        rbm: the memory.
        cases: as `greedy.memory_cases` gives them; they are not looked at again.
        config: the chains, and which of the passes have them.
        memory: everything else: passes in all, batch size, momentum, decay, Gibbs steps.
        rng: where all random choices come from.
        classes: labels (N,) by which minibatches are balanced.
        weights: how often each case is shown, relative to the others (N,).
        state: the state of the last record of `cd.epochs`, or of this loop.
        stage: the name the records carry.
        dtype: the precision of products, as in `cd.epochs`.

    Yields:
        Pass, with metrics `reconstruction_error` (mean squared error a visible unit of the reconstructions) and `learning_rate`.

    Raises:
        DivergedError: a weight is NaN or infinite after a pass.
    """
    first, many = memory.passes - config.passes(memory), config.passes(memory)
    if "chains" not in state:
        state = {**state, **_start(rbm, cases, config, memory, rng, classes, weights, dtype)}
    error = torch.zeros((), device=rbm.weight.device)
    turns = torch.arange(config.pool, device=rbm.weight.device)
    horizon = config.average * (len(cases) / memory.batch_size)
    for epoch in range(int(state["epoch"]), memory.passes):
        error.zero_()
        rate = straight_line(config.learning_rate, config.final_learning_rate, epoch - first, many)
        if config.average and state["updates"]:
            averaging.swap(rbm, state)
        coarse = precision.low_precision_copy(rbm, dtype)
        plain = partial(_step, rbm, coarse, cases, config, memory, rate, state, rng, error)
        step = ops.of(rbm.weight).replay(plain, rng, len(cases) // memory.batch_size)
        with ops.of(rbm.weight).learning(), torch.inference_mode():
            for turn, index in enumerate(torch.split(rows.order(classes, len(cases), rng, weights), memory.batch_size)):
                place = turn % config.pool
                step(index, turns[place : place + 1])
                if config.average:
                    averaging.after_update(rbm, state, horizon)
        check_finite(dict(rbm.named_parameters()), rate)
        if config.average:
            averaging.catch_up(rbm, state, horizon)
            averaging.swap(rbm, state)
        state = {**state, "epoch": epoch + 1}
        reconstructed = max(memory.batch_size - config.count(memory), 1) / memory.batch_size * len(cases)
        metrics = {"learning_rate": rate, "reconstruction_error": float(error) / (reconstructed * rbm.visible.size)}
        yield Pass(stage, epoch + 1, memory.passes, len(cases), metrics, state)


def _start(
    rbm: RBM,
    cases: Tensor,
    config: ChainsConfig,
    memory: CDConfig,
    rng: torch.Generator,
    classes: Tensor | None,
    weights: Tensor | None,
    dtype: torch.dtype | None,
) -> State:
    """Return chains (pool, M, hidden) at random, the labels (pool, M) that they hold, and running means where the weights are.

    All chains of the pool together hold labels in the proportions of the cases shown, and those of one turn nearly: others would teach that
    some classes are rarer than they are.
    """
    count = config.count(memory)
    states = random_hidden(rbm, config.pool * count, rng).to(dtype or rbm.weight.dtype)
    state: State = {"updates": 0, "averaged": 0, "chains": states.view(config.pool, count, -1)}
    labels = cases[:, softmax_columns(rbm.visible)[0]].argmax(1)
    shown = labels if weights is None else labels[rows.order(classes, len(cases), rng, weights)]
    state["held"] = rows.labels_in_proportion(shown, len(states)).view(count, config.pool).t().contiguous()
    return state | (averaging.start(rbm) if config.average else {})


def _step(
    rbm: RBM,
    coarse: RBM,
    cases: Tensor,
    config: ChainsConfig,
    memory: CDConfig,
    rate: float,
    state: State,
    rng: torch.Generator,
    error: Tensor,
    index: Tensor,
    turn: Tensor,
) -> None:
    """Learn from the minibatch of the cases `index` (n,), in place, with the chains number `turn` (1,) of the pool, which move on.

    What reconstructions got wrong is added to `error`, a scalar.
    """
    n = len(index)
    pool = state["chains"][:, :n]
    chains = restarted(coarse, pool.index_select(0, turn)[0], config.restart, rng)
    held = state["held"][:, :n].index_select(0, turn)[0]
    data = rows.gather(cases, index, coarse.weight.new_empty(n, coarse.visible.size))
    gradients, reconstructed, after = phases(coarse, data, chains, held, label_weight=config.label_weight, memory=memory, rng=rng)
    pool.index_copy_(0, turn, after.unsqueeze(0))
    momentum = memory.momentum_at(state["epoch"])
    decay = {"weight": memory.weight_decay}
    apply_update(rbm, gradients, velocities(state), rate=rate, momentum=momentum, decay=decay, copy=coarse)
    first = n - len(chains)
    wrong = (data[:first] - reconstructed[:first]).to(accumulation_dtype(data.dtype)).flatten()
    error += wrong.dot(wrong)


def phases(
    rbm: RBM, data: Tensor, chains: Tensor, held: Tensor, *, label_weight: float, memory: CDConfig, rng: torch.Generator
) -> tuple[Gradients, Tensor, Tensor]:
    """Return the gradients of the cases `data` (N, visible) beside M persistent chains, the negative cases, and the chains moved on.

    `chains` (M, hidden) are states that hold the labels `held` (M,); they are the last M of N negative cases. The others are reconstructions,
    begun with the label drawn from p(label | the other visible units).
    """
    n, first = len(data), len(data) - len(chains)
    columns = softmax_columns(rbm.visible)[0]
    visible, hidden = (rbm.weight.new_empty(3 * n, units.size) for units in (rbm.visible, rbm.hidden))
    visible[:n], model = data, visible[n : 2 * n]
    positive, negative = hidden[:n], hidden[n : 2 * n]
    heard = rbm.hidden_input(data)
    rbm.hidden.mean(heard, out=positive)
    begin, change = _other_labels(rbm, data, heard, columns, rng)
    states = rbm.hidden.sample(begin, rng)
    states[first:] = chains
    for _ in range(memory.gibbs_steps):
        rbm.visible_probs(states, out=model)
        drawn = model if memory.sample_visible else model[first:]
        drawn.copy_(rbm.visible.sample(drawn.clone(), rng))
        model[first:, columns] = one_hot(held, change.shape[1], model.dtype)
        states = rbm.hidden.sample(rbm.hidden_probs(model, out=negative), rng)
    missed = torch.sub(data.to(accumulation_dtype(data.dtype)), model)
    negative.neg_()
    positive += label_weight * (positive - begin)  # x (h - h')', exactly 0 where the label that is drawn is the right one
    visible[2 * n :].zero_()[:, columns] = change  # and y h' - y' h'', less the y (h - h')' that is in the rows above
    torch.mul(begin, label_weight, out=hidden[2 * n :])
    missed[:, columns] += label_weight * change
    gradients: Gradients = {
        "weight": [Product(visible, hidden, 1 / n)],
        "visible_bias": [RowSum(missed, 1 / n)],
        "hidden_bias": [RowSum(hidden[: 2 * n], 1 / n)],
    }
    return gradients, model, states[first:]


def _other_labels(rbm: RBM, data: Tensor, heard: Tensor, columns: slice, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return E[h | x, y'] (N, hidden), in place of the hidden units' input `heard`, for y' drawn from p(y | x); and y - y', (N, labels)."""
    weight = rbm.weight[columns]
    heard.addmm_(data[:, columns], weight, alpha=-1.0)
    drawn = pick(torch.softmax(rbm.group_scores(heard, columns), 1), rng)
    heard += weight[drawn]
    return rbm.hidden.mean(heard, out=heard), data[:, columns] - one_hot(drawn, len(weight), data.dtype)
