"""Families of units by name: what model files may name, and units built from what they say."""

from __future__ import annotations

from typing import Any

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import plain, whole
from wakesleep.units.base import Family, Units

FAMILIES: dict[str, type[Units]] = {}
"""The families that model files may name."""


def register(cls: type[Family]) -> type[Family]:
    """Make a family known by its name, so that model files can be read that name it; usable as a
    decorator.

    Raises:
        ConfigError: another family has that name.
    """
    cls.family = cls.__dict__.get("family") or cls.__name__
    known = FAMILIES.get(cls.family)
    if known is not None and (known.__module__, known.__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    ):
        raise ConfigError(
            f"a family of units called {cls.family} is known already ({known.__module__}); give "
            "this one another name"
        )
    FAMILIES[cls.family] = cls
    return cls


def from_spec(spec: dict[str, Any]) -> Units:
    """Return the units that `Units.spec` described.

    Raises:
        ConfigError: an unknown family, or settings that it does not take.
    """
    settings = dict(spec)
    name = settings.pop("family", None)
    if name not in FAMILIES:
        raise ConfigError(
            f"units of the family {name!r}: expected one of {', '.join(FAMILIES)}; a family of "
            "your own is made known by wakesleep.units.register(TheFamily) before the file is read"
        )
    try:
        return FAMILIES[name].from_settings(settings)
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"units {name} with the settings {settings}: {error}") from error


def as_units(units: Units | int) -> Units:
    """Return `units`; a number n means n Bernoulli units.

    Raises:
        ConfigError: neither units nor a whole number above 0.
    """
    given: Any = plain(units)
    if isinstance(given, int | float | str) or given is None:
        return FAMILIES["Bernoulli"](whole("units", given, least=1))
    if not isinstance(given, Units):
        raise ConfigError(
            f"units of type {type(units).__name__}: expected a number of binary units, or units "
            "of wakesleep.units"
        )
    return given
