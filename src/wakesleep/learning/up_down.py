"""Contrastive wake-sleep, the up-down algorithm: a deep belief net with untied weights learns to be a better generative model.

    wake:    an up-pass picks states; each generative layer learns to make the layer below from the one above.
    memory:  contrastive divergence: K Gibbs steps from the up-pass, with the label beside the penultimate units.
    sleep:   a down-pass from where the memory ended picks states; each recognition layer learns to recover the layer above.

Nothing has to reach equilibrium: the dream starts from the data. Source: Hinton, Osindero & Teh (2006), section 5 and Appendix B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.compute import ops, precision
from wakesleep.compute.ops import Product, RowSum, accumulation_dtype
from wakesleep.learning import averaging, inputs
from wakesleep.learning.configs import UpDownConfig as UpDownConfig
from wakesleep.learning.momentum import Gradients, apply_update, weighted_sum
from wakesleep.learning.records import Pass, State, check_finite, velocities
from wakesleep.model.dbn import DBN
from wakesleep.model.units import pick
from wakesleep.sampling.gibbs import random_hidden, restarted
from wakesleep.sources import cases as rows
from wakesleep.sources.cases import one_hot

UNLABELLED = rows.UNLABELLED
"""The label of a case whose label nobody knows; it is inferred, not clamped."""
UNDECIDED = -2
"""The label of a persistent chain before the first minibatch."""


class Phases(NamedTuple):
    """What one minibatch of N cases has to teach: pairs (left, right) of N rows whose products left'right / N are gradients of weights."""

    wake: list[tuple[Tensor, Tensor]]
    """A pair a generative layer: what it got wrong below (N, below), the states above (N, above)."""
    sleep: list[tuple[Tensor, Tensor]]
    """A pair a recognition layer: the dreamt states below (N, below), what it got wrong above (N, above)."""
    memory: tuple[Tensor, Tensor]
    """Visible (2N, visible) and hidden (2N, hidden) units, the N negative cases below with the sign of the hidden ones turned."""
    top: Tensor
    """The top states where the memory's chains ended, (N, hidden)."""


def label_states(dbn: DBN, total_input: Tensor, labels: Tensor | None, rng: torch.Generator, complete: bool = False) -> Tensor:
    """Return the memory's label units: the label clamped where it is known, (N, labels).

    Where it is not (`labels` None or UNLABELLED), it is drawn from p(label | features), the top units summed out, given what these hear from
    the features, `total_input` (N, top): with the top units drawn after it, an exact sample of what the memory makes of the case.
    `complete` says that all labels are known. Where it is not said, a CPU looks, which saves the drawing; a GPU would have to be waited for.
    """
    dtype = dbn.memory.weight.dtype
    if labels is not None and (complete or (ops.of(labels).synchronous and not bool((labels == UNLABELLED).any()))):
        return one_hot(labels, dbn.labels, dtype)
    drawn = pick(torch.softmax(dbn.memory.group_scores(total_input, dbn.label_columns), 1), rng)
    if labels is not None:
        drawn = torch.where(labels == UNLABELLED, drawn, labels)
    return one_hot(drawn, dbn.labels, dtype)


def phases(
    dbn: DBN,
    images: Tensor,
    labels: Tensor | None,
    *,
    steps: int,
    config: UpDownConfig,
    rng: torch.Generator,
    chains: Tensor | None = None,
    held: Tensor | None = None,
    complete: bool = False,
) -> Phases:
    """Return what a minibatch teaches: images (N, pixels) in [0, 1], labels (N,) or None, K = `steps`.

    The last M negative cases go on from `chains`, top states (M, hidden), where these are given; the others start at the up-pass. Chains hold
    the labels `held` (M,), UNLABELLED where free. `complete` says that all labels are known.
    """
    memory, pen, n = dbn.memory, dbn.sizes[-2], len(images)
    visible, hidden = (memory.weight.new_empty(2 * n, units.size) for units in (memory.visible, memory.hidden))
    (seen, dreamt), (positive, negative) = torch.split(visible, n), torch.split(hidden, n)
    awake = dbn.up(images, rng)
    seen[:, :pen] = awake[-1]
    heard = dbn.top_input(awake[-1])
    if dbn.labels:
        seen[:, pen:] = label_states(dbn, heard, labels, rng, complete)
        memory.hidden.mean(torch.addmm(heard, seen[:, pen:], memory.weight[pen:], out=positive), out=positive)
    else:
        memory.hidden.mean(heard, out=positive)

    if dbn.labels and config.label_first:
        redrawn = label_states(dbn, heard, None, rng)
        top = memory.hidden.sample(memory.hidden.mean(heard.addmm_(redrawn, memory.weight[pen:]), out=heard), rng)
    else:
        top = memory.hidden.sample(positive, rng)
    fixed = None
    if chains is not None:
        top[n - len(chains) :] = chains
        if held is not None and dbn.labels:
            fixed = one_hot(held.clamp(min=0), dbn.labels, top.dtype)
    for _ in range(steps):
        memory.sample_visible(top, rng, out=dreamt, soft=not config.sample_labels)
        if fixed is not None and held is not None:
            free = dreamt[n - len(held) :, dbn.label_columns]
            free.copy_(torch.where((held == UNLABELLED).unsqueeze(1), free, fixed))
        memory.sample_hidden(dreamt, rng, probs=negative, out=top)

    asleep = dbn.down(dreamt[:, :pen], rng)
    wake = [(below - layer.probs(above), above) for layer, below, above in zip(dbn.generative, awake[:-1], awake[1:], strict=True)]
    sleep = [(below, above - layer.probs(below)) for layer, below, above in zip(dbn.recognition, asleep[:-1], asleep[1:], strict=True)]
    negative.neg_()
    return Phases(wake, sleep, (visible, hidden), top)


