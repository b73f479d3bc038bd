"""State as bytes: named arrays and one JSON header, with a checksum. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

MAGIC = b"headrace-state-1"
LENGTH_BYTES = 8
Arrays = dict[str, NDArray[Any]]


class InvalidState(ValueError):
    """The bytes are no whole state of this kind. A retry with the same bytes cannot help."""


class _Column(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: tuple[int, ...]


class _Contents(msgspec.Struct, frozen=True):
    kind: str
    header: msgspec.Raw
    columns: tuple[_Column, ...]


def pack(kind: str, header: object, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write arrays of numbers and a header (anything msgspec takes as JSON). Equal content gives equal bytes."""
    columns = tuple(_Column(name, array.dtype.str, array.shape) for name, array in arrays.items())
    contents = msgspec.json.encode(_Contents(kind, msgspec.Raw(msgspec.json.encode(header)), columns))
    parts = [MAGIC, len(contents).to_bytes(LENGTH_BYTES, "little"), contents]
    parts += [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    checksum = hashlib.sha256()
    for part in parts:
        checksum.update(part)
    return b"".join([*parts, checksum.digest()])


def unpack(kind: str, content: bytes) -> tuple[bytes, Arrays]:
    """The header's JSON and writable arrays. Raises `InvalidState` for bytes cut, changed or of another kind."""
    body, said = content[:-32], content[-32:]
    if not content.startswith(MAGIC) or hashlib.sha256(body).digest() != said:
        raise InvalidState(f"{len(content)} bytes are no {kind} state, or were cut or changed; take another snapshot")
    start = len(MAGIC) + LENGTH_BYTES
    end = start + int.from_bytes(body[len(MAGIC) : start], "little")
    contents = msgspec.json.decode(body[start:end], type=_Contents)
    if contents.kind != kind:
        raise InvalidState(f"this is a {contents.kind} state, not a {kind} state; give the snapshot that was asked for")
    arrays: Arrays = {}
    for column in contents.columns:
        dtype = np.dtype(column.dtype)
        count = int(np.prod(column.shape, dtype=np.int64))
        # A copy: arrays over the bytes could not be written.
        arrays[column.name] = np.frombuffer(body, dtype, count, end).reshape(column.shape).copy()
        end += count * dtype.itemsize
    return bytes(contents.header), arrays


def checksum_of(content: bytes) -> str:
    """The checksum that packed bytes end with: the same for two states exactly when all in them is."""
    return content[-32:].hex()
