"""wakesleep: a network that first learns to generate images and then recognises them better for it.

The names a user needs, loaded when first asked for, so that `import wakesleep` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from wakesleep import checkpoint as checkpoint
    from wakesleep import units as units
    from wakesleep.checkpoint import load as load
    from wakesleep.checkpoint import load_model as load_model
    from wakesleep.checkpoint import save as save
    from wakesleep.data import Preparation as Preparation
    from wakesleep.data import distort as distort
    from wakesleep.data import load as load_data  # noqa: F401
    from wakesleep.estimators import BernoulliRBM as BernoulliRBM
    from wakesleep.estimators import DBNClassifier as DBNClassifier
    from wakesleep.estimators import DBNRegressor as DBNRegressor
    from wakesleep.estimators import DBNTransformer as DBNTransformer
    from wakesleep.estimators import export as export
    from wakesleep.estimators import make_dbn_pipeline as make_dbn_pipeline
    from wakesleep.foundation.errors import WakesleepError as WakesleepError
    from wakesleep.foundation.options import PictureOptions as PictureOptions
    from wakesleep.foundation.rng import generator as generator
    from wakesleep.judging import ais as ais
    from wakesleep.judging import bound as bound
    from wakesleep.judging import classify as classify
    from wakesleep.judging import ensemble as ensemble
    from wakesleep.judging import exact as exact
    from wakesleep.judging import inside as inside
    from wakesleep.judging import insight as insight
    from wakesleep.judging import likelihood as likelihood
    from wakesleep.judging import meanfield as meanfield
    from wakesleep.judging import monitor as monitor
    from wakesleep.judging import pseudo as pseudo
    from wakesleep.learning import backprop as backprop
    from wakesleep.learning import cd as cd
    from wakesleep.learning import greedy as greedy
    from wakesleep.learning import hybrid as hybrid
    from wakesleep.learning import robust as robust
    from wakesleep.learning import strategies as strategies
    from wakesleep.learning import streaming as streaming
    from wakesleep.learning import up_down as up_down
    from wakesleep.learning import wake_sleep as wake_sleep
    from wakesleep.learning.backprop import BackpropConfig as BackpropConfig
    from wakesleep.learning.cd import CDConfig as CDConfig
    from wakesleep.learning.greedy import GreedyConfig as GreedyConfig
    from wakesleep.learning.hybrid import HybridConfig as HybridConfig
    from wakesleep.learning.robust import RobustConfig as RobustConfig
    from wakesleep.learning.up_down import UpDownConfig as UpDownConfig
    from wakesleep.learning.wake_sleep import WakeSleepConfig as WakeSleepConfig
    from wakesleep.model.dbn import DBN as DBN
    from wakesleep.model.helmholtz import Helmholtz as Helmholtz
    from wakesleep.model.rbm import RBM as RBM
    from wakesleep.sampling import dreams as dreams
    from wakesleep.sampling import gibbs as gibbs
    from wakesleep.sampling import missing as missing
    from wakesleep.sampling import tempering as tempering

_WHERE = {
    "checkpoint": ("checkpoint", None),
    "streaming": ("learning.streaming", None),
    "export": ("estimators.export", None),
    "tempering": ("sampling.tempering", None),
    "missing": ("sampling.missing", None),
    "pseudo": ("judging.pseudo", None),
    "monitor": ("judging.monitor", None),
    "meanfield": ("judging.meanfield", None),
    "likelihood": ("judging.likelihood", None),
    "insight": ("judging.insight", None),
    "inside": ("judging.inside", None),
    "exact": ("judging.exact", None),
    "bound": ("judging.bound", None),
    "ais": ("judging.ais", None),
    "load": ("checkpoint", "load"),
    "save": ("checkpoint", "save"),
    "load_model": ("checkpoint", "load_model"),
    "load_data": ("data", "load"),
    "PictureOptions": ("foundation.options", "PictureOptions"),
    "Preparation": ("data", "Preparation"),
    "WakesleepError": ("foundation.errors", "WakesleepError"),
    "generator": ("foundation.rng", "generator"),
    "BackpropConfig": ("learning.backprop", "BackpropConfig"),
    "CDConfig": ("learning.cd", "CDConfig"),
    "GreedyConfig": ("learning.greedy", "GreedyConfig"),
    "DBN": ("model.dbn", "DBN"),
    "RBM": ("model.rbm", "RBM"),
    "backprop": ("learning.backprop", None),
    "cd": ("learning.cd", None),
    "greedy": ("learning.greedy", None),
    "ensemble": ("judging.ensemble", None),
    "classify": ("judging.classify", None),
    "dreams": ("sampling.dreams", None),
    "gibbs": ("sampling.gibbs", None),
    "HybridConfig": ("learning.hybrid", "HybridConfig"),
    "hybrid": ("learning.hybrid", None),
    "RobustConfig": ("learning.robust", "RobustConfig"),
    "robust": ("learning.robust", None),
    "strategies": ("learning.strategies", None),
    "distort": ("data.distort", None),
    "UpDownConfig": ("learning.up_down", "UpDownConfig"),
    "up_down": ("learning.up_down", None),
    "WakeSleepConfig": ("learning.wake_sleep", "WakeSleepConfig"),
    "wake_sleep": ("learning.wake_sleep", None),
    "Helmholtz": ("model.helmholtz", "Helmholtz"),
    "BernoulliRBM": ("estimators", "BernoulliRBM"),
    "DBNClassifier": ("estimators", "DBNClassifier"),
    "DBNRegressor": ("estimators", "DBNRegressor"),
    "DBNTransformer": ("estimators", "DBNTransformer"),
    "make_dbn_pipeline": ("estimators", "make_dbn_pipeline"),
    "units": ("units", None),
}
__all__ = ["__version__", *sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'wakesleep' has no attribute {name!r}; it has {', '.join(sorted(_WHERE))}")
    module, attribute = _WHERE[name]
    found = import_module(f"wakesleep.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return list(__all__)
