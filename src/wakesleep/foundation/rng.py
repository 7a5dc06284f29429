"""Seeds -> generators. Every random choice in wakesleep comes from a generator that the caller
hands over.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import whole


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator on `device`; the same seed gives the same stream on the same kind of
    device.

    Raises:
        ConfigError: a seed that is no whole number, or has more than 64 bits; a device that is not
            there.
    """
    seed, device = whole("seed", seed), known_device(device)
    if not -(2**63) <= seed < 2**64:
        raise ConfigError(
            f"seed = {seed}: expected a whole number of at most 64 bits, best from 0 to "
            f"{2**32 - 1:,}"
        )
    return torch.Generator(device=device).manual_seed(seed)


def known_device(device: torch.device | str) -> torch.device:
    """Return a device once it is seen to be there.

    Raises:
        ConfigError: PyTorch knows no such device, or this machine has none.
    """
    if not isinstance(device, str | torch.device):
        raise ConfigError(
            f"device = {device!r} of type {type(device).__name__}: expected 'cpu', or another "
            "device of PyTorch's, by its name"
        )
    try:
        known = torch.device(device)
        torch.empty(0, device=known)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"device = {str(device)!r} cannot be used here ({reason}); expected 'cpu', or another "
            "device of PyTorch's"
        ) from error
    return known


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of one part of a run, so that adding a part does not change the numbers
    of another.
    """
    return generator(int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:6]), device)


def permutation(n: int, rng: torch.Generator) -> Tensor:
    """Return the numbers 0..n-1 in random order, shape (n,), on the generator's device."""
    return torch.randperm(n, generator=rng, device=rng.device)
