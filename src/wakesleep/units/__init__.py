"""Units: exponential families of their total input, a family a file. A layer's units say what its
total input means; they hold no weights.

    p(s | x) = exp(x . s - U(s) - Gamma(x)),    Gamma(x) = log sum_s exp(x . s - U(s))

A family of one's own subclasses `Units`, and `register` makes its name known to model files.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from wakesleep.sources.context import Context as Context
from wakesleep.units.base import Atom as Atom
from wakesleep.units.base import Units as Units
from wakesleep.units.bernoulli import Bernoulli as Bernoulli
from wakesleep.units.binomial import Binomial as Binomial
from wakesleep.units.categorical import Categorical as Categorical
from wakesleep.units.categorical import sample_categorical as sample_categorical
from wakesleep.units.drelu import DReLU as DReLU
from wakesleep.units.gaussian import Gaussian as Gaussian
from wakesleep.units.groups import Groups as Groups
from wakesleep.units.multinomial import Multinomial as Multinomial
from wakesleep.units.ordinal import Ordinal as Ordinal
from wakesleep.units.poisson import Poisson as Poisson
from wakesleep.units.registry import FAMILIES as FAMILIES
from wakesleep.units.registry import as_units as as_units
from wakesleep.units.registry import from_spec as from_spec
from wakesleep.units.registry import register as register
from wakesleep.units.relu import ReLU as ReLU
from wakesleep.units.spin import Spin as Spin
from wakesleep.units.thermometer import Thermometer as Thermometer

__all__ = [
    "Atom",
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Context",
    "DReLU",
    "Gaussian",
    "Groups",
    "Multinomial",
    "Ordinal",
    "Poisson",
    "ReLU",
    "Spin",
    "Thermometer",
    "Units",
    "as_units",
    "from_spec",
    "register",
    "sample_categorical",
]


def __getattr__(name: str) -> Any:
    """Return what older versions called `Softmax` and `from_kinds`, with a warning."""
    if name == "Softmax":
        warnings.warn(
            "units.Softmax is called units.Categorical now", DeprecationWarning, stacklevel=2
        )
        return Categorical
    if name == "from_kinds":
        warnings.warn(
            "units.from_kinds is replaced by units.from_spec", DeprecationWarning, stacklevel=2
        )
        return _from_kinds
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}"
    )


def _from_kinds(kinds: Sequence[tuple[str, int]]) -> Units:
    """Return the units that [(kind, size), ...] describes: "bernoulli" or "softmax", side by
    side.
    """
    families = {"bernoulli": "Bernoulli", "softmax": "Categorical"}
    parts = [from_spec({"family": families.get(kind, kind), "size": size}) for kind, size in kinds]
    return (
        parts[0]
        if len(parts) == 1
        else Groups(**{f"part{number}": part for number, part in enumerate(parts)})
    )
