"""Looking inside, against brute force: evidence adds up to the log odds, contributions are
differences of down-passes.
"""

import pytest
import torch
from exact import TIGHT, assert_frequencies, draw, index_of, joint, labelled, small_rbm, states

from wakesleep.evaluation import classify, interpretation
from wakesleep.foundation.errors import ConfigError, WakesleepError
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN
from wakesleep.samplers import dreams
from wakesleep.samplers.gibbs import Clamp, run

MANY = 200_000


def net(sizes, labels=4, seed=0):
    """A float64 net, untied, whose weights and biases are all away from zero."""
    rng = generator(seed)
    dbn = DBN(sizes, labels=labels, rng=rng, weight_std=0.8)
    dbn.untie()
    for parameter in dbn.parameters():
        parameter.add_(0.5 * torch.randn(parameter.shape, generator=rng))
    return dbn.double()


@pytest.mark.parametrize("sizes", [(6, 5), (6, 5, 7), (6, 5, 4, 7)])
def test_evidence_and_the_label_biases_are_the_log_odds(sizes):
    dbn = net(sizes)
    images = torch.rand(5, 6, generator=generator(1))
    features = dbn.up(images.double())[-1]
    scores = classify.memory_label_scores(dbn, features)
    for label, other in ((0, 3), (2, 1), (3, 3)):
        bias = dbn.memory.visible_bias[dbn.label_columns]
        actual = (
            interpretation.evidence(dbn, features, label, other).sum(1) + bias[label] - bias[other]
        )
        torch.testing.assert_close(actual, scores[:, label] - scores[:, other], **TIGHT)


def test_a_units_preference_is_its_weights_chained_down():
    dbn = net((6, 5, 4, 7))
    first, second = dbn.recognition[0].weight, dbn.recognition[1].weight
    torch.testing.assert_close(interpretation.receptive_fields(dbn, 1), first, **TIGHT)
    top = torch.einsum("ai,ij,jk->ak", first, second, dbn.memory.weight[:4])
    torch.testing.assert_close(interpretation.receptive_fields(dbn, 3), top, **TIGHT)
    assert interpretation.receptive_fields(dbn, 2).shape == (6, 4)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_units_contribution_is_what_the_way_down_says(layer):
    dbn, unit = net((6, 5, 4, 7)), 2
    biases = {1: dbn.generative[1].bias, 2: dbn.memory.visible_bias[:4], 3: dbn.memory.hidden_bias}
    on = torch.sigmoid(biases[layer]).clone()
    off = on.clone()
    on[unit], off[unit] = 1, 0
    pictures = []
    for states_above in (on[None], off[None]):
        penultimate = dbn.memory.visible_probs(states_above)[:, :4] if layer == 3 else states_above
        pictures.append(
            dbn.down(penultimate)[0] if layer > 1 else dbn.generative[0].probs(penultimate)
        )
    torch.testing.assert_close(
        interpretation.projective_field(dbn, layer, unit), (pictures[0] - pictures[1])[0], **TIGHT
    )


def test_a_memory_on_the_pixels_contributes_too():
    dbn = net((6, 5))
    base = torch.sigmoid(dbn.memory.hidden_bias).repeat(2, 1)
    base[0, 3], base[1, 3] = 1, 0
    shown = dbn.memory.visible_probs(base)[:, :6]
    torch.testing.assert_close(
        interpretation.projective_field(dbn, 1, 3), shown[0] - shown[1], **TIGHT
    )


def test_label_weights_are_what_a_pair_adds():
    dbn = net((6, 5, 7))
    visible, hidden = torch.zeros(4, 9, dtype=torch.float64), torch.zeros(4, 7, dtype=torch.float64)
    visible[:, 5:] = torch.eye(4)
    hidden[:, 6] = 1
    pair = -dbn.memory.energy(visible, hidden)
    alone = dbn.memory.visible_bias[dbn.label_columns] + dbn.memory.hidden_bias[6]
    torch.testing.assert_close(interpretation.label_weights(dbn, 6), pair - alone, **TIGHT)


