"""wakesleep: a network that first learns to generate images and then recognises them better for it.

The names a user needs, loaded when first asked for, so that `import wakesleep` costs next to
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from wakesleep import units as units
    from wakesleep.data import Preparation as Preparation
    from wakesleep.data import distort as distort
    from wakesleep.data import load as load_data  # noqa: F401
    from wakesleep.data import sound as sound
    from wakesleep.estimators import BernoulliRBM as BernoulliRBM
    from wakesleep.estimators import DBMClassifier as DBMClassifier
    from wakesleep.estimators import DBNClassifier as DBNClassifier
    from wakesleep.estimators import DBNRegressor as DBNRegressor
    from wakesleep.estimators import DBNTransformer as DBNTransformer
    from wakesleep.estimators import MultimodalDBNClassifier as MultimodalDBNClassifier
    from wakesleep.estimators import TableRBM as TableRBM
    from wakesleep.estimators import export as export
    from wakesleep.estimators import make_dbn_pipeline as make_dbn_pipeline
    from wakesleep.evaluation import ais as ais
    from wakesleep.evaluation import bennett as bennett
    from wakesleep.evaluation import bound as bound
    from wakesleep.evaluation import classify as classify
    from wakesleep.evaluation import ensemble as ensemble
    from wakesleep.evaluation import exact as exact
    from wakesleep.evaluation import interpretation as interpretation
    from wakesleep.evaluation import likelihood as likelihood
    from wakesleep.evaluation import meanfield as meanfield
    from wakesleep.evaluation import mixing as mixing
    from wakesleep.evaluation import monitor as monitor
    from wakesleep.evaluation import pseudo as pseudo
    from wakesleep.foundation.errors import WakesleepError as WakesleepError
    from wakesleep.foundation.options import PictureOptions as PictureOptions
    from wakesleep.foundation.rng import generator as generator
    from wakesleep.learning import backprop as backprop
    from wakesleep.learning import cd as cd
    from wakesleep.learning import deep_boltzmann as deep_boltzmann
    from wakesleep.learning import greedy as greedy
    from wakesleep.learning import hybrid as hybrid
    from wakesleep.learning import robust as robust
    from wakesleep.learning import semi_supervised as semi_supervised
    from wakesleep.learning import spreading as spreading
    from wakesleep.learning import strategies as strategies
    from wakesleep.learning import streaming as streaming
    from wakesleep.learning import up_down as up_down
    from wakesleep.learning import wake_sleep as wake_sleep
    from wakesleep.learning.backprop import BackpropConfig as BackpropConfig
    from wakesleep.learning.cd import CDConfig as CDConfig
    from wakesleep.learning.deep_boltzmann import DBMConfig as DBMConfig
    from wakesleep.learning.greedy import GreedyConfig as GreedyConfig
    from wakesleep.learning.greedy import MultimodalConfig as MultimodalConfig
    from wakesleep.learning.hybrid import HybridConfig as HybridConfig
    from wakesleep.learning.robust import RobustConfig as RobustConfig
    from wakesleep.learning.semi_supervised import SemiSupervisedConfig as SemiSupervisedConfig
    from wakesleep.learning.up_down import UpDownConfig as UpDownConfig
    from wakesleep.learning.wake_sleep import WakeSleepConfig as WakeSleepConfig
    from wakesleep.models import gauge as gauge
    from wakesleep.models import normalisable as normalisable
    from wakesleep.models.dbm import DBM as DBM
    from wakesleep.models.dbn import DBN as DBN
    from wakesleep.models.helmholtz import Helmholtz as Helmholtz
    from wakesleep.models.multimodal import MultimodalDBN as MultimodalDBN
    from wakesleep.models.rbm import RBM as RBM
    from wakesleep.runs import checkpoint as checkpoint
    from wakesleep.runs.checkpoint import load as load
    from wakesleep.runs.checkpoint import load_model as load_model
    from wakesleep.runs.checkpoint import save as save
    from wakesleep.samplers import annealed as annealed
    from wakesleep.samplers import dreams as dreams
    from wakesleep.samplers import gibbs as gibbs
    from wakesleep.samplers import missing as missing
    from wakesleep.samplers import replica_exchange as replica_exchange
    from wakesleep.samplers import tempering as tempering
    from wakesleep.samplers.recalling import recall as recall
    from wakesleep.sources.paired import pair_by_class as pair_by_class

_WHERE = {
    "checkpoint": ("runs.checkpoint", None),
    "streaming": ("learning.streaming", None),
    "export": ("estimators.export", None),
    "tempering": ("samplers.tempering", None),
    "annealed": ("samplers.annealed", None),
    "replica_exchange": ("samplers.replica_exchange", None),
    "mixing": ("evaluation.mixing", None),
    "bennett": ("evaluation.bennett", None),
    "missing": ("samplers.missing", None),
    "pseudo": ("evaluation.pseudo", None),
    "monitor": ("evaluation.monitor", None),
    "meanfield": ("evaluation.meanfield", None),
    "likelihood": ("evaluation.likelihood", None),
    "interpretation": ("evaluation.interpretation", None),
    "exact": ("evaluation.exact", None),
    "bound": ("evaluation.bound", None),
    "ais": ("evaluation.ais", None),
    "load": ("runs.checkpoint", "load"),
    "save": ("runs.checkpoint", "save"),
    "load_model": ("runs.checkpoint", "load_model"),
    "load_data": ("data", "load"),
    "PictureOptions": ("foundation.options", "PictureOptions"),
    "Preparation": ("data", "Preparation"),
    "WakesleepError": ("foundation.errors", "WakesleepError"),
    "generator": ("foundation.rng", "generator"),
    "BackpropConfig": ("learning.backprop", "BackpropConfig"),
    "CDConfig": ("learning.cd", "CDConfig"),
    "GreedyConfig": ("learning.greedy", "GreedyConfig"),
    "MultimodalConfig": ("learning.greedy", "MultimodalConfig"),
    "MultimodalDBN": ("models.multimodal", "MultimodalDBN"),
    "pair_by_class": ("sources.paired", "pair_by_class"),
    "recall": ("samplers.recalling", "recall"),
    "DBM": ("models.dbm", "DBM"),
    "DBMConfig": ("learning.deep_boltzmann", "DBMConfig"),
    "DBN": ("models.dbn", "DBN"),
    "RBM": ("models.rbm", "RBM"),
    "backprop": ("learning.backprop", None),
    "cd": ("learning.cd", None),
    "deep_boltzmann": ("learning.deep_boltzmann", None),
    "greedy": ("learning.greedy", None),
    "ensemble": ("evaluation.ensemble", None),
    "gauge": ("models.gauge", None),
    "normalisable": ("models.normalisable", None),
    "classify": ("evaluation.classify", None),
    "dreams": ("samplers.dreams", None),
    "gibbs": ("samplers.gibbs", None),
    "HybridConfig": ("learning.hybrid", "HybridConfig"),
    "hybrid": ("learning.hybrid", None),
    "RobustConfig": ("learning.robust", "RobustConfig"),
    "robust": ("learning.robust", None),
    "SemiSupervisedConfig": ("learning.semi_supervised", "SemiSupervisedConfig"),
    "semi_supervised": ("learning.semi_supervised", None),
    "spreading": ("learning.spreading", None),
    "strategies": ("learning.strategies", None),
    "distort": ("data.distort", None),
    "sound": ("data.sound", None),
    "UpDownConfig": ("learning.up_down", "UpDownConfig"),
    "up_down": ("learning.up_down", None),
    "WakeSleepConfig": ("learning.wake_sleep", "WakeSleepConfig"),
    "wake_sleep": ("learning.wake_sleep", None),
    "Helmholtz": ("models.helmholtz", "Helmholtz"),
    "BernoulliRBM": ("estimators", "BernoulliRBM"),
    "DBMClassifier": ("estimators", "DBMClassifier"),
    "DBNClassifier": ("estimators", "DBNClassifier"),
    "DBNRegressor": ("estimators", "DBNRegressor"),
    "DBNTransformer": ("estimators", "DBNTransformer"),
    "MultimodalDBNClassifier": ("estimators", "MultimodalDBNClassifier"),
    "TableRBM": ("estimators", "TableRBM"),
    "make_dbn_pipeline": ("estimators", "make_dbn_pipeline"),
    "units": ("units", None),
}
_RENAMED = {"inside": "interpretation", "insight": "interpretation"}
__all__ = ["__version__", *sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        from wakesleep.foundation import renamed

        renamed.warn(f"wakesleep.{name}", f"wakesleep.{_RENAMED[name]}")
        name = _RENAMED[name]
    if name not in _WHERE:
        raise AttributeError(
            f"module 'wakesleep' has no attribute {name!r}; it has {', '.join(sorted(_WHERE))}"
        )
    module, attribute = _WHERE[name]
    loaded = import_module(f"wakesleep.{module}")
    return getattr(loaded, attribute) if attribute else loaded


def __dir__() -> list[str]:
    return list(__all__)
