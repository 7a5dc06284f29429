"""The memory's last epochs: what each gradient is by exact sums, which labels chains hold, and that
nothing before them changes.
"""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from exact import assert_frequencies, form, index_of, joint, states

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, chains, greedy
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.chains import ChainsConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.runs.settings import TrainConfig, from_json, to_json
from wakesleep.units import Categorical, Groups

CASES = torch.randint(256, (60, 6), generator=generator(100), dtype=torch.uint8)
LABELS = torch.arange(60) % 3
MEMORY = CDConfig(epochs=6, batch_size=20)


def a_memory(seed=3):
    return DBN((4, 3), labels=3, rng=generator(seed), weight_std=0.8).memory


@pytest.mark.parametrize("left", [4, 2, 0], ids=["all", "a part", "nothing"])
def test_the_label_gradient_is_that_of_log_p_label_given_what_is_left_in(left):
    memory, many = a_memory(), 40_000
    seen = torch.cat([(torch.rand(3, 4, generator=generator(1)) < 0.5).float(), torch.eye(3)], 1)
    data, held = seen.repeat(many, 1), torch.tensor([0])
    given = {"chain_labels": held, "memory": MEMORY}
    if left < 4:  # and where nothing is, the label is held, which teaches nothing of it
        mask = torch.arange(7).expand(len(data), -1)
        given["given"] = mask < left if left else mask >= 4
    states = torch.zeros(1, 3)
    with_labels, without = (
        chains.phases(memory, data.clone(), states, label_weight=weight, rng=generator(2), **given)[
            0
        ]
        for weight in (1.0, 0.0)
    )
    fine = deepcopy(memory).double()
    for parameter in fine.parameters():
        parameter.requires_grad_(True)
    each = torch.stack(
        [torch.cat([seen[:, :4], torch.eye(3)[label].expand(3, 3)], 1) for label in range(3)]
    ).double()
    each[:, :, left:4] = 0
    torch.log_softmax(
        -torch.stack([fine.free_energy(one) for one in each]), 0
    ).diagonal().mean().backward()

    with_labels, without = form(with_labels), form(without)
    for name in ("weight", "visible_bias", "hidden_bias"):
        torch.testing.assert_close(
            with_labels[name] - without[name],
            getattr(fine, name).grad.float() * bool(left),
            atol=0.006,
            rtol=0,
        )


@pytest.mark.parametrize("kept", [(), (0, 1)], ids=["all cases whole", "cases given in part"])
def test_chains_have_the_law_of_the_memory_given_their_label(kept):
    """They hold nothing of the cases, not even what these are given of."""
    memory, count = a_memory(), 10_000
    data = torch.cat([torch.ones(count, 4), torch.eye(3)[torch.arange(count) % 3]], 1)
    held, states, rng = torch.full((count,), 2), torch.zeros(count, 3), generator(5)
    given = torch.zeros_like(data, dtype=torch.bool) if kept else None
    if given is not None:
        given[:, kept] = True
    for _ in range(30):
        _, visible, states = chains.phases(
            memory, data, states, held, label_weight=20.0, memory=MEMORY, rng=rng, given=given
        )
    assert torch.equal(visible[:, 4:], torch.eye(3)[held])
    p = joint(deepcopy(memory).double()).sum(1).reshape(16, 3)[:, 2]
    assert_frequencies((visible[:, :4] @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long(), p / p.sum())


@pytest.mark.parametrize("run", ["chains", "cd"])
@pytest.mark.parametrize("kept", [(0, 1), (4, 5, 6)], ids=["a sense", "the label"])
def test_the_negative_phase_draws_what_was_left_out_given_what_was_left_in(run, kept):
    memory, count = a_memory(), 20_000
    data = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]).repeat(count, 1)
    given = torch.zeros_like(data, dtype=torch.bool)
    given[:, kept] = True
    config = replace(MEMORY, gibbs_steps=30, sample_visible=True)
    if run == "chains":
        one = torch.zeros(1, 3), torch.tensor([0])
        options = {"label_weight": 20.0, "memory": config, "rng": generator(5), "given": given}
        model = chains.phases(memory, data, *one, **options)[1][:-1]
    else:
        contrast = cd.Contrast(memory, count, config)
        contrast.data.copy_(data)
        contrast.given = given
        cd.start_at_data(contrast, memory, config, generator(5))
        model = contrast.model
    assert torch.equal(model[:, kept], data[:-1, kept] if run == "chains" else data[:, kept])
    every = states(memory.visible)
    p = joint(deepcopy(memory).double()).sum(1)
    p = torch.where((every[:, kept] == data[0, kept]).all(1), p, 0)
    assert_frequencies(index_of(model, every), p / p.sum())


