"""The deep belief net: which weights are shared, and what the epochs compute."""

from copy import deepcopy

import pytest
import torch
from exact import assert_frequencies, chance, index_of, states

import wakesleep as ws
from wakesleep.evaluation import meanfield
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy
from wakesleep.learning.configs import CDConfig, GreedyConfig
from wakesleep.models.dbn import DBN
from wakesleep.runs import checkpoint
from wakesleep.samplers import dreams
from wakesleep.units import Bernoulli, Categorical, Groups, Multinomial, Thermometer


def net(sizes=(6, 5, 4, 7), labels=3, seed=0):
    rng = generator(seed)
    dbn = DBN(sizes, labels=labels, rng=rng, weight_std=1.0)
    for name, parameter in dbn.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(generator=rng)
    return dbn


def count(dbn, ending):
    return sum(
        parameter.numel() for name, parameter in dbn.named_parameters() if name.endswith(ending)
    )


def test_parameters_of_the_papers_net():
    dbn = DBN((784, 500, 500, 2000), labels=10, rng=generator(0))
    assert (count(dbn, "weight"), count(dbn, "bias")) == (1_662_000, 4_794)
    assert dbn.tied
    dbn.untie()
    assert (count(dbn, "weight"), count(dbn, "bias")) == (2_304_000, 4_794)
    assert not dbn.tied


def test_an_untied_net_starts_as_the_tied_one_and_then_goes_its_own_way():
    dbn = net()
    images, penultimate = (
        torch.rand(8, 6, generator=generator(1)),
        torch.rand(8, 4, generator=generator(2)),
    )
    before = (
        dbn.up(images)
        + dbn.down(penultimate)
        + dbn.up(images, generator(3))
        + dbn.down(penultimate, generator(3))
    )
    dbn.untie()
    after = (
        dbn.up(images)
        + dbn.down(penultimate)
        + dbn.up(images, generator(3))
        + dbn.down(penultimate, generator(3))
    )
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for layer in dbn.recognition:
        layer.weight.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(dbn.down(penultimate), before[3:6], strict=True))
    assert not torch.equal(dbn.up(images)[1], before[1])
    dbn.untie()
    assert all(
        torch.equal(a, b) for a, b in zip(dbn.down(penultimate), before[3:6], strict=True)
    ), "a second untie must not copy again"


def test_layers_as_rbms_share_storage():
    dbn = net()
    for number in range(2):
        rbm = dbn.rbm(number)
        up, down = dbn.recognition[number], dbn.generative[number]
        assert rbm.weight is up.weight
        assert rbm.weight is down.weight
        assert rbm.hidden_bias is up.bias
        assert rbm.visible_bias is down.bias
        states_below = torch.rand(4, dbn.sizes[number], generator=generator(1))
        rbm.weight.mul_(-1.5)
        assert torch.equal(rbm.hidden_probs(states_below), up.probs(states_below))
        assert torch.equal(
            rbm.visible_probs(up.probs(states_below)), down.probs(up.probs(states_below))
        )
    assert dbn.rbm(2) is dbn.memory
    dbn.untie()
    with pytest.raises(ConfigError, match="layer 0 is untied"):
        dbn.rbm(0)
    assert dbn.rbm(2) is dbn.memory


@pytest.mark.parametrize(
    "change",
    [deepcopy, lambda dbn: dbn.to(torch.float64), lambda dbn: dbn.double()],
    ids=["copy", "to", "double"],
)
def test_tying_survives(change):
    other = change(net())
    assert other.tied
    assert count(other, "weight") == 6 * 5 + 5 * 4 + (4 + 3) * 7
    other.recognition[0].weight.zero_()
    assert not other.generative[0].weight.any()


def test_untied_copies_stay_untied():
    dbn = net()
    dbn.untie()
    assert not deepcopy(dbn).double().tied


def test_a_copy_is_independent():
    dbn = net()
    other = deepcopy(dbn)
    other.recognition[0].weight.zero_()
    assert bool(dbn.recognition[0].weight.any())


