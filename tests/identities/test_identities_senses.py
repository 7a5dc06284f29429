"""Nets of several senses: one sense is the net it always was, recall and what is drawn for absent
senses against enumeration, pairs, files, refusals.
"""

from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch
from exact import assert_frequencies, assert_mean, form, index_of, joint, states
from torch import nn

import wakesleep as ws
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, greedy, inputs, multimodal, up_down, up_down_senses
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.configs import ChainsConfig
from wakesleep.learning.greedy import GreedyConfig, MultimodalConfig
from wakesleep.learning.net_configs import BackpropConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.models.rbm import RBM
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.sources.paired import SenseCases, pair_by_class
from wakesleep.units import Categorical, Gaussian, Groups, ReLU

FAST = CDConfig(epochs=3, batch_size=10)
CONFIG = MultimodalConfig(FAST, FAST, ChainsConfig(share=1 / 3))
N = 20_000


def small_net(labels=2, seed=0, scale=1.0, top=3, **senses):
    """Return a float64 net whose weights and biases are all away from zero."""
    rng = generator(seed)
    senses = senses or {"image": (3, 2), "sound": (2,)}
    net = ws.DBN(senses=senses, labels=labels, top=top, rng=rng).double()
    net.untie()
    for parameter in net.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64) * scale)
    return net


def some_cases(count=40, labels=2, seed=3, **sizes):
    rng = generator(seed)
    sizes = sizes or {"image": 3, "sound": 2}
    cases = {
        name: torch.bernoulli(torch.full((count, size), 0.5), generator=rng)
        for name, size in sizes.items()
    }
    return cases, torch.randint(labels, (count,), generator=rng)


def trained(net, cases, labels, config=CONFIG, seed=1, **options):
    return list(greedy.epochs(net, cases, labels, config=config, rng=generator(seed), **options))


def test_a_net_of_one_sense_learns_as_a_net_without_names_does():
    cases, labels = some_cases(60, image=6)
    config = GreedyConfig(FAST, FAST, ChainsConfig(share=1 / 3))
    plain = DBN((6, 5, 4, 7), labels=2, rng=generator(0))
    named = ws.DBN(senses={"image": (6, 5, 4)}, labels=2, top=7, rng=generator(0))
    trained(plain, cases["image"], labels, config)
    trained(named, cases, labels, config)
    assert isinstance(named, MultimodalDBN)
    pathway = named.pathways["image"]
    for layer in range(2):
        assert torch.equal(plain.recognition[layer].weight, pathway.recognition[layer].weight)
        assert torch.equal(plain.generative[layer].bias, pathway.generative[layer].bias)
    for one, other in zip(plain.memory.parameters(), named.memory.parameters(), strict=True):
        assert torch.equal(one, other)


def test_up_down_of_one_sense_is_that_of_a_net_without_names():
    cases, labels = some_cases(60, image=6)
    config = UpDownConfig(epochs=2, batch_size=20, label_weight=1.0)
    plain = DBN((6, 5, 4, 7), labels=2, rng=generator(0))
    named = ws.DBN(senses={"image": (6, 5, 4)}, labels=2, top=7, rng=generator(0))
    records = []
    for net, given in ((plain, cases["image"]), (named, cases)):
        run = up_down.epochs(net, given, labels, config=config, rng=generator(1))
        records.append([record.metrics for record in run])
    assert records[0] == records[1]
    pathway = named.pathways["image"]
    for one, other in (
        *zip(plain.recognition.parameters(), pathway.recognition.parameters(), strict=True),
        *zip(plain.generative.parameters(), pathway.generative.parameters(), strict=True),
        *zip(plain.memory.parameters(), named.memory.parameters(), strict=True),
    ):
        assert torch.equal(one, other)


