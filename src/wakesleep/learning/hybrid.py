"""The hybrid: contrastive wake-sleep and backpropagation on the same recognition weights, a model that both generates and recognises.

    gradient = contrastive wake-sleep's + weight * d log p(label | image) / d weights

The net recognises as the generative model does, by label free energies after a deterministic up-pass (Hinton, Osindero & Teh 2006,
section 6.2), so backpropagation needs no label layer of its own: it sharpens the recognition weights and the memory that the dreams come
from, and the wake and sleep phases keep both good for generation. Source of the idea: Hinton (2007), "To Recognize Shapes, First Learn to
Generate Images"; for a single RBM: Larochelle & Bengio (2008), "Classification using discriminative restricted Boltzmann machines".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wakesleep.compute import ops
from wakesleep.compute.ops import Dense, Product, accumulation_dtype
from wakesleep.foundation.errors import DataError
from wakesleep.learning import inputs, up_down
from wakesleep.learning.configs import HybridConfig as HybridConfig
from wakesleep.learning.momentum import Gradients
from wakesleep.learning.records import Pass, State
from wakesleep.learning.up_down import UNLABELLED, Teach
from wakesleep.model.dbn import DBN
from wakesleep.model.units import Bernoulli


def discriminative(dbn: DBN, images: Tensor, labels: Tensor) -> tuple[Gradients, Tensor]:
    """Return the gradient of mean log p(label | image) by label free energies, and log p of every label, (N, labels).

    Images are (N, pixels) in [0, 1], labels (N,); the mean is over the cases with a label. With x the top units' input from the penultimate
    probabilities and L_y the memory's weights from label y, log p(y) = log softmax_y(b_y + sum_j softplus(x_j + L_yj)), so that

        d log p(t) / dx_j = sum_y (1[y = t] - p_y) sigm(x_j + L_yj)     d log p(t) / dL_yj = (1[y = t] - p_y) sigm(x_j + L_yj)
    """
    memory, pen, n = dbn.memory, dbn.sizes[-2], len(images)
    layers = dbn.up(images)
    total_input = dbn.top_input(layers[-1])
    log_probs = torch.log_softmax(memory.group_scores(total_input, dbn.label_columns), 1)

    missing = -log_probs.exp()
    known = labels != UNLABELLED
    missing.scatter_add_(1, labels.clamp(min=0).unsqueeze(1), torch.ones_like(missing[:, :1]))
    share = n / known.sum().clamp_(min=1).to(missing.dtype)  # below, sums over the labelled cases are divided by all n
    missing *= (known * share).unsqueeze(1)

    total_input = total_input.to(missing.dtype)
    delta = torch.zeros_like(total_input)
    weight_gradient = torch.empty_like(memory.weight, dtype=missing.dtype)
    on = torch.empty_like(total_input)
    for label, row in enumerate(memory.weight[pen:].to(missing.dtype)):
        torch.sigmoid(torch.add(total_input, row, out=on), out=on)
        delta.addcmul_(on, missing[:, label : label + 1])
        torch.mv(on.t(), missing[:, label] / n, out=weight_gradient[pen + label])
    visible_gradient = torch.zeros_like(memory.visible_bias, dtype=missing.dtype)
    visible_gradient[pen:] = missing.mean(0)

    gradients: Gradients = {"memory.hidden_bias": [Dense(delta.mean(0), 1.0)], "memory.visible_bias": [Dense(visible_gradient, 1.0)]}
    delta = delta.to(memory.weight.dtype)
    torch.div(layers[-1].t() @ delta, n, out=weight_gradient[:pen])
    gradients["memory.weight"] = [Dense(weight_gradient, 1.0)]
    delta = delta @ memory.weight[:pen].t()
    for depth in range(len(dbn.recognition) - 1, -1, -1):
        delta = delta * layers[depth + 1] * (1 - layers[depth + 1])
        gradients[f"recognition.{depth}.weight"] = [Product(layers[depth], delta, 1 / n)]
        gradients[f"recognition.{depth}.bias"] = [Dense(delta.mean(0, dtype=accumulation_dtype(delta.dtype)), 1.0)]
        if depth:
            delta = delta @ dbn.recognition[depth].weight.t()
    return gradients, log_probs


def _step(
    dbn: DBN,
    coarse: DBN,
    teach: Teach,
    config: HybridConfig,
    epoch: int,
    state: State,
    rng: torch.Generator,
    loss: Tensor,
    errors: Tensor,
    index: Tensor,
    turn: Tensor,
) -> None:
    """Follow what a minibatch teaches both ways, in place, and add its cross-entropy and its errors to `loss` and `errors`, scalars."""
    batch, target, taught = teach(index, turn)
    assert target is not None
    generative = (up_down.gradients(taught), 1.0)
    if config.alternate:
        up_down.update(dbn, [generative], config.updown, epoch, state, coarse)
    seen = Bernoulli(batch.shape[1]).sample(batch, rng) if config.sample_pixels else batch
    told, log_probs = discriminative(coarse, seen, target)
    up_down.update(dbn, [*([] if config.alternate else [generative]), (told, config.weight)], config.updown, epoch, state, coarse)
    loss += torch.nn.functional.nll_loss(log_probs, target, ignore_index=UNLABELLED, reduction="sum")
    errors += ((log_probs.argmax(1) != target) & (target != UNLABELLED)).sum()


def epochs(
    dbn: DBN,
    images: Tensor,
    labels: Tensor,
    *,
    config: HybridConfig,
    rng: torch.Generator,
    weights: Tensor | None = None,
    state: State | None = None,
    stage: str = "hybrid",
    dtype: torch.dtype | None = None,
    checked: bool = False,
) -> Iterator[Pass]:
    """Fine-tune `dbn` both ways on `images` (N, pixels) and labels (N,), UNLABELLED where unknown, in place; its weights are untied.

    `weights` (N,) say how often each case is shown, relative to the others. `dtype` is the precision of products, and
    `checked` says that the cases were looked at already, as in `cd.epochs`.

    Yields:
        Pass, with metrics `cross_entropy` (nats a labelled case, mean over the pass as it went), `train_error_percent` (likewise),
        `gibbs_steps` and `learning_rate`.

    Raises:
        DataError: cases, labels or weights that do not fit, or no labels.
        DivergedError: NaN or infinite weights.
    """
    images, known, weights = inputs.for_memory(dbn, images, labels, weights, rng=rng, checked=checked)
    if known is None or not bool((known != UNLABELLED).any()):
        raise DataError("the hybrid learns from labels too, and none of these cases has one; give labels, or use contrastive wake-sleep")
    updown, labelled = config.updown, int((known != UNLABELLED).sum())
    dbn.untie()
    state = up_down.start(dbn, updown, rng, dtype) if state is None else state
    loss, errors = torch.zeros((), device=images.device), torch.zeros((), device=images.device)
    for epoch in range(int(state["epoch"]), updown.passes):
        loss.zero_()
        errors.zero_()
        coarse = up_down.begin_pass(dbn, known, updown, epoch, state, dtype)
        settled: dict[str, Any] = {"steps": updown.steps_at(epoch), "config": updown, "rng": rng, "state": state}
        teach = partial(up_down.minibatch, coarse, images, known, complete=labelled == len(known), **settled)
        plain = partial(_step, dbn, coarse, teach, config, epoch, state, rng, loss, errors)
        step = ops.of(dbn.memory.weight).replay(plain, rng, len(images) // updown.batch_size)
        with ops.of(dbn.memory.weight).learning(), torch.inference_mode():
            for index, turn in up_down.turns(images, known, config=updown, rng=rng, weights=weights):
                step(index, turn)
                up_down.average(dbn, updown, state, len(images))
        state = up_down.end_pass(dbn, updown, epoch, state, len(images))
        metrics = {
            "cross_entropy": float(loss) / labelled,
            "train_error_percent": 100 * float(errors) / labelled,
            "gibbs_steps": float(updown.steps_at(epoch)),
            "learning_rate": updown.rate(epoch),
        }
        yield Pass(stage, epoch + 1, updown.passes, len(images), metrics, state)