@pytest.mark.parametrize("untied", [False, True])
def test_passes_by_hand(untied):
    dbn = net()
    if untied:
        dbn.untie()
        for layer in dbn.generative:
            layer.weight.add_(0.3)
    images, penultimate = (
        torch.rand(8, 6, generator=generator(1)),
        torch.rand(8, 4, generator=generator(2)),
    )
    first = torch.sigmoid(images @ dbn.recognition[0].weight + dbn.recognition[0].bias)
    second = torch.sigmoid(first @ dbn.recognition[1].weight + dbn.recognition[1].bias)
    for ours, theirs in zip(dbn.up(images), (images, first, second), strict=True):
        torch.testing.assert_close(ours, theirs)
    middle = torch.sigmoid(penultimate @ dbn.generative[1].weight.t() + dbn.generative[1].bias)
    below = torch.sigmoid(middle @ dbn.generative[0].weight.t() + dbn.generative[0].bias)
    for ours, theirs in zip(dbn.down(penultimate), (below, middle, penultimate), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_sampled_passes_have_the_conditional_law():
    dbn = net((3, 3, 2, 2), labels=0)
    image = torch.tensor([[1.0, 0.0, 1.0]])
    hid, penultimate = dbn.up(image.expand(60_000, -1), generator(1))[1:]
    every, above = states(Bernoulli(3)), states(Bernoulli(2))
    first = chance(Bernoulli(3), dbn.recognition[0].probs(image).double(), every)
    second = chance(Bernoulli(2), dbn.recognition[1].probs(every.float()).double(), above)
    law = first.t() * second
    assert_frequencies(index_of(hid, every) * 4 + index_of(penultimate, above), law.flatten())
    pixels, hid, penultimate = dbn.down(torch.ones(60_000, 2), generator(2))
    assert_frequencies(
        index_of(hid, every),
        chance(Bernoulli(3), dbn.generative[1].probs(torch.ones(1, 2)).double(), every)[0],
    )
    torch.testing.assert_close(pixels, dbn.generative[0].probs(hid))
    assert bool((penultimate == 1).all())


def test_label_columns_and_depth():
    dbn = net()
    assert dbn.depth == 3
    assert dbn.memory.visible.size == 7
    assert list(range(7))[dbn.label_columns] == [4, 5, 6]
    assert DBN((4, 3), rng=generator(0)).depth == 1
    assert DBN((4, 3), rng=generator(0)).memory.visible.spec() == Bernoulli(4).spec()


@pytest.mark.parametrize(
    ("sizes", "labels", "named"),
    [((5,), 0, "5"), ((5, 0), 0, "0"), ((5, 4), 1, "1"), ((5, 4), -2, "-2")],
)
def test_bad_shapes_are_refused(sizes, labels, named):
    with pytest.raises(ConfigError, match=named):
        DBN(sizes, labels=labels, rng=generator(0))


TABLE = Groups(yes=Bernoulli(1), colour=Categorical(3), grades=Thermometer(4, sites=2))
"""Ten columns: 1 + 3 + 2 * 3."""


def rows(count, seed=0):
    """Return states of TABLE."""
    rng = generator(seed)
    return TABLE.sample(torch.randn(count, TABLE.size, generator=rng), rng)


@pytest.mark.parametrize("sizes", [(TABLE, 5, 6), (TABLE, 6)], ids=["deep", "memory alone"])
@pytest.mark.parametrize("labels", [0, 3])
def test_a_net_over_the_units_of_a_table(tmp_path, sizes, labels):
    dbn = net(sizes, labels)
    assert dbn.sizes == (10, *sizes[1:])
    cases, targets = rows(60), torch.arange(60) % labels if labels else None
    layer = CDConfig(epochs=2, batch_size=20)
    config = GreedyConfig(layer, layer)
    assert list(greedy.epochs(dbn, cases, targets, config=config, rng=generator(1)))
    dreamt = dreams.dream(dbn, rng=generator(2), count=200, steps=20).pixels
    TABLE.validate(dreamt)
    assert torch.allclose(dreamt[:, 1:4].sum(1), torch.ones(200), atol=1e-5)
    known = torch.ones(10, dtype=torch.bool)
    known[4:7] = False
    filled = dreams.inpaint(dbn, cases, known, rng=generator(3), sweeps=5)
    TABLE.validate(filled)
    assert torch.equal(filled[:, known], cases[:, known])
    TABLE.validate(dreams.draw_visible(dbn, filled, generator(4)), states=True)
    checkpoint.save_models(tmp_path / "net.safetensors", {"dbn": dbn}, {})
    again = ws.load(tmp_path / "net.safetensors")
    again = again["dbn"] if isinstance(again, dict) else again
    assert repr(again.visible) == repr(TABLE)
    assert torch.equal(again.up(cases)[-1], dbn.up(cases)[-1])


def test_a_mean_field_score_over_a_table_is_exact_for_one_layer():
    dbn = net((TABLE, 4), labels=0)
    cases = rows(7).double()
    assert torch.allclose(
        meanfield.score(dbn.double(), cases), -dbn.memory.free_energy(cases), atol=1e-9
    )


def test_documents_are_refused():
    with pytest.raises(ConfigError, match="length of a document"):
        DBN((Multinomial(3), 4, 5), rng=generator(0))
