"""Labels alone: linear layers with ReLU and dropout (Srivastava et al. 2014)."""

from __future__ import annotations

from torch import nn

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job
from wakesleep.paper.runs import Done


def learn(job: Job) -> Done[nn.Module]:
    """Return the classifier that learned from the labelled cases."""
    return common.fit(
        job,
        "supervised-relu",
        lambda rng: common.classifier(
            common.mlp(job.sizes, rng, last=False), job.sizes[-1], job.classes
        ),
        common.supervised_loss,
    )
