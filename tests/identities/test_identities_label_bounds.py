"""Bounds on log p(cases, label), log p(cases | label) and log p(label | cases), of one sense and of
several, against enumeration.
"""

import pytest
import torch
from exact import TIGHT, log_z, states
from torch.nn.functional import one_hot

import wakesleep as ws
from wakesleep.evaluation import absent_codes, bound, exact
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN
from wakesleep.units import Bernoulli

NETS = {
    "one layer": lambda: DBN((3, 4), labels=3, rng=generator(0)),
    "one sense": lambda: DBN((3, 2, 4), labels=3, rng=generator(0)),
    "two senses": lambda: ws.DBN(
        senses={"image": (2, 2), "sound": (1, 2, 1)}, labels=3, top=4, rng=generator(0)
    ),
    "no layers": lambda: ws.DBN(
        senses={"image": (2,), "sound": (1,)}, labels=3, top=4, rng=generator(0)
    ),
}
NO_LAYERS = ("one layer", "no layers")


def net_of(name, scale=0.5):
    """Return a float64 net whose weights and biases are all away from zero."""
    net, rng = NETS[name]().double(), generator(1)
    net.untie()
    for parameter in net.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64) * scale)
    return net


def made(layers, code):
    """Return p(every visible state | each code), (codes, states), generative layers summed out."""
    if not len(layers):
        every = states(Bernoulli(code.shape[1]))
        return (code[:, None] == every[None]).all(-1).double()
    found = torch.eye(len(code), dtype=torch.float64)
    for layer in reversed(layers):
        below = states(Bernoulli(layer.units.size))
        on = torch.sigmoid(code @ layer.weight.t() + layer.bias)
        chance = torch.where(below[None] == 1, on[:, None], 1 - on[:, None]).prod(-1)
        found, code = found @ chance, below
    return found


def log_joint(net):
    """Return every case (states, 3) and log p(case, label), (states, labels), by enumeration."""
    memory = states(net.memory.visible)
    p = torch.exp(-net.memory.free_energy(memory) - log_z(net.memory))
    label = memory[:, net.label_columns]
    if isinstance(net, DBN):
        codes = memory[:, : net.label_columns.start]
        given = made(net.generative, codes)
    else:
        image, sound = (
            made(net.pathways[name].generative, memory[:, net.groups.columns(name)])
            for name in net.senses
        )
        given = (image[:, :, None] * sound[:, None, :]).flatten(1)
    return states(Bernoulli(3)), torch.log(given.t() @ (p[:, None] * label))


def as_given(net, every):
    if isinstance(net, DBN):
        return every
    return {name: every[:, columns] for name, columns in net.columns.items()}


def log_z_of_labels(net):
    found = []
    for label in range(net.labels):
        rbm, bias = bound.given_label(net, label)
        found.append(bias + exact.log_partition(rbm))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("name", NETS)
def test_log_z_of_the_labels_adds_up_to_that_of_the_memory(name):
    net = net_of(name)
    total = torch.logsumexp(log_z_of_labels(net), 0)
    torch.testing.assert_close(total, log_z(net.memory), **TIGHT)


@pytest.mark.parametrize("name", NETS)
def test_label_bounds_lie_below_and_samples_take_them_to_the_truth(name):
    net = net_of(name)
    every, truth = log_joint(net)
    marginal = torch.logsumexp(truth, 0)
    samples = 600 if name not in NO_LAYERS else 2
    for label in range(net.labels):
        labels = torch.full((len(every),), label)
        found = bound.label_bounds(
            net,
            as_given(net, every),
            labels,
            log_z_of_labels(net),
            rng=generator(2),
            samples=samples,
        )
        joint, given, told = (
            truth[:, label],
            truth[:, label] - marginal[label],
            truth[:, label] - torch.logsumexp(truth, 1),
        )
        if name in NO_LAYERS:
            for one, other in (
                (found.joint.bound, joint),
                (found.given_label.bound, given),
                (found.label_log_prob, told),
            ):
                torch.testing.assert_close(one, other, **TIGHT)
            continue
        for one, other in ((found.joint, joint), (found.given_label, given)):
            assert bool((one.bound <= other + 5 * one.error).all())
            torch.testing.assert_close(one.importance_weighted, other, atol=0.1, rtol=0)
        torch.testing.assert_close(found.label_log_prob, told, atol=0.1, rtol=0)