def start(dbn: DBN, config: UpDownConfig, rng: torch.Generator, dtype: torch.dtype | None = None) -> State:
    """Untie the net's weights and return the state before the first pass: still increments, running means, chains (of `dtype`) at random."""
    dbn.untie()
    state: State = {"epoch": 0} | {f"increment.{name}": torch.zeros_like(parameter) for name, parameter in dbn.named_parameters()}
    if config.average:
        state |= averaging.start(dbn)
    if count := round(config.persistent * config.batch_size):
        pool = config.chain_pool * count
        state["chains"] = random_hidden(dbn.memory, pool, rng).to(dtype or dbn.memory.weight.dtype).view(config.chain_pool, count, -1)
        if dbn.labels and config.hold_labels:
            state["held"] = torch.full((count,), UNDECIDED, device=rng.device)
    return state


def restart(dbn: DBN, chains: Tensor, config: UpDownConfig, rng: torch.Generator) -> None:
    """Let some of the persistent chains, top states (M, hidden), start again from random states, in place."""
    chains.copy_(restarted(dbn.memory, chains, config.restart, rng))


def labels_to_hold(labels: Tensor | None, count: int, device: torch.device) -> Tensor:
    """Return the labels that `count` chains will hold, (count,), in the proportions of `labels` (N,).

    Others would whisper to the label weights that some classes are rarer than they are.
    """
    if labels is None:
        return torch.full((count,), UNLABELLED, device=device)
    return rows.labels_in_proportion(labels, count)


def gradients(taught: Phases) -> Gradients:
    """Return the gradients that the phases give, by the name of the parameter."""
    visible, hidden = taught.memory
    n = len(taught.top)
    scale = 1 / n
    missed = torch.empty_like(visible[:n], dtype=accumulation_dtype(visible.dtype))
    found: Gradients = {
        "memory.weight": [Product(visible, hidden, scale)],
        "memory.visible_bias": [RowSum(torch.sub(visible[:n], visible[n:], out=missed), scale)],
        "memory.hidden_bias": [RowSum(hidden, scale)],
    }
    for depth, ((error, above), (below, lapse)) in enumerate(zip(taught.wake, taught.sleep, strict=True)):
        found[f"generative.{depth}.weight"] = [Product(error, above, scale)]
        found[f"recognition.{depth}.weight"] = [Product(below, lapse, scale)]
        found[f"generative.{depth}.bias"] = [RowSum(error, scale)]
        found[f"recognition.{depth}.bias"] = [RowSum(lapse, scale)]
    return found


def update(
    dbn: DBN, weighted: Sequence[tuple[Gradients, float]], config: UpDownConfig, epoch: int, state: State, coarse: DBN | None = None
) -> None:
    """Move all weights and biases up the weighted sum of gradients, and those of the copy of lower precision along with them."""
    decay, total = {"memory.weight": config.weight_decay}, weighted_sum(*weighted)
    apply_update(dbn, total, velocities(state), rate=config.rate(epoch), momentum=config.momentum, decay=decay, copy=coarse)


