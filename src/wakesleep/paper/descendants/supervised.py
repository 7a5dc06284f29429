"""Labels alone: linear layers with ReLU and dropout (Srivastava et al. 2014)."""

from __future__ import annotations

from wakesleep.paper.descendants import common
from wakesleep.paper.descendants.common import Job, Stages


def learn(job: Job) -> Stages:
    """Return the classifier that learned from the labelled cases."""
    last = common.fit(
        job,
        "supervised-relu",
        lambda rng: common.classifier(
            common.mlp(job.sizes, rng, last=False), job.sizes[-1], job.classes
        ),
        common.supervised_loss,
        milliseconds=common.CLASSIFIER,
    )
    return (last,)