@pytest.mark.parametrize(
    "call",
    [
        lambda dbn: interpretation.receptive_fields(dbn, 0),
        lambda dbn: interpretation.projective_field(dbn, 4, 0),
        lambda dbn: interpretation.projective_field(dbn, 1, 5),
    ],
)
def test_what_is_not_there_is_refused(call):
    with pytest.raises(ConfigError, match="expected"):
        call(net((6, 5, 4, 7)))
    with pytest.raises(ConfigError, match="holds 4"):
        interpretation.evidence(net((6, 5)), torch.zeros(1, 6, dtype=torch.float64), 0, 4)


def test_through_each_layer_and_down_again():
    dbn = net((6, 5, 4, 7))
    images = torch.rand(3, 6, generator=generator(1)).double()
    first, second, whole = dreams.reconstruct_per_layer(dbn, images)
    up = dbn.up(images)
    torch.testing.assert_close(first, dbn.generative[0].probs(up[1]), **TIGHT)
    torch.testing.assert_close(second, dbn.down(up[2])[0], **TIGHT)
    torch.testing.assert_close(whole, dreams.reconstruct(dbn, images), **TIGHT)
    assert len(dreams.reconstruct_per_layer(net((6, 5)), images)) == 1


def tempered(rbm, temperature):
    p = joint(rbm) ** (1 / temperature)
    return p / p.sum()


@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_chains_at_a_temperature_keep_the_tempered_law(temperature):
    rbm = small_rbm(labelled(2, 3), 3)
    p = tempered(rbm, temperature)
    hidden = states(rbm.hidden)[draw(p.sum(0), MANY, 1)]
    chains = run(rbm, hidden, 2, generator(2), temperature=temperature)
    assert_frequencies(
        index_of(chains.visible, states(rbm.visible)) * 8
        + index_of(chains.hidden, states(rbm.hidden)),
        p.flatten(),
    )


def test_temperature_one_is_the_model_itself():
    rbm = small_rbm(3, 3)
    hidden = states(rbm.hidden)
    assert torch.equal(
        run(rbm, hidden, 4, generator(1)).visible,
        run(rbm, hidden, 4, generator(1), temperature=1.0).visible,
    )
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="temperature"):
            run(rbm, hidden, 1, generator(1), temperature=wrong)


def test_labels_held_half_and_half_have_the_law_of_the_geometric_mean():
    dbn = net((3, 3), labels=3)
    memory = dbn.memory
    shares = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64)
    pixels, hidden = states(memory.visible.parts[0]), states(memory.hidden)

    def log_p(label):
        visible = torch.cat(
            [pixels, torch.eye(3, dtype=torch.float64)[label].expand(len(pixels), -1)], 1
        )
        return -torch.stack(
            [memory.energy(visible, one.expand(len(pixels), -1)) for one in hidden], 1
        )

    p = torch.exp(0.5 * log_p(0) + 0.5 * log_p(2))
    p = p / p.sum()
    clamp = dreams.label_mixture(dbn, shares.expand(MANY, -1))
    chains = run(memory, hidden[draw(p.sum(0), MANY, 5)], 2, generator(6), clamp)
    assert_frequencies(
        index_of(chains.visible[:, :3], pixels) * len(hidden) + index_of(chains.hidden, hidden),
        p.flatten(),
    )


def test_one_label_alone_is_the_ordinary_clamp():
    dbn = net((3, 3), labels=3)
    ours, theirs = (
        dreams.label_mixture(dbn, torch.eye(3)[[2, 0]]),
        dreams.label_clamp(dbn, torch.tensor([2, 0]), 2),
    )
    assert isinstance(ours, Clamp)
    assert torch.equal(ours.mask, theirs.mask)
    assert torch.equal(ours.values, theirs.values)


@pytest.mark.parametrize(
    "shares", [[[0.5, 0.6, 0.0]], [[-0.5, 1.5, 0.0]], [[1.0]], [1.0, 0.0, 0.0]]
)
def test_shares_that_are_no_distribution_are_refused(shares):
    with pytest.raises(WakesleepError, match=r"sum to 1|a row a case"):
        dreams.label_mixture(net((3, 3), labels=3), torch.tensor(shares))
    with pytest.raises(WakesleepError, match=r"no labels|a row a case"):
        dreams.label_mixture(net((3, 3), labels=0), torch.tensor(shares))
