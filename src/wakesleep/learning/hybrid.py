"""The hybrid: contrastive wake-sleep and backpropagation on the same recognition weights, a model
that both generates and recognises.

    gradient = contrastive wake-sleep's + weight * d log p(label | image) / d weights

The net recognises as the generative model does, by label free energies after a deterministic
up-pass (Hinton, Osindero & Teh 2006, section 6.2), so backpropagation needs no label layer of its
own: it sharpens the recognition weights and the memory that the dreams come from, and the wake and
sleep phases keep both good for generation. Source of the idea: Hinton (2007), "To Recognize Shapes,
First Learn to Generate Images"; for a single RBM: Larochelle & Bengio (2008), "Classification using
discriminative restricted Boltzmann machines".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from wakesleep.compute.ops import Dense, Product, accumulation_dtype
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.learning import inputs, up_down
from wakesleep.learning.configs import HybridConfig as HybridConfig
from wakesleep.learning.momentum import Gradients, weighted_sum
from wakesleep.learning.records import EpochResult
from wakesleep.learning.up_down import UNLABELLED, UpDownState
from wakesleep.models.dbn import DBN
from wakesleep.sources.axes import Features, LogProbs, Pixels, SomeLabels
from wakesleep.sources.minibatches import Resident
from wakesleep.units import Bernoulli


@check_arguments
@torch.no_grad()
def discriminative(dbn: DBN, images: Pixels, labels: SomeLabels) -> tuple[Gradients, Tensor]:
    """Return the gradient of mean log p(label | image) by label free energies, and log p of every
    label, (N, labels).

    Images are (N, pixels) in [0, 1], labels (N,); the mean is over the cases with a label. What the
    memory hands down, d log p / d features, goes down the recognition layers, d = (d W') h (1 - h):

        dW of a recognition layer = below' d / N,   its biases: the mean of d
    """
    n, layers = len(images), dbn.up(images)
    gradients, delta, log_probs = memory_gradients(dbn, layers[-1], labels)
    for depth in range(len(dbn.recognition) - 1, -1, -1):
        delta = delta * layers[depth + 1] * (1 - layers[depth + 1])
        gradients[f"recognition.{depth}.weight"] = [Product(layers[depth], delta, 1 / n)]
        gradients[f"recognition.{depth}.bias"] = [
            Dense(delta.mean(0, dtype=accumulation_dtype(delta.dtype)), 1.0)
        ]
        if depth:
            delta = delta @ dbn.recognition[depth].weight.t()
    return gradients, log_probs


@check_arguments
@torch.no_grad()
def memory_gradients(
    dbn: DBN, features: Features, labels: SomeLabels
) -> tuple[Gradients, Tensor, Tensor]:
    """Return the memory's gradients of log p(label | features), d log p / d features (N, features),
    and log p of every label, (N, labels), for labels (N,).

    With x the top units' input from the features and L_y the memory's weights from label y, log
    p(y) = log softmax_y(b_y + sum_j softplus(x_j + L_yj)), so that

        d log p(t) / dx_j = sum_y (1[y = t] - p_y) sigm(x_j + L_yj)
        d log p(t) / dL_yj = (1[y = t] - p_y) sigm(x_j + L_yj)
    """
    memory, penultimate, n = dbn.memory, dbn.sizes[-2], len(features)
    total_input = dbn.top_input(features)
    log_probs = torch.log_softmax(memory.group_scores(total_input, dbn.label_columns), 1)
    error = label_errors(log_probs, labels)

    total_input = total_input.to(error.dtype)
    delta, on = torch.zeros_like(total_input), torch.empty_like(total_input)
    weight_gradient = torch.empty_like(memory.weight, dtype=error.dtype)
    for label, row in enumerate(memory.weight[penultimate:].to(error.dtype)):
        torch.sigmoid(torch.add(total_input, row, out=on), out=on)
        delta.addcmul_(on, error[:, label : label + 1])
        torch.mv(on.t(), error[:, label] / n, out=weight_gradient[penultimate + label])
    visible_gradient = torch.zeros_like(memory.visible_bias, dtype=error.dtype)
    visible_gradient[penultimate:] = error.mean(0)
    hidden_gradient = delta.mean(0)

    delta = delta.to(memory.weight.dtype)
    torch.div(features.t() @ delta, n, out=weight_gradient[:penultimate])
    gradients: Gradients = {
        "memory.hidden_bias": [Dense(hidden_gradient, 1.0)],
        "memory.visible_bias": [Dense(visible_gradient, 1.0)],
        "memory.weight": [Dense(weight_gradient, 1.0)],
    }
    return gradients, delta @ memory.weight[:penultimate].t(), log_probs


@check_arguments
def label_errors(log_probs: LogProbs, labels: SomeLabels) -> Tensor:
    """Return 1[y = t] - p_y (N, labels), zero where the label is not known.

    They are scaled up so that a sum over the labelled cases divided by all N is their mean.
    """
    error = -log_probs.exp()
    known = labels != UNLABELLED
    error.scatter_add_(1, labels.clamp(min=0).unsqueeze(1), torch.ones_like(error[:, :1]))
    share = len(labels) / known.sum().clamp_(min=1).to(error.dtype)
    error *= (known * share).unsqueeze(1)
    return error


class Hybrid(up_down.UpDown):
    """Contrastive wake-sleep and backpropagation of a deep belief net, for `loop.run`."""

    def __init__(
        self,
        dbn: DBN,
        config: HybridConfig,
        state: UpDownState,
        rng: torch.Generator,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__(dbn, config.updown, state, rng, dtype)
        self.hybrid, self.pixels = config, dbn.visible
        # means are drawn from where they can be: real pixels are no means
        self.draws = config.sample_pixels and dbn.visible.settled_by_mean
        self.loss, self.errors, self.labelled = (
            torch.zeros((), device=self.error.device) for _ in range(3)
        )

    def begin_epoch(self, epoch: int) -> tuple[float, ...]:
        """Return rate and Gibbs steps of the epoch."""
        for total in (self.loss, self.errors, self.labelled):
            total.zero_()
        return super().begin_epoch(epoch)

    def step(self, cases: Resident, *batch: Tensor) -> None:
        """Follow both gradients of the cases `index` (n,), by their sum or in turn; sum
        cross-entropy and errors of those with a label.
        """
        images, labels, phases = self.run_phases(cases, batch[0])
        assert labels is not None
        generative = up_down.gradients(phases)
        self.update_units(phases.own)
        if self.hybrid.alternate:
            self.update(generative)
            generative = {}
        seen = self.pixels.sample_from_mean(images, self.rng) if self.draws else images
        from_labels, log_probs = self.from_labels(seen, labels)
        self.update(weighted_sum((generative, 1.0), (from_labels, self.hybrid.weight)))
        self.loss += torch.nn.functional.nll_loss(
            log_probs, labels, ignore_index=UNLABELLED, reduction="sum"
        )
        self.errors += ((log_probs.argmax(1) != labels) & (labels != UNLABELLED)).sum()
        self.labelled += (labels != UNLABELLED).sum()

    def from_labels(self, images: Tensor, labels: Tensor) -> tuple[Gradients, Tensor]:
        """Return the gradients of the labels of images (n, pixels), and log p of every label."""
        return discriminative(self.copy, images, labels)

    def end_epoch(self, cases: int) -> dict[str, float]:
        """Return cross-entropy and errors over the labelled cases, Gibbs steps and rate."""
        labelled = max(float(self.labelled), 1.0)
        return {
            "cross_entropy": float(self.loss) / labelled,
            "train_error_percent": 100 * float(self.errors) / labelled,
            "gibbs_steps": float(self.config.steps_at(self.epoch)),
            "learning_rate": self.config.learning_rate_at(self.epoch),
        }


@check_arguments
def epochs(
    dbn: DBN,
    images: Tensor,
    labels: Tensor,
    *,
    config: HybridConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: UpDownState | Mapping[str, Any] | None = None,
    stage: str = "hybrid",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[EpochResult]:
    """Fine-tune `dbn` both ways on `images` (N, pixels) and labels (N,), UNLABELLED where unknown,
    in place; its weights are untied.

    `weights` (N,) say how often each case is shown, relative to the others. `dtype` is the
    precision of products, and `checked` says that the cases were looked at already, as in
    `cd.epochs`.

    Yields:
        EpochResult, with metrics `cross_entropy` (nats a labelled case, mean over the epoch as it
            went), `train_error_percent` (likewise),
        `gibbs_steps` and `learning_rate`.

    Raises:
        ConfigError: hidden units that are not binary.
        DataError: cases, labels or weights that do not fit, or no labels.
        DivergedError: NaN or infinite weights.
    """
    others = [units for units in dbn.layers[1:] if not isinstance(units, Bernoulli)]
    if others:
        raise ConfigError(
            f"the hybrid backpropagates through binary hidden units, and this net has {others[0]}; "
            "expected numbers in place of hidden units, or backprop.classifier after up_down"
        )
    images, known, weights = inputs.for_memory(
        dbn, images, labels, weights, rng=rng, checked=checked
    )
    if known is None or not bool((known != UNLABELLED).any()):
        raise DataError(
            "the hybrid learns from labels too, and none of these cases has one; give labels, or "
            "use contrastive wake-sleep"
        )
    algorithm = Hybrid(
        dbn, config, up_down.started(dbn, config.updown, state, rng, dtype), rng, dtype
    )
    yield from algorithm.learn(images, known, weights, stage)
