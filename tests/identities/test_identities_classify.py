"""Recognition by free energies against enumeration of the memory."""

from copy import deepcopy

import pytest
import torch
from exact import TIGHT, joint, states

from wakesleep.evaluation import classify
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN
from wakesleep.units import Bernoulli

SINGLE = {"rtol": 1e-5, "atol": 1e-5}


def net(sizes, labels, seed=0):
    rng = generator(seed)
    dbn = DBN(sizes, labels=labels, rng=rng, weight_std=1.0)
    for name, parameter in dbn.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(generator=rng)
    return dbn


def exact_label_probs(dbn, features):
    """Return p(label | features) by adding up exp(-E) over every state of the memory's hidden
    units, (N, labels).
    """
    memory = deepcopy(dbn.memory).double()
    hidden = states(memory.hidden)
    rows = []
    for feature in features.double():
        every = [
            torch.cat([feature, label]).expand(len(hidden), -1)
            for label in torch.eye(dbn.labels, dtype=torch.float64)
        ]
        rows.append(
            torch.stack([torch.exp(-memory.energy(visible, hidden)).sum() for visible in every])
        )
    p = torch.stack(rows)
    return p / p.sum(1, keepdim=True)


@pytest.mark.parametrize("labels", [3, 10])
def test_one_layer_gives_the_exact_posterior_of_the_joint(labels):
    dbn = net((4, 5), labels)
    pixels = states(Bernoulli(4))
    p = joint(deepcopy(dbn.memory).double()).sum(1).reshape(len(pixels), labels)
    expected = torch.log(p / p.sum(1, keepdim=True)).float()
    torch.testing.assert_close(classify.log_probs(dbn, pixels.float()), expected, **SINGLE)
    assert torch.equal(classify.predict(dbn, pixels.float()), p.argmax(1))


@pytest.mark.parametrize("labels", [3, 10])
def test_deeper_net_gives_the_memorys_posterior_of_the_penultimate_probabilities(labels):
    dbn = net((6, 5, 4, 6), labels, seed=1)
    images = torch.rand(12, 6, generator=generator(2))
    penultimate = images
    for layer in dbn.recognition:
        penultimate = torch.sigmoid(penultimate @ layer.weight + layer.bias)
    log_probs = classify.log_probs(dbn, images)
    torch.testing.assert_close(
        log_probs.exp(), exact_label_probs(dbn, penultimate).float(), **SINGLE
    )
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(12))


def test_scores_in_float64():
    dbn = net((6, 5, 6), 3).double()
    penultimate = torch.rand(7, 5, generator=generator(3), dtype=torch.float64)
    scores = classify.memory_label_scores(dbn, penultimate)
    torch.testing.assert_close(
        torch.softmax(scores, 1), exact_label_probs(dbn, penultimate), **TIGHT
    )


def test_stochastic_pass_averages_over_sampled_features():
    dbn = net((6, 3, 5), 3, seed=2)
    image = torch.rand(1, 6, generator=generator(4))
    every = states(Bernoulli(3))
    p = dbn.up(image)[-1].double()
    weight = torch.where(every == 1, p, 1 - p).prod(1)
    expected = weight @ exact_label_probs(dbn, every)
    got = classify.log_probs(dbn, image.expand(60_000, -1), generator(5)).exp().double()
    torch.testing.assert_close(got.mean(0), expected, rtol=0, atol=5 * 0.5 / 60_000**0.5)
    assert len(got.unique(dim=0)) > 1


def test_many_images_are_taken_in_pieces_in_order():
    dbn = net((6, 3, 5), 10)
    images = torch.rand(4_100, 6, generator=generator(6))
    torch.testing.assert_close(
        classify.log_probs(dbn, images)[1_990:2_010],
        classify.log_probs(dbn, images[1_990:2_010]),
        **SINGLE,
    )
    assert classify.log_probs(dbn, images).shape == (4_100, 10)


def test_pixels_as_bytes():
    dbn = net((6, 3, 5), 3)
    pixels = torch.randint(256, (9, 6), generator=generator(7), dtype=torch.uint8)
    torch.testing.assert_close(
        classify.log_probs(dbn, pixels), classify.log_probs(dbn, pixels / 255.0), **SINGLE
    )


def test_errors_are_counted():
    assert classify.count_errors(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 0, 3, 0])) == 2


def test_a_net_without_labels_names_none():
    with pytest.raises(ConfigError, match="no labels"):
        classify.log_probs(DBN((4, 3), rng=generator(0)), torch.zeros(1, 4))
