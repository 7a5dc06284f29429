"""Autoencoders that mend spoilt pictures, then a classifier on their code.

    denoising   loss = cross-entropy(x, decode(encode(x with noise)))      Vincent et al. (2010)
    masked      loss = the same of the hidden pixels alone                 He et al. (2022)

Both hide pixels one by one, for nothing is known of places: a third of them from the first, three
quarters from the second, whose encoder also gets the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job, Stages
from wakesleep.paper.runs import Done, TableSetup

HIDDEN = {"denoising": 1 / 3, "masked": 3 / 4}


class Autoencoder(nn.Module):
    """An encoder of (pixels, known or not) and a decoder to logits of pixels."""

    def __init__(self, sizes: tuple[int, ...], rng: torch.Generator) -> None:
        super().__init__()
        self.encoder = common.mlp((2 * sizes[0], *sizes[1:]), rng, last=False)
        self.decoder = common.mlp(sizes[::-1], rng)

    def encode(self, images: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the code (n, top) of images (n, pixels) with what is not known at 0."""
        known = torch.ones_like(images) if known is None else known
        code: Tensor = self.encoder(torch.cat([images * known, known], 1))
        return code

    forward = encode


def denoising_loss(net: Autoencoder, images: Tensor, *, rng: torch.Generator) -> Tensor:
    """Return the cross-entropy of all pixels, nats a pixel; the mask is not given."""
    known = torch.empty_like(images).bernoulli_(1 - HIDDEN["denoising"], generator=rng)
    logits = net.decoder(net.encode(images * known))
    return binary_cross_entropy_with_logits(logits, images)


def masked_loss(net: Autoencoder, images: Tensor, *, rng: torch.Generator) -> Tensor:
    """Return the cross-entropy of the hidden pixels, nats a hidden pixel."""
    known = torch.empty_like(images).bernoulli_(1 - HIDDEN["masked"], generator=rng)
    logits = net.decoder(net.encode(images, known))
    return binary_cross_entropy_with_logits(logits, images, 1 - known, reduction="sum") / (
        (1 - known).sum()
    )


LOSSES = {"denoising": denoising_loss, "masked": masked_loss}


def pretrained(setup: TableSetup, kind: str) -> Done[Autoencoder]:
    """Return the autoencoder that saw all images."""
    sizes = (setup.dataset.train.images.shape[1], *setup.config.hidden)
    return common.pretrain(
        setup, kind, lambda rng: Autoencoder(sizes, rng), LOSSES[kind], milliseconds=28
    )


def learn(job: Job, kind: str) -> Stages:
    """Return the classifier on the code, all layers trained on the labelled cases."""
    first = pretrained(job.setup, kind)
    last = common.fit(
        job,
        f"{kind}-classifier",
        lambda rng: common.classifier(first.net, job.sizes[-1], job.classes),
        common.supervised_loss,
        milliseconds=common.CLASSIFIER,
        first=first.digest,
    )
    return first, last
