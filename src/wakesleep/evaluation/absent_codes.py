"""Codes of the senses that a case lacks, for bounds on the probability of the others.

The directed layers of an absent sense sum to one, and its code h is a hidden variable of the
memory:

    log p(v, y) >= E_q[log p(v, g, h, y) - log q(g | v) - log q(h | v, y)]

g are the codes of the senses that are there. q(h | v, y) is a product whose parameters mean field
finds in the memory, with the means of g and y clamped; any q is a bound, a better one a tighter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.models.dbn import DBN
from wakesleep.models.multimodal import MultimodalDBN, is_present
from wakesleep.sources.arrays import one_hot

STEPS = 30
"""Of mean field."""


class AbsentCodes(NamedTuple):
    """q(h | v, y) of N cases."""

    total_input: Tensor
    """Of all codes side by side, (N, features), of which those of absent senses matter."""
    known: Tensor
    """Which codes are those of senses that are there, (N, features)."""


def there_are(cases: Sequence[Tensor]) -> bool:
    """Return whether a sense is absent, NaN, from one of the cases (N, size) of each sense."""
    return not all(bool(is_present(own).all()) for own in cases)


def settled(
    net: DBN | MultimodalDBN, cases: Sequence[Tensor], labels: Tensor | None
) -> AbsentCodes | None:
    """Return q(h | v, y) of the cases (N, size) of each sense and labels (N,), or None where no
    sense is absent; without labels, mean field settles the label too. It begins at the top units of
    what is known alone.
    """
    if not isinstance(net, MultimodalDBN) or not there_are(cases):
        return None
    memory, columns = net.memory, net.label_columns
    codes, known = net.encode(dict(zip(net.senses, cases, strict=True)))
    values = codes.new_zeros(len(codes), memory.visible.size)
    values[:, : columns.start] = torch.where(known, codes, torch.zeros_like(codes))
    clamped = torch.zeros_like(values, dtype=torch.bool)
    clamped[:, : columns.start] = known
    if labels is not None:
        values[:, columns] = one_hot(labels, net.labels, values.dtype)
        clamped[:, columns] = True
    visible = total_input = values
    for _ in range(STEPS):
        total_input = memory.visible_input(memory.hidden_probs(visible))
        visible = torch.where(clamped, values, memory.visible.mean(total_input))
    return AbsentCodes(total_input[:, : columns.start], known)


def settled_by_label(net: DBN | MultimodalDBN, cases: Sequence[Tensor]) -> list[AbsentCodes]:
    """Return q(h | v, y) of the cases (N, size) of each sense for each label y in turn; nothing
    where no sense is absent.
    """
    labels = torch.arange(net.labels, device=cases[0].device)
    every = [settled(net, cases, label.expand(len(cases[0]))) for label in labels]
    return [each for each in every if each is not None]


def draw(
    net: MultimodalDBN, absent: AbsentCodes, codes: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the entropy of q and -log q of one sample a case, (N,), float64, nats, both 0 where no
    sense is absent; and `codes` (N, features) with what was drawn in them.
    """
    filled = codes.clone()
    entropy = torch.zeros(len(codes), dtype=torch.float64, device=codes.device)
    log_weight = torch.zeros_like(entropy)
    for name in net.senses:
        columns, units = net.groups.columns(name), net.groups[name]
        rows = torch.nonzero(~absent.known[:, columns.start]).squeeze(1)
        own = absent.total_input[rows, columns]
        mean, sampled = units.mean_and_sample(own, rng)
        normaliser = units.log_partition(own) + units.potential(sampled)
        entropy[rows] += (normaliser - (own * mean).sum(1)).double()
        log_weight[rows] += (normaliser - (own * sampled).sum(1)).double()
        filled[rows, columns] = sampled
    return entropy, log_weight, filled


def of_labels(
    net: MultimodalDBN,
    absent: Sequence[AbsentCodes],
    codes: Tensor,
    labels: Tensor,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return what the memory and absent codes add to the bound of the labels (N,), and to log p* -
    log q of every label, (N, labels), float64, without log Z: h is drawn for each label from its
    own q.
    """
    own, every = torch.zeros(len(codes), dtype=torch.float64, device=codes.device), []
    for label, of_label in enumerate(absent):
        entropy, log_weight, filled = draw(net, of_label, codes, rng)
        on = one_hot(torch.full_like(labels, label), net.labels, codes.dtype)
        log_p = -net.memory.free_energy(torch.cat([filled, on], 1)).double()
        own = torch.where(labels == label, log_p + entropy, own)
        every.append(log_p + log_weight)
    return own, torch.stack(every, 1)
