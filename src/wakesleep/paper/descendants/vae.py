"""The variational autoencoder, alone (M1) and with a model of labels on its code (M1 + M2).

    M1   bound = E_q(z|x)[log p(x | z)] - w KL(q(z | x) || N(0, 1)),  w from 0 to 1 at first
    M2   labelled    E_q(a|z,y)[log p(z | a, y)] - KL(q(a | z, y) || N(0, 1)) + log p(y)
         unlabelled  sum_y q(y | z) (that) + H(q(y | z))

Kingma & Welling (2014), "Auto-encoding variational Bayes"; Kingma, Rezende, Mohamed & Welling
(2014), "Semi-supervised learning with deep generative models". M1's classifier
and M2 learn codes drawn from a fixed M1, as theirs do (theirs for M1 is a support vector machine).
That the KL divergence weighs nothing at first keeps numbers of the code from dying: Sønderby et al.
(2016), "Ladder variational autoencoders".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    log_softmax,
    one_hot,
)

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job, Stages
from wakesleep.paper.runs import Done, TableSetup

CODE = 50
WARM_UP = 1000
"""Minibatches until the KL divergence has its full weight, about half of all."""
LABEL_WEIGHT = 10.0
"""Of the cross-entropy of the labelled half of a minibatch."""


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)) of each case, (n,), nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)


def draw(mean: Tensor, log_variance: Tensor, rng: torch.Generator) -> Tensor:
    """Return a sample of N(mean, variance) that gradients pass through."""
    noise = torch.empty_like(mean).normal_(generator=rng)
    return mean + (log_variance / 2).exp() * noise


class VAE(nn.Module):
    """q(z | x) = N(mean, variance) and p(x | z), Bernoulli pixels."""

    def __init__(self, sizes: tuple[int, ...], rng: torch.Generator) -> None:
        super().__init__()
        self.features = common.mlp(sizes, rng, last=False)
        self.code = nn.Linear(sizes[-1], 2 * CODE)
        nn.init.normal_(self.code.weight, 0, 0.01, generator=rng)
        nn.init.zeros_(self.code.bias)
        self.decoder = common.mlp((CODE, *sizes[::-1]), rng)
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros(()))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the code, (n, CODE) each."""
        mean, log_variance = self.code(self.features(images)).chunk(2, 1)
        return mean, log_variance

    def bound(
        self, images: Tensor, rng: torch.Generator, kl_weight: Tensor | float = 1.0
    ) -> Tensor:
        """Return the bound on log p(x) of images (n, pixels), one draw of the code, (n,), nats."""
        mean, log_variance = self.encode(images)
        logits = self.decoder(draw(mean, log_variance, rng))
        error = binary_cross_entropy_with_logits(logits, images, reduction="none").sum(1)
        return -error - kl_weight * kl_to_standard(mean, log_variance)

    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """Return pixel probabilities of `count` pictures, (count, pixels)."""
        return torch.sigmoid(self.decoder(torch.randn(count, CODE, generator=rng)))


def m1_loss(net: VAE, images: Tensor, *, rng: torch.Generator) -> Tensor:
    """Return minus the bound, of pixels drawn anew; the weight of the KL divergence grows with the
    minibatches that `net` has seen.
    """
    net.updates += 1
    weight = (net.updates / WARM_UP).clamp(max=1)
    return -net.bound(torch.bernoulli(images, generator=rng), rng, weight).mean()


def pretrained(setup: TableSetup) -> Done[VAE]:
    """Return the autoencoder that saw all images."""
    sizes = (setup.dataset.train.images.shape[1], *setup.config.hidden)
    return common.pretrain(
        setup,
        "vae",
        lambda rng: VAE(sizes, rng),
        m1_loss,
        milliseconds=28,
        warm_up=WARM_UP,
    )


