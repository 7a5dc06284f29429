"""Forward-forward: each layer learns by itself to be active for right labels and not for
wrong ones.

    goodness g = mean of squared activities
    loss = softplus(T - g_right) + softplus(g_wrong - T)

Hinton (2022), "The forward-forward algorithm: some preliminary investigations". The label stands in
the picture's first pixels; layers get only the direction of the one below (its length is 1), so
that goodness is not passed up. The wrong label is drawn by how much the net believes it. A label is
recognised by the goodness it gives all layers but the first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job, Stages

THRESHOLD = 1.0


class ForwardForward(nn.Module):
    """Layers of ReLU units that no gradient joins."""

    def __init__(self, sizes: tuple[int, ...], classes: int, rng: torch.Generator) -> None:
        super().__init__()
        self.layers = common.mlp(sizes, rng, last=False)
        self.classes = classes

    def goodness(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        """Return the goodness of each layer, (n,), for images with these labels in them."""
        label = one_hot(labels, self.classes).to(images)
        states = torch.cat([label, images[:, self.classes :]], 1)
        goodness = []
        for linear, activation in zip(list(self.layers)[::2], list(self.layers)[1::2], strict=True):
            length = states.norm(dim=1, keepdim=True) + 1e-4
            states = activation(linear(states / length * states.shape[1] ** 0.5))
            goodness.append(states.square().mean(1))
            states = states.detach()
        return goodness

    def forward(self, images: Tensor) -> Tensor:
        """Return as logits (n, labels) the goodness that labels give the layers above the first."""
        labels = torch.arange(self.classes, device=images.device)
        each = [self.goodness(images, label.expand(len(images))) for label in labels]
        return torch.stack([torch.stack(layers[1:] or layers).sum(0) for layers in each], 1)


def loss(net: ForwardForward, images: Tensor, labels: Tensor, *, rng: torch.Generator) -> Tensor:
    """Return the sum of the layers' losses; each reaches its own weights only."""
    with torch.no_grad():
        belief = torch.softmax(net(images), 1)
        belief.scatter_(1, labels[:, None], 0.0).add_(1e-6)
        belief.scatter_(1, labels[:, None], 0.0)
        wrong = torch.multinomial(belief, 1, generator=rng)[:, 0]
    right, other = net.goodness(images, labels), net.goodness(images, wrong)
    return torch.stack(
        [
            (softplus(THRESHOLD - good) + softplus(bad - THRESHOLD)).mean()
            for good, bad in zip(right, other, strict=True)
        ]
    ).sum()


def learn(job: Job) -> Stages:
    """Return the net that learned from the labelled cases."""
    last = common.fit(
        job,
        "forward-forward",
        lambda rng: ForwardForward(job.sizes, job.classes, rng),
        loss,
        milliseconds=58,
    )
    return (last,)
