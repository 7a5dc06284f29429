"""What the directed layers of a net add to the bound on log p(v), for samples h of q, the
recognition pathways:

    log p(v, h | code) + H(q),   log p(v, h | code) - log q(h, code | v)

The code is the states of the highest directed layer, which the memory sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wakesleep.models.dbn import DBN
from wakesleep.models.directed import DirectedLayer
from wakesleep.models.multimodal import MultimodalDBN, is_present


def pathways(
    dbn: DBN | MultimodalDBN, depth: int
) -> list[tuple[list[DirectedLayer], list[DirectedLayer]]]:
    """Return the recognition and generative layers of each sense, lowest first, below the memory,
    or below layer `depth` of a net of one sense.
    """
    if isinstance(dbn, DBN):
        return [(list(dbn.recognition)[: depth - 1], list(dbn.generative)[: depth - 1])]
    ways = [dbn.pathways[name] for name in dbn.senses]
    return [(list(way.recognition), list(way.generative)) for way in ways]


def directed_terms(
    pathways: Sequence[tuple[Sequence[DirectedLayer], Sequence[DirectedLayer]]],
    cases: Sequence[Tensor],
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the directed layers add to both, and the states of all codes side by side, (N,
    features), for one sample of q a case: sums over the pathways, each with the cases of its sense,
    0 where it is absent, NaN.
    """
    terms = []
    for way, own in zip(pathways, cases, strict=True):
        present = is_present(own)
        parts = _pathway_terms(*way, own[present], rng)
        every = [part.new_zeros(len(own), *part.shape[1:]) for part in parts]
        for every_case, part in zip(every, parts, strict=True):
            every_case[present] = part
        terms.append(every)
    expected, raw, codes = zip(*terms, strict=True)
    return torch.stack(expected).sum(0), torch.stack(raw).sum(0), torch.cat(codes, 1)


def _pathway_terms(
    recognition: Sequence[DirectedLayer],
    generative: Sequence[DirectedLayer],
    cases: Tensor,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p(v, h | code) + H(q) and log p(v, h | code) - log q(h, code | v), (N,), float64,
    and the states of the code, (N, units).
    """
    expected = torch.zeros(len(cases), dtype=torch.float64, device=cases.device)
    raw, below = torch.zeros_like(expected), cases
    for up, down in zip(recognition, generative, strict=True):
        up_input = up.total_input(below)
        partition = up.units.log_partition(up_input)
        mean, above = up.units.mean_and_sample(up_input, rng)
        down_input = down.total_input(above)
        log_p = (below * down_input).sum(1) - down.units.log_partition(down_input)
        log_p = log_p - down.units.potential(below) + up.units.potential(above)
        expected += log_p + partition - (up_input * mean).sum(1)
        raw += log_p + partition - (up_input * above).sum(1)
        below = above
    return expected, raw, below
