"""Few labels: how they spread, what each loss is, which answers become labels, and that labels
weigh the same however few they are.
"""

import math
from copy import deepcopy
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy import sparse

from benchmarks import few_labels as tries
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, greedy, robust, semi_supervised, spreading
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.semi_supervised import SemiSupervisedConfig
from wakesleep.models.dbn import DBN
from wakesleep.sources.arrays import UNLABELLED

CONFIG = SemiSupervisedConfig(epochs=3, batch_size=10)


def two_groups(count=60, seed=1):
    """Return cases in two tight groups, and their true labels."""
    labels = torch.arange(count) % 2
    centre = torch.tensor([[0.9, 0.9, 0.9, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.9, 0.9, 0.9]])
    return (centre[labels] + 0.15 * torch.randn(count, 6, generator=generator(seed))).clamp(
        0, 1
    ), labels


def known(labels, count):
    return torch.where(torch.arange(len(labels)) < count, labels, UNLABELLED)


def some_net(seed=0, sizes=(6, 8, 8, 2)):
    return backprop.random_classifier(sizes, rng=generator(seed))


def test_labels_run_along_a_graph_and_no_further():
    graph = sparse.lil_matrix((7, 7))
    # two chains, a label at the end of each; case 6 has no neighbour
    for one, other in [(0, 1), (1, 2), (3, 4), (4, 5)]:
        graph[one, other] = graph[other, one] = 1.0
    labels = torch.tensor([0, -1, -1, 1, -1, -1, -1])
    probs = spreading.spread(graph.tocsr(), labels)
    assert probs.argmax(1)[:6].tolist() == [0, 0, 0, 1, 1, 1]
    sure = spreading.certainty(probs)
    assert sure[:6].tolist() == pytest.approx([1.0] * 6)
    assert float(sure[6]) == 0.0
    assert spreading.certainty(torch.full((1, 10), 0.1)).item() == pytest.approx(0.0, abs=1e-6)


def test_labels_that_spread_keep_the_shares_of_their_classes():
    """Against the iteration in plain arithmetic, on a clique of ten and a chain of ten that hang
    together: classes 0, 2 and 3 with three, one and two labels.
    """
    graph = np.zeros((20, 20))
    graph[:10, :10] = 1 - np.eye(10)
    for end in range(9, 19):
        graph[end, end + 1] = graph[end + 1, end] = 1.0
    labels = torch.full((20,), UNLABELLED)
    labels[[0, 1, 2, 3, 12, 19]] = torch.tensor([0, 0, 0, 3, 3, 2])
    given = (labels.numpy()[:, None] == [0, 2, 3]).astype(float)
    root = np.sqrt(graph.sum(0))
    probs = given
    for _ in range(50):
        probs = spreading.ALPHA * (graph / np.outer(root, root)) @ probs
        probs += (1 - spreading.ALPHA) * given
    probs /= probs.sum(1, keepdims=True)
    scaled = probs * (np.array([4, 2, 3]) / 9 / probs.sum(0))  # the shares, with one of each more
    expected = scaled / scaled.sum(1, keepdims=True)
    actual = spreading.spread(sparse.csr_matrix(graph), labels).numpy()
    np.testing.assert_allclose(actual[:, [0, 2, 3]], expected, atol=1e-9)
    assert not actual[:, 1].any()
    # without the shares the clique's label would take more of the chain
    assert (probs[10:, 1] < actual[10:, 2]).all()


def test_labels_keep_their_numbers_where_some_are_not_known():
    images, labels = two_groups()
    actual = spreading.spread_labels(
        images, known(labels, 2).where(known(labels, 2) != 1, torch.tensor(4))
    )
    assert torch.equal(actual.labels, 4 * labels)
    one = spreading.spread_labels(images, torch.where(torch.arange(60) < 1, 3, UNLABELLED))
    assert one.labels[labels == 0].tolist() == [3] * 30
    assert one.weights[labels == 1].tolist() == [0.0] * 30, "no label reaches the other group"


