"""What the estimators stand on: pseudo-likelihood, the mean-field score, missing values, chunks,
cases that are no tensor.
"""

import pytest
import torch
from exact import TIGHT, assert_frequencies, draw, index_of, joint, labelled, small_rbm, states

from wakesleep.evaluation import meanfield
from wakesleep.evaluation.pseudo import pseudo_log_likelihood
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, greedy
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig, GreedyState
from wakesleep.models.dbn import DBN
from wakesleep.samplers import missing
from wakesleep.sources import arrays


def test_pseudo_likelihood_is_the_product_of_conditionals():
    rbm = small_rbm(5, 4)
    p, every = joint(rbm).sum(1), states(rbm.visible)
    expected = torch.zeros(len(every), dtype=torch.float64)
    for unit in range(5):
        turned = every.clone()
        turned[:, unit] = 1 - turned[:, unit]
        expected += torch.log(p / (p + p[index_of(turned, every)]))
    torch.testing.assert_close(pseudo_log_likelihood(rbm, every), expected, **TIGHT)


@pytest.mark.parametrize("labels", [0, 3])
def test_score_of_one_layer_is_its_free_energy_with_the_label_summed_out(labels):
    dbn = DBN((4, 3), labels=labels, rng=generator(0), weight_std=1.0).double()
    rbm = small_rbm(labelled(4, 3) if labels else 4, 3)
    for own, given in zip(dbn.memory.parameters(), rbm.parameters(), strict=True):
        own.copy_(given)
    every = states(rbm.visible)
    unnormalised = -rbm.free_energy(every)
    pixels = every[:, :4].reshape(16, -1, 4)[:, 0]
    expected = torch.logsumexp(unnormalised.reshape(16, -1), 1)
    torch.testing.assert_close(meanfield.score(dbn, pixels), expected, **TIGHT)


def test_score_is_the_bound_where_hidden_units_are_certain():
    """With saturated units means are samples, and the score is log p(v, h) + log Z of the one h
    there is.
    """
    dbn = DBN((4, 3, 2), rng=generator(0), weight_std=0.0).double()
    for name, parameter in dbn.named_parameters():
        parameter.normal_(generator=generator(len(name)))
    dbn.recognition[0].bias.copy_(torch.tensor([60.0, -60.0, 60.0]))
    v, h = states(dbn.generative[0].units), torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    p = dbn.generative[0].probs(h)
    expected = torch.log(v * p + (1 - v) * (1 - p)).sum(1) - dbn.memory.free_energy(h)
    torch.testing.assert_close(meanfield.score(dbn, v), expected, rtol=1e-9, atol=1e-9)


def test_refilling_leaves_the_conditional_of_the_unknown_alone():
    rbm = small_rbm(4, 3)
    p, every, n = joint(rbm).sum(1), states(rbm.visible), 60_000
    known = torch.tensor([True, False, False, True])
    law = torch.where((every[:, 0] == 1) & (every[:, 3] == 0), p, 0.0)
    cases = every[draw(law / law.sum(), n, 1)]
    before = cases.clone()
    missing.refill(rbm, cases, known.expand(n, 4), generator(2), steps=2)
    assert torch.equal(cases[:, known], before[:, known])
    assert not torch.equal(cases, before)
    assert_frequencies(index_of(cases, every), law / law.sum())


def test_imputed_means_are_the_models():
    rbm = small_rbm(4, 3, scale=0.7)
    p, every = joint(rbm).sum(1), states(rbm.visible)
    law = torch.where(every[:, 0] == 1, p, 0.0)
    cases = torch.tensor([[1.0, torch.nan, torch.nan, torch.nan]], dtype=torch.float64).repeat(
        500, 1
    )
    filled = missing.impute(rbm, cases, generator(0), steps=200, mean=True)
    expected = (law / law.sum()) @ every
    assert float((filled.mean(0) - expected).abs().max()) < 0.02
    assert torch.equal(filled[:, 0], torch.ones(500, dtype=torch.float64))
    with pytest.raises(ConfigError, match="at least 2"):
        missing.impute(rbm, cases, generator(0), steps=1)


def test_beginning_fills_from_the_columns_means():
    cases = torch.tensor([[1.0, torch.nan, 0.0]]).repeat(20_000, 1)
    cases[:10_000:4, 0] = torch.nan
    known = missing.init_missing(cases, generator(0))
    assert not torch.isnan(cases).any()
    assert bool((cases[:, 0] == 1).all())
    assert abs(float(cases[:, 1].mean()) - 0.5) < 0.02, "nothing known: even chances"
    assert int((~known).sum()) == 20_000 + 2500


def test_a_chunk_that_is_the_whole_set_is_a_first_pass():
    images = torch.rand(60, 6, generator=generator(0))
    labels = torch.arange(60) % 3
    layer = CDConfig(epochs=1, batch_size=10)
    config = GreedyConfig(layer, layer)
    whole, chunked = (DBN((6, 5, 4), labels=3, rng=generator(1)) for _ in range(2))
    list(greedy.epochs(whole, images, labels, config=config, rng=generator(2)))
    states = greedy.chunk(chunked, images, labels, config=config, rng=generator(2))
    for ours, theirs in zip(chunked.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    velocity = states[0].velocity["weight"].clone()
    biases = chunked.generative[0].bias.clone()
    again = greedy.chunk(
        chunked,
        images[:10],
        labels[:10],
        config=config,
        rng=generator(3),
        layers=[0],
        states=states,
    )
    assert again[1] is states[1]
    assert not torch.equal(again[0].velocity["weight"], velocity)
    assert float((chunked.generative[0].bias - biases).abs().max()) < 0.1, "base rates are set once"


@pytest.mark.parametrize(("sizes", "learns"), [((6, 5, 4), True), ((6, 4), False)])
def test_a_memory_learns_from_unlabelled_cases_where_labels_can_spread_among_codes(sizes, learns):
    images = torch.rand(60, 6, generator=generator(0))
    labels = torch.where(torch.arange(60) < 30, torch.arange(60) % 3, arrays.UNLABELLED)
    other = images.clone()
    other[30:] = torch.rand(30, 6, generator=generator(5))
    layer = CDConfig(epochs=2, batch_size=10)
    config = GreedyConfig(layer, layer)
    nets = []
    for cases in (images, other):
        dbn = DBN(sizes, labels=3, rng=generator(1))
        state = GreedyState(layer=dbn.depth - 1)
        list(greedy.epochs(dbn, cases, labels, config=config, rng=generator(2), state=state))
        nets.append(dbn)
    assert torch.equal(nets[0].memory.weight, nets[1].memory.weight) == (not learns)
    for cases, dbn in zip((images, other), nets, strict=True):
        next(greedy.epochs(dbn, cases, labels, config=config, rng=generator(2)))
    for one, another in zip(nets[0].recognition, nets[1].recognition, strict=True):
        assert not torch.equal(one.weight, another.weight), "directed layers learn from all cases"


def test_rows_teach_what_a_tensor_does():
    class Listed:
        dtype = torch.float32

        def __init__(self, tensor):
            self.tensor = tensor

        def __len__(self):
            return len(self.tensor)

        def __getitem__(self, index):
            return self.tensor[index]

    images = torch.rand(25, 5, generator=generator(0))
    config = CDConfig(epochs=2, batch_size=10)
    weights = []
    for cases in (images, Listed(images)):
        rbm = small_rbm(5, 4).float()
        list(cd.epochs(rbm, cases, config=config, rng=generator(1)))
        weights.append(rbm.weight)
    assert torch.equal(*weights)
