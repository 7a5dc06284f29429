"""Generation: clamped labels and known pixels hold, and a net that learned two patterns dreams
them.
"""

from copy import deepcopy

import pytest
import torch
from calls import FAMILIES
from exact import assert_frequencies, joint

from wakesleep.foundation.errors import ConfigError, DataError, WakesleepError
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.models.dbn import DBN
from wakesleep.samplers import dreams
from wakesleep.samplers.gibbs import run
from wakesleep.units import Gaussian

PATTERNS = torch.tensor(
    [[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]]
)


@pytest.fixture(scope="module")
def trained():
    """A net that has seen two patterns with their labels, and nothing else."""
    dbn = DBN((8, 6, 10), labels=2, rng=generator(0))
    # decay keeps weights small, so that chains can cross from one pattern to the other
    below = CDConfig(epochs=20, batch_size=20, final_learning_rate=0.05, weight_decay=0.01)
    memory = CDConfig(
        epochs=100,
        batch_size=40,
        final_learning_rate=0.01,
        weight_decay=0.01,
        gibbs_steps=3,
        momentum=0.5,
    )
    config = GreedyConfig(below, memory)
    list(
        greedy.epochs(
            dbn, PATTERNS.repeat(40, 1), torch.arange(80) % 2, config=config, rng=generator(1)
        )
    )
    return dbn


@pytest.fixture
def random_net():
    return DBN((8, 6, 5, 7), labels=3, rng=generator(2), weight_std=1.0)


def test_clamped_labels_stay_clamped(random_net):
    labels = torch.tensor([0, 1, 2, 2, 0])
    dream = dreams.dream(random_net, rng=generator(0), labels=labels, steps=20)
    assert torch.equal(dream.labels, labels)
    assert torch.equal(dream.chains.visible[:, random_net.label_columns], torch.eye(3)[labels])
    assert dream.pixels.shape == (5, 8)
    assert bool(((dream.pixels >= 0) & (dream.pixels <= 1)).all())
    assert bool(((dream.pixels > 0) & (dream.pixels < 1)).any()), (
        "pixels are probabilities, not states"
    )


def test_the_clamp_is_the_label_and_nothing_else(random_net):
    clamp = dreams.label_clamp(random_net, torch.tensor([2, 0]), 2)
    assert clamp.mask.tolist() == [False] * 5 + [True] * 3
    assert clamp.values[:, 5:].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_free_labels_have_the_memorys_law():
    dbn = DBN((4, 3, 3), labels=3, rng=generator(3), weight_std=0.8)
    dream = dreams.dream(dbn, rng=generator(4), count=30_000, steps=40)
    p = joint(deepcopy(dbn.memory).double()).sum(1).reshape(8, 3).sum(0)
    assert_frequencies(dream.labels, p)


def test_a_dream_is_one_down_pass_from_the_memory(random_net):
    dream = dreams.dream(random_net, rng=generator(5), count=4, steps=3)
    again = dreams.decode(random_net, dream.chains, generator(6))
    below = random_net.generative[1].sample(dream.chains.visible[:, :5], generator(6))
    torch.testing.assert_close(again.pixels, random_net.generative[0].probs(below))


def test_dreams_without_labels():
    dream = dreams.dream(DBN((8, 6, 5), rng=generator(0)), rng=generator(1), count=3, steps=2)
    assert dream.labels is None
    assert dream.pixels.shape == (3, 8)


