"""Random bits for a processor: 64 at a time, by hashing counters on all threads, and 16 of them for
a binary unit.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

HASHED = 4096
"""Words from which on counters are hashed instead of asking the generator, which works on one
thread, for each.
"""
GOLDEN, FIRST, SECOND = (
    word - 2**64 for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def bernoulli_16bit(mean: Tensor, rng: torch.Generator, out: Tensor) -> Tensor:
    """Write 1 to `out` where one of four numbers, from -32768 to 32767, that 64 random bits hold is
    below its threshold, else 0.
    """
    words = random_uint64(-(-mean.numel() // 4), rng)
    numbers = words.view(torch.int16)[: mean.numel()].view(mean.shape)
    thresholds = torch.add(random_offset(rng), mean.float(), alpha=65536.0)
    if out.dtype == torch.float32:
        return torch.lt(numbers, thresholds, out=out)
    return out.copy_(numbers.float().lt_(thresholds))  # a processor is slow at steps of mixed types


def random_offset(rng: torch.Generator) -> Tensor:
    """Return -32768 - u, with one u, uniform in [0, 1), for all: 16 random bits alone would round
    probabilities up to the next 1/65536.
    """
    return torch.rand((), generator=rng, device=rng.device).neg_().sub_(32768.0)


def random_uint64(count: int, rng: torch.Generator) -> Tensor:
    """Return `count` words of 64 random bits, (count,) int64: many are `hashed` from a word that
    the generator draws.
    """
    if count >= HASHED:
        return hashed(random_word(rng), count)
    return torch.empty(count, dtype=torch.int64, device=rng.device).random_(
        -(2**63), None, generator=rng
    )


def random_word(rng: torch.Generator) -> Tensor:
    """Return 64 random bits, an int64 scalar."""
    return torch.empty((), dtype=torch.int64, device=rng.device).random_(
        -(2**63), None, generator=rng
    )


def hashed(begin: Tensor, count: int) -> Tensor:
    """Return SplitMix64's words (Steele, Lea & Flood 2014), (count,) int64: word i is a hash of
    begin + i * golden ratio.

    They are made by vector instructions on all threads; `cpu_kernels.bernoulli` makes the same
    ones.
    """
    words = torch.add(_counters(count), begin)
    moved = torch.empty_like(words)
    for bits, factor in ((30, FIRST), (27, SECOND)):
        words.bitwise_xor_(_shifted(words, bits, moved)).mul_(factor)
    return words.bitwise_xor_(_shifted(words, 31, moved))


def _shifted(words: Tensor, bits: int, out: Tensor) -> Tensor:
    """Return words shifted right, zeros coming in: PyTorch's shift lets copies of the sign in."""
    return torch.bitwise_right_shift(words, bits, out=out).bitwise_and_(2 ** (64 - bits) - 1)


@lru_cache(maxsize=8)
def _counters(count: int) -> Tensor:
    """Return i * golden ratio modulo 2^64 for i < count, (count,)."""
    return torch.arange(count, device="cpu").mul_(GOLDEN)
