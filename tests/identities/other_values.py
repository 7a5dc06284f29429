"""What else may come in the place of an argument: the same values in another form, and values of
another kind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from calls import Context, dbm, dbn, helmholtz, net, rbm
from torch import nn

import wakesleep as ws

Values = dict[str, object]
NOTHING: Values = {
    "None": None,
    "a string": "x",
    "bytes": b"x",
    "a dictionary": {"a": 1},
    "a set": {1, 2},
    "a class": torch.Tensor,
    "objects": np.array([None] * 4),
}


def in_place_of(value) -> tuple[Values, Values]:
    """Return the same value in other forms, and values of other kinds, each by its name."""
    if isinstance(value, np.ndarray):
        return of_tensor(torch.from_numpy(value))
    if isinstance(value, torch.Tensor):
        return of_tensor(value)
    if isinstance(value, list | dict) and value:
        first = next(iter(value.values() if isinstance(value, dict) else value))
        if isinstance(first, torch.Tensor):
            return of_collection(value)
    if isinstance(value, nn.Module):
        return {}, of_model(value)
    if isinstance(value, Context):
        return of_context(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return of_record(value)
    if isinstance(value, Path):
        return {"a string": str(value)}, {"None": None, "a number": 3, "a list": [str(value)]}
    if isinstance(value, torch.Generator):
        return {}, {"None": None, "a seed": 0, "NumPy's": np.random.default_rng(0)}
    if isinstance(value, tuple):
        wrong = {"None": None, "one": (2,), "strings": ("a", "b"), "below 1": (-2, -3)}
        return {"a list": list(value), "an array": np.array(value)}, wrong
    if isinstance(value, int | float):
        return {"NumPy's": np.array(value)[()]}, {"None": None, "a string": "x", "a list": [1]}
    return {}, {"None": None, "a number": 3, "a dictionary": {}, "a tensor": torch.zeros(3)}


def of_tensor(tensor: torch.Tensor) -> tuple[Values, Values]:
    """Return it for a tensor."""
    array, size = tensor.numpy(), tensor.ndim
    same: Values = {
        "a list": tensor.tolist(),
        "an array": array,
        "read-only": np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
        "a list of rows": list(array) if size > 1 else array.tolist(),
        "strided": torch.stack([tensor, tensor], -1)[..., 0],
    }
    wrong: Values = {
        **NOTHING,
        "strings": np.full(array.shape, "a"),
        "ragged": [[0.0], [0.0, 1.0]],
        "a model": rbm(),
        "complex": tensor.to(torch.complex64),
        "wide": torch.cat([tensor, tensor[..., :1]], -1),
        "narrow": tensor[..., :-1],
        "one dimension more": tensor[None],
        "one dimension fewer": tensor[0],
        "no rows": tensor[:0],
        "no columns": tensor[..., :0],
        "one row more": torch.cat([tensor, tensor[:1]]),
        "elsewhere": tensor.to("meta"),
        "sparse": tensor.to_sparse(),
    }
    if tensor.dtype == torch.bool:
        same |= {"numbers": tensor.float(), "whole": tensor.long(), "uint8": tensor.byte()}
        return same, {**wrong, "halves": tensor * 0.5, "NaN": tensor * torch.nan}
    if not tensor.is_floating_point():
        same |= {kind: array.astype(kind) for kind in ("u1", "i1", "i4", "u8", ">i4")}
        same |= {"uint8": tensor.byte(), "int32": tensor.int()}
        wrong |= {"floats": tensor.float(), "too large": tensor + 100, "too small": tensor - 100}
        return same, {**wrong, "NaN": tensor * torch.nan}
    for name, number in (("NaN", torch.nan), ("infinity", torch.inf)):
        wrong[name] = tensor.clone()
        wrong[name].view(-1)[0] = number
    same |= {"big-endian": array.astype(array.dtype.newbyteorder(">"))}
    same |= {"of a parameter": nn.Parameter(tensor.clone())}
    wrong |= {"beyond": tensor * 7 - 3, "pixels": (tensor.abs() * 255).clamp(0, 255).byte()}
    if torch.equal(tensor, tensor.round()):
        same |= {"whole": tensor.long(), "int8": tensor.to(torch.int8), "i4": array.astype("i4")}
        if float(tensor.min()) >= 0 and float(tensor.max()) <= 1:
            same |= {"bool": tensor.bool(), "an array of bool": array.astype(bool)}
    return same, wrong


def of_collection(value) -> tuple[Values, Values]:
    """Return it for a list, or a dictionary, of tensors."""
    key, tensor = next(iter(value.items())) if isinstance(value, dict) else (0, value[0])
    kinds = of_tensor(tensor)

    def put(other):
        return {**value, key: other} if isinstance(value, dict) else [other, *value[1:]]

    same, wrong = (
        {f"its first {name}": put(other) for name, other in kind.items()} for kind in kinds
    )
    return same, {**wrong, "None": None, "a string": "x", "empty": type(value)(), "a number": 3}


def of_model(model: nn.Module) -> Values:
    """Return other kinds of models."""
    every: Values = {
        "an RBM": rbm(),
        "a DBN": dbn(),
        "a DBM": dbm(),
        "a net": net(),
        "a Helmholtz machine": helmholtz(),
        "units": ws.units.Bernoulli(6),
        "an estimator": ws.DBNClassifier(),
        "a class": ws.RBM,
        "an array": np.zeros((6, 5)),
        "None": None,
        "a string": "x",
    }
    return {name: other for name, other in every.items() if type(other) is not type(model)}


def of_context(context: Context) -> tuple[Values, Values]:
    """Return it for a context with a mask, and perhaps counts."""
    count, mask = context.count, context.mask
    rows, width = mask.shape
    same: Values = {
        "lists": Context(None if count is None else count.tolist(), mask.tolist()),
        "arrays": Context(None if count is None else count.numpy(), mask.numpy()),
        "numbers": Context(None if count is None else count.long(), mask.float()),
    }
    wrong: Values = {
        **NOTHING,
        "a mask alone": mask,
        "wide": Context(count, torch.ones(rows, width + 1, dtype=torch.bool)),
        "one dimension": Context(count, mask[0]),
        "halves": Context(count, mask * 0.5),
        "a string for a mask": Context(count, "x"),
        "a string for counts": Context("x", mask),
        "counts below 0": Context(torch.full((rows,), -1.0), mask),
        "half counts": Context(torch.full((rows,), 1.5), mask),
        "NaN counts": Context(torch.full((rows,), torch.nan), mask),
    }
    return same, wrong


def of_record(record) -> tuple[Values, Values]:
    """Return it for a named tuple with tensors."""
    same: Values = {}
    wrong: Values = {**NOTHING, "a tuple": tuple(record), "a tensor": torch.zeros(6)}
    for field in record._fields:
        if isinstance(tensor := getattr(record, field), torch.Tensor):
            forms, kinds = of_tensor(tensor)
            same |= {f"{field}: {k}": record._replace(**{field: v}) for k, v in forms.items()}
            wrong |= {f"{field}: {k}": record._replace(**{field: v}) for k, v in kinds.items()}
    return same, wrong
