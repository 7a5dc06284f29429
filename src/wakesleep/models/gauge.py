"""The zero-sum gauge: weights of categorical sites that add up to 0 over the levels.

Exactly one level of a site is on, so that a number added to the weights of all its levels to a
unit beyond says the same as that unit's bias: the model is the same for any, and weights can only
be compared, drawn or penalised once one is agreed on. Source: Ekeberg et al. (2013), for Potts
models.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from wakesleep.models.rbm import RBM
from wakesleep.units import Categorical, Groups, Multinomial, Units


def sites(units: Units, start: int = 0) -> Iterator[tuple[slice, int, bool]]:
    """Yield the columns of each family of sites, with the number of levels of its sites, and
    whether they are the words of documents, which are one site.
    """
    if isinstance(units, Groups):
        for part, columns in zip(units.parts, units.slices, strict=True):
            yield from sites(part, start + columns.start)
    elif isinstance(units, Categorical | Multinomial):
        words = isinstance(units, Multinomial)
        levels = units.size if isinstance(units, Multinomial) else units.levels
        yield slice(start, start + units.size), levels, words


@torch.no_grad()
def zero_sum(rbm: RBM) -> None:
    """Take from the weights of each site their mean over its levels, and add it to the bias of the
    unit beyond, in place: F(v) of all states is what it was.

    b_j += sum over sites of mean_k W_kj, and the same of hidden sites. Not for models of absent
    sites, whose bias would stay. Beside words of documents, which multiply the hidden biases, other
    sites are left alone.
    """
    for columns, levels, words in sites(rbm.visible):
        if rbm.visible.needs_count and not words:
            continue
        weight = rbm.weight[columns].view(-1, levels, rbm.hidden.size)
        mean = weight.mean(1, keepdim=True)
        weight -= mean
        rbm.hidden_bias.add_(mean.sum((0, 1)))
    for columns, levels, _ in sites(rbm.hidden):
        weight = rbm.weight[:, columns].reshape(rbm.visible.size, -1, levels)
        mean = weight.mean(2, keepdim=True)
        rbm.weight[:, columns] = (weight - mean).flatten(1)
        rbm.visible_bias.add_(mean.sum((1, 2)))