def learn_m1(job: Job) -> Stages:
    """Return the classifier of the code, trained on the labelled cases."""
    first = pretrained(job.setup)
    below = first.net
    last = common.fit(
        job,
        "m1-classifier",
        lambda rng: OnCode(below, job.classes, rng),
        on_code_loss,
        milliseconds=8,
        first=first.digest,
    )
    return first, last


class OnCode(nn.Module):
    """A net from the code z of a fixed autoencoder to labels."""

    def __init__(self, below: VAE, classes: int, rng: torch.Generator) -> None:
        super().__init__()
        self.below = below.requires_grad_(False)
        self.label = common.mlp((CODE, 500, classes), rng)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of labels (n, labels) at the mean code of images."""
        logits: Tensor = self.label(self.below.encode(images)[0])
        return logits


def on_code_loss(net: OnCode, images: Tensor, labels: Tensor, *, rng: torch.Generator) -> Tensor:
    """Return the cross-entropy of labels (n,) at a code drawn from q(z | x)."""
    with torch.no_grad():
        code = draw(*net.below.encode(images), rng)
    return cross_entropy(net.label(code), labels)


class M2(nn.Module):
    """q(y | z), q(a | z, y) and p(z | a, y) on the code z of a fixed autoencoder."""

    def __init__(self, below: VAE, classes: int, rng: torch.Generator) -> None:
        super().__init__()
        self.below, self.classes = below.requires_grad_(False), classes
        self.label = common.mlp((CODE, 500, classes), rng)
        self.recognise = common.mlp((CODE + classes, 500, 2 * CODE), rng)
        self.generate = common.mlp((CODE + classes, 500, 2 * CODE), rng)
        for net in (self.recognise, self.generate):  # all labels begin equally good
            last = net[-1]
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, 0, 0.01, generator=rng)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of q(y | z) at the mean code of images."""
        logits: Tensor = self.label(self.below.encode(images)[0])
        return logits

    def bound(self, code: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Return the bound on log p(z, y) of codes (n, CODE) and labels (n,), (n,), nats."""
        label = one_hot(labels, self.classes).to(code)
        mean, log_variance = self.recognise(torch.cat([code, label], 1)).chunk(2, 1)
        top = draw(mean, log_variance, rng)
        there, spread = self.generate(torch.cat([top, label], 1)).chunk(2, 1)
        log_p = -0.5 * ((code - there).square() / spread.exp() + spread + math.log(2 * math.pi))
        bound: Tensor = log_p.sum(1) - kl_to_standard(mean, log_variance)
        return bound - math.log(self.classes)

    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Return pixel probabilities of a picture of each label, (n, pixels)."""
        top = torch.randn(len(labels), CODE, generator=rng)
        label = one_hot(labels, self.classes).to(top)
        mean, log_variance = self.generate(torch.cat([top, label], 1)).chunk(2, 1)
        return torch.sigmoid(self.below.decoder(draw(mean, log_variance, rng)))


def m2_loss(
    net: M2, images: Tensor, labels: Tensor, others: Tensor, *, rng: torch.Generator
) -> Tensor:
    """Return minus both bounds, and the cross-entropy of the labels."""
    with torch.no_grad():
        known = draw(*net.below.encode(images), rng)
        unknown = draw(*net.below.encode(others), rng)
    log_q = log_softmax(net.label(unknown), 1)
    each = torch.stack(
        [
            net.bound(unknown, labels.new_full((len(unknown),), label), rng)
            for label in range(net.classes)
        ],
        1,
    )
    unlabelled = (log_q.exp() * (each - log_q)).sum(1).mean()
    labelled = net.bound(known, labels, rng).mean()
    return LABEL_WEIGHT * cross_entropy(net.label(known), labels) - labelled - unlabelled


def learn_m2(job: Job) -> Stages:
    """Return M2 on the code of M1, learned from labelled and unlabelled cases together."""
    first = pretrained(job.setup)
    below = first.net
    last = common.fit(
        job,
        "m1-m2",
        lambda rng: M2(below, job.classes, rng),
        m2_loss,
        milliseconds=28,
        every=True,
        first=first.digest,
    )
    return first, last
