"""Ranges of settings: a number outside of them is refused, with its name and what is expected."""

from __future__ import annotations

import math
from typing import Any

from wakesleep.foundation.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


def at_least(least: float, config: Any, *names: str) -> None:
    """Raise ConfigError unless these settings are finite and `least` or more."""
    for name in names:
        value = getattr(config, name)
        require(least <= value < math.inf, f"{name} = {value}: expected {least} or more")


def positive(config: Any, *names: str) -> None:
    """Raise ConfigError unless these settings are finite and above 0."""
    for name in names:
        value = getattr(config, name)
        require(0 < value < math.inf, f"{name} = {value}: expected a number above 0, e.g. 0.01")


def below_one(config: Any, *names: str) -> None:
    """Raise ConfigError unless these settings lie in [0, 1)."""
    for name in names:
        value = getattr(config, name)
        require(0 <= value < 1, f"{name} = {value}: expected a number in [0, 1)")
