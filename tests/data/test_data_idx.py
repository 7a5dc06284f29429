import gzip
import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from idx_writer import idx_bytes

from wakesleep.data import idx
from wakesleep.data.idx import find_idx, read_idx
from wakesleep.foundation.errors import DataError

ARRAY = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
PLAIN = idx_bytes(ARRAY)
PACKED = gzip.compress(PLAIN, mtime=0)


@pytest.mark.parametrize("content", [PLAIN, PACKED])
@pytest.mark.parametrize("as_file", [False, True])
def test_reads_plain_and_gzipped(content, as_file, tmp_path):
    source = content
    if as_file:
        source = tmp_path / "images"
        source.write_bytes(content)
    array, digest = read_idx(source, 3)
    assert (array == ARRAY).all()
    assert array.flags.writeable
    assert digest == hashlib.sha256(PLAIN).hexdigest()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (PLAIN[:-1], "holds only 23"),
        (PLAIN + b"x", "holds more"),
        (gzip.compress(PLAIN + b"x", mtime=0), "holds more"),
        (PACKED[:-9], "cannot be read"),
        (PACKED[:-1] + b"\x07", "cannot be read"),
        (PACKED[:-8] + bytes((PACKED[-8] ^ 1,)) + PACKED[-7:], "cannot be read"),
        (PACKED + b"tail", "cannot be read"),
        (b"\0\0\x0a\3" + PLAIN[4:], "begins with 00 00 0a 03"),
        (b"\0\1\x08\3" + PLAIN[4:], "begins with 00 01 08 03"),
        (b"\0\0\x0d\3" + PLAIN[4:], "promises 96 bytes .* and holds only 24"),
        (b"\0\0\x08\1" + PLAIN[4:], "3 dimension"),
        (PLAIN[:9], "inside its header"),
        (b"", "begins with"),
        (b"<html>", "web page"),
        (b"\n <!DOCTYPE html>", "web page"),
        (gzip.compress(b"<html>", mtime=0), "web page"),
        (b"\0\0\x08\3" + struct.pack(">3I", *[2**32 - 1] * 3), "at most"),
    ],
)
def test_refuses(content, match):
    with pytest.raises(DataError, match=match):
        read_idx(content, 3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        read_idx(tmp_path / "nowhere", 3)


def test_a_bomb_is_not_unpacked(monkeypatch):
    asked = []
    read = idx._read
    monkeypatch.setattr(idx, "_read", lambda stream, size: asked.append(size) or read(stream, size))
    bomb = gzip.compress(b"\0\0\x08\3" + struct.pack(">3I", 2, 2, 2) + bytes(5 << 20))
    with pytest.raises(DataError, match="holds more"):
        read_idx(bomb, 3)
    assert asked == [4, 12, 9]
    with pytest.raises(DataError, match="at most 1000"):
        read_idx(
            gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 1001) + bytes(1001)), 1, largest=1000
        )


@given(st.data(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_damage_gives_the_right_array_or_a_data_error(data, use_gzip):
    content = bytearray(PACKED if use_gzip else PLAIN)
    kind = data.draw(st.sampled_from(["cut", "extend", "flip"]))
    if kind == "cut":
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    elif kind == "extend":
        content += data.draw(st.binary(min_size=1, max_size=20))
    else:
        # a plain body has no checksum: any flip there is another right array
        last = len(content) if use_gzip else 16
        content[data.draw(st.integers(0, last - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        array, _ = read_idx(bytes(content), 3)
    except DataError:
        return
    # What survives damage survives only in gzip's own fields (its time stamp, padding zeros), never
    # in the array.
    assert use_gzip
    assert (array == ARRAY).all()


@given(st.binary(max_size=64), st.sampled_from([1, 3]))
@settings(deadline=None)
def test_noise_is_a_data_error_or_what_its_header_says(noise, dims):
    try:
        array, _ = read_idx(noise, dims)
    except DataError:
        return
    assert idx_bytes(array) == noise or noise[2] != 8 or noise[3] > dims


@pytest.mark.parametrize(("code", "dtype"), [(11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
@pytest.mark.parametrize("dims", [1, 3])
def test_wider_numbers(code, dtype, dims):
    array = ARRAY if dims == 3 else ARRAY.ravel()
    actual, _ = read_idx(
        bytes((0, 0, code, dims))
        + struct.pack(f">{dims}I", *array.shape)
        + array.astype(dtype).tobytes(),
        dims,
    )
    assert (actual == array).all()
    assert actual.dtype == np.dtype(dtype).newbyteorder("=")
    assert actual.flags.writeable


def test_labels_of_several_columns_are_the_first():
    table = np.arange(12).reshape(4, 3)
    content = bytes((0, 0, 12, 2)) + struct.pack(">2I", 4, 3) + table.astype(">i4").tobytes()
    assert read_idx(content, 1)[0].tolist() == [0, 3, 6, 9]
    with pytest.raises(DataError, match="at least one column"):
        read_idx(bytes((0, 0, 12, 2)) + struct.pack(">2I", 4, 0), 1)
    with pytest.raises(DataError, match="3 dimension"):
        read_idx(content, 3)


def test_find_idx_knows_the_usual_names(tmp_path):
    for name in (
        "train-images.idx3-ubyte",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte",
        "t10k-labels.idx1-ubyte.gz",
        "else",
    ):
        (tmp_path / name).touch()
    assert list(find_idx(tmp_path)) == [
        "train-images",
        "train-labels",
        "t10k-images",
        "t10k-labels",
    ]
    assert find_idx(tmp_path / "nowhere") == {}