def test_up_down_draws_an_absent_sense_and_teaches_its_layers_from_the_cases_that_have_it():
    net = small_net(image=(2, 2), sound=(2, 2))
    image = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(N, 1)
    sound = torch.full((N, 2), torch.nan, dtype=torch.float64)
    sound[: N // 4] = torch.tensor([0.0, 1.0], dtype=torch.float64)
    labels, config = torch.ones(N, dtype=torch.long), UpDownConfig(label_first=False)
    found = up_down_senses.phases(
        net, torch.cat([image, sound], 1), labels, steps=1, config=config, rng=generator(1)
    )
    assert len(found.wake["image"][0][0]) == N
    assert len(found.wake["sound"][0][0]) == N // 4
    grown = form(up_down_senses.gradients(found))
    layer = net.pathways["sound"].generative[0]
    above = found.wake["sound"][0][1]
    error = sound[: N // 4] - torch.sigmoid(above @ layer.weight.t() + layer.bias)
    torch.testing.assert_close(grown["pathways.sound.generative.0.weight"], error.t() @ above / N)
    assert set(grown) == set(dict(net.named_parameters()))
    # what stands for the absent codes of the data: those of the memory given image and label
    data = found.memory[0][N // 4 : N]
    code = data[:, :2]
    for state in states(net.groups["image"]):
        rows = data[(code == state).all(1)]
        known = torch.tensor([*state, torch.nan, torch.nan, 0.0, 1.0], dtype=torch.float64)
        assert_frequencies(index_of(rows, states(net.groups)), conditional(net, known))


def conditional(net, known):
    """Return p(visible state | columns known) of the memory, out of the joint: `known` has a
    number, or NaN, in each visible column.
    """
    every, p = states(net.groups), joint(net.memory).sum(1)
    fits = (torch.isnan(known) | (every == known)).all(1)
    p = torch.where(fits, p, torch.zeros_like(p))
    return p / p.sum()


def label_of_sound(net):
    """Return p(label | the sound 1 0), (2,), of the memory without the image's two units."""
    sound = RBM(Groups(sound=2, label=Categorical(2)), net.memory.hidden, rng=generator(0))
    sound.weight.data, sound.visible_bias.data, sound.hidden_bias.data = (
        net.memory.weight[2:], net.memory.visible_bias[2:], net.memory.hidden_bias
    )  # fmt: skip
    p = torch.stack([joint(sound).sum(1)[index_of(row, states(sound.visible))] for row in (
        torch.tensor([[1.0, 0.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    )]).flatten()  # fmt: skip
    return p / p.sum()


@pytest.mark.parametrize("given", ["sound", "label", "a sound and no image"])
@pytest.mark.parametrize("labels", [2, 0])
def test_recall_names_the_label_by_what_is_given_and_draws_the_rest_from_the_memory(given, labels):
    if given == "label" and not labels:
        return
    net = small_net(image=(2,), sound=(2,), labels=labels)
    known, options = torch.full((4 + labels,), torch.nan, dtype=torch.float64), {}
    if given != "label":
        known[2:4] = torch.tensor([1.0, 0.0])
        options["sound"] = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(N, 1)
    if given == "a sound and no image":
        options["image"] = torch.full((N, 2), torch.nan, dtype=torch.float64)
    if given == "label":
        known[4:] = torch.tensor([0.0, 1.0])
        options["label"] = torch.ones(N, dtype=torch.long)
    want = ["image", "sound"] if given == "label" else ["image", "label"][: 1 + labels]
    recalled = ws.recall(net, want=want, steps=40, mean=False, rng=generator(1), **options)
    kinds, weights = [known], torch.ones(1, dtype=torch.float64)
    if labels and given != "label":
        weights = label_of_sound(net)
        torch.testing.assert_close(recalled.pop("label"), weights.expand(N, -1))
        kinds = [torch.cat([known[:4], on]) for on in torch.eye(2, dtype=torch.float64)]
    p = weights @ torch.stack([conditional(net, kind) for kind in kinds]) @ states(net.groups)
    for name in recalled:  # means given other units of the chain: their mean is that of the states
        assert_mean(recalled[name], p[net.groups.columns(name)])


def test_the_label_of_all_senses_is_exact_and_needs_no_chain():
    net = small_net()
    cases, _ = some_cases(8)
    cases = {name: each.double() for name, each in cases.items()}
    codes, known = net.encode(cases)
    assert bool(known.all())
    for method, rng in (("gibbs", generator(0)), ("mean-field", None)):
        found = ws.recall(net, want="label", steps=4, method=method, rng=rng, **cases)["label"]
        free = torch.stack(
            [
                net.memory.free_energy(
                    torch.cat([codes, torch.eye(2, dtype=torch.float64)[[label] * 8]], 1)
                )
                for label in range(2)
            ],
            1,
        )
        torch.testing.assert_close(found, torch.softmax(-free, 1))


def test_mean_field_ends_where_all_means_follow_from_each_other():
    net = small_net(scale=0.5, image=(3,), sound=(2,))
    image = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    settled = ws.recall(net, image=image, want="sound", method="mean-field", steps=400)["sound"]
    further = ws.recall(net, image=image, want="sound", method="mean-field", steps=401)["sound"]
    torch.testing.assert_close(settled, further)
    label = torch.zeros(1, dtype=torch.long)
    both = ws.recall(net, image=image, label=label, method="mean-field", steps=400)["sound"]
    hidden = torch.rand(1, 3, dtype=torch.float64)
    beside = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for _ in range(400):
        sound = torch.sigmoid(hidden @ net.memory.weight[3:5].t() + net.memory.visible_bias[3:5])
        hidden = torch.sigmoid(
            torch.cat([image, sound, beside], 1) @ net.memory.weight + net.memory.hidden_bias
        )
    torch.testing.assert_close(both, sound)


def test_an_absent_sense_is_drawn_from_the_memory_given_the_others_and_never_a_zero():
    net = small_net(image=(2,), sound=(2,)).float()
    image = torch.tensor([[1.0, 0.0]]).repeat(N, 1)
    cases = {"image": image, "sound": torch.full((N, 2), torch.nan)}
    cases["sound"][0] = torch.tensor([1.0, 1.0])
    labels = torch.ones(N, dtype=torch.long)
    given = inputs.for_senses(net, cases, labels, None, rng=generator(0))
    (chunk,) = multimodal.MemoryCases(net, given, 60).chunks(generator(1))
    assert torch.equal(chunk.cases[:, :2], image)
    assert torch.equal(chunk.cases[0, 2:4], torch.tensor([1.0, 1.0]))
    known = torch.tensor([1.0, 0.0, torch.nan, torch.nan, 0.0, 1.0], dtype=torch.float64)
    every = states(net.groups)
    assert_frequencies(index_of(chunk.cases[1:], every), conditional(net.double(), known))


def test_an_unknown_label_is_drawn_likewise():
    net = small_net(image=(2,), sound=(2,)).float()
    cases = {"image": torch.tensor([[0.0, 1.0]]).repeat(N, 1), "sound": torch.ones(N, 2)}
    labels = torch.full((N,), UNLABELLED)
    labels[0] = 1
    given = inputs.for_senses(net, cases, labels, None, rng=generator(0))
    (chunk,) = multimodal.MemoryCases(net, given, 60).chunks(generator(1))
    known = torch.tensor([0.0, 1.0, 1.0, 1.0, torch.nan, torch.nan], dtype=torch.float64)
    p = conditional(net.double(), known)
    assert_frequencies(index_of(chunk.cases[1:], states(net.groups)), p)


def test_a_case_of_one_sense_teaches_its_layers_and_no_more():
    cases, labels = some_cases(40, image=3, sound=2)
    cases["sound"][:20] = torch.nan
    labels[:20] = UNLABELLED
    senses = {"image": (3, 4), "sound": (2, 4)}

    def net_of(image):
        net = ws.DBN(senses=senses, labels=2, top=5, rng=generator(0))
        trained(net, cases | {"image": image}, labels)
        return net

    others = cases["image"].clone()
    others[:20] = 1 - others[:20]
    one, other = net_of(cases["image"]), net_of(others)
    assert not torch.equal(
        one.pathways["image"].recognition[0].weight, other.pathways["image"].recognition[0].weight
    )
    given = inputs.for_senses(one, cases, labels, None, rng=generator(0))
    (chunk,) = multimodal.MemoryCases(one, given, 2).chunks(generator(1))
    assert len(chunk) == 20


def test_senses_are_left_out_of_the_negative_phase_as_often_as_said():
    net = small_net(image=(2,), sound=(2,)).float()
    cases = {"image": torch.zeros(N, 2), "sound": torch.zeros(N, 2)}
    cases["sound"][: N // 4], labels = torch.nan, torch.zeros(N, dtype=torch.long)
    labels[N // 4 : N // 2] = UNLABELLED
    given = inputs.for_senses(net, cases, labels, None, rng=generator(0))
    (chunk,) = multimodal.MemoryCases(net, given, leave_out=0.3).chunks(generator(1))
    kinds = chunk.given[:, ::2].long() @ torch.tensor([4, 2, 1])  # image, sound, label
    assert torch.equal(chunk.given[:, ::2], chunk.given[:, 1::2])
    absent = torch.tensor([0, 0.3, 0, 0, 0, 0, 0, 0.7], dtype=torch.float64)
    assert_frequencies(kinds[: N // 4], absent)
    unlabelled = torch.tensor([0, 0, 0.21, 0, 0.21, 0, 0, 0.58], dtype=torch.float64)
    assert_frequencies(kinds[N // 4 : N // 2], unlabelled)
    complete = torch.tensor([0, 0.09, 0.21, 0, 0.21, 0, 0, 0.49], dtype=torch.float64)
    assert_frequencies(kinds[N // 2 :], complete)
    (whole,) = multimodal.MemoryCases(net, given, leave_out=0.0).chunks(generator(1))
    assert whole.given is None


def test_pairs_by_class_are_drawn_anew_and_each_case_of_the_largest_set_comes_once():
    images, digits = torch.arange(12.0)[:, None] / 12, torch.tensor([0, 1, 2] * 4)
    sounds, spoken = torch.arange(7.0)[:, None] / 7, torch.tensor([2, 1, 0, 1, 2, 0, UNLABELLED])
    pairs, rng = pair_by_class({"image": (images, digits), "sound": (sounds, spoken)}), generator(0)
    assert len(pairs) == 12
    draws = [pairs.draw(rng) for _ in range(3)]
    for index, labels in draws:
        assert sorted(index["image"].tolist()) == list(range(12))
        assert torch.equal(digits[index["image"]], labels)
        assert torch.equal(spoken[index["sound"]], labels)
        assert torch.bincount(index["sound"], minlength=7).tolist() == [2] * 6 + [0]
    assert not torch.equal(draws[0][0]["sound"], draws[1][0]["sound"])


def test_pairs_by_class_teach_the_memory_what_belongs_together():
    rng = generator(0)
    shapes = torch.tensor([[0.9] * 4 + [0.1] * 4, [0.1] * 4 + [0.9] * 4])
    digits, spoken = torch.tensor([0, 1] * 100), torch.tensor([0, 1] * 30)
    images = torch.bernoulli(shapes[digits], generator=rng)
    sounds = 6.0 * spoken[:, None] - 3 + torch.randn(60, 5, generator=rng)
    net = ws.DBN(
        senses={"image": (8, 10), "sound": (Gaussian(5), 10)}, labels=2, top=20, rng=rng
    )  # fmt: skip
    slow = replace(FAST, epochs=20, learning_rate=0.01, final_learning_rate=0.01)
    config = MultimodalConfig(replace(FAST, epochs=20), replace(FAST, epochs=40), senses={
        "sound": slow
    })  # fmt: skip
    pairs = pair_by_class({"image": (images, digits), "sound": (sounds, spoken)})
    trained(net, pairs, None, config)
    seen = ws.recall(net, sound=sounds, rng=rng)
    assert float((seen["label"].argmax(1) == spoken).float().mean()) > 0.95
    right = (seen["image"] - shapes[spoken]).square().sum(1)
    wrong = (seen["image"] - shapes[1 - spoken]).square().sum(1)
    assert float((right < wrong).float().mean()) > 0.95


def test_chains_of_the_memory_hold_labels_where_a_sense_is_one_categorical_site_too():
    rng = generator(0)
    word, labels = torch.eye(5)[torch.arange(40) % 5], torch.arange(40) % 2
    net = ws.DBN(senses={"word": (Categorical(5),)}, labels=2, top=4, rng=rng)
    config = MultimodalConfig(memory=FAST, chains=ChainsConfig(share=1.0))
    records = trained(net, {"word": word}, labels, config)
    held = records[-1].state.inner.chain_labels
    assert torch.equal(held.unique(), torch.tensor([0, 1]))


def test_the_mean_of_two_steps_is_that_of_the_second():
    net, (cases, _) = small_net(), some_cases()
    means, last = (
        ws.recall(net, image=cases["image"], steps=2, mean=mean, rng=generator(1))
        for mean in (True, False)
    )
    for name in ("sound", "label"):
        torch.testing.assert_close(means[name], last[name])


def test_own_parameters_of_a_sense_learn_from_the_cases_that_have_it():
    net = ws.DBN(
        senses={"sound": (Gaussian(2), 3), "image": (3, 2)}, labels=2, top=3, rng=generator(0)
    )
    net.untie()
    sound, image = torch.randn(8, 2, generator=generator(1)), torch.ones(8, 3)
    sound[4:] = torch.nan
    every, labels = torch.cat([sound, image], 1), torch.zeros(8, dtype=torch.long)
    own = []
    for rows in (slice(0, 8), slice(0, 4)):
        found = up_down_senses.phases(
            net, every[rows], labels[rows], steps=1, config=UpDownConfig(), rng=generator(2)
        )
        gradients = form(found.own)
        own.append({name: gradients[name] for name in gradients if "sound.generative" in name})
    assert own[0]
    for name, gradient in own[0].items():
        torch.testing.assert_close(gradient, own[1][name] / 2)


def test_pretraining_goes_on_from_every_state_as_if_it_had_never_stopped():
    cases, labels = some_cases(40)
    cases["sound"][5:15] = torch.nan
    senses = {"image": (3, 4), "sound": (2,)}
    whole, rng = ws.DBN(senses=senses, labels=2, top=5, rng=generator(0)), generator(1)
    records = list(greedy.epochs(whole, cases, labels, config=CONFIG, rng=rng))
    assert [record.stage for record in records] == ["image layer 1"] * 3 + ["memory"] * 3
    for stop in range(1, len(records)):
        net, rng = ws.DBN(senses=senses, labels=2, top=5, rng=generator(0)), generator(1)
        *_, last = islice(greedy.epochs(net, cases, labels, config=CONFIG, rng=rng), stop)
        state = last.state.to_tensors()
        for _ in greedy.epochs(net, cases, labels, config=CONFIG, rng=rng, state=state):
            pass
        for one, other in zip(whole.parameters(), net.parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("untied", [False, True])
def test_a_file_brings_the_net_back(tmp_path, untied):
    senses = {"image": (4, 3, 2), "sound": (Gaussian(3), 2), "word": (2,)}
    net = ws.DBN(senses=senses, labels=3, top=5, rng=generator(0))
    if untied:
        net.untie()
    ws.save(net, tmp_path / "net.safetensors", classes=["a", "b", "c"])
    back = ws.load(tmp_path / "net.safetensors")
    assert back.spec() == net.spec()
    assert back.tied is not untied
    for name, tensor in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)


def test_the_net_of_a_memory_gives_its_codes_and_leaves_absent_ones_out(tmp_path):
    senses = {"image": (4, 3, 2), "sound": (Gaussian(3), ReLU(2)), "word": (2,)}
    dbn = ws.DBN(senses=senses, labels=3, top=5, rng=generator(0))
    for name, parameter in dbn.named_parameters():
        if "units" not in name:
            parameter.normal_(generator=generator(len(parameter)))
    net = backprop.classifier(dbn, 3, rng=generator(1))
    cases, _ = some_cases(6, image=4, sound=3, word=2)
    cases["sound"][2:4] = torch.nan
    codes = net[0](net[0].side_by_side(cases))
    image, sound = (dbn.pathways[name] for name in ("image", "sound"))
    torch.testing.assert_close(codes[:, :2], image.up(cases["image"])[-1])
    above = torch.relu(cases["sound"] @ sound.recognition[0].weight + sound.recognition[0].bias)
    torch.testing.assert_close(codes[:, 2:4], torch.nan_to_num(above))
    assert torch.equal(codes[2:4, 2:4], torch.zeros(2, 2))
    assert torch.equal(codes[:, 4:], cases["word"])
    alone = backprop.log_probs(net, {"image": cases["image"]})
    absent = {name: cases[name] * torch.nan for name in ("sound", "word")}
    assert torch.equal(alone, backprop.log_probs(net, {**cases, **absent}))
    ws.save(net, tmp_path / "net.safetensors")
    back = ws.load(tmp_path / "net.safetensors")
    assert torch.equal(backprop.log_probs(back, cases), backprop.log_probs(net, cases))


def test_senses_are_left_out_as_often_as_said_and_never_all():
    encode = backprop.EncodeSenses({"a": nn.Sequential(), "b": nn.Sequential()}, {"a": 2, "b": 1})
    cases = torch.zeros(N, 3)
    cases[: N // 2, 2] = torch.nan
    left = encode.leave_out(cases, 0.3, generator(0))
    there = torch.stack([~left[:, 0].isnan(), ~left[:, 2].isnan()], 1)
    assert bool(there[: N // 2, 0].all())
    assert not bool(there[: N // 2, 1].any())
    both = there[N // 2 :]
    assert bool(both.any(1).all())
    # both stay, or both would go and so stay: 0.49 + 0.09
    assert_mean(both.all(1).double()[:, None], torch.tensor([0.58], dtype=torch.float64))
    assert torch.equal(left[:, 0].isnan(), left[:, 1].isnan())


def test_a_net_learns_from_pairs_and_tells_labels_by_either_sense():
    rng = generator(0)
    digits, spoken = torch.tensor([0, 1, 2] * 60), torch.tensor([0, 1, 2] * 20)
    images = 3 * torch.eye(3)[digits] + 0.3 * torch.randn(180, 3, generator=rng)
    sounds = 3 * torch.eye(3)[spoken] + 0.3 * torch.randn(60, 3, generator=rng)
    senses = {"image": (Gaussian(3), 8), "sound": (Gaussian(3), 8)}
    net = backprop.classifier(
        ws.DBN(senses=senses, labels=3, top=10, rng=rng), 3, rng=rng
    )  # fmt: skip
    pairs = pair_by_class({"image": (images, digits), "sound": (sounds, spoken)})
    config = BackpropConfig(epochs=40, batch_size=10, sample_pixels=False, leave_out=0.3)
    list(backprop.epochs(net, pairs, config=config, rng=rng))
    for cases, labels in (({"image": images}, digits), ({"sound": sounds}, spoken)):
        told = backprop.log_probs(net, cases).argmax(1)
        assert float((told == labels).float().mean()) > 0.95


def test_what_a_net_of_senses_cannot_learn_from_is_refused_in_words():
    dbn = ws.DBN(senses={"image": (3, 2), "sound": (2,)}, labels=2, top=3, rng=generator(0))
    net, (cases, labels) = backprop.classifier(dbn, 2, rng=generator(0)), some_cases()
    run = partial(backprop.epochs, rng=generator(0), config=BackpropConfig(epochs=1))
    with pytest.raises(DataError, match="senses 'smell' came"):
        next(run(net, {"smell": cases["image"]}, labels))
    with pytest.raises(DataError, match="different numbers"):
        next(run(net, {**cases, "sound": cases["sound"][:3]}, labels))
    with pytest.raises(DataError, match="sample_pixels=False"):
        next(run(net, {**cases, "sound": 5 * cases["sound"] - 1}, labels))
    plain = backprop.random_classifier((3, 2), rng=generator(0))
    left_out = backprop.epochs(
        plain,
        cases["image"],
        labels,
        config=BackpropConfig(epochs=1, leave_out=0.5),
        rng=generator(0),
    )
    with pytest.raises(ConfigError, match="only a net of several senses"):
        next(left_out)


BAD = [
    (lambda net: net.as_cases({"image": torch.zeros(2, 3), "sound": torch.zeros(3, 2)}),
     "different numbers of cases came: 2 of image, 3 of sound"),
    (lambda net: net.as_cases({"smell": torch.zeros(2, 3)}), "no sense 'smell'"),
    (lambda net: net.as_cases({"image": torch.tensor([[0.0, torch.nan, 1.0]])}),
     "sense image: 1 of 1 cases are known in part"),
    (lambda net: net.as_cases({"image": torch.zeros(2, 4)}), r"sense image: cases of shape \(2, 4"),
    (lambda net: trained(net, {"image": torch.zeros(2, 3)}, torch.tensor([0, 1])),
     "no case has the sense sound"),
    (lambda net: trained(net, some_cases()[0], None), "holds 2 labels but the cases came without"),
    (lambda net: trained(net, torch.zeros(2, 3), torch.tensor([0, 1])), "dictionary of cases"),
    (lambda net: trained(DBN((3, 2), rng=generator(0)), {"image": torch.zeros(2, 3)}, None),
     "came to a net of one sense"),
    (lambda net: ws.recall(net, rng=generator(0)), "nothing was given"),
    (lambda net: ws.recall(net, label=1, rng=generator(0)), r"label of shape \(\): expected"),
    (lambda net: ws.recall(net, image=torch.zeros(2, 3), sound=torch.zeros(2, 2),
                           label=torch.tensor([0, 1]), rng=generator(0)), "nothing is left"),
    (lambda net: ws.recall(net, image=torch.full((2, 3), torch.nan), rng=generator(0)),
     "nothing is given of 2 of 2 cases"),
    (lambda net: pair_by_class({"image": (torch.zeros(2, 3), torch.tensor([0, 1])),
                                "sound": (torch.zeros(2, 2), torch.tensor([0, 0]))}),
     "sound has no case of class 1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), BAD)
def test_cases_that_do_not_fit_are_refused_in_words(call, words):
    net = ws.DBN(senses={"image": (3, 2), "sound": (2,)}, labels=2, top=3, rng=generator(0))
    with pytest.raises(DataError, match=words):
        call(net)


@pytest.mark.parametrize(
    ("senses", "options", "words"),
    [
        ({}, {}, "expected a dictionary"),
        ({"label": (3, 2)}, {}, "this name is taken"),
        ({"keys": (3, 2)}, {}, "this name is taken"),
        ({"a.b": (3, 2)}, {}, "without a dot"),
        ({"image": ()}, {}, "sense image: layer sizes"),
        ({"image": (3, 0)}, {}, "sense image: layer sizes"),
        ({"image": (3, 2)}, {"labels": 1}, "label group of 1"),
    ],
)
def test_nets_that_cannot_be_are_refused_in_words(senses, options, words):
    with pytest.raises(ConfigError, match=words):
        ws.DBN(senses=senses, top=3, rng=generator(0), **options)


def test_settings_name_senses_that_the_net_has_and_functions_of_one_sense_refuse_several():
    net = ws.DBN(senses={"image": (3, 2), "sound": (2,)}, top=3, rng=generator(0))
    with pytest.raises(ConfigError, match="smell"):
        trained(net, some_cases()[0], None, replace(CONFIG, senses={"smell": FAST}))
    with pytest.raises(ConfigError, match="expected a dictionary"):
        net.as_cases(torch.zeros(2, 3))
    with pytest.raises(ConfigError, match=r"wakesleep.DBN of one sense"):
        ws.classify.predict(net, torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="senses came with sizes"):
        ws.DBN((3, 2), senses={"image": (3, 2)}, top=3, rng=generator(0))
    assert isinstance(SenseCases({"image": torch.zeros(2, 3)}, {"image": None}), SenseCases)
