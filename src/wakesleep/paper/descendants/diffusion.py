"""A small diffusion model, and a classifier on what it computes of a picture with some noise on it.

    x_t = sqrt(a_t) x + sqrt(1 - a_t) e,   loss = |x - net(x_t, t)|^2 / pixels

Ho, Jain & Abbeel (2020), "Denoising diffusion probabilistic models", whose net tells the noise e;
this one tells the picture x, as in Salimans & Ho (2022), "Progressive distillation", because noise
of 784 numbers does not go through layers of 500. Its features: Baranchuk et al. (2022),
"Label-efficient semantic segmentation with diffusion models". The noise level is the one of LEVELS
at which a linear probe, trained on half of the labelled cases, does best on the other half.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job, Stages
from wakesleep.paper.runs import Done, TableSetup
from wakesleep.sources.arrays import UNLABELLED, as_probs

STEPS = 200
LEVELS = (0, 10, 30, 60, 100)
TIME = 64
"""How many numbers tell the net the time."""


def kept(time: Tensor) -> Tensor:
    """Return a_t, how much of the variance is still the picture's at times (n,): cos^2, Nichol &
    Dhariwal (2021).
    """
    return torch.cos(0.5 * math.pi * (time.float() + 1) / (STEPS + 1)).square()


class Denoiser(nn.Module):
    """A net that tells the picture in a noisy one, given the time."""

    def __init__(self, sizes: tuple[int, ...], rng: torch.Generator) -> None:
        super().__init__()
        self.pixels = sizes[0]
        self.features = common.mlp((sizes[0] + TIME, *sizes[1:]), rng, last=False)
        self.out = common.mlp((sizes[-1], *sizes[-2::-1]), rng)

    def encode(self, states: Tensor, time: Tensor) -> Tensor:
        """Return features (n, top) of states (n, pixels) at times (n,)."""
        waves = torch.exp(-math.log(1000.0) * torch.arange(TIME // 2) / (TIME // 2)).to(states)
        angle = time[:, None] * waves
        features: Tensor = self.features(torch.cat([states, angle.sin(), angle.cos()], 1))
        return features

    def forward(self, states: Tensor, time: Tensor) -> Tensor:
        """Return the picture in states (n, pixels) at times (n,), pixels from -1 to 1."""
        picture: Tensor = self.out(self.encode(states, time))
        return picture

    @torch.inference_mode()
    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """Return pictures (count, pixels) in [0, 1], by all steps back from noise."""
        pixels = self.pixels
        states = torch.randn(count, pixels, generator=rng)
        for step in reversed(range(STEPS)):
            time = torch.full((count,), step)
            now = kept(time[:1])
            before = kept(time[:1] - 1) if step else torch.ones(1)
            alpha = now / before
            picture = self(states, time).clamp(-1, 1)
            states = (
                before.sqrt() * (1 - alpha) * picture + alpha.sqrt() * (1 - before) * states
            ) / (1 - now)
            if step:
                spread = ((1 - before) / (1 - now) * (1 - alpha)).sqrt()
                states = states + spread * torch.randn(count, pixels, generator=rng)
        pictures: Tensor = ((states + 1) / 2).clamp(0, 1)
        return pictures


def loss(net: Denoiser, images: Tensor, *, rng: torch.Generator) -> Tensor:
    """Return the squared error of the picture, a pixel; pixels run from -1 to 1."""
    time = torch.randint(STEPS, (len(images),), generator=rng)
    noise = torch.empty_like(images).normal_(generator=rng)
    share = kept(time)[:, None]
    pictures = 2 * images - 1
    error: Tensor = pictures - net(share.sqrt() * pictures + (1 - share).sqrt() * noise, time)
    return error.square().mean()


class Features(nn.Module):
    """What the denoiser computes of pictures at one noise level, the noise left out."""

    def __init__(self, net: Denoiser, level: int) -> None:
        super().__init__()
        self.net, self.level = net, level

    def forward(self, images: Tensor) -> Tensor:
        """Return features (n, top)."""
        time = torch.full((len(images),), self.level)
        return self.net.encode(kept(time)[:, None].sqrt() * (2 * images - 1), time)


def pretrained(setup: TableSetup) -> Done[Denoiser]:
    """Return the denoiser that saw all images."""
    sizes = (setup.dataset.train.images.shape[1], *setup.config.hidden)
    return common.pretrain(
        setup,
        "diffusion",
        lambda rng: Denoiser(sizes, rng),
        loss,
        milliseconds=26,
        tells="picture",
    )


def best_level(net: Denoiser, job: Job, most: int = 2000) -> int:
    """Return the noise level at which a linear probe tells labelled cases apart best."""
    from sklearn.linear_model import LogisticRegression

    known = (job.labels != UNLABELLED).nonzero()[:most, 0]
    images, labels = as_probs(job.images[known]), job.labels[known].numpy()
    half, scores = len(known) // 2, {}
    for level in LEVELS:
        features = common.in_parts(Features(net, level), images).numpy()
        probe = LogisticRegression(max_iter=200, C=0.01).fit(features[:half], labels[:half])
        scores[level] = probe.score(features[half:], labels[half:])
    return max(scores, key=lambda level: scores[level])


def learn(job: Job) -> Stages:
    """Return the classifier on its features, all layers trained on the labelled cases."""
    first = pretrained(job.setup)
    net = first.net
    level = best_level(net, job)
    last = common.fit(
        job,
        "diffusion-classifier",
        lambda rng: common.classifier(Features(net, level), job.sizes[-1], job.classes),
        common.supervised_loss,
        milliseconds=common.CLASSIFIER,
        first=first.digest,
        level=level,
    )
    return first, last
