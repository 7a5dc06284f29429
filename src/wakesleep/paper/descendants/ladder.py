"""The ladder net: every layer of a noisy encoder is mended by a decoder that also gets the layer.

    loss = cross-entropy(noisy answer, label) + sum_l weight_l |clean z_l - mended z_l|^2 / width_l

Rasmus et al. (2015), "Semi-supervised learning with ladder networks": batch normalisation, Gaussian
noise at every layer, and for each unit a function of its noisy value and of the decoder's signal.
What was mended is normalised with the clean layer's mean and deviation before it is compared (their
equation 11). Weights, noise and rate are theirs for 100 labels.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job, Stages

NOISE = 0.3
WEIGHTS = (1000.0, 10.0, 0.1)
"""Of pixels, of the first layer, of every other."""


class Ladder(nn.Module):
    """Encoder weights, decoder weights, and the mending functions of each layer."""

    def __init__(self, sizes: tuple[int, ...], rng: torch.Generator) -> None:
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(sizes))
        self.down = nn.ModuleList(nn.Linear(b, a, bias=False) for a, b in pairwise(sizes))
        for linear in (*self.up, *self.down):
            nn.init.normal_(linear.weight, 0, linear.in_features**-0.5, generator=rng)
        self.shift = nn.ParameterList(torch.zeros(width) for width in sizes[1:])
        self.scale = nn.Parameter(torch.ones(sizes[-1]))
        start = torch.tensor([0.0, 1, 0, 0, 0, 0, 1, 0, 0, 0])
        self.mend = nn.ParameterList(start[:, None].repeat(1, width) for width in sizes)
        for number, width in enumerate(sizes[1:]):
            self.register_buffer(f"mean{number}", torch.zeros(width))
            self.register_buffer(f"variance{number}", torch.ones(width))

    def encode(
        self, states: Tensor, noise: float, rng: torch.Generator | None
    ) -> tuple[Tensor, list[Tensor], list[tuple[Tensor | float, Tensor | float]]]:
        """Return logits (n, labels), and of each layer, pixels first, its normalised input z and
        the mean and deviation that it was normalised with.
        """

        def noisy(values: Tensor) -> Tensor:
            if not noise:
                return values
            return values + torch.empty_like(values).normal_(0, noise, generator=rng)

        states = noisy(states)
        inputs = [states]
        moments: list[tuple[Tensor | float, Tensor | float]] = [(0.0, 1.0)]
        for number, linear in enumerate(self.up):
            total = linear(states)
            mean, deviation = self._moments(number, total, clean=not noise)
            moments.append((mean, deviation))
            inputs.append(noisy((total - mean) / deviation))
            states = inputs[-1] + self.shift[number]
            states = self.scale * states if number == len(self.up) - 1 else states.relu()
        return states, inputs, moments

    def _moments(self, number: int, total: Tensor, *, clean: bool) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of a layer's input: the minibatch's, or in use their running
        means.
        """
        mean, variance = getattr(self, f"mean{number}"), getattr(self, f"variance{number}")
        if not self.training:
            return mean, (variance + 1e-6).sqrt()
        centre, spread = total.mean(0), total.var(0, unbiased=False)
        if clean:
            with torch.no_grad():
                mean.lerp_(centre, 0.01)
                variance.lerp_(spread, 0.01)
        return centre, (spread + 1e-6).sqrt()

    def decode(self, logits: Tensor, noisy: list[Tensor]) -> list[Tensor]:
        """Return each layer's input mended, pixels first, given the noisy answer and inputs."""
        signal, decoded = torch.softmax(logits, 1), []
        for number in reversed(range(len(noisy))):
            if number < len(self.down):
                signal = self.down[number](signal)
            mean, deviation = signal.mean(0), (signal.var(0, unbiased=False) + 1e-6).sqrt()
            signal = mended(noisy[number], (signal - mean) / deviation, self.mend[number])
            decoded.append(signal)
        return decoded[::-1]

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the clean encoder."""
        return self.encode(images, 0.0, None)[0]


def mended(noisy: Tensor, signal: Tensor, a: Tensor) -> Tensor:
    """Return (noisy - mu) v + mu, mu and v functions of the signal with five numbers a unit each,
    a (10, units).
    """
    mu = a[0] * torch.sigmoid(a[1] * signal + a[2]) + a[3] * signal + a[4]
    v = a[5] * torch.sigmoid(a[6] * signal + a[7]) + a[8] * signal + a[9]
    return (noisy - mu) * v + mu


def loss(
    net: Ladder, images: Tensor, labels: Tensor, others: Tensor, *, rng: torch.Generator
) -> Tensor:
    """Return the cross-entropy of the labelled half of the minibatch and what the decoder failed to
    mend of the other; each half has its own moments.
    """
    with torch.no_grad():
        _, clean, moments = net.encode(others, 0.0, rng)
    total = cross_entropy(net.encode(images, NOISE, rng)[0], labels)
    logits, noisy, _ = net.encode(others, NOISE, rng)
    for number, (wanted, mended_input, (mean, deviation)) in enumerate(
        zip(clean, net.decode(logits, noisy), moments, strict=True)
    ):
        error = (wanted - (mended_input - mean) / deviation).square().mean()
        total = total + WEIGHTS[min(number, 2)] * error
    return total


def learn(job: Job) -> Stages:
    """Return the net that learned from labelled and unlabelled cases together."""
    last = common.fit(
        job,
        "ladder",
        lambda rng: Ladder((*job.sizes, job.classes), rng),
        loss,
        milliseconds=60,
        before=common.UNLABELLED_SECONDS,
        every=True,
    )
    return (last,)
