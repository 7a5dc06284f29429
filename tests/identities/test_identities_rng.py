"""Random words: a known hash of counters, and as even as coins."""

import torch

from wakesleep.compute import random_bits
from wakesleep.foundation.rng import generator


def test_many_random_words_are_a_hash_of_counters():
    """SplitMix64 as published, in whole numbers of Python: words i = 0, 1, ... begin at the word
    that the generator draws.
    """
    reported, drawn = random_bits.random_uint64(random_bits.HASHED, generator(5)), generator(5)
    begin, ring = (
        int(torch.empty((), dtype=torch.int64).random_(-(2**63), None, generator=drawn)),
        2**64,
    )
    for i in (0, 1, 2, 77, random_bits.HASHED - 1):
        z = (begin + i * 0x9E3779B97F4A7C15) % ring
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % ring
        z = (z ^ z >> 27) * 0x94D049BB133111EB % ring
        assert int(reported[i]) % ring == z ^ z >> 31
    after = generator(5)
    random_bits.random_uint64(random_bits.HASHED, after)
    assert torch.equal(after.get_state(), drawn.get_state()), "one word is drawn"
    few = random_bits.random_uint64(random_bits.HASHED - 1, generator(5))
    assert torch.equal(
        few, torch.empty_like(few).random_(-(2**63), None, generator=generator(5))
    ), "few come from the generator itself"


def test_random_words_are_even_and_know_nothing_of_each_other():
    """Each bit is on half of the time, and alike with any other bit of its word, of the next word
    or of the next call half of the time.
    """
    source = generator(3)
    calls = torch.stack([random_bits.random_uint64(20_000, source) for _ in range(20)])
    bits = (calls[..., None] >> torch.arange(64)) & 1
    signs = (2 * bits - 1).float()
    n = calls.numel()
    assert float(signs.mean((0, 1)).abs().max()) < 5 / n**0.5
    for a, b in ((signs, signs), (signs[:, :-1], signs[:, 1:]), (signs[:-1], signs[1:])):
        a, b = a.reshape(-1, 64), b.reshape(-1, 64)
        alike = a.t() @ b / len(a)
        if torch.equal(a, b):
            alike.fill_diagonal_(0)
        assert float(alike.abs().max()) < 5.5 / len(a) ** 0.5
