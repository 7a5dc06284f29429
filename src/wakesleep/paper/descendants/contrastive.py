"""Contrastive learning: two spoilt copies of a picture find each other among all others.

    loss = -log exp(z_i . z_j / t) / sum_k exp(z_i . z_k / t),   z of unit length

Chen et al. (2020), "A simple framework for contrastive learning of visual representations", whose
distortions know geometry; here pixels are dropped and noise is added, which know none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job, Stages
from wakesleep.paper.runs import Done, TableSetup

TEMPERATURE = 0.2
HIDDEN = 0.4
NOISE = 0.3


class Contrastive(nn.Module):
    """Features, and the layers between them and what is compared."""

    def __init__(self, sizes: tuple[int, ...], rng: torch.Generator) -> None:
        super().__init__()
        self.features = common.mlp(sizes, rng, last=False)
        self.head = common.mlp((sizes[-1], 500, 128), rng)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images."""
        features: Tensor = self.features(images)
        return features


def spoilt(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return images (n, pixels) with pixels dropped and Gaussian noise added."""
    keep = torch.empty_like(images).bernoulli_(1 - HIDDEN, generator=rng)
    return images * keep + torch.empty_like(images).normal_(0, NOISE, generator=rng)


def loss(net: Contrastive, images: Tensor, *, rng: torch.Generator) -> Tensor:
    """Return the mean cross-entropy of finding the other copy, nats a copy."""
    both = torch.cat([spoilt(images, rng), spoilt(images, rng)])
    codes = normalize(net.head(net.features(both)), dim=1)
    itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
    alike = (codes @ codes.t() / TEMPERATURE).masked_fill(itself, -torch.inf)
    return cross_entropy(alike, torch.arange(len(both), device=both.device).roll(len(images)))


def pretrained(setup: TableSetup) -> Done[Contrastive]:
    """Return the net that saw all images."""
    sizes = (setup.dataset.train.images.shape[1], *setup.config.hidden)
    return common.pretrain(
        setup, "contrastive", lambda rng: Contrastive(sizes, rng), loss, milliseconds=38
    )


def learn(job: Job) -> Stages:
    """Return the classifier on its features, all layers trained on the labelled cases."""
    first = pretrained(job.setup)
    last = common.fit(
        job,
        "contrastive-classifier",
        lambda rng: common.classifier(first.net, job.sizes[-1], job.classes),
        common.supervised_loss,
        milliseconds=common.CLASSIFIER,
        first=first.digest,
    )
    return first, last