def test_what_is_known_stays_and_is_certain():
    probs = torch.tensor([[0.3, 0.7], [0.3, 0.7], [0.0, 0.0]])
    actual = spreading.most_probable(probs, torch.tensor([0, -1, -1]))
    assert actual.labels.tolist() == [0, 1, 0]
    entropy = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert actual.weights.tolist() == pytest.approx([1.0, 1 - entropy / math.log(2), 0.0])


def test_labels_that_spread_among_codes_name_each_group():
    images, labels = two_groups()
    actual = spreading.spread_labels(images, known(labels, 2))
    assert torch.equal(actual.labels, labels)


def test_labels_agree_where_clusters_are_classes():
    images, labels = two_groups()
    graph = spreading.neighbour_graph(images)
    assert spreading.agreement(graph, known(labels, 40)) == 1.0
    # a class alone has no label left that could come back
    assert spreading.agreement(graph, known(labels, 2)) == 0.0
    mixed = (torch.arange(60) // 2 % 2).where(known(labels, 40) != UNLABELLED, UNLABELLED)
    assert spreading.agreement(graph, mixed) < 0.7


def test_no_part_that_is_left_out_holds_a_whole_class():
    images, labels = two_groups()
    common, rare = (labels == 0).nonzero()[:27, 0], (labels == 1).nonzero()[:, 0]
    # every tenth labelled case is of the rare class
    first = torch.cat([torch.cat([rare[i : i + 1], common[9 * i : 9 * i + 9]]) for i in range(3)])
    order = torch.cat([first, rare[3:]])
    graph = spreading.neighbour_graph(images[order])
    assert spreading.agreement(graph, known(labels[order], 30)) == 1.0


def test_what_is_left_out_is_asked_of_the_others():
    images, labels = two_groups()
    graph, given = spreading.neighbour_graph(images), known(labels, 40)
    wrong = given.clone()
    wrong[(given != UNLABELLED).nonzero()[0]] = 1 - wrong[(given != UNLABELLED).nonzero()[0]]
    # it does not come back, and none of the others is led astray by it
    assert spreading.agreement(graph, wrong) == pytest.approx(39 / 40)


@pytest.mark.parametrize(("agreement", "weight"), [(0.0, 0.1), (0.79, 0.1), (0.8, 1.0)])
def test_smoothness_weighs_more_where_clusters_are_classes(agreement, weight):
    config = SemiSupervisedConfig(epochs=3)
    assert semi_supervised.suited(config, agreement) == replace(config, smooth_weight=weight)
    asked = replace(config, smooth_weight=0.3)
    assert semi_supervised.suited(asked, agreement) == asked


def test_a_memory_learns_from_spread_labels():
    """With one label a class it tells all cases: without spreading it would have seen two cases."""
    images, labels = two_groups()
    dbn = DBN((6, 5, 10), labels=2, rng=generator(0))
    layer = CDConfig(epochs=20, batch_size=10)
    records = list(
        greedy.epochs(
            dbn, images, known(labels, 2), config=GreedyConfig(layer, layer), rng=generator(1)
        )
    )
    assert [record.cases for record in records] == [60] * 40
    from wakesleep.evaluation import classify

    assert classify.count_errors(classify.predict(dbn, images), labels) <= 3


@pytest.mark.parametrize("uint8", [False, True])
def test_neighbours_are_as_far_as_they_are(uint8):
    # nearest: 0.2, 1, 0.2, 1
    images = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.2, 0.0], [1.0, 1.0]])
    assert semi_supervised.neighbour_distance(
        (images * 255).to(torch.uint8) if uint8 else images
    ) == pytest.approx(0.2)
    many = torch.rand(3000, 4, generator=generator(0))
    apart = torch.cdist(many, many).fill_diagonal_(math.inf).amin(1)
    assert semi_supervised.neighbour_distance(many, probes=3000) == pytest.approx(
        float(apart.median()), rel=1e-4
    )


def test_a_label_of_its_own_is_sure():
    answers = torch.tensor([[0.96, 0.04], [0.9, 0.1], [0.01, 0.99], [0.99, 0.01]]).log()
    labels = torch.tensor([1, -1, -1, -1])
    assert semi_supervised.own_labels(answers, labels, 0.95).tolist() == [1, -1, 1, 0]


