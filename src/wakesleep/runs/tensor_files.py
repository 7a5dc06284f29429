"""Tensors in safetensors, everything else as JSON in the same file's header. No pickle, ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from wakesleep.foundation.errors import CheckpointError
from wakesleep.foundation.files import FORMAT, unreadable, write_atomically
from wakesleep.learning.state import State


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any], kind: str) -> None:
    """Write tensors and a JSON header into one safetensors file, atomically."""
    from safetensors.torch import save_file

    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    note = {"wakesleep": json.dumps({**header, "format": FORMAT, "kind": kind}, sort_keys=True)}
    write_atomically(path, lambda temporary: save_file(plain, temporary, metadata=note))


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that `save_tensors` wrote: tensors on the CPU, and the header.

    Raises:
        CheckpointError: there is no such file, it may not be read, is damaged or not ours, or of a
            newer format.
    """
    return _load(path, kind, tensors=True)


def load_header(path: Path, kind: str) -> dict[str, Any]:
    """Read the header alone of a file that `save_tensors` wrote; errors as in `load_tensors`."""
    return _load(path, kind, tensors=False)[1]


def _load(path: Path, kind: str, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        path.open("rb").close()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} does not exist; expected a wakesleep {kind} file (train one: wakesleep train)"
        ) from error
    except OSError as error:
        raise unreadable(path, error, f"expected a wakesleep {kind} file") from error
    try:
        with safe_open(path, framework="pt") as file:
            note = file.metadata() or {}
            header = json.loads(note.get("wakesleep", "null"))
            names = file.keys() if header and tensors else []
            loaded = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file ({error}); take an earlier copy "
            "or train again"
        ) from error
    if not isinstance(header, dict) or "format" not in header:
        raise CheckpointError(
            f"{path} was not written by wakesleep: it has no wakesleep header; give a {kind} file "
            "from a run folder"
        )
    if not isinstance(header["format"], int) or header["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {header['format']}; this wakesleep reads up to {FORMAT}; "
            "install a newer one"
        )
    if header.get("kind") != kind:
        raise CheckpointError(f"{path} holds a {header.get('kind')}; expected a {kind} file")
    return loaded, header


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
