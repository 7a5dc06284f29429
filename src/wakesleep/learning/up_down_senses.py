"""Contrastive wake-sleep of a net of several senses: the phases of `up_down` through all pathways.

A sense that is absent from a case has no wake phase in it; its code is drawn by Gibbs steps of the
memory with what is there clamped, and stands in the memory's data. In the sleep phase every
pathway dreams, as the memory does.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.compute.ops import Dense
from wakesleep.learning.configs import UpDownConfig
from wakesleep.learning.label_gradient import DrawnLabels
from wakesleep.learning.momentum import Gradients
from wakesleep.learning.up_down_phases import (
    directed_gradients,
    memory_gradients,
    negative_phase,
    own_of_layers,
    own_of_memory,
    positive_phase,
    sleep_errors,
    wake_errors,
)
from wakesleep.models.multimodal import MultimodalDBN, is_present
from wakesleep.samplers import missing
from wakesleep.sources.arrays import UNLABELLED, one_hot


class SensePhases(NamedTuple):
    """States and errors of one minibatch of N cases."""

    wake: dict[str, list[tuple[Tensor, Tensor]]]
    """`Phases.wake` of each sense, of the cases that have it."""
    sleep: dict[str, list[tuple[Tensor, Tensor]]]
    """`Phases.sleep` of each sense."""
    memory: tuple[Tensor, Tensor]
    """As `Phases.memory`."""
    top: Tensor
    """The top states where the memory's chains ended, (N, top)."""
    own: Gradients
    """The gradients of the units' own parameters."""
    label: DrawnLabels | None = None
    """As `Phases.label`."""


def phases(
    net: MultimodalDBN,
    every: Tensor,
    labels: Tensor | None,
    *,
    steps: int,
    config: UpDownConfig,
    rng: torch.Generator,
    chains: Tensor | None = None,
    chain_labels: Tensor | None = None,
    complete: bool = False,
) -> SensePhases:
    """Return the phases of a minibatch of cases of all senses side by side, (N, size of all), NaN
    where a sense is absent; all else as in `up_down_phases.phases`.
    """
    memory, features, n = net.memory, net.label_columns.start, len(every)
    cases = {name: every[:, columns] for name, columns in net.columns.items()}
    visible, hidden = (
        memory.weight.new_zeros(2 * n, units.size) for units in (memory.visible, memory.hidden)
    )
    (data, model), (positive, negative) = torch.split(visible, n), torch.split(hidden, n)
    known = torch.zeros(n, memory.visible.size, dtype=torch.bool, device=data.device)
    wake_states = {}
    for name in net.senses:
        present = torch.nonzero(is_present(cases[name])).squeeze(1)
        wake_states[name] = net.pathways[name].up(cases[name][present], rng)
        data[present, net.groups.columns(name)] = wake_states[name][-1]
        known[present, net.groups.columns(name)] = True
    if not bool(known[:, :features].all()):
        _draw_absent(net, data, known, labels, rng)
    top, label = positive_phase(
        net, data, labels, config=config, rng=rng, complete=complete, out=positive
    )
    if chains is not None:
        top[n - len(chains) :] = chains
    negative_phase(
        net,
        top,
        steps=steps,
        config=config,
        rng=rng,
        chain_labels=None if chains is None else chain_labels,
        model=model,
        probs=negative,
    )
    wake, sleep, own = {}, {}, own_of_memory(net, data, model)
    for name in net.senses:
        pathway = net.pathways[name]
        sleep_states = pathway.down(model[:, net.groups.columns(name)], rng)
        wake[name] = wake_errors(pathway.generative, wake_states[name])
        sleep[name] = sleep_errors(pathway.recognition, sleep_states)
        share = len(wake_states[name][0]) / n
        layers = own_of_layers(
            pathway.recognition, pathway.generative, wake_states[name], sleep_states, share
        )
        own |= {f"pathways.{name}.{key}": gradient for key, gradient in layers.items()}
    negative.neg_()
    terms: Gradients = {name: [Dense(gradient, 1.0)] for name, gradient in own.items()}
    return SensePhases(wake, sleep, (visible, hidden), top, terms, label)


def _draw_absent(
    net: MultimodalDBN, data: Tensor, known: Tensor, labels: Tensor | None, rng: torch.Generator
) -> None:
    """Draw what is not `known` of the memory's states `data` (N, visible), in place, given the rest
    and the known labels (N,).
    """
    start = net.memory.visible.sample(net.memory.visible_bias.expand(len(data), -1), rng)
    filled = torch.where(known, data, start)
    if net.labels and labels is not None:
        filled[:, net.label_columns] = torch.where(
            (labels == UNLABELLED)[:, None],
            filled[:, net.label_columns],
            one_hot(labels.clamp(min=0), net.labels, data.dtype),
        )
        known[:, net.label_columns] = (labels != UNLABELLED)[:, None]
    missing.refill(net.memory, filled, known, rng, missing.ABSENT_STEPS)
    data.copy_(filled)


def gradients(phases: SensePhases) -> Gradients:
    """Return the gradients that the phases give, by the name of the parameter, as
    `up_down_phases.gradients`: the wake rule of a sense is summed over the cases that have it.
    """
    n = len(phases.top)
    terms = memory_gradients(phases.memory, phases.label, n)
    for name, wake in phases.wake.items():
        rules = directed_gradients(wake, phases.sleep[name], n)
        terms |= {f"pathways.{name}.{key}": term for key, term in rules.items()}
    return terms
