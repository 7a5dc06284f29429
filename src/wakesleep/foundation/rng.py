"""Seeds -> generators. Every random choice in wakesleep comes from a generator that the caller hands over."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor

from wakesleep.foundation.errors import ConfigError


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator on `device`; the same seed gives the same stream on the same kind of device.

    Raises:
        ConfigError: a seed of more than 64 bits.
    """
    try:
        return torch.Generator(device=device).manual_seed(seed)
    except (ValueError, RuntimeError, OverflowError) as error:
        if not isinstance(seed, int) or -(2**63) <= seed < 2**64:
            raise
        raise ConfigError(f"seed = {seed}: expected a whole number of at most 64 bits, best from 0 to {2**32 - 1:,}") from error


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of one part of a run, so that adding a part does not change the numbers of another."""
    return generator(int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:6]), device)


def permutation(n: int, rng: torch.Generator) -> Tensor:
    """Return the numbers 0..n-1 in random order, shape (n,), on the generator's device."""
    return torch.randperm(n, generator=rng, device=rng.device)


HASHED = 4096
"""Words from which on a processor hashes counters instead of asking the generator, which works on one thread, for each."""
GOLDEN, FIRST, SECOND = (word - 2**64 for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def random_words(count: int, rng: torch.Generator) -> Tensor:
    """Return `count` words of 64 random bits, (count,) int64: many on a processor `hashed` from a word that the generator draws."""
    if rng.device.type == "cpu" and count >= HASHED:
        return hashed(random_word(rng), count)
    return torch.empty(count, dtype=torch.int64, device=rng.device).random_(-(2**63), None, generator=rng)


def random_word(rng: torch.Generator) -> Tensor:
    """Return 64 random bits, an int64 scalar."""
    return torch.empty((), dtype=torch.int64, device=rng.device).random_(-(2**63), None, generator=rng)


def hashed(begin: Tensor, count: int) -> Tensor:
    """Return SplitMix64's words (Steele, Lea & Flood 2014), (count,) int64: word i is a hash of begin + i * golden ratio.

    They are made by vector instructions on all threads; `native.draw` makes the same ones.
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
