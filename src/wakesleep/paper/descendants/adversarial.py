"""Virtual adversarial training: the answer stays where it is when a picture moves the worst way.

    loss = cross-entropy(labelled) + KL(p(x) || p(x + r)),   |r| = RADIUS the worst

Miyato et al. (2016), "Distributional smoothing with virtual adversarial training", whose net for
100 labels normalises every layer over the minibatch (Ioffe & Szegedy 2015) and has a radius of 0.3:
from random weights a larger one, or a net that is not normalised, ends with one answer for many
classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job, Stages

RADIUS = 0.5
SMALL = 1e-2
"""The step of the finite difference by which the worst direction is found."""


def normalised_mlp(sizes: Sequence[int], rng: torch.Generator) -> nn.Sequential:
    """Return `common.mlp` with batch normalisation after each linear layer, the last included."""
    layers: list[nn.Module] = []
    for layer in common.mlp(sizes, rng):
        layers.append(layer)
        if isinstance(layer, nn.Linear):
            layers.append(nn.BatchNorm1d(layer.out_features))
    return nn.Sequential(*layers)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q), the mean over cases, nats."""
    return kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def worst(net: nn.Module, images: Tensor, log_p: Tensor, rng: torch.Generator) -> Tensor:
    """Return the direction r (n, pixels), of length RADIUS, in which the answer changes most: one
    step of the power method.
    """
    around = torch.empty_like(images).normal_(generator=rng)
    around = (SMALL * normalize(around, dim=1)).requires_grad_()
    change = divergence(log_p, log_softmax(net(images + around), 1))
    (gradient,) = torch.autograd.grad(change, around)
    return RADIUS * normalize(gradient, dim=1)


def loss(
    net: nn.Module, images: Tensor, labels: Tensor, others: Tensor, *, rng: torch.Generator
) -> Tensor:
    """Return the sum of both terms, nats a case."""
    answer = log_softmax(net(others), 1).detach()
    moved = worst(net, others, answer, rng)
    return cross_entropy(net(images), labels) + divergence(
        answer, log_softmax(net(others + moved), 1)
    )


def learn(job: Job) -> Stages:
    """Return the classifier that learned from labelled and unlabelled cases together."""
    last = common.fit(
        job,
        "adversarial",
        lambda rng: normalised_mlp((*job.sizes, job.classes), rng),
        loss,
        milliseconds=46,
        before=common.UNLABELLED_SECONDS,
        every=True,
    )
    return (last,)
