"""Saving and loading: tensors in safetensors, everything else as JSON in the same file's header. No pickle, ever.

Files are written as `foundation.files` writes them: whole or not at all.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.foundation.errors import CheckpointError, WakesleepError
from wakesleep.foundation.files import FORMAT as FORMAT
from wakesleep.foundation.files import read_json as read_json
from wakesleep.foundation.files import read_metrics as read_metrics
from wakesleep.foundation.files import remove_abandoned, unreadable
from wakesleep.foundation.files import write_atomically as write_atomically
from wakesleep.foundation.files import write_json as write_json
from wakesleep.learning.backprop import feed_forward
from wakesleep.learning.state import State
from wakesleep.model.dbn import DBN


class Model(NamedTuple):
    """What a model file holds."""

    dbn: DBN
    """The generative model, and its recognition pathway."""
    net: nn.Sequential | None
    """The feed-forward net fine-tuned from it, where there is one."""
    header: dict[str, Any]
    """The rest: picture shape, class names, and whatever the writer noted."""


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any], kind: str) -> None:
    """Write tensors and a JSON header into one safetensors file, atomically."""
    from safetensors.torch import save_file

    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    note = {"wakesleep": json.dumps({"format": FORMAT, "kind": kind, **header}, sort_keys=True)}
    write_atomically(path, lambda temporary: save_file(plain, temporary, metadata=note))


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that `save_tensors` wrote: tensors on the CPU, and the header.

    Raises:
        CheckpointError: there is no such file, it may not be read, is damaged or not ours, or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        path.open("rb").close()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; expected a wakesleep {kind} file (train one: wakesleep train)") from error
    except OSError as error:
        raise unreadable(path, error, f"expected a wakesleep {kind} file") from error
    try:
        with safe_open(path, framework="pt") as file:
            note = file.metadata() or {}
            header = json.loads(note.get("wakesleep", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()} if header else {}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({error}); take an earlier copy or train again") from error
    if not isinstance(header, dict) or "format" not in header:
        raise CheckpointError(f"{path} was not written by wakesleep: it has no wakesleep header; give a {kind} file from a run folder")
    if not isinstance(header["format"], int) or header["format"] > FORMAT:
        raise CheckpointError(f"{path} has format {header['format']}; this wakesleep reads up to {FORMAT}; install a newer one")
    if header.get("kind") != kind:
        raise CheckpointError(f"{path} holds a {header.get('kind')}; expected a {kind} file")
    return tensors, header


def flatten(state: dict[str, Any], prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split a nested state into its tensors and its plain values, both by dotted name."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, State):
            value = value.to_tensors()
        if isinstance(value, dict):
            inner_tensors, inner_values = flatten(value, f"{prefix}{name}/")
            tensors |= inner_tensors
            values |= inner_values
        elif isinstance(value, Tensor):
            tensors[prefix + name] = value
        else:
            values[prefix + name] = value
    return tensors, values


def unflatten(tensors: dict[str, Tensor], values: dict[str, Any]) -> dict[str, Any]:
    """Put a flattened state together again."""
    state: dict[str, Any] = {}
    for name, value in {**tensors, **values}.items():
        *path, last = name.split("/")
        inner = state
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return state


def dbn_tensors(dbn: DBN) -> dict[str, Tensor]:
    """Return the net's tensors by name; tied weights once."""
    tied = {f"generative.{layer}.weight" for layer in range(len(dbn.generative))} if dbn.tied else set()
    return {name: tensor for name, tensor in dbn.state_dict().items() if name not in tied}


def dbn_header(dbn: DBN) -> dict[str, Any]:
    """Return what is needed to build the same net again."""
    return {"sizes": list(dbn.sizes), "labels": dbn.labels, "tied": dbn.tied}


def build_dbn(tensors: dict[str, Tensor], header: dict[str, Any], path: Path) -> DBN:
    """Build the net that `header` describes and fill it with `tensors`.

    Raises:
        CheckpointError: header and tensors do not fit each other.
    """
    try:
        dbn = DBN(header["sizes"], labels=header["labels"], rng=torch.Generator())
        if not header["tied"]:
            dbn.untie()
        fill(dbn, tensors, [name for name in dbn.state_dict() if name not in tensors and not name.startswith("generative.")], path)
    except (KeyError, TypeError, ValueError, RuntimeError, WakesleepError) as error:
        raise CheckpointError(f"{path} is damaged: its tensors do not make the net its header describes ({error})") from error
    return dbn


