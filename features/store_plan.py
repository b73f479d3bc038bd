"""Where each entity and each view lies in Redis, in Feast's layout, compiled once with Feast's own functions.

Processes that must start in no time (the scorer, the worker) read this plan instead of importing Feast. It is written
by `headrace features apply`.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import msgspec

from features.feature_set import EntityRef

PENDING_PREFIX = b"p:"
_BYTES_VAL = b"\x0a"
PLAN_FILE = "plan.json"


class PlanMissing(FileNotFoundError):
    """The plan has not been compiled yet."""


class ViewFields(msgspec.Struct, frozen=True):
    """The two fields of an entity's hash that belong to one view: its state and its time, in hexadecimal."""

    entity: str
    state: str
    timestamp: str


class StorePlan(msgspec.Struct, frozen=True):
    """Where things lie: `key_prefixes` by entity (hexadecimal), the project that ends each key, fields by view."""

    project: str
    definition_hash: str
    key_prefixes: dict[str, str]
    views: dict[str, ViewFields]

    def key(self, ref: EntityRef) -> bytes:
        """The key of an entity's hash."""
        value = ref.value.encode()
        return b"".join(
            [
                bytes.fromhex(self.key_prefixes[ref.entity]),
                len(value).to_bytes(4, "little"),
                value,
                self.project.encode(),
            ]
        )

    def views_of(self, entity: str) -> list[str]:
        """The views whose states lie in the hashes of this entity."""
        return [name for name, fields in self.views.items() if fields.entity == entity]

    def save(self, path: Path) -> None:
        """Write the plan whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}.new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        new.replace(path)


def load_plan(path: Path) -> StorePlan:
    """The compiled plan. Raises `PlanMissing` with the remedy."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=StorePlan)
    except FileNotFoundError:
        raise PlanMissing(f"no store plan at {path}; run 'headrace features apply'") from None


def wrap_state(state: bytes) -> bytes:
    """A state as Feast stores it: a serialized `feast.types.Value` with `bytes_val`."""
    return state_prefix(len(state)) + state


@lru_cache(maxsize=1 << 15)
def state_prefix(length: int) -> bytes:
    """What stands before a state of so many bytes in its wrapped form."""
    return _BYTES_VAL + _varint(length)


def unwrap_state(value: bytes | None) -> bytes | None:
    """The state inside a stored value; None where there is none or where the value is of another kind."""
    if not value or value[0] != _BYTES_VAL[0]:
        return None
    at = 1
    try:
        while value[at] & 0x80:
            at += 1
    except IndexError:
        return None
    return value[at + 1 :]


def timestamp_value(at_us: int) -> bytes:
    """A time as Feast stores it: a serialized protobuf `Timestamp`."""
    seconds, rest_us = divmod(max(at_us, 0), 1_000_000)
    # Protobuf leaves zeros out.
    return (_whole_seconds(seconds) if seconds else b"") + (b"\x10" + _varint(rest_us * 1000) if rest_us else b"")


@lru_cache(maxsize=1 << 12)
def _whole_seconds(seconds: int) -> bytes:
    return b"\x08" + _varint(seconds)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