def test_same_seed_same_dream(random_net):
    seen = [
        dreams.dream(random_net, rng=generator(seed), count=6, steps=10).pixels
        for seed in (1, 1, 2)
    ]
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    known = torch.arange(8) < 4
    filled = [
        dreams.inpaint(random_net, PATTERNS, known, rng=generator(seed), sweeps=3)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(filled[0], filled[1])
    assert not torch.equal(filled[0], filled[2])


def test_a_net_of_two_patterns_dreams_them(trained):
    labels = torch.arange(100) % 2
    pixels = dreams.dream(trained, rng=generator(0), labels=labels, steps=200).pixels
    close = (pixels - PATTERNS[labels]).abs().mean(1) < 0.2
    assert float(close.float().mean()) > 0.85
    free = dreams.dream(trained, rng=generator(1), count=200, steps=200)
    nearest = torch.cdist(free.pixels, PATTERNS).argmin(1)
    assert float((nearest == free.labels).float().mean()) > 0.85


def test_a_net_of_two_patterns_fills_in_the_other_half(trained):
    known = torch.tensor([1, 1, 0, 0, 1, 1, 0, 0], dtype=torch.bool)
    images = PATTERNS.repeat(30, 1)
    spoiled = torch.where(known, images, torch.full_like(images, 0.3))
    filled = dreams.inpaint(trained, spoiled, known, rng=generator(2), sweeps=30)
    assert torch.equal(filled[:, known], images[:, known])
    assert bool(((filled >= 0) & (filled <= 1)).all())
    close = (filled - images)[:, ~known].abs().mean(1) < 0.2
    assert float(close.float().mean()) > 0.85


def test_a_clamped_label_decides_what_is_filled_in(trained):
    labels = torch.arange(60) % 2
    nothing = torch.zeros(8, dtype=torch.bool)
    filled = dreams.inpaint(
        trained,
        torch.full((60, 8), 0.5),
        nothing,
        rng=generator(3),
        labels=labels,
        sweeps=40,
        steps=5,
    )
    assert float((torch.cdist(filled, PATTERNS).argmin(1) == labels).float().mean()) > 0.85


def test_a_mask_a_picture(trained):
    images = torch.rand(5, 8, generator=generator(4))
    known = torch.rand(5, 8, generator=generator(5)) < 0.5
    filled = dreams.inpaint(trained, images, known, rng=generator(6), sweeps=2)
    assert torch.equal(filled[known], images[known])
    assert bool((filled[~known] != images[~known]).all())
    whole = dreams.inpaint(
        trained, images, torch.ones(8, dtype=torch.bool), rng=generator(6), sweeps=2
    )
    assert torch.equal(whole, images)


def test_imagining_another_label(trained):
    labels = torch.arange(60) % 2
    pixels = dreams.imagine(trained, PATTERNS[1 - labels], labels, rng=generator(7), steps=100)
    assert float((torch.cdist(pixels, PATTERNS).argmin(1) == labels).float().mean()) > 0.85


def test_sweeps_of_inpainting_by_hand(random_net):
    memory, images = random_net.memory, torch.rand(40, 8, generator=generator(8))
    known = torch.arange(8) < 3
    rng = generator(9)
    pixels = torch.rand(40, 8, generator=rng)
    label = torch.full((40, 3), 1 / 3)
    for _ in range(2):
        picture = torch.where(known, images, torch.bernoulli(pixels, generator=rng))
        visible = torch.cat([random_net.up(picture, rng)[-1], label], 1)
        chains = run(memory, memory.sample_hidden(visible, rng), 2, rng)
        label = chains.visible[:, random_net.label_columns]
        pixels = dreams.decode(random_net, chains, rng).pixels
    expected = torch.where(known, images, pixels)
    torch.testing.assert_close(
        dreams.inpaint(random_net, images, known, rng=generator(9), sweeps=2, steps=2), expected
    )


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "Multinomial"])
@pytest.mark.parametrize("above", [(5, 4), (4,)], ids=["deep", "memory alone"])
def test_pictures_of_every_family_are_filled_in(family, above):
    units, states = FAMILIES[family]()
    dbn = DBN((units, *above), labels=3, rng=generator(0), weight_std=0.3)
    whole = len(units.site_columns) > 0
    known = torch.zeros(3, dtype=torch.bool) if whole else torch.tensor([True, False, True])
    filled = dreams.inpaint(dbn, states, known, rng=generator(1), sweeps=4)
    assert bool(torch.isfinite(filled).all())
    assert torch.equal(filled[:, known], states[:, known])
    holes = torch.where(known, states, torch.nan)
    every = torch.ones(3, dtype=torch.bool)
    again = dreams.inpaint(dbn, holes, every, rng=generator(1), sweeps=4)
    torch.testing.assert_close(again, filled)


def test_real_pixels_are_drawn_given_the_layer_above():
    dbn = DBN((Gaussian(2), 3, 4), rng=generator(0), weight_std=2.0)
    above = torch.tensor([[1.0, 0.0, 1.0]]).repeat(20_000, 1)
    drawn = dreams._drawn_picture(dbn, torch.zeros(20_000, 2), above, generator(1))
    expected = dbn.generative[0].probs(above[:1])[0]
    assert float((expected - dbn.generative[0].bias).abs().min()) > 0.3
    torch.testing.assert_close(drawn.mean(0), expected, atol=0.05, rtol=0)


