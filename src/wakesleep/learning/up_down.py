"""Contrastive wake-sleep, the up-down algorithm: a deep belief net with untied weights learns to be
a better generative model.

    wake:    an up-pass picks states; each generative layer learns to make the layer below from
             the one above.
    memory:  contrastive divergence: K Gibbs steps from the up-pass, with the label beside the
             penultimate units.
    sleep:   a down-pass from where the memory ended picks states; each recognition layer learns
             to recover the layer above.

Nothing has to reach equilibrium: the dream starts from the data. Source: Hinton, Osindero & Teh
(2006), section 5 and Appendix B.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wakesleep.compute import precision
from wakesleep.compute.ops import accumulation_dtype
from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.learning import inputs, loop, unit_parameters, up_down_senses
from wakesleep.learning.configs import UpDownConfig as UpDownConfig
from wakesleep.learning.momentum import Gradients, apply_update
from wakesleep.learning.records import EpochResult
from wakesleep.learning.up_down_phases import Phases as Phases
from wakesleep.learning.up_down_phases import gradients as gradients
from wakesleep.learning.up_down_phases import label_states as label_states
from wakesleep.learning.up_down_phases import phases as phases
from wakesleep.learning.up_down_senses import SensePhases
from wakesleep.learning.up_down_state import UNASSIGNED as UNASSIGNED
from wakesleep.learning.up_down_state import UpDownState as UpDownState
from wakesleep.learning.up_down_state import init_state as init_state
from wakesleep.learning.up_down_state import labels_to_hold as labels_to_hold
from wakesleep.learning.up_down_state import reset_chains as reset_chains
from wakesleep.learning.up_down_state import started as started
from wakesleep.models import normalisable
from wakesleep.models.dbn import DBN
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.sources import arrays
from wakesleep.sources.minibatches import Resident, Source
from wakesleep.sources.paired import SenseCases, SideBySide
from wakesleep.units import Units

UNLABELLED = arrays.UNLABELLED
"""The label of a case whose label nobody knows; it is inferred, not clamped."""
UNITS_RATE = 0.1
"""Learning rate of the units' own parameters over that of the weights, as `CDConfig.units_rate`."""


