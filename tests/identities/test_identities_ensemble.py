"""Averages of predictions against their formulas, and stochastic up-passes against enumeration of
the recognition pathway.
"""

from itertools import product

import pytest
import torch
from test_identities_up_down import small_net, some_images

from wakesleep.evaluation import classify, ensemble
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator

THREE = [
    torch.log_softmax(torch.randn(5, 4, generator=generator(seed)) * 3, 1) for seed in range(3)
]


def test_averages_are_their_formulas():
    probs = torch.stack(THREE).exp()
    torch.testing.assert_close(ensemble.average(THREE, "probs").exp(), probs.mean(0))
    product_of_experts = probs.log().mean(0).exp()
    expected = product_of_experts / product_of_experts.sum(1, keepdim=True)
    torch.testing.assert_close(ensemble.average(THREE, "log-probs").exp(), expected)
    assert not torch.allclose(
        ensemble.average(THREE, "probs"), ensemble.average(THREE, "log-probs"), atol=1e-2
    )


@pytest.mark.parametrize("how", ["probs", "log-probs"])
def test_one_opinion_stays_as_it_is(how):
    torch.testing.assert_close(ensemble.average(THREE[:1], how), THREE[0])


def test_many_up_passes_give_the_posterior_over_all_states():
    dbn, image = small_net((3, 2, 2, 3), 3).float(), some_images(1).float()
    exact = torch.zeros(1, 3)
    for low, high in product(product([0.0, 1.0], repeat=2), repeat=2):
        low, high = torch.tensor([low]), torch.tensor([high])
        chance = torch.ones(())
        for layer, below, above in (
            (dbn.recognition[0], image, low),
            (dbn.recognition[1], low, high),
        ):
            p = torch.sigmoid(below @ layer.weight + layer.bias)
            chance = chance * torch.where(above == 1, p, 1 - p).prod()
        exact += chance * torch.softmax(classify.memory_label_scores(dbn, high), 1)
    actual = (
        ensemble.up_passes(dbn, image.expand(20_000, -1), count=5, rng=generator(1))
        .exp()
        .mean(0, keepdim=True)
    )
    torch.testing.assert_close(actual, exact, rtol=0, atol=0.006)
    deterministic = classify.log_probs(dbn, image).exp()
    assert float((deterministic - exact).abs().max()) > 0.018, "the check above could not fail"


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        ensemble.average([])
    with pytest.raises(DataError, match=r"predictions\[1\] of shape \(3, 4\)"):
        ensemble.average([THREE[0], THREE[1][:3]])
    with pytest.raises(ConfigError, match="'probs' or 'log-probs'"):
        ensemble.average(THREE, "votes")
    with pytest.raises(ConfigError, match="0 up-passes"):
        ensemble.up_passes(small_net().float(), some_images(2).float(), count=0, rng=generator(0))