def test_real_pixels_are_filled_in_from_those_that_are_known():
    rng = generator(0)
    cause = 2 * torch.randint(2, (600, 1), generator=rng).float() - 1
    images = 1.5 * cause + 0.3 * torch.randn(600, 6, generator=rng)
    dbn = DBN((Gaussian(6), 4, 4), rng=rng)
    layer = CDConfig(epochs=30, batch_size=20, learning_rate=0.05)
    for _ in greedy.epochs(dbn, images, config=GreedyConfig(layer, layer), rng=rng):
        pass
    known = torch.arange(6) < 3
    spoiled = torch.where(known, images, torch.nan)
    filled = torch.stack(
        [
            dreams.inpaint(dbn, spoiled[:100], known, rng=generator(seed), sweeps=20)
            for seed in range(5)
        ]
    ).mean(0)
    error = (filled - images[:100])[:, ~known].square().mean().sqrt()
    assert float(error) < 0.6 * float(images.std())


def test_imagining_starts_from_the_picture_and_the_wanted_label(random_net):
    memory, images, labels = (
        random_net.memory,
        torch.rand(40, 8, generator=generator(8)),
        torch.arange(40) % 3,
    )
    rng = generator(9)
    visible = torch.cat([random_net.up(images, rng)[-1], torch.eye(3)[labels]], 1)
    hidden = memory.sample_hidden(visible, rng)
    expected = dreams.decode(
        random_net, run(memory, hidden, 1, rng, dreams.label_clamp(random_net, labels, 40)), rng
    ).pixels
    torch.testing.assert_close(
        dreams.imagine(random_net, images, labels, rng=generator(9), steps=1), expected
    )


def test_reconstruction(trained, random_net):
    assert float((dreams.reconstruct(trained, PATTERNS) - PATTERNS).abs().mean()) < 0.15
    images = torch.rand(3, 8, generator=generator(8))
    penultimate = random_net.up(images)[-1]
    even = torch.cat([penultimate, torch.full((3, 3), 1 / 3)], 1)
    top = random_net.memory.hidden_probs(even)
    expected = random_net.down(random_net.memory.visible_probs(top)[:, :5])[0]
    torch.testing.assert_close(dreams.reconstruct(random_net, images), expected)


@pytest.mark.parametrize("labels", [[3], [-1], [0, 5], []], ids=str)
def test_labels_the_memory_does_not_hold(random_net, labels):
    with pytest.raises(WakesleepError, match=r"from 0 to 2|at least 1"):
        dreams.dream(
            random_net, rng=generator(0), labels=torch.tensor(labels, dtype=torch.long), steps=1
        )


def test_labels_for_a_net_without_any():
    with pytest.raises(ConfigError, match="holds no labels"):
        dreams.dream(DBN((4, 3), rng=generator(0)), rng=generator(0), labels=torch.tensor([0]))


def test_senseless_requests(random_net):
    known = torch.ones(8, dtype=torch.bool)
    with pytest.raises(ConfigError, match="0 sweeps"):
        dreams.inpaint(random_net, PATTERNS, known, rng=generator(0), sweeps=0)
    with pytest.raises(ConfigError, match="0 Gibbs steps"):
        dreams.inpaint(random_net, PATTERNS, known, rng=generator(0), steps=0)
    with pytest.raises(DataError, match=r"known of shape \(7,\) came; expected \(8,\)"):
        dreams.inpaint(random_net, PATTERNS, known[:7], rng=generator(0))
    with pytest.raises(ConfigError, match="0 Gibbs steps"):
        dreams.dream(random_net, rng=generator(0), steps=0)


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(random_net, count):
    with pytest.raises(ConfigError, match=f"{count} dreams"):
        dreams.dream(random_net, rng=generator(0), count=count, steps=1)


def test_a_net_of_one_layer_dreams_in_probabilities():
    dbn = DBN((8, 5), rng=generator(0))
    pixels = dreams.dream(dbn, rng=generator(0), count=4, steps=2).pixels
    assert bool(((pixels > 0) & (pixels < 1)).all())
