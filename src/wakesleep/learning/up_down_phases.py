"""The phases of contrastive wake-sleep for one minibatch, and their gradients: the wake rule,
contrastive divergence of the memory, the sleep rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.compute import ops
from wakesleep.compute.ops import Dense, Product, RowSum, accumulation_dtype
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.values import whole
from wakesleep.learning import unit_parameters
from wakesleep.learning.configs import UpDownConfig
from wakesleep.learning.label_gradient import DrawnLabels, label_gradients
from wakesleep.learning.momentum import Gradients
from wakesleep.models.dbn import DBN
from wakesleep.models.directed import DirectedLayer
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.sources.arrays import UNLABELLED, one_hot
from wakesleep.sources.axes import Chain, ChainLabels, Pixels, SomeLabels, Top
from wakesleep.units import sample_categorical


class Phases(NamedTuple):
    """States and errors of one minibatch of N cases: pairs (left, right) of N rows whose products
    left'right / N are gradients of weights.
    """

    wake: list[tuple[Tensor, Tensor]]
    """A pair a generative layer: its error below (N, below), the states above (N, above)."""
    sleep: list[tuple[Tensor, Tensor]]
    """A pair a recognition layer: the states of the fantasy below (N, below), its error above (N,
    above).
    """
    memory: tuple[Tensor, Tensor]
    """Visible (2N, visible) and hidden (2N, hidden) units, the N negative cases below with the sign
    of the hidden ones turned.
    """
    top: Chain
    """The top states where the memory's chains ended, (N, hidden)."""
    own: Gradients
    """The gradients of the units' own parameters, where there are some."""
    label: DrawnLabels | None = None
    """What p(label | features) is taught by; None where that has no weight of its own."""


@check_arguments
def label_states(
    dbn: DBN | MultimodalDBN,
    total_input: Top,
    labels: SomeLabels | None,
    rng: torch.Generator,
    complete: bool = False,
) -> Tensor:
    """Return the memory's label units: the label clamped where it is known, (N, labels).

    Where it is not (`labels` None or UNLABELLED), it is drawn from p(label | features), the top
    units summed out, given their input from the features, `total_input` (N, top): with the top
    units drawn after it, an exact sample of what the memory makes of the case. `complete` says that
    all labels are known. Where it is not said, a CPU looks, which saves the drawing; a GPU would
    have to be waited for.
    """
    dtype = dbn.memory.weight.dtype
    if labels is not None and (
        complete or (ops.of(labels).synchronous and not bool((labels == UNLABELLED).any()))
    ):
        return one_hot(labels, dbn.labels, dtype)
    sampled = sample_categorical(
        torch.softmax(dbn.memory.group_scores(total_input, dbn.label_columns), 1), rng
    )
    if labels is not None:
        sampled = torch.where(labels == UNLABELLED, sampled, labels)
    return one_hot(sampled, dbn.labels, dtype)


@check_arguments
def phases(
    dbn: DBN,
    images: Pixels,
    labels: SomeLabels | None,
    *,
    steps: int,
    config: UpDownConfig,
    rng: torch.Generator,
    chains: Chain | None = None,
    chain_labels: ChainLabels | None = None,
    complete: bool = False,
) -> Phases:
    """Return the phases of a minibatch: images (N, pixels), labels (N,) or None, K =
    `steps`.

    The last M negative cases go on from `chains`, top states (M, hidden), where these are given;
    the others start at the up-pass. Chains hold `chain_labels` (M,), UNLABELLED where
    free. `complete` says that all labels are known.
    """
    whole("steps", steps, least=1)
    penultimate, n = dbn.sizes[-2], len(images)
    visible, hidden = (
        dbn.memory.weight.new_empty(2 * n, units.size)
        for units in (dbn.memory.visible, dbn.memory.hidden)
    )
    (data, model), (positive, negative) = torch.split(visible, n), torch.split(hidden, n)

    wake_states = dbn.up(images, rng)
    data[:, :penultimate] = wake_states[-1]
    top, label = positive_phase(
        dbn, data, labels, config=config, rng=rng, complete=complete, out=positive
    )
    if chains is not None:
        top[n - len(chains) :] = chains
    negative_phase(
        dbn,
        top,
        steps=steps,
        config=config,
        rng=rng,
        chain_labels=None if chains is None else chain_labels,
        model=model,
        probs=negative,
    )
    sleep_states = dbn.down(model[:, :penultimate], rng)

    wake = wake_errors(dbn.generative, wake_states)
    sleep = sleep_errors(dbn.recognition, sleep_states)
    own = _own_gradients(dbn, wake_states, sleep_states, data, model)
    negative.neg_()
    return Phases(wake, sleep, (visible, hidden), top, own, label)


