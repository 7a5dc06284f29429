"""A moment of a dream as bytes: what the socket carries, some 1.3 kB for one memory of
784-500-500-2000.

    head   u8 version, u8 layers, u16 chain in focus, u32 step, u32 number
    layer  u16 chains, u32 units, u8 coding, then the values: chains x units
           coding 0: a byte a unit, 255 is one
           coding 1: a bit a unit, chain by chain, lowest bit first, each chain padded to a byte

Numbers are little-endian. Layers come from the pixels up; the labels are last. static/frames.js
reads the same.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wakesleep.foundation.errors import DataError

VERSION = 1
HEAD = struct.Struct("<BBHII")
LAYER = struct.Struct("<HIB")


class Frame(NamedTuple):
    """What a frame holds: values in [0, 1], (chains, units) a layer."""

    step: int
    number: int
    focus: int
    layers: list[NDArray[np.float32]]


def as_bytes(values: Tensor) -> NDArray[np.uint8]:
    """Return values in [0, 1] as 0..255, same shape."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def pack(layers: Sequence[Tensor], *, step: int, number: int, focus: int = 0) -> bytes:
    """Return one frame of layers (chains, units) in [0, 1]; a layer of booleans takes a bit a
    unit.
    """
    parts = [HEAD.pack(VERSION, len(layers), focus, step, number)]
    for layer in layers:
        bits = layer.dtype == torch.bool
        parts.append(LAYER.pack(layer.shape[0], layer.shape[1], int(bits)))
        coded = (
            np.packbits(layer.cpu().numpy(), axis=1, bitorder="little") if bits else as_bytes(layer)
        )
        parts.append(coded.tobytes())
    return b"".join(parts)


def unpack(content: bytes) -> Frame:
    """Return what `pack` put in.

    Raises:
        DataError: these bytes are no frame of this version.
    """
    try:
        version, count, focus, step, number = HEAD.unpack_from(content)
        at, layers = HEAD.size, []
        for _ in range(count):
            chains, units, coding = LAYER.unpack_from(content, at)
            width = -(-units // 8) if coding == 1 else units
            values = np.frombuffer(content, np.uint8, chains * width, at + LAYER.size).reshape(
                chains, width
            )
            at += LAYER.size + values.size
            bits = (
                np.unpackbits(values, axis=1, count=units, bitorder="little")
                if coding == 1
                else values / np.float32(255)
            )
            layers.append(bits.astype(np.float32))
    except (struct.error, ValueError) as error:
        raise DataError(f"{len(content)} bytes are no frame ({error})") from error
    if version != VERSION or at != len(content):
        raise DataError(
            f"a frame of version {version} with {len(content) - at} bytes too many; expected "
            f"version {VERSION} and none"
        )
    return Frame(step, number, focus, layers)