class UpDown(loop.Algorithm):
    """Contrastive wake-sleep of a deep belief net, for `loop.run`."""

    net: DBN | MultimodalDBN
    copy: Any
    """The net in the precision of products."""

    def __init__(
        self,
        dbn: DBN | MultimodalDBN,
        config: UpDownConfig,
        state: UpDownState,
        rng: torch.Generator,
        dtype: torch.dtype | None,
    ) -> None:
        self.net, self.config, self.state, self.rng = dbn, config, state, rng
        self.copy = precision.low_precision_copy(dbn, dtype)
        self.error = torch.zeros((), device=dbn.memory.weight.device)
        self.chain_index = torch.zeros(1, dtype=torch.int64, device=dbn.memory.weight.device)
        self.epoch, self.complete = 0, False
        self.guard = normalisable.Guard(dbn.memory, self.copy.memory)
        self.width = dbn.width if isinstance(dbn, MultimodalDBN) else dbn.sizes[0]
        self.spreads: list[tuple[Units, Tensor]] = []

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return rate and Gibbs steps of the epoch."""
        self.epoch = epoch
        self.guard.begin_epoch()
        precision.sync(self.copy, self.net)
        self.error.zero_()
        self.chain_index.zero_()
        return self.config.learning_rate_at(epoch), self.config.steps_at(epoch)

    def begin_chunk(self, cases: Resident) -> None:
        """Look whether all labels are known, and give chains that hold labels theirs before the
        first minibatch.
        """
        self.complete = cases.labels is not None and not bool((cases.labels == UNLABELLED).any())
        chain_labels = self.state.chain_labels
        if chain_labels is not None and bool((chain_labels == UNASSIGNED).any()):
            self.state.chain_labels = labels_to_hold(
                cases.labels, len(chain_labels), chain_labels.device
            )
        self.spreads = spreads(self.net, cases)

    def run_phases(self, cases: Resident, index: Tensor) -> tuple[Tensor, Tensor | None, Any]:
        """Return the cases `index` (n,), their labels and their phases; the persistent chains whose
        turn it is move on.
        """
        images = cases.gather(index, self.copy.memory.weight.new_empty(len(index), self.width))
        labels = None if cases.labels is None else cases.labels[index]
        chains, chain_labels = None, self.state.chain_labels
        if self.state.chains is not None:
            pool = self.state.chains[:, : len(index)]
            chains = pool.index_select(0, self.chain_index)[0]
            reset_chains(self.copy, chains, self.config, self.rng)
        run: Any = up_down_senses.phases if isinstance(self.copy, MultimodalDBN) else phases
        result = run(
            self.copy,
            images,
            labels,
            steps=self.config.steps_at(self.epoch),
            config=self.config,
            rng=self.rng,
            chains=chains,
            chain_labels=None if chain_labels is None else chain_labels[: len(index)],
            complete=self.complete,
        )
        if chains is not None:
            pool.index_copy_(
                0, self.chain_index, result.top[len(result.top) - len(chains) :].unsqueeze(0)
            )
            self.chain_index.add_(1).remainder_(self.config.chain_pool)
        return images, labels, result

    def update(self, gradients: Gradients) -> None:
        """Move all weights and biases up the gradients, and those of the low-precision copy with
        them.
        """
        decay, rate = (
            {"memory.weight": self.config.weight_decay},
            self.config.learning_rate_at(self.epoch),
        )
        apply_update(
            self.net,
            gradients,
            self.state.velocity,
            rate=rate,
            momentum=self.config.momentum,
            decay=decay,
            copy=self.copy,
        )
        self.guard.after_update()

    def update_units(self, gradients: Gradients) -> None:
        """Move the units' own parameters up their gradients, at a tenth of the rate, and hold them
        in their range.
        """
        if not gradients:
            return
        apply_update(
            self.net,
            gradients,
            self.state.velocity,
            rate=UNITS_RATE * self.config.learning_rate_at(self.epoch),
            momentum=self.config.momentum,
            copy=self.copy,
        )
        for module in self.net.modules():
            if isinstance(module, Units):
                module.keep_in_range()
        for units, std in self.spreads:
            units.keep_in_range(std)
        precision.sync(self.copy, self.net)

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Learn from the cases `index` (n,); sum the squared error of the lowest generative layer
        in the wake phase.
        """
        _, _, result = self.run_phases(cases, batch[0])
        several = isinstance(result, SensePhases)
        self.update(up_down_senses.gradients(result) if several else gradients(result))
        self.update_units(result.own)
        for wake in result.wake.values() if several else [result.wake]:
            if wake:
                each = wake[0][0].to(accumulation_dtype(wake[0][0].dtype)).flatten()
                self.error += each.dot(each)

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return Gibbs steps, rate and the mean squared error a pixel of the lowest generative
        layer.
        """
        metrics = {
            "gibbs_steps": float(self.config.steps_at(self.epoch)),
            "learning_rate": self.config.learning_rate_at(self.epoch),
        }
        if isinstance(self.net, MultimodalDBN) or self.net.recognition:
            metrics["reconstruction_error"] = float(self.error) / (cases * self.width)
        return metrics

    def learn(
        self, images: Tensor, labels: Tensor | None, weights: Tensor | None, stage: str
    ) -> Iterator[EpochResult]:
        """Let the loop go over cases that were looked at already, minibatches balanced by class."""
        classes = None if labels is None else labels - UNLABELLED
        yield from self.learn_from(
            Resident(images, labels, classes=classes, weights=weights), stage
        )

    def learn_from(self, source: Source, stage: str) -> Iterator[EpochResult]:
        """Let the loop go over a source of cases that were looked at already."""
        yield from loop.run(
            self,
            source,
            epochs=self.config.epochs,
            batch_size=self.config.batch_size,
            rng=self.rng,
            stage=stage,
            mean_epochs=self.config.average,
        )


def spreads(net: DBN | MultimodalDBN, cases: Resident) -> list[tuple[Units, Tensor]]:
    """Return units of cases that have parameters of their own, each with the standard deviations
    of its columns (size,) among the cases that have them.

    What a column that does not vary leaves to explain is nothing, and its precision would grow
    without end.
    """
    if isinstance(net, MultimodalDBN):
        lowest = [(net.units(name), columns) for name, columns in net.columns.items()]
    else:
        lowest = [(net.visible, slice(0, net.sizes[0]))]
    every = []
    for units, columns in lowest:
        if unit_parameters.there_are(units):
            own, weights = cases.cases, cases.weights
            if isinstance(net, MultimodalDBN):
                assert isinstance(own, Tensor)
                own = own[:, columns]
                own, weights = own[~torch.isnan(own[:, 0])], None
            moments = unit_parameters.moments(own, weights, cases.context)
            every.append((units, unit_parameters.spread(*moments, net.memory)))
    return every


@check_arguments
def epochs(
    dbn: DBN | MultimodalDBN,
    images: Tensor | SenseCases | Mapping[str, Any],
    labels: Tensor | None = None,
    *,
    config: UpDownConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: UpDownState | Mapping[str, Any] | None = None,
    stage: str = "updown",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[EpochResult]:
    """Fine-tune `dbn` generatively on `images` (N, pixels) and labels (N,), UNLABELLED where
    unknown, in place; its weights are untied.

    `weights` (N,) say how often each case is shown, relative to the others.
    `dtype` is the precision of products and `checked` says that the cases were looked at already,
    as in `cd.epochs`. A net of several senses takes cases by sense, as `greedy.epochs` does.

    Yields:
        EpochResult, with metrics `gibbs_steps`, `learning_rate` and `reconstruction_error`: the
            mean squared error a pixel of the lowest
        generative layer in the wake phase.

    Raises:
        DataError: cases, labels or weights that do not fit, or labels for a memory that holds none.
        DivergedError: NaN or infinite weights.
    """
    if isinstance(dbn, MultimodalDBN):
        given = inputs.for_senses(dbn, images, labels, weights, rng=rng)
        source = SideBySide(dbn.senses, given)
        algorithm = UpDown(dbn, config, started(dbn, config, state, rng, dtype), rng, dtype)
        yield from algorithm.learn_from(source, stage)
        return
    images, labels, weights = inputs.for_memory(
        dbn, images, labels, weights, rng=rng, checked=checked
    )
    algorithm = UpDown(dbn, config, started(dbn, config, state, rng, dtype), rng, dtype)
    yield from algorithm.learn(images, labels, weights, stage)


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(__name__, start="init_state")
