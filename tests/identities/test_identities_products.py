"""Products are the same, whichever library forms them, and only those that may are given to the faster one."""

import pytest
import torch

from wakesleep.foundation import products, select
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.model.rbm import RBM

N, BELOW, ABOVE = 100, 160, 120


@pytest.fixture(params=[True, False], ids=["oneDNN", "plain"])
def way(request, monkeypatch):
    """Take one library or the other, whichever is faster here."""
    monkeypatch.setattr(products, "onednn_serves", lambda: request.param)
    return request.param


def some(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def close(told, exact):
    torch.testing.assert_close(told.double(), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("turned", [False, True])
def test_states_times_weights_and_a_bias(way, turned):
    states, bias = some(N, BELOW), some(ABOVE, seed=1)
    weight = some(ABOVE, BELOW, seed=2).t() if turned else some(BELOW, ABOVE, seed=2)
    exact = states.double() @ weight.double() + bias.double()
    close(products.affine(states, weight, bias), exact)
    both = torch.zeros(2, N, ABOVE)
    assert products.affine(states, weight, bias, out=both[1]).data_ptr() == both[1].data_ptr()
    close(both[1], exact)
    assert not both[0].any()


def test_rows_of_a_larger_matrix(way):
    weight = some(BELOW + 10, ABOVE, seed=2)
    states, bias = some(N, BELOW + 10)[:, :BELOW], some(ABOVE, seed=1)
    close(products.affine(states, weight[:BELOW], bias), states.double() @ weight[:BELOW].double() + bias.double())


def test_states_times_states(way):
    left, right = some(2 * N, BELOW), some(2 * N, ABOVE, seed=1)
    told = products.correlation(left, right)
    close(told, left.double().t() @ right.double())
    assert told.is_contiguous(), "the fused step of the weights reads it in a row"


def test_a_machine_learns_the_same_either_way(monkeypatch):
    """Three updates of CD-1 without chance in it: probabilities start the negative phase."""
    cases, found = torch.rand(300, BELOW, generator=generator(1)), []
    monkeypatch.setattr("wakesleep.model.units.Bernoulli.sample", lambda self, mean, rng, out=None: mean if out is None else out.copy_(mean))
    for faster in (True, False):
        monkeypatch.setattr(products, "onednn_serves", lambda faster=faster: faster)
        rbm = RBM(BELOW, ABOVE, rng=generator(0))
        list(cd.epochs(rbm, cases, config=CDConfig(passes=2), rng=generator(2)))
        found.append(rbm.weight)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)
    assert not torch.equal(found[0], RBM(BELOW, ABOVE, rng=generator(0)).weight)


def test_only_large_float32_products_that_nobody_differentiates_may_go_another_way(monkeypatch):
    monkeypatch.setattr(products, "onednn_serves", lambda: True)
    states, weight = some(N, BELOW), some(BELOW, ABOVE)
    assert products.suits_onednn(states, weight)
    assert products.suits_onednn(states, weight, some(ABOVE))
    for dtype in (torch.float64, torch.bfloat16):
        assert not products.suits_onednn(states.to(dtype), weight.to(dtype))
    assert not products.suits_onednn(states[:10], weight)
    assert not products.suits_onednn(states.expand(2, N, BELOW), weight)
    assert not products.suits_onednn(states.to("meta"), weight.to("meta"))
    wanted = weight.clone().requires_grad_()
    assert not products.suits_onednn(states, wanted)
    assert not products.suits_onednn(states, weight, some(ABOVE).requires_grad_())
    with torch.no_grad():
        assert products.suits_onednn(states, wanted)
    monkeypatch.setattr(products, "onednn_serves", lambda: False)
    assert not products.suits_onednn(states, weight)


def test_free_energy_can_be_differentiated(way):
    rbm = RBM(BELOW, ABOVE, rng=generator(0))
    visible = torch.rand(N, BELOW, generator=generator(1)).requires_grad_()
    rbm.free_energy(visible).sum().backward()
    expected = -rbm.visible_bias - rbm.hidden_probs(visible.detach()) @ rbm.weight.t()
    torch.testing.assert_close(visible.grad, expected, rtol=1e-4, atol=1e-4)


def test_onednn_serves_only_where_it_is_there_and_the_processor_gains_by_it(monkeypatch):
    serves = products.onednn_serves.__wrapped__
    for gains in (True, False):
        monkeypatch.setattr(select, "onednn_pays", lambda gains=gains: gains)
        assert serves() == (gains and hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    monkeypatch.setattr(select, "onednn_pays", lambda: True)
    monkeypatch.setenv("WAKESLEEP_BACKEND", "reference")
    assert not serves()
    monkeypatch.delenv("WAKESLEEP_BACKEND")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not serves()
