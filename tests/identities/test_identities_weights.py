"""Weights of cases: each loop shows a case in proportion to its weight, so a case of no weight
teaches nothing.
"""

import pytest
import torch

from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, greedy, hybrid, up_down
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.chains import MemoryState
from wakesleep.learning.greedy import GreedyConfig, GreedyState
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.models.dbn import DBN

COUNT, SPOILED = 60, 20
LAYER = CDConfig(epochs=2, batch_size=10)
LOOPS = {
    "cd": lambda dbn, images, labels, **given: cd.epochs(dbn.rbm(0), images, config=LAYER, **given),
    "memory": lambda dbn, images, labels, **given: greedy.epochs(
        dbn, images, labels, config=GreedyConfig(LAYER, LAYER), **given
    ),
    "updown": lambda dbn, images, labels, **given: up_down.epochs(
        dbn, images, labels, config=UpDownConfig(epochs=2), **given
    ),
    "hybrid": lambda dbn, images, labels, **given: hybrid.epochs(
        dbn, images, labels, config=HybridConfig(UpDownConfig(epochs=2)), **given
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_case_of_no_weight_teaches_nothing(loop):
    images = torch.rand(COUNT, 6, generator=generator(0))
    labels = torch.arange(COUNT) % 3
    weights = (torch.arange(COUNT) >= SPOILED).float()
    nets = []
    for noise in (0.0, 1.0):
        spoiled = images.clone()
        spoiled[:SPOILED] = noise
        net = DBN((6, 5, 4), labels=3, rng=generator(1))
        net.generative[0].bias.copy_(torch.ones(6))
        state = None
        if loop == "memory":  # no base rates of all cases
            state = GreedyState(
                0,
                MemoryState.from_tensors(
                    cd.init_state(net.rbm(0), LAYER, generator(0)).to_tensors()
                ),
            )
        list(LOOPS[loop](net, spoiled, labels, weights=weights, rng=generator(2), state=state))
        nets.append(net)
    for ours, theirs in zip(
        nets[0].recognition[0].parameters(), nets[1].recognition[0].parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