def test_cases_that_are_given_whole_learn_as_if_nothing_were_said():
    memory = a_memory()
    data = torch.cat([torch.rand(6, 4, generator=generator(1)), torch.eye(3).repeat(2, 1)], 1)
    one, other = (
        chains.phases(
            memory, data.clone(), torch.zeros(2, 3), torch.tensor([0, 2]), label_weight=3.0,
            memory=MEMORY, rng=generator(5), given=given,
        )
        for given in (None, torch.ones_like(data, dtype=torch.bool))
    )  # fmt: skip
    assert torch.equal(one[1], other[1])
    for name, gradient in form(one[0]).items():
        torch.testing.assert_close(gradient, form(other[0])[name])


def test_the_label_is_the_last_of_several_categorical_sites():
    units = Groups(word=Categorical(5), label=Categorical(2))
    memory, held = RBM(units, 4, rng=generator(0)), torch.tensor([1, 0, 1])
    data = torch.cat([torch.eye(5).repeat(2, 1), torch.eye(2).repeat(5, 1)], 1)
    _, visible, _ = chains.phases(
        memory, data, torch.zeros(3, 4), held, label_weight=1.0, memory=MEMORY, rng=generator(1)
    )
    assert torch.equal(visible[-3:, 5:], torch.eye(2)[held])
    torch.testing.assert_close(visible[-3:, :5].sum(1), torch.ones(3))


@pytest.mark.parametrize("weighted", [False, True], ids=["as they are", "weighted"])
def test_chains_hold_labels_in_the_proportions_of_the_cases(weighted):
    labels = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)
    weights = torch.tensor([1.0] * 30 + [1.5] * 20 + [3.0] * 10) if weighted else None
    config = GreedyConfig(
        MEMORY, replace(MEMORY, epochs=1), ChainsConfig(share=1.0, persistent=0.3, pool=10)
    )
    (record,) = greedy.epochs(
        DBN((6, 5), labels=3, rng=generator(0)),
        CASES,
        labels,
        config=config,
        rng=generator(1),
        weights=weights,
    )
    held = record.state.inner.chain_labels
    assert held.shape == (10, 6)
    shares = torch.bincount(held.flatten(), minlength=3) / 60
    torch.testing.assert_close(
        shares, torch.tensor([1 / 3] * 3 if weighted else [1 / 2, 1 / 3, 1 / 6]), atol=0.02, rtol=0
    )
    each = torch.stack([torch.bincount(row, minlength=3) for row in held])
    assert int((each.max(0).values - each.min(0).values).max()) <= 1, (
        "every turn has about the same labels"
    )


def test_only_the_last_passes_of_a_memory_with_labels_change():
    for labels, first in ((3, 4), (0, 6)):
        reported = []
        for extra in (ChainsConfig(), ChainsConfig(share=0.0)):
            config = GreedyConfig(replace(MEMORY, epochs=2), MEMORY, extra)
            net = DBN((6, 5, 7), labels=labels, rng=generator(0))
            records = greedy.epochs(
                net, CASES, LABELS if labels else None, config=config, rng=generator(1), dtype=None
            )
            reported.append(
                [
                    (record.stage, record.epoch, record.metrics["reconstruction_error"])
                    for record in records
                ]
            )
        assert [record[:2] for record in reported[0]] == [record[:2] for record in reported[1]]
        same = [one == other for one, other in zip(*reported, strict=True)]
        assert same == [True] * (2 + first) + [False] * (6 - first)


@pytest.mark.parametrize(
    "options", [{"persistent": True}, {"centred": True}, {"sparsity_cost": 0.1}], ids=str
)
def test_a_memory_with_rules_of_its_own_keeps_them_to_the_end(options):
    assert ChainsConfig().epochs(replace(MEMORY, **options)) == 0
    assert ChainsConfig().epochs(MEMORY) == 2


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"share": 1.1},
            {"learning_rate": 0.0},
            {"final_learning_rate": 0.0},
            {"persistent": 0.0},
        ),
        *({"pool": 0}, {"restart": 2.0}, {"label_weight": -1.0}, {"average": -1.0}),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_by_name(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ChainsConfig(**options)


def test_settings_go_through_json_and_older_runs_have_no_chains():
    for config in (TrainConfig(), TrainConfig(greedy=GreedyConfig(chains=ChainsConfig(share=0.0)))):
        assert from_json(to_json(config)) == config
    older = to_json(TrainConfig())
    del older["greedy"]["chains"]
    assert from_json(older).greedy.chains.share == 0
