"""The order of cases: every case once, every minibatch balanced; pixels as probabilities."""

import torch
from exact import assert_frequencies
from hypothesis import given, settings
from hypothesis import strategies as st

from wakesleep.foundation.rng import generator
from wakesleep.sources import arrays


def class_counts(label, index, batch, classes):
    return torch.stack(
        [torch.bincount(label[part], minlength=classes) for part in torch.split(index, batch)]
    )


def test_mnists_minibatches_hold_exactly_ten_of_each():
    label = torch.arange(44_000) % 10
    index = arrays.order(label, 44_000, generator(0))
    assert torch.equal(index.sort().values, torch.arange(44_000))
    counts = class_counts(label, index, 100, 10)
    assert counts.shape == (440, 10)
    assert bool((counts == 10).all())


def test_passes_differ_and_a_class_is_shuffled():
    label = torch.arange(1000) % 10
    rng = generator(1)
    first, second = arrays.order(label, 1000, rng), arrays.order(label, 1000, rng)
    assert not torch.equal(first, second)
    zeros = first[label[first] == 0]
    assert not torch.equal(zeros, zeros.sort().values)
    assert not torch.equal(zeros, second[label[second] == 0])
    assert torch.equal(arrays.order(label, 1000, generator(1)), first)


def test_every_order_of_a_class_is_as_likely():
    label = torch.tensor([0, 0, 0, 1])
    rng = generator(2)
    orders = torch.stack([arrays.order(label, 4, rng) for _ in range(3000)])
    of_zeros = torch.stack([order[order < 3] for order in orders])
    assert_frequencies(
        of_zeros[:, 0] * 3 + of_zeros[:, 1], torch.tensor([0, 1, 1, 1, 0, 1, 1, 1, 0]).double() / 6
    )


def test_unbalanced_classes_are_spread_evenly():
    label = torch.repeat_interleave(torch.arange(3), torch.tensor([900, 90, 10]))
    counts = class_counts(label, arrays.order(label, 1000, generator(3)), 100, 3)
    assert int((counts[:, 0] - 90).abs().max()) <= 3
    assert int((counts[:, 1] - 9).abs().max()) <= 2
    assert int((counts[:, 2] - 1).abs().max()) <= 1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 9), st.integers(0, 2**32)
)
def test_any_class_counts(counts, batch, seed):
    label = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    n = len(label)
    index = arrays.order(label, n, generator(seed))
    assert torch.equal(index.sort().values, torch.arange(n))
    present = sum(count > 0 for count in counts)
    begun = torch.zeros(len(counts))
    for done, case in enumerate(index, 1):
        begun[label[case]] += 1
        if done % batch == 0:
            share = torch.tensor(counts) / n
            # each class is less than one case off its place, the others push it by their sum
            bound = (1 - share) + share * (present - 1)
            assert bool(((begun - done * share).abs() <= bound + 1e-4).all())


def test_without_labels_every_order_is_as_likely():
    rng = generator(4)
    orders = torch.stack([arrays.order(None, 3, rng) for _ in range(3000)])
    assert_frequencies(
        orders[:, 0] * 3 + orders[:, 1], torch.tensor([0, 1, 1, 1, 0, 1, 1, 1, 0]).double() / 6
    )


def test_bytes_become_probabilities():
    cases = torch.tensor([[0, 51, 255], [102, 1, 0]], dtype=torch.uint8)
    expected = torch.tensor([[0.0, 0.2, 1.0], [0.4, 1 / 255, 0.0]])
    torch.testing.assert_close(arrays.as_probs(cases), expected)
    out = torch.full((3, 3), 9.0)
    assert arrays.gather(cases, torch.tensor([1, 0, 1]), out) is out
    torch.testing.assert_close(out, expected[[1, 0, 1]])
    assert cases.dtype == torch.uint8
    assert int(cases[0, 2]) == 255


def test_floats_pass_through():
    for dtype in (torch.float32, torch.float64):
        cases = torch.tensor([[0.25, 0.5], [1.0, 0.0]], dtype=dtype)
        out = torch.empty(1, 2)
        arrays.gather(cases, torch.tensor([1]), out)
        assert out.tolist() == [[1.0, 0.0]]
        assert arrays.as_probs(cases).tolist() == cases.tolist()
        assert arrays.as_probs(cases).dtype == torch.float32


def test_chunks_are_the_cases_in_order():
    cases = torch.randint(256, (4_500, 2), generator=generator(5), dtype=torch.uint8)
    parts = list(arrays.chunks(cases))
    assert [len(part) for part in parts] == [2000, 2000, 500]
    torch.testing.assert_close(torch.cat(parts), cases / 255)


def test_weights_say_how_often_a_case_is_shown():
    weights = torch.tensor([2.0, 0.0, 1.0, 0.5, 0.5, 1.5, 2.5])
    expected = 7 * weights / weights.sum()
    shown = torch.stack(
        [
            torch.bincount(arrays.order(None, 7, rng, weights), minlength=7)
            for rng in map(generator, range(4000))
        ]
    ).double()
    assert bool((shown.sum(1) == 7).all())
    assert bool(((shown - expected).abs() < 1).all()), "rounded up or down, never further"
    standard_error = shown.std(0) / 4000**0.5
    assert bool(((shown.mean(0) - expected).abs() <= 4 * standard_error + 1e-9).all())


def test_equal_weights_show_every_case_once_and_classes_stay_balanced():
    label = torch.arange(200) % 2
    index = arrays.order(label, 200, generator(0), torch.full((200,), 0.3))
    assert torch.equal(index.sort().values, torch.arange(200))
    twice_as_often = torch.where(label == 1, 2.0, 1.0)
    counts = class_counts(label, arrays.order(label, 200, generator(0), twice_as_often), 30, 2)[:-1]
    assert int((counts[:, 1] - 20).abs().max()) <= 1