def test_entropy_is_that_of_the_answers():
    assert float(semi_supervised.entropy(torch.full((3, 4), 0.25).log())) == pytest.approx(
        math.log(4)
    )
    assert float(
        semi_supervised.entropy(torch.log_softmax(torch.tensor([[50.0, 0.0]]), 1))
    ) == pytest.approx(0.0, abs=1e-6)


def algorithm(net, config, radius=0.3):
    return semi_supervised.SemiSupervised(
        net, config, semi_supervised.SemiSupervisedState(), generator(2), None, radius
    )


def test_losses_are_their_formulas_and_their_gradient_is_that_of_the_sum():
    """In float64, with the direction of smoothness drawn alike; an update follows the gradient of
    the formulas' weighted sum.
    """
    net, (images, labels) = some_net().double(), two_groups(20)
    images, own = images.double(), torch.where(torch.arange(10) < 4, labels[10:], UNLABELLED)
    config = replace(CONFIG, entropy_weight=0.7, self_weight=0.3, smooth_weight=2.0)
    losses = algorithm(net, config).losses(images[:10], labels[:10], images[10:], own)
    answer, moved = robust.adversarial(net, images[10:], 0.3, generator(2))
    probs, there = torch.softmax(net(images), 1), torch.softmax(net(moved), 1)
    expected = [
        -probs[torch.arange(10), labels[:10]].log().mean(),
        (answer.exp() * (answer - there.log())).sum(1).mean(),
        -(probs[10:] * probs[10:].log()).sum(1).mean(),
        -probs[10:14][torch.arange(4), own[:4]].log().mean(),
    ]
    assert losses.tolist() == pytest.approx([each.item() for each in expected], rel=1e-9)
    before, after = deepcopy(net), net
    weights = torch.tensor([1.0, 2.0, 0.7, 0.3], dtype=torch.float64)
    total = (torch.stack(expected) * weights).sum()
    gradients = torch.autograd.grad(total, list(net.parameters()))
    algorithm(after, replace(config, learning_rate=0.01, momentum=0.0)).step(
        None, images[:10], labels[:10], images[10:], own
    )
    for old, new, gradient in zip(before.parameters(), after.parameters(), gradients, strict=True):
        assert torch.allclose(old - 0.01 * gradient, new, rtol=1e-7, atol=1e-10)


def test_by_default_labels_weigh_ten_times_as_much_as_the_other_losses():
    tenfold = asdict(tries.weighing_labels(10))
    default = asdict(semi_supervised.suited(SemiSupervisedConfig(), 0.0))
    assert default == pytest.approx(tenfold, rel=2e-3)
    assert tries.weighing_labels(1) == tries.ALIKE


@pytest.mark.parametrize("count", [2, 7, 60])
def test_every_minibatch_holds_as_many_labelled_cases_as_others(count):
    images, labels = two_groups()
    cases = semi_supervised.Cases(images, known(labels, count))
    batches = list(cases.minibatches(10, generator(0)))
    assert [(len(batch[0]), len(batch[2])) for batch in batches] == [(10, 10)] * 6
    assert not any(bool((batch[1] == UNLABELLED).any()) for batch in batches)
    seen = torch.cat([batch[2] for batch in batches])
    assert torch.equal(seen.sum(0).round(decimals=3), images.sum(0).round(decimals=3))


def test_two_labels_are_enough_for_two_groups():
    images, labels = two_groups()
    given, net = known(labels, 2), some_net()
    spread = spreading.spread_labels(images, given)
    start = BackpropConfig(epochs=10, batch_size=10, learning_rate=0.5, sample_pixels=False)
    list(
        backprop.epochs(
            net, images, spread.labels, config=start, rng=generator(1), weights=spread.weights
        )
    )
    records = list(semi_supervised.epochs(net, images, given, config=CONFIG, rng=generator(1)))
    assert records[-1].metrics["labelled_percent"] > 90
    assert torch.equal(backprop.log_probs(net, images).argmax(1), labels)


def test_no_labels_are_refused():
    images, labels = two_groups()
    with pytest.raises(DataError, match="none of 60 cases has a label"):
        list(
            semi_supervised.epochs(
                some_net(), images, known(labels, 0), config=CONFIG, rng=generator(1)
            )
        )
