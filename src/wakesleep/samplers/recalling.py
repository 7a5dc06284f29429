"""Recall: some senses, or the label, are clamped in the memory of a net of several senses; the
label is named, the memory settles, and what is not clamped is decoded.
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
from wakesleep.units import sample_categorical


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

    What is given goes up its pathway, as means, and is clamped. First the label is named, by free
    energies with the top units summed out: p(label | codes) is exact in the memory without the
    units of the senses that are not given, which is what learns where senses are left out
    (`MultimodalConfig.leave_out`); with all senses given it is the memory. A label that was not
    given is drawn from it and clamped too: a chain seldom leaves a class once it is in one. Then
    the chain of what is not given begins at the top units of that same memory. Of a sense, codes of
    the second half of the steps are decoded, each by a down-pass, and averaged; with `mean=False`
    the means of the last step's codes, given its top units, by means alone: they stay sharp. Mean
    field clamps the label at its probabilities.

    Args:
        net: a net of several senses.
        want: which of the senses and the label to return; by default all that are not given.
        label: labels (N,), UNLABELLED where unknown.
        steps: of Gibbs sampling, or of mean field.
        method: "gibbs", or "mean-field": all units of the memory are replaced by their means.
        mean: whether the second half of the steps is averaged.
        rng: what states are drawn from; mean field needs none, and neither does the label alone.
        senses: cases (N, size) by sense; a row of NaN is not given.

    Raises:
        DataError: nothing is given, or all of it; cases or labels that do not fit the net.
        ConfigError: an unknown name in `want`, steps below 2, Gibbs sampling without `rng`.
    """
    check_steps(steps)
    names = _wanted(net, want, label, senses)
    if method == "gibbs" and names != [LABEL]:
        if rng is None:
            raise ConfigError(
                "Gibbs sampling needs a generator: rng=wakesleep.generator(0); mean field, "
                'method="mean-field", needs none'
            )
        if steps < 2:
            raise ConfigError(f"steps = {steps}: Gibbs sampling needs at least 2")
    rng = rng if method == "gibbs" else None
    probs, clamp, total_input = _label_named(net, _clamp(net, label, senses), rng)
    recalled = {} if probs is None else {LABEL: probs}
    others = [name for name in names if name != LABEL]
    if rng is None:
        hidden = net.memory.hidden.mean(total_input)
        for _ in range(steps if others else 0):
            visible = clamp.put(net.memory.visible_probs(hidden))
            hidden = net.memory.hidden_probs(visible)
        recalled |= {name: _decoded(net, name, visible, hidden, None) for name in others}
    else:
        hidden = net.memory.hidden.sample(total_input, rng)
        first = steps // 2 if mean else steps - 1
        for step in range(steps if others else 0):
            visible, hidden = gibbs_step(net.memory, hidden, rng, clamp)
            for name in others if step >= first else ():
                seen = _decoded(net, name, visible, hidden, rng if mean else None) / (steps - first)
                recalled[name] = recalled[name] + seen if name in recalled else seen
    return {name: recalled[name] for name in names}


def _label_named(
    net: MultimodalDBN, clamp: Clamp, rng: torch.Generator | None
) -> tuple[Tensor | None, Clamp, Tensor]:
    """Return p(label | codes that are given) (N, labels), all others left out; the clamp that
    holds, where no label was given, one drawn from it, or the probabilities without `rng`; and the
    top units' input from all that it holds, (N, top).
    """
    columns = net.label_columns
    given = torch.where(clamp.mask, clamp.values, torch.zeros_like(clamp.values))
    total_input = net.top_input(given[:, : columns.start])
    if not net.labels:
        return None, clamp, total_input
    probs = torch.softmax(net.memory.group_scores(total_input, columns), 1).to(given)
    named = (
        probs if rng is None else one_hot(sample_categorical(probs, rng), net.labels, given.dtype)
    )
    held = torch.cat([clamp.mask[:, : columns.start], torch.ones_like(named, dtype=torch.bool)], 1)
    given[:, columns] = torch.where(clamp.mask[:, columns], given[:, columns], named)
    total_input = total_input + given[:, columns] @ net.memory.weight[columns]
    return probs, Clamp(held, given), total_input


def _decoded(
    net: MultimodalDBN, name: str, visible: Tensor, hidden: Tensor, rng: torch.Generator | None
) -> Tensor:
    """Return the means of a sense's cases (N, size), from states or means of the memory's units,
    visible (N, visible) and hidden (N, top): by states of all layers between, or without `rng` by
    their means, those of the code given the top units.
    """
    columns = net.groups.columns(name)
    if rng is not None and net.pathways[name].generative:
        return net.decode(name, visible[:, columns], rng)
    code = net.memory.visible_probs(hidden)[:, columns]
    return net.decode(name, code) if net.pathways[name].generative else code


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
    if label is not None and (given := arrays.from_array(label, LABEL)).dim() != 1:
        raise DataError(
            f"label of shape {tuple(given.shape)}: expected (N,), one a case, e.g. "
            "label=torch.tensor([7])"
        )
    count = len(next(iter(cases.values()))) if cases else len(given)
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
