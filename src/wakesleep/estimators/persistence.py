"""Estimators to files and back: nets as plain arrays for pickle, joblib and skops; one safetensors
file that the command line reads too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.preprocessing import MinMaxScaler
from torch import Tensor, nn

from wakesleep.data.table_units import TableUnits
from wakesleep.estimators.shared import Array
from wakesleep.foundation.errors import CheckpointError
from wakesleep.foundation.rng import generator
from wakesleep.learning.backprop import BackpropState, feed_forward
from wakesleep.learning.cd import CDState
from wakesleep.learning.chains import MemoryState
from wakesleep.learning.net_spec import net_activations, net_sizes
from wakesleep.learning.state import State
from wakesleep.learning.up_down import UpDownState
from wakesleep.models.dbm import DBM
from wakesleep.models.dbn import DBN
from wakesleep.runs import checkpoint, tensor_files

NET, TENSOR, STATE = "wakesleep net", "wakesleep tensor", "wakesleep state"
STATES = {kind.__name__: kind for kind in (CDState, MemoryState, BackpropState, UpDownState)}
"""States of loops that an estimator goes on with."""


class Saved:
    """An estimator that goes into one safetensors file and comes back, without pickle."""

    def save(self, path: Path | str) -> None:
        """Write the fitted estimator into one safetensors file: weights, parameters and classes.

        What a later `partial_fit` would go on with (momentum, chains) is left out; pickle keeps
        it. A `random_state` that is no number is left out as well.

        Raises:
            CheckpointError: the file cannot be written, or a parameter is nothing that JSON can
                hold. NotFittedError: nothing was learned yet.
        """
        save(self, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Return the estimator that `save` wrote to `path`.

        Raises:
            CheckpointError: no such file, a damaged one, or one of another estimator.
        """
        return load(cls, Path(path))  # type: ignore[no-any-return]


def to_plain(value: Any) -> Any:
    """Return `value` with nets, states and tensors as numpy arrays on the CPU, in dictionaries
    too.
    """
    if isinstance(value, DBN | DBM):
        return {NET: {**value.spec(), "tensors": _arrays(checkpoint.model_tensors(value))}}
    if isinstance(value, nn.Sequential):
        return {
            NET: {
                "feed_forward": net_sizes(value),
                "activations": net_activations(value),
                "tensors": _arrays(value.state_dict()),
            }
        }
    if isinstance(value, Tensor):
        return {TENSOR: value.detach().cpu().numpy()}
    if isinstance(value, State):
        return {STATE: type(value).__name__, "fields": to_plain(value.to_tensors())}
    return (
        {name: to_plain(inner) for name, inner in value.items()}
        if isinstance(value, dict)
        else value
    )


def from_plain(value: Any) -> Any:
    """Return what `to_plain` was given, on the CPU."""
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        return torch.tensor(value[TENSOR])
    if STATE in value:
        return STATES[value[STATE]].from_tensors(from_plain(value["fields"]))
    if NET not in value:
        return {name: from_plain(inner) for name, inner in value.items()}
    plain = value[NET]
    tensors = {name: torch.tensor(array) for name, array in plain["tensors"].items()}
    if "feed_forward" not in plain:
        spec = {"class": "DBN"} | {name: each for name, each in plain.items() if name != "tensors"}
        return checkpoint.build(spec, tensors, Path("a pickled estimator"))
    net = feed_forward(plain["feed_forward"], activations=plain.get("activations"))
    net.load_state_dict(tensors)
    return net


def _arrays(tensors: dict[str, Tensor]) -> dict[str, Array]:
    """Return tensors as arrays on the CPU."""
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def lasting(state: State, names: Collection[str], dtype: torch.dtype) -> dict[str, Array]:
    """Return the fields `names` of a loop's state as arrays: what a later call goes on with."""
    tensors, _ = tensor_files.flatten(state.to_tensors())
    return {
        name: tensor.to(dtype).cpu().numpy()
        for name, tensor in tensors.items()
        if name.partition("/")[0] in names
    }


def restore(state: State, arrays: Mapping[str, Array]) -> None:
    """Put what `lasting` gave into a new state, in place; arrays of other shapes, as chains where
    the size of the minibatches was changed, are left out.
    """
    tensors, _ = tensor_files.flatten(state.to_tensors())
    for name, array in arrays.items():
        if name in tensors and tensors[name].shape == array.shape:
            tensors[name].copy_(torch.tensor(array))