@pytest.mark.parametrize("name", ["two senses", "no layers"])
def test_the_bound_of_several_senses_lies_below_log_p_with_the_label_summed_out(name):
    net = net_of(name)
    every, truth = log_joint(net)
    total = torch.logsumexp(truth, 1)
    found = bound.lower_bound(
        net, as_given(net, every), float(log_z(net.memory)), rng=generator(3), samples=600
    )
    assert bool((found.bound <= total + 5 * found.error + 1e-9).all())
    torch.testing.assert_close(found.importance_weighted, total, atol=0.1, rtol=0)
    joint = bound.lower_bound(
        net, as_given(net, every), float(log_z(net.memory)), rng=generator(3), samples=600,
        labels=torch.zeros(len(every), dtype=torch.long),
    )  # fmt: skip
    torch.testing.assert_close(joint.importance_weighted, truth[:, 0], atol=0.1, rtol=0)


def without_sound(net):
    """Return all cases of the image alone, two units, with log p(image, label), (4, labels)."""
    every, truth = log_joint(net)
    kinds = every[:, :2].long() @ torch.tensor([2, 1])
    images = states(Bernoulli(2))
    order = images.long() @ torch.tensor([2, 1])
    summed = [torch.logsumexp(truth[kinds == kind], 0) for kind in order.tolist()]
    return images, torch.stack(summed)


@pytest.mark.parametrize(
    ("name", "absent"),
    [("two senses", "left out"), ("two senses", "NaN"), ("no layers", "NaN")],
)
def test_an_absent_sense_is_summed_out_within_the_bounds(name, absent):
    net = net_of(name)
    images, truth = without_sound(net)
    cases = {"image": images}
    if absent != "left out":
        every, of_both = log_joint(net)
        sounds = torch.full((4, 1), torch.nan, dtype=torch.float64)
        cases = {"image": torch.cat([images, every[:, :2]]), "sound": torch.cat([
            sounds, every[:, 2:]
        ])}  # fmt: skip
        truth = torch.cat([truth, of_both])
    total = float(log_z(net.memory))
    for labels, wanted in (
        (None, torch.logsumexp(truth, 1)),
        (torch.ones(len(truth), dtype=torch.long), truth[:, 1]),
    ):
        found = bound.lower_bound(net, cases, total, rng=generator(3), samples=600, labels=labels)
        assert bool((found.bound <= wanted + 5 * found.error + 1e-9).all())
        torch.testing.assert_close(found.importance_weighted, wanted, atol=0.1, rtol=0)
        assert bool((found.bound > wanted - 1.5).all())
    of_label = bound.label_bounds(
        net, cases, torch.ones(len(truth), dtype=torch.long), log_z_of_labels(net),
        rng=generator(4), samples=600,
    )  # fmt: skip
    torch.testing.assert_close(of_label.joint.importance_weighted, truth[:, 1], atol=0.1, rtol=0)
    assert bool((of_label.joint.bound <= truth[:, 1] + 5 * of_label.joint.error + 1e-9).all())
    told = truth[:, 1] - torch.logsumexp(truth, 1)
    torch.testing.assert_close(of_label.label_log_prob, told, atol=0.1, rtol=0)


