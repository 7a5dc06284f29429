"""Greedy pretraining of a net of several senses: each pathway from the cases that have its sense,
then the memory from the codes and labels of cases that have at least two of them.

Codes and labels that are absent from a case are drawn anew before each epoch of the memory, by
Gibbs steps with what is there clamped: stochastic EM, as for missing values (`samplers.missing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.learning import cd
from wakesleep.learning.cd import CDState
from wakesleep.learning.chains import MemoryState, memory_epochs
from wakesleep.learning.configs import GreedyConfig, MultimodalConfig
from wakesleep.learning.records import EpochResult
from wakesleep.models.multimodal import MultimodalDBN, is_present
from wakesleep.samplers import missing
from wakesleep.sources.arrays import UNLABELLED, one_hot
from wakesleep.sources.minibatches import Resident
from wakesleep.sources.paired import SenseCases


class MemoryCases:
    """The memory's cases as a source of minibatches: codes of all senses, side by side, and the
    label; paired anew in each epoch where they belong together by class alone.
    """

    def __init__(
        self,
        net: MultimodalDBN,
        cases: SenseCases,
        absent_steps: int = missing.ABSENT_STEPS,
        leave_out: float = MultimodalConfig.leave_out,
    ) -> None:
        self.net, self.cases, self.absent_steps = net, cases, absent_steps
        self.leave_out = leave_out if len(net.senses) > 1 else 0.0
        self.codes = {name: encode(net, name, own) for name, own in cases.cases.items()}
        self.present = {name: is_present(own) for name, own in cases.cases.items()}

    def __len__(self) -> int:
        """How many cases an epoch has, at most."""
        return len(self.cases)

    def chunks(self, rng: torch.Generator) -> Iterator[Resident]:
        """Yield the cases of an epoch that have at least two of the senses and the label.

        Raises:
            DataError: there are none.
        """
        net, groups = self.net, self.net.groups
        index, labels = self.cases.draw(rng)
        visible = torch.cat([self.codes[name][index[name]] for name in net.senses], 1)
        present = [self.present[name][index[name]] for name in net.senses]
        if net.labels and labels is not None:
            present.append(labels != UNLABELLED)
            visible = torch.cat([visible, one_hot(labels.clamp(min=0), net.labels)], 1)
        known = torch.stack(present, 1)
        several = torch.nonzero(known.sum(1) >= min(2, known.shape[1])).squeeze(1)
        if not len(several):
            raise DataError(
                "no case has two senses, or a sense and a label, so that the memory would join "
                "nothing; give cases that have both, or pair_by_class"
            )
        visible, known = visible[several], known[several]
        labels = None if labels is None else labels[several]
        if not bool(known.all()):
            sizes = torch.tensor([part.size for part in groups.parts], device=known.device)
            there = known.repeat_interleave(sizes, 1)
            visible[~there] = torch.nan
            missing.init_missing(visible, rng, groups)
            missing.refill(net.memory, visible, there, rng, self.absent_steps)
        classes = None if labels is None else labels - UNLABELLED
        given = self._given(known, rng) if self.leave_out else None
        yield Resident(visible, labels, classes=classes, given=given)

    def _given(self, known: Tensor, rng: torch.Generator) -> Tensor:
        """Return which columns of cases, whose senses and label are `known` (N, groups) or drawn,
        the negative phase is given, (N, visible): each sense is left out with the chance
        `leave_out`, and the label unless no sense is left. All are given where no known one would
        be left, and where none is left out.
        """
        count = len(self.net.senses)
        kept = torch.rand(len(known), count, generator=rng, device=known.device) >= self.leave_out
        kept &= known[:, :count]
        if self.net.labels:
            kept = torch.cat([kept, ~kept.any(1, keepdim=True)], 1)
            kept[:, count] &= known[:, count]
        senses = kept[:, :count] | ~known[:, :count]
        whole = senses.all(1) | ~kept.any(1)
        kept |= whole[:, None]
        sizes = torch.tensor([part.size for part in self.net.groups.parts], device=kept.device)
        return kept.repeat_interleave(sizes, 1)


def encode(net: MultimodalDBN, name: str, cases: Tensor, layers: int | None = None) -> Tensor:
    """Return what the first `layers` (by default all) of a pathway make of its cases (N, size), as
    means; an absent case, NaN, has any state of the units.
    """
    recognition = net.pathways[name].recognition[:layers]
    units = recognition[-1].units if len(recognition) else net.units(name)
    codes = units.any_state().to(cases).repeat(len(cases), 1)
    for rows in torch.split(torch.nonzero(is_present(cases)).squeeze(1), missing.CHUNK):
        part = cases[rows]
        for layer in recognition:
            part = layer.probs(part)
        codes[rows] = part
    return codes


def epochs(
    net: MultimodalDBN,
    cases: SenseCases,
    config: GreedyConfig,
    rng: torch.Generator,
    stage: int,
    inner: MemoryState | None,
    dtype: torch.dtype | None,
) -> Iterator[tuple[int, EpochResult]]:
    """Pretrain `net`, in place, from `stage` on, whose loop goes on at `inner`; yield records with
    the number of their stage: the layers of each pathway in turn, then the memory.
    """
    senses = config.senses if isinstance(config, MultimodalConfig) else {}
    if unknown := [name for name in senses if name not in net.senses]:
        raise ConfigError(
            f"senses = {unknown} in the settings: the net's senses are {', '.join(net.senses)}"
        )
    stages = [
        (name, depth) for name in net.senses for depth in range(len(net.pathways[name].recognition))
    ]
    if not 0 <= stage <= len(stages):
        raise CheckpointError(
            f"the state is of stage {stage}, and this net has stages 0 to {len(stages)}: give the "
            "net that the state came from"
        )
    for number in range(stage, len(stages)):
        name, depth = stages[number]
        for record in _layer_epochs(
            net, cases, name, depth, senses.get(name, config.layer), rng, inner, dtype
        ):
            yield number, record
        inner = None
    leave_out = getattr(config, "leave_out", MultimodalConfig.leave_out)
    source = MemoryCases(net, cases, leave_out=leave_out)
    if inner is None:
        (first,) = source.chunks(rng)
        cd.init_visible_bias(net.memory, first.cases)
    for record in memory_epochs(net.memory, source, config, rng=rng, state=inner, dtype=dtype):
        yield len(stages), record


def _layer_epochs(
    net: MultimodalDBN,
    cases: SenseCases,
    name: str,
    depth: int,
    config: Any,
    rng: torch.Generator,
    inner: CDState | None,
    dtype: torch.dtype | None,
) -> Iterator[EpochResult]:
    """Train one directed layer of a pathway, while it is an RBM, on the cases that have its
    sense.
    """
    rows = torch.nonzero(is_present(cases.cases[name])).squeeze(1)
    below, labels = encode(net, name, cases.cases[name][rows], depth), cases.labels[name]
    classes = None if labels is None else labels[rows] - UNLABELLED
    rbm = net.pathways[name].rbm(depth)
    if inner is None:
        cd.init_visible_bias(rbm, below)
    source = Resident(below, classes=classes)
    yield from cd.learn(rbm, source, config, rng, inner, f"{name} layer {depth + 1}", dtype)
