"""Virtual adversarial training: the answer stays where it is when a picture moves the worst way.

    loss = cross-entropy(labelled) + KL(p(x) || p(x + r)) + entropy(p(x)),   |r| = RADIUS the worst

Miyato et al. (2018), "Virtual adversarial training", with the entropy of the answers (VATent).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job, Stages

RADIUS = 2.0
SMALL = 1e-2
"""The step of the finite difference by which the worst direction is found."""


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
    """Return the sum of the three terms, nats a case."""
    answer = log_softmax(net(others), 1)
    moved = worst(net, others, answer.detach(), rng)
    smooth = divergence(answer.detach(), log_softmax(net(others + moved), 1))
    entropy = -(answer.exp() * answer).sum(1).mean()
    return cross_entropy(net(images), labels) + smooth + entropy


def learn(job: Job) -> Stages:
    """Return the classifier that learned from labelled and unlabelled cases together."""
    last = common.fit(
        job,
        "adversarial",
        lambda rng: common.mlp((*job.sizes, job.classes), rng),
        loss,
        milliseconds=43,
        before=common.UNLABELLED_SECONDS,
        every=True,
    )
    return (last,)