def save(estimator: Any, path: Path) -> None:
    """Write a fitted estimator to `path`: a wakesleep model file whose header also holds
    parameters, classes and scaling.
    """
    model, net = estimator._nets()
    parameters = _plain_parameters(estimator)
    fitted = {
        name: _encode(getattr(estimator, name)) for name in _SAVED if hasattr(estimator, name)
    }
    note = {"class": type(estimator).__name__, "parameters": parameters, "fitted": fitted}
    classes = [str(label) for label in getattr(estimator, "classes_", ())]
    side = math.isqrt(model.sizes[0])
    square = side * side == model.sizes[0] and not hasattr(estimator, "units_")
    shape = [side, side] if square else [1, model.sizes[0]]
    header = {"estimator": note, "shape": shape, "classes": classes}
    name = "dbm" if isinstance(model, DBM) else "dbn"
    checkpoint.save_models(path, {name: model, "net": net}, header)


def load(cls: Any, path: Path) -> Any:
    """Return the estimator of class `cls` that `save` wrote to `path`."""
    tensors, header = tensor_files.load_tensors(path, "model")
    note = header.get("estimator")
    if not isinstance(note, dict) or note.get("class") != cls.__name__:
        held = (
            note.get("class")
            if isinstance(note, dict)
            else "net without an estimator's parameters (wakesleep.load reads it)"
        )
        raise CheckpointError(f"{path} holds a {held}; expected a {cls.__name__}")
    try:
        estimator = cls(**{name: _parameter(value) for name, value in note["parameters"].items()})
        for name, value in note["fitted"].items():
            setattr(estimator, name, _decode(value))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged or of another version of wakesleep: {error}"
        ) from error
    is_deep = any(name.startswith("dbm/") for name in tensors)
    read = checkpoint.load_deep if is_deep else checkpoint.load_model
    estimator._set_nets(read(path), tensors)
    return estimator


_SAVED = (
    "n_features_in_",
    "feature_names_in_",
    "units_",
    "base_rates_",
    "scaler_",
    "outlier_columns_",
    "skewed_columns_",
    "skew_",
    "sample_visible_",
    "classes_",
    "n_iter_",
    "target_mean_",
    "target_scale_",
    "target_columns_",
)
"""What `fit` learns besides weights and what predictions need."""


def _plain_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator as JSON can hold them; a `random_state` that is no
    number is left out.

    Raises:
        CheckpointError: another parameter is no number, word, truth value or list of such.
    """
    parameters = {}
    for name, value in estimator.get_params(deep=False).items():
        try:
            parameters[name] = json.loads(json.dumps(_plain(value)))
        except TypeError as error:
            if name != "random_state":
                raise CheckpointError(
                    f"{name} = {value!r}: a model file holds numbers, words and lists of them; "
                    "set it to one of these, or use pickle"
                ) from error
    return parameters


def _plain(value: Any) -> Any:
    """Return a parameter with NumPy's numbers and arrays as Python's, as a grid over np.arange
    leaves them.
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):  # JSON's keys are words, those of class_weight are classes
        return {"pairs": [[_plain(key), _plain(each)] for key, each in value.items()]}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _parameter(value: Any) -> Any:
    """Return a parameter that `_plain` made fit for JSON."""
    if isinstance(value, dict):
        return dict(value["pairs"])
    return tuple(value) if isinstance(value, list) else value


def _encode(value: Any) -> Any:
    """Return a fitted attribute as JSON can hold it."""
    if isinstance(value, MinMaxScaler):
        return {"range": [value.data_min_.tolist(), value.data_max_.tolist()]}
    if isinstance(value, TableUnits):
        return {"table": value.spec()}
    if isinstance(value, np.ndarray):
        return {
            "array": value.tolist(),
            "dtype": "object" if value.dtype == object else value.dtype.str,
        }
    return value


def _decode(value: Any) -> Any:
    """Return what `_encode` was given."""
    if isinstance(value, dict) and "range" in value:
        return MinMaxScaler(clip=True).fit(np.array(value["range"]))
    if isinstance(value, dict) and "table" in value:
        return TableUnits.from_spec(value["table"])
    if isinstance(value, dict) and "array" in value:
        array: Array = np.array(value["array"], dtype=value["dtype"])
        return array
    return value


def one_layer(weight: Tensor, visible_bias: Tensor, hidden_bias: Tensor) -> DBN:
    """Return an RBM, weight (visible, hidden), as the net of one layer that a model file holds."""
    dbn = DBN(tuple(weight.shape), rng=generator(0)).to(weight.dtype)
    for own, given in zip(
        (dbn.memory.weight, dbn.memory.visible_bias, dbn.memory.hidden_bias),
        (weight, visible_bias, hidden_bias),
        strict=True,
    ):
        own.copy_(given)
    return dbn