def fill(module: nn.Module, tensors: dict[str, Tensor], missing: list[str], path: Path) -> None:
    """Copy `tensors` into the module's own, in place, so that whatever shares them sees the change."""
    own = module.state_dict()
    unknown = [name for name in tensors if name not in own]
    wrong = [name for name, tensor in tensors.items() if name in own and own[name].shape != tensor.shape]
    if missing or unknown or wrong:
        raise CheckpointError(f"{path}: missing {missing}, unknown {unknown}, of another shape {wrong}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def save_model(path: Path, dbn: DBN, net: nn.Sequential | None, header: dict[str, Any]) -> None:
    """Write the generative model, the net fine-tuned from it (or None) and notes as one model file."""
    tensors = {f"dbn/{name}": tensor for name, tensor in dbn_tensors(dbn).items()}
    if net is not None:
        tensors |= {f"net/{name}": tensor for name, tensor in net.state_dict().items()}
    classes = None if net is None else next(layer.out_features for layer in reversed(net) if isinstance(layer, nn.Linear))
    save_tensors(path, tensors, {**header, "dbn": dbn_header(dbn), "net_classes": classes}, "model")


def load_model(path: Path | str, device: torch.device | str = "cpu") -> Model:
    """Read a run folder, finished or stopped on the way, or a model file, which may be that of an estimator.

    The header of what is returned names a picture's `shape` and the `classes` in any case: an estimator knows of no pictures, so its are
    taken for square where they can be.

    Raises:
        CheckpointError: nothing there, damaged, foreign, not to be read by this user, or of a newer format.
    """
    file, kind = _model_file(Path(path))
    tensors, header = load_tensors(file, kind)
    tuned = "net/backprop/" if kind == "checkpoint" else "net/"  # the net from random weights is there to compare with
    parts: dict[str, dict[str, Tensor]] = {
        "dbn": {name.removeprefix("dbn/"): tensor for name, tensor in tensors.items() if name.startswith("dbn/")},
        "net": {name.removeprefix(tuned): tensor for name, tensor in tensors.items() if name.startswith(tuned)},
    }
    if not isinstance(header.get("dbn"), dict):
        raise CheckpointError(f"{file} is damaged: its header describes no net")
    dbn = build_dbn(parts["dbn"], header["dbn"], file)
    net = None
    if parts["net"]:
        try:
            net = feed_forward((*dbn.sizes, int(header.get("net_classes") or len(header["classes"]))))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{file} is damaged: its header says nothing of the net's classes") from error
        fill(net, parts["net"], [name for name in net.state_dict() if name not in parts["net"]], file)
        net = net.to(device)
    shape = square(dbn.sizes[0]) or (1, dbn.sizes[0])
    header = {"shape": list(shape), "classes": [str(label) for label in range(dbn.labels)], **header}
    return Model(dbn.to(device), net, header)


def _model_file(path: Path) -> tuple[Path, str]:
    """Return the file that holds the model of a run folder, or the model file `path` itself, and its kind."""
    try:
        if not path.is_dir():
            return path, "model"
        remove_abandoned(path)
        if not (path / "model.safetensors").exists() and (path / "checkpoint.safetensors").exists():
            return path / "checkpoint.safetensors", "checkpoint"  # a run that was stopped: the model as it stands
    except OSError as error:
        raise unreadable(path, error, "expected a run folder or a model file") from error
    return path / "model.safetensors", "model"


def square(pixels: int) -> tuple[int, int] | None:
    """Return the rows and columns of a square picture with that many pixels; None where there is none."""
    side = math.isqrt(pixels)
    return (side, side) if side * side == pixels else None


def load(path: Path | str, device: torch.device | str = "cpu") -> DBN:
    """Read the deep belief net of a run folder or model file; `load_model` also brings the net fine-tuned from it."""
    return load_model(path, device).dbn
