"""Seeds -> generators. Every random choice in wakesleep comes from a generator that the caller hands over."""

from __future__ import annotations

import hashlib

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