def turns(
    images: Tensor, labels: Tensor | None, *, config: UpDownConfig, rng: torch.Generator, weights: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the minibatches of a pass: the numbers of the cases (n,), and of the chains in the pool whose turn it is (1,)."""
    classes = None if labels is None else labels - UNLABELLED
    pool = torch.arange(config.chain_pool, device=rng.device)
    for turn, index in enumerate(torch.split(rows.order(classes, len(images), rng, weights), config.batch_size)):
        place = turn % config.chain_pool
        yield index, pool[place : place + 1]


def minibatch(
    dbn: DBN,
    images: Tensor,
    labels: Tensor | None,
    index: Tensor,
    turn: Tensor,
    *,
    steps: int,
    config: UpDownConfig,
    rng: torch.Generator,
    state: State,
    complete: bool,
) -> tuple[Tensor, Tensor | None, Phases]:
    """Return the cases `index` (n,) of `images`, their labels, and what contrastive wake-sleep has to teach; the caller moves the weights.

    The persistent chains number `turn` (1,) of `state` move on.
    """
    batch = rows.gather(images, index, dbn.memory.weight.new_empty(len(index), dbn.sizes[0]))
    known = None if labels is None else labels[index]
    chains, held = None, state["held"][: len(index)] if "held" in state else None
    if "chains" in state:
        pool = state["chains"][:, : len(index)]
        chains = pool.index_select(0, turn)[0]
        restart(dbn, chains, config, rng)
    taught = phases(dbn, batch, known, steps=steps, config=config, rng=rng, chains=chains, held=held, complete=complete)
    if chains is not None:
        pool.index_copy_(0, turn, taught.top[len(taught.top) - len(chains) :].unsqueeze(0))
    return batch, known, taught


Teach = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None, Phases]]
"""`minibatch`, once everything but its last two tensors is settled."""


def begin_pass(dbn: DBN, labels: Tensor | None, config: UpDownConfig, epoch: int, state: State, dtype: torch.dtype | None) -> DBN:
    """Put the weights that learn back into the net, where it holds their running mean, and return its twin for products.

    Before the first pass, chains that hold labels get theirs.
    """
    if "held" in state and bool((state["held"] == UNDECIDED).any()):
        state["held"] = labels_to_hold(labels, len(state["held"]), state["held"].device)
    if config.average and epoch:
        averaging.swap(dbn, state)
    return precision.low_precision_copy(dbn, dtype)


def end_pass(dbn: DBN, config: UpDownConfig, epoch: int, state: State, cases: int) -> State:
    """Check the weights, leave the net at their running mean, and return the state to go on from.

    Raises:
        DivergedError: NaN or infinite weights.
    """
    check_finite(dict(dbn.named_parameters()), config.rate(epoch))
    if config.average:
        averaging.catch_up(dbn, state, config.average * cases / config.batch_size)
        averaging.swap(dbn, state)
    return {**state, "epoch": epoch + 1}


def average(dbn: DBN, config: UpDownConfig, state: State, cases: int) -> None:
    """After an update: now and then let the running means follow."""
    if config.average:
        averaging.after_update(dbn, state, config.average * cases / config.batch_size)


def all_known(labels: Tensor | None) -> bool:
    """Return whether labels (N,) are there and all known."""
    return labels is not None and not bool((labels == UNLABELLED).any())


def squared_error(taught: Phases) -> Tensor:
    """Return the summed squared error of the lowest generative layer in the wake phase, a scalar."""
    missed = taught.wake[0][0]
    each = missed.to(accumulation_dtype(missed.dtype)).flatten()
    return each.dot(each)


def _step(
    dbn: DBN,
    coarse: DBN,
    teach: Teach,
    config: UpDownConfig,
    epoch: int,
    state: State,
    error: Tensor,
    index: Tensor,
    turn: Tensor,
) -> None:
    """Follow what a minibatch teaches, in place, and add the wake phase's squared error to `error`, a scalar."""
    _, _, taught = teach(index, turn)
    update(dbn, [(gradients(taught), 1.0)], config, epoch, state, coarse)
    if taught.wake:
        error += squared_error(taught)


def epochs(
    dbn: DBN,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    config: UpDownConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: State | None = None,
    stage: str = "updown",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[Pass]:
    """Fine-tune `dbn` generatively on `images` (N, pixels) and labels (N,), UNLABELLED where unknown, in place; its weights are untied.

    `weights` (N,) say how often each case is shown, relative to the others.
    `dtype` is the precision of products and `checked` says that the cases were looked at already, as in `cd.epochs`.

    Yields:
        Pass, with metrics `gibbs_steps`, `learning_rate` and `reconstruction_error`: the mean squared error a pixel of the lowest
        generative layer in the wake phase.

    Raises:
        DataError: cases, labels or weights that do not fit, or labels for a memory that holds none.
        DivergedError: NaN or infinite weights.
    """
    images, labels, weights = inputs.for_memory(dbn, images, labels, weights, rng=rng, checked=checked)
    dbn.untie()
    state = start(dbn, config, rng, dtype) if state is None else state
    error, known = torch.zeros((), device=images.device), all_known(labels)
    for epoch in range(int(state["epoch"]), config.passes):
        error.zero_()
        coarse = begin_pass(dbn, labels, config, epoch, state, dtype)
        teach = partial(minibatch, coarse, images, labels, steps=config.steps_at(epoch), config=config, rng=rng, state=state, complete=known)
        plain = partial(_step, dbn, coarse, teach, config, epoch, state, error)
        step = ops.of(dbn.memory.weight).replay(plain, rng, len(images) // config.batch_size)
        with ops.of(dbn.memory.weight).learning(), torch.inference_mode():
            for index, turn in turns(images, labels, config=config, rng=rng, weights=weights):
                step(index, turn)
                average(dbn, config, state, len(images))
        state = end_pass(dbn, config, epoch, state, len(images))
        metrics = {"gibbs_steps": float(config.steps_at(epoch)), "learning_rate": config.rate(epoch)}
        if dbn.recognition:
            metrics["reconstruction_error"] = float(error) / (len(images) * dbn.sizes[0])
        yield Pass(stage, epoch + 1, config.passes, len(images), metrics, state)