def wake_errors(
    generative: Sequence[DirectedLayer], states: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Return `Phases.wake` of generative layers from states of an up-pass, lowest first."""
    return [
        (below - layer.probs(above), above)
        for layer, below, above in zip(generative, states[:-1], states[1:], strict=True)
    ]


def sleep_errors(
    recognition: Sequence[DirectedLayer], states: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Return `Phases.sleep` of recognition layers from states of a down-pass, lowest first."""
    return [
        (below, above - layer.probs(below))
        for layer, below, above in zip(recognition, states[:-1], states[1:], strict=True)
    ]


def _own_gradients(
    dbn: DBN,
    wake_states: Sequence[Tensor],
    sleep_states: Sequence[Tensor],
    data: Tensor,
    model: Tensor,
) -> Gradients:
    """Return the gradients of the units' own parameters: of the layers and of the memory."""
    layers = own_of_layers(dbn.recognition, dbn.generative, wake_states, sleep_states)
    own = layers | own_of_memory(dbn, data, model)
    return {name: [Dense(gradient, 1.0)] for name, gradient in own.items()}


def own_of_layers(
    recognition: Sequence[DirectedLayer],
    generative: Sequence[DirectedLayer],
    wake_states: Sequence[Tensor],
    sleep_states: Sequence[Tensor],
    share: float = 1.0,
) -> dict[str, Tensor]:
    """Return the gradients of the own parameters of directed layers' units, T of what was seen less
    E[T] of what is made of it: of generative layers over the wake phase, of recognition layers over
    the sleep phase. `share` is that of the cases that the wake phase has.
    """
    own: dict[str, Tensor] = {}
    pairs = [
        (f"generative.{depth}.units.", layer, wake_states[depth + 1], wake_states[depth])
        for depth, layer in enumerate(generative)
    ] + [
        (f"recognition.{depth}.units.", layer, sleep_states[depth], sleep_states[depth + 1])
        for depth, layer in enumerate(recognition)
    ]
    for prefix, layer, given, target in pairs:
        if unit_parameters.there_are(layer.units) and len(given):
            expected = layer.units.moments(layer.total_input(given)).mean(0)
            seen = layer.units.statistics(target).mean(0)
            gradients = layer.units.parameter_gradients(seen, expected)
            held = layer.units.held if layer.downward else layer.units.scales
            scale = share if layer.downward else 1.0
            own |= {
                prefix + name: g if scale == 1 else scale * g
                for name, g in gradients.items()
                if name not in held
            }
    return own


def own_of_memory(dbn: DBN | MultimodalDBN, data: Tensor, model: Tensor) -> dict[str, Tensor]:
    """Return the gradients of the own parameters of the memory's units, over both halves of its
    contrast: visible states (N, visible) of the data and of the model.
    """
    own: dict[str, Tensor] = {}
    memory = dbn.memory
    if unit_parameters.there_are(memory.visible):
        visible = unit_parameters.visible_gradients(
            memory.visible, data, memory.visible.statistics(model)
        )
        own |= {f"memory.visible.{name}": gradient for name, gradient in visible.items()}
    if unit_parameters.there_are(memory.hidden):
        hidden = unit_parameters.hidden_gradients(memory, data, model)
        own |= {f"memory.hidden.{name}": gradient for name, gradient in hidden.items()}
    return own


def positive_phase(
    dbn: DBN | MultimodalDBN,
    data: Tensor,
    labels: Tensor | None,
    *,
    config: UpDownConfig,
    rng: torch.Generator,
    complete: bool,
    out: Tensor,
) -> tuple[Tensor, DrawnLabels | None]:
    """Put labels beside the penultimate states of `data` (N, visible), write E[top | data] to
    `out`, and return top states to start from, and what teaches p(label | features).

    With `config.label_first` the top states are drawn with a label that is drawn anew: they cannot
    leak the label to their own reconstruction.
    """
    memory, penultimate = dbn.memory, dbn.label_columns.start
    total_input = dbn.top_input(data[:, :penultimate])
    if dbn.labels:
        data[:, penultimate:] = label_states(dbn, total_input, labels, rng, complete)
        memory.hidden.mean(
            torch.addmm(total_input, data[:, penultimate:], memory.weight[penultimate:], out=out),
            out=out,
        )
    else:
        memory.hidden.mean(total_input, out=out)
    if not (dbn.labels and config.label_first):
        if memory.hidden.settled_by_mean:
            return memory.hidden.sample_from_mean(out, rng), None
        return memory.sample_hidden(data, rng), None
    redrawn = label_states(dbn, total_input, None, rng)
    total_input.addmm_(redrawn, memory.weight[penultimate:])
    mean, top = memory.hidden.mean_and_sample(total_input, rng, mean=total_input)
    if not config.label_weight:
        return top, None
    return top, DrawnLabels(data[:, penultimate:] - redrawn, mean, config.label_weight)


def negative_phase(
    dbn: DBN | MultimodalDBN,
    top: Tensor,
    *,
    steps: int,
    config: UpDownConfig,
    rng: torch.Generator,
    chain_labels: Tensor | None,
    model: Tensor,
    probs: Tensor,
) -> None:
    """K Gibbs steps of the memory from top states (N, top), in place; visible states go to `model`,
    E[top | model] to `probs`.

    The last M chains hold `chain_labels` (M,), where these are known.
    """
    fixed = (
        one_hot(chain_labels.clamp(min=0), dbn.labels, top.dtype)
        if chain_labels is not None and dbn.labels
        else None
    )
    for _ in range(steps):
        dbn.memory.sample_visible(
            top, rng, out=model, at_mean=() if config.sample_labels else ("label",)
        )
        if fixed is not None and chain_labels is not None:
            free = model[len(model) - len(chain_labels) :, dbn.label_columns]
            free.copy_(torch.where((chain_labels == UNLABELLED).unsqueeze(1), free, fixed))
        dbn.memory.sample_hidden(model, rng, probs=probs, out=top)


@check_arguments
def gradients(phases: Phases) -> Gradients:
    """Return the gradients that the phases give, by the name of the parameter: the wake rule,
    contrastive divergence, the sleep rule.

    generative  dW = (below - p(below | above))' above     memory  dW = <v h'>_data - <v h'>_model
    recognition dW = below' (above - q(above | below))
    """
    n = len(phases.top)
    directed = directed_gradients(phases.wake, phases.sleep, n)
    return memory_gradients(phases.memory, phases.label, n) | directed


def memory_gradients(memory: tuple[Tensor, Tensor], label: DrawnLabels | None, n: int) -> Gradients:
    """Return the memory's gradients of contrastive divergence, by the name of the parameter, from
    `Phases.memory` of `n` cases, and those of log p(label | features) where it is taught.
    """
    visible, hidden = memory
    if len(visible) != 2 * n or len(hidden) != 2 * n:
        raise DataError(f"{n} top states came with {len(visible)} rows of the memory's units")
    difference = torch.empty_like(visible[:n], dtype=accumulation_dtype(visible.dtype))
    terms: Gradients = {
        "memory.weight": [Product(visible, hidden, 1 / n)],
        "memory.visible_bias": [RowSum(torch.sub(visible[:n], visible[n:], out=difference), 1 / n)],
        "memory.hidden_bias": [RowSum(hidden, 1 / n)],
    }
    if label is not None:
        for name, term in label_gradients(label, visible[:n], hidden[:n]).items():
            terms[f"memory.{name}"] += term
    return terms


def directed_gradients(
    wake: Sequence[tuple[Tensor, Tensor]], sleep: Sequence[tuple[Tensor, Tensor]], n: int
) -> Gradients:
    """Return the gradients of a pathway's layers by the wake rule and the sleep rule, by the name
    of the parameter, from `Phases.wake` and `Phases.sleep` of `n` cases.
    """
    terms: Gradients = {}
    for depth, ((generative_error, above), (below, recognition_error)) in enumerate(
        zip(wake, sleep, strict=True)
    ):
        terms[f"generative.{depth}.weight"] = [Product(generative_error, above, 1 / n)]
        terms[f"recognition.{depth}.weight"] = [Product(below, recognition_error, 1 / n)]
        terms[f"generative.{depth}.bias"] = [RowSum(generative_error, 1 / n)]
        terms[f"recognition.{depth}.bias"] = [RowSum(recognition_error, 1 / n)]
    return terms
