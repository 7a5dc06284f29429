"""Recall: some senses, or the label, are clamped in the memory of a net of several senses; the
memory settles, and what is not clamped is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.models.multimodal import LABEL, MultimodalDBN
from wakesleep.samplers.gibbs import Clamp, check_steps, gibbs_step
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED, one_hot


@check_arguments
def recall(
    net: MultimodalDBN,
    *,
    want: Sequence[str] | str | None = None,
    label: Tensor | None = None,
    steps: int = 100,
    method: Literal["gibbs", "mean-field"] = "gibbs",
    mean: bool = True,
    rng: torch.Generator | None = None,
    **senses: Any,
) -> dict[str, Tensor]:
    """Return what the memory makes of what it is given, by name: E[cases | given] (N, size) of a
    sense, p(label | given) (N, labels).

    What is given goes up its pathway, as means, and is clamped. p(label | codes of all senses) is
    exact, by free energies with the top units summed out; a sense that is not given is summed out
    by its Gibbs chain, a mean over the second half of `steps`, which is exact only as far as the
    chain has mixed, and by mean field replaced by its means, which is not exact. Of a sense, codes
    of the second half are decoded, each by a down-pass, and averaged; with `mean=False` those of
    the last step alone, which stay sharp.

    Args:
        net: a net of several senses.
        want: which of the senses and the label to return; by default all that are not given.
        label: labels (N,), UNLABELLED where unknown.
        steps: of Gibbs sampling, or of mean field.
        method: "gibbs", or "mean-field": all units of the memory are replaced by their means.
        mean: whether the second half of the steps is averaged.
        rng: what states are drawn from; mean field needs none.
        senses: cases (N, size) by sense; a row of NaN is not given.

    Raises:
        DataError: nothing is given, or all of it; cases or labels that do not fit the net.
        ConfigError: an unknown name in `want`, steps below 2, Gibbs sampling without `rng`.
    """
    check_steps(steps)
    if method == "gibbs" and (rng is None or steps < 2):
        raise ConfigError(
            f"steps = {steps}, rng = {rng}: Gibbs sampling needs at least 2 steps and a "
            "generator, rng=wakesleep.generator(0)"
        )
    names = _wanted(net, want, label, senses)
    clamp = _clamp(net, label, senses)
    start = net.memory.visible.mean(net.memory.visible_bias.expand(len(clamp.values), -1))
    hidden = net.memory.hidden_probs(clamp.put(start))
    totals: dict[str, Tensor] = {}
    if method == "mean-field":
        for _ in range(steps):
            visible = clamp.put(net.memory.visible_probs(hidden))
            hidden = net.memory.hidden_probs(visible)
        return {name: _decoded(net, name, visible, hidden, None) for name in names}
    assert rng is not None
    hidden = net.memory.hidden.sample(net.memory.hidden_input(clamp.put(start)), rng)
    first = steps // 2 if mean else steps - 1
    for step in range(steps):
        visible, hidden = gibbs_step(net.memory, hidden, rng, clamp)
        for name in names if step >= first else ():
            seen = _decoded(net, name, visible, hidden, rng) / (steps - first)
            totals[name] = totals[name] + seen if name in totals else seen
    return totals


def _decoded(
    net: MultimodalDBN, name: str, visible: Tensor, hidden: Tensor, rng: torch.Generator | None
) -> Tensor:
    """Return the means of a sense's cases (N, size), or p(label | codes) (N, labels), from states
    or means of the memory's units, visible (N, visible) and hidden (N, top).
    """
    if name == LABEL:
        features = visible[:, : net.label_columns.start]
        scores = net.memory.group_scores(net.top_input(features), net.label_columns)
        return torch.softmax(scores, 1).to(visible.dtype)
    columns = net.groups.columns(name)
    if not net.pathways[name].generative:  # the memory stands on the cases themselves
        return net.memory.visible_probs(hidden)[:, columns]
    return net.decode(name, visible[:, columns], rng)


def _wanted(net: MultimodalDBN, want: Any, label: Any, senses: dict[str, Any]) -> list[str]:
    """Return the names of what is to be recalled.

    Raises:
        ConfigError: a name that the net does not have. DataError: nothing is given, or all of it.
    """
    every = [*net.senses, *([LABEL] if net.labels else [])]
    given = [*senses, *([LABEL] if label is not None else [])]
    if unknown := [name for name in given if name not in every]:
        raise ConfigError(f"{unknown[0]} was given: expected some of {', '.join(every)}")
    if not given:
        raise DataError(
            f"nothing was given to recall from; give some of {', '.join(every)}, e.g. "
            f"{every[0]}=cases"
        )
    names = [want] if isinstance(want, str) else list(want or [])
    names = names or [name for name in every if name not in given]
    if not names:
        raise DataError(
            f"all of {', '.join(every)} was given, so that nothing is left to recall; leave out "
            "what is wanted, or name it: want=('label',)"
        )
    if unknown := [name for name in names if name not in every]:
        raise ConfigError(f"want = {unknown[0]}: expected some of {', '.join(every)}")
    return names


def _clamp(net: MultimodalDBN, label: Tensor | None, senses: dict[str, Any]) -> Clamp:
    """Return the clamp that holds the codes of what is given of each case; a case of which nothing
    is given is refused.
    """
    cases = net.as_cases(senses) if senses else {}
    count = len(next(iter(cases.values()))) if cases else len(arrays.from_array(label, LABEL))
    weight, columns = net.memory.weight, net.label_columns
    values = weight.new_zeros(count, net.memory.visible.size)
    mask = torch.zeros_like(values, dtype=torch.bool)
    if cases:
        values[:, : columns.start], mask[:, : columns.start] = net.encode(cases)
    if label is not None:
        labels = arrays.as_labels(label, count, net.labels, lowest=UNLABELLED).to(weight.device)
        values[:, columns] = one_hot(labels.clamp(min=0), net.labels, weight.dtype)
        mask[:, columns] = (labels != UNLABELLED)[:, None]
    if not bool(mask.any(1).all()):
        raise DataError(
            f"nothing is given of {int((~mask.any(1)).sum())} of {count} cases; leave them out"
        )
    return Clamp(mask, values)