def lacking_sound():
    """A net of strong weights and four cases, of which the last alone has its sound."""
    net = ws.DBN(senses={"image": (2, 2), "sound": (3, 2)}, labels=3, top=4, rng=generator(0))
    net, rng = net.double(), generator(1)
    for parameter in net.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    sound = torch.full((4, 3), torch.nan, dtype=torch.float64)
    sound[3] = torch.tensor([1.0, 0.0, 1.0])
    return net, [states(Bernoulli(2)).double(), sound], torch.tensor([0, 1, 2, 1])


def test_absent_codes_are_settled_where_what_is_known_is_held():
    net, cases, labels = lacking_sound()
    found = absent_codes.settled(net, cases, labels)
    codes, known = net.encode(dict(zip(net.senses, cases, strict=True)))
    assert torch.equal(found.known, known)
    means = torch.where(known, codes, torch.sigmoid(found.total_input))
    visible = torch.cat([means, one_hot(labels, 3).double()], 1)
    again = net.memory.visible_input(net.memory.hidden_probs(visible))[:, : codes.shape[1]]
    torch.testing.assert_close(again, found.total_input, atol=1e-5, rtol=0)
    assert absent_codes.settled(net, [each[3:] for each in cases], labels[3:]) is None


def test_absent_codes_are_drawn_with_their_entropy_and_weight():
    net, cases, labels = lacking_sound()
    found, count = absent_codes.settled(net, cases, labels), 5000
    codes, known = net.encode(dict(zip(net.senses, cases, strict=True)))
    many = absent_codes.AbsentCodes(*(part.repeat(count, 1) for part in found))
    entropy, log_weight, filled = absent_codes.draw(net, many, codes.repeat(count, 1), generator(2))
    p = torch.sigmoid(found.total_input)
    each = torch.where(known, 0.0, -p * p.log() - (1 - p) * torch.log1p(-p)).sum(1)
    torch.testing.assert_close(entropy, each.repeat(count), **TIGHT)
    q = torch.where(filled == 1, p.repeat(count, 1), 1 - p.repeat(count, 1))
    expected = torch.where(many.known, 0.0, -q.log()).sum(1)
    torch.testing.assert_close(log_weight, expected, **TIGHT)
    filled = filled.view(count, *codes.shape)
    assert bool(((filled == 0) | (filled == 1) | known).all())
    wanted = torch.where(known, codes, p)
    assert float((filled.mean(0) - wanted).abs().max()) < 5 * 0.5 / count**0.5
    assert torch.equal(filled[0][known], codes[known])


def test_each_label_has_absent_codes_of_its_own():
    net, cases, labels = lacking_sound()
    absent = absent_codes.settled_by_label(net, cases)
    codes, _ = net.encode(dict(zip(net.senses, cases, strict=True)))
    own, every = absent_codes.of_labels(net, absent, codes, labels, generator(2))
    rng = generator(2)
    for label, of_label in enumerate(absent):
        alone = absent_codes.settled(net, cases, torch.full((4,), label))
        assert torch.equal(of_label.total_input, alone.total_input)
        entropy, log_weight, filled = absent_codes.draw(net, alone, codes, rng)
        visible = torch.cat([filled, one_hot(torch.full((4,), label), 3).double()], 1)
        log_p = -net.memory.free_energy(visible)
        torch.testing.assert_close(every[:, label], log_p + log_weight, **TIGHT)
        rows = labels == label
        torch.testing.assert_close(own[rows], (log_p + entropy)[rows], **TIGHT)


def test_what_does_not_fit_is_refused_in_words():
    net = net_of("two senses")
    cases, labels = as_given(net, states(Bernoulli(3))), torch.zeros(8, dtype=torch.long)
    nothing = {"image": torch.full((2, 2), torch.nan)}
    with pytest.raises(DataError, match="2 of 2 cases have no sense at all"):
        bound.lower_bound(net, nothing, 0.0, rng=generator(0))
    with pytest.raises(DataError, match="log_z of shape"):
        bound.label_bounds(net, cases, labels, [0.0], rng=generator(0))
    with pytest.raises(ConfigError, match="expected 0 to 2"):
        bound.given_label(net, 3)
