"""The history of one entity in one view: its rows in time order, and what makes a repeat a no-op.

A row that is one event stores its time and its fields. When rows exceed the budget, the oldest become merged rows
(`features.merging`). The encoding is little-endian: a header, then the sections in the order of `_SECTIONS`; all
times are microseconds since 1970.
"""

from __future__ import annotations

import struct
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from features import merging
from features.distinct import keep, member_key
from features.rows import merged_cells, merged_size, widen
from features.view import KEPT_ROWS, MERGED_BUDGET, RECENT_IDS, ROW_BUDGET, View

MAGIC = b"HRS2"
_HEADER = struct.Struct("<4sIIIHHHHHq")
_HEAD = struct.Struct("<4sIII")
_COUNTS = struct.Struct("<HHHHHq")
_SOURCE = struct.Struct("<Iq")
_TIME = struct.Struct("<q")
ID_BYTES = 8
MEMBER_BYTES = 16
HEAD_BYTES = 16
"""The first bytes of a state: magic, layout, revision, checksum. Two different states differ in them."""
NEVER = -(1 << 62)


class CorruptState(ValueError):
    """The bytes claim to be a state of this view but are not. The stored history is lost; replay it from the log."""


class History:
    """What one entity's state holds. Mutable while a batch is folded into it, then encoded once."""

    __slots__ = ("evicted_until_us", "ids", "members", "merged", "revision", "rows", "sources", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.revision = 0
        self.sources: dict[int, int] = {}
        self.merged = b""
        self.rows = b""
        self.members = b""
        self.ids = b""
        self.evicted_until_us = NEVER

    @classmethod
    def decode(cls, view: View, state: bytes | None) -> History:
        """The history in a state; an empty one where there is none or where its layout is another definition's.

        Raises `CorruptState` when the bytes do not match their checksum.
        """
        if state is None or len(state) < _HEADER.size:
            return cls(view)
        magic, layout, revision, checksum, sources, merged, rows, members, ids, evicted_us = _HEADER.unpack_from(state)
        if magic != MAGIC or layout != view.layout:
            return cls(view)
        if _checksum(memoryview(state)[HEAD_BYTES:]) != checksum:
            raise CorruptState(f"a state of {view.name!r} fails its checksum; replay its history from the log")
        history = cls(view)
        history.revision = revision
        history.evicted_until_us = evicted_us
        at = _HEADER.size
        # Most histories lack some sections: skipping those is a quarter of the time.
        if sources:
            end = at + sources * _SOURCE.size
            history.sources = dict(_SOURCE.iter_unpack(state[at:end]))
            at = end
        if merged:
            end = at + merged * merged_size(view)
            history.merged, at = state[at:end], end
        if rows:
            end = at + rows * view.row_size
            history.rows, at = state[at:end], end
        if members:
            end = at + members * MEMBER_BYTES
            history.members, at = state[at:end], end
        if ids:
            history.ids = state[at : at + ids * ID_BYTES]
        return history

    def encode(self) -> bytes:
        """The state's bytes; its revision is one more than that of the state it was decoded from."""
        view = self.view
        counts = _COUNTS.pack(
            len(self.sources),
            len(self.merged) // merged_size(view) if self.merged else 0,
            len(self.rows) // view.row_size,
            len(self.members) // MEMBER_BYTES,
            len(self.ids) // ID_BYTES,
            self.evicted_until_us,
        )
        sources = _sources(len(self.sources)).pack(*chain.from_iterable(self.sources.items()))
        body = b"".join((counts, sources, self.merged, self.rows, self.members, self.ids))
        return _HEAD.pack(MAGIC, view.layout, (self.revision + 1) & 0xFFFFFFFF, _checksum(body)) + body

    def marks(self) -> History:
        """A history without events that knows what this one knows: the offsets applied and the recent identities."""
        marks = History(self.view)
        marks.sources = self.sources.copy()
        marks.ids = self.ids
        return marks

    def applied(self, source: int) -> int:
        """The highest offset of that log partition whose effect is in this state; -1 if there is none."""
        return self.sources.get(source, -1)

    def knows(self, identity: int) -> bool:
        """Whether a record of this identity is among the recent ones."""
        wanted = _TIME.pack(identity)
        at = self.ids.find(wanted)
        while at >= 0 and at % ID_BYTES:
            at = self.ids.find(wanted, at + 1)
        return at >= 0

    def remember(self, identity: int) -> None:
        """Keep a record's identity, so that a copy of it is known; the oldest of `RECENT_IDS` gives way."""
        self.ids = self.ids[-(RECENT_IDS - 1) * ID_BYTES :] + _TIME.pack(identity)

    @property
    def newest_us(self) -> int:
        """The time of the newest event; `NEVER` where there is none."""
        if self.rows:
            return int(_TIME.unpack_from(self.rows, len(self.rows) - self.view.row_size)[0])
        return merging.newest_us(self.view, self.merged) if self.merged else NEVER

    @property
    def held(self) -> float:
        """How many events it contains, merged ones included."""
        merged = float(merged_cells(self.view, self.merged)[:, 2].sum()) if self.merged else 0.0
        return merged + len(self.rows) // self.view.row_size

    def fold(self, row: bytes) -> bool:
        """Put one event's row in its place by time. False when it is older than any window can see."""
        return not self.fold_all([row])

    def fold_all(self, rows: list[bytes]) -> list[int]:
        """Put events' rows in their places by time, in the order given where times are equal.

        Gives the positions of those that are older than any window can see; they change nothing.
        """
        view = self.view
        newest_us, horizon_us = self.newest_us, view.horizon_us
        merged_until_us = merging.newest_us(view, self.merged) if self.merged else NEVER
        refused: list[int] = []
        taken: list[bytes] = []
        in_order = True
        for position, row in enumerate(rows):
            (at_us,) = _TIME.unpack_from(row)
            if at_us >= newest_us:
                newest_us = at_us
                taken.append(row)
            elif at_us <= newest_us - horizon_us:
                refused.append(position)
            elif at_us < merged_until_us:
                self.merged = merging.absorb(self.view, self.merged, row)
                self._keep_members(row)
            else:
                in_order = False
                taken.append(row)
        self.rows += taken[0] if len(taken) == 1 else b"".join(taken)
        if not in_order:
            self.rows = _in_order(view, self.rows)
        self._expire(newest_us - horizon_us)
        budget = ROW_BUDGET - (len(self.merged) // merged_size(view) if self.merged else 0)
        if len(self.rows) > budget * view.row_size:
            self._merge()
        return refused

    def _expire(self, cutoff_us: int) -> None:
        if self.merged and _TIME.unpack_from(self.merged)[0] <= cutoff_us:
            self.merged = merging.expire(self.view, self.merged, cutoff_us)
            self.members = _members_after(self.members, cutoff_us)
        rows, at = self.rows, 0
        while at < len(rows) and _TIME.unpack_from(rows, at)[0] <= cutoff_us:
            at += self.view.row_size
        if at:
            self.rows = rows[at:]

    def _merge(self) -> None:
        cut = len(self.rows) - KEPT_ROWS * self.view.row_size
        old, self.rows = self.rows[:cut], self.rows[cut:]
        self._keep_members(old)
        self.merged = merging.reduce(
            self.view, self.merged + widen(self.view, old).tobytes(), MERGED_BUDGET, self.newest_us
        )

    def _keep_members(self, rows: bytes) -> None:
        if not self.view.members:
            return
        cells = np.frombuffer(rows, dtype=np.int64).reshape(-1, self.view.row_size // 8)
        keys: list[int] = []
        times: list[int] = []
        first = 1 + len(self.view.columns)
        for position in range(len(self.view.members)):
            # One table serves every field: the position keeps equal hashes of two fields apart.
            for at_us, member in zip(cells[:, 0].tolist(), cells[:, first + position].tolist(), strict=True):
                if member:
                    keys.append(member_key(member, position))
                    times.append(at_us)
        self.members, evicted_until_us = keep(
            self.members, np.array(keys, dtype=np.int64), np.array(times, dtype=np.int64)
        )
        if evicted_until_us is not None:
            self.evicted_until_us = max(self.evicted_until_us, evicted_until_us)


def revision_of(state: bytes | None) -> int:
    """The revision that a stored state claims, also a corrupt one; 0 where there is none.

    What takes its place must go on from it: heads of the same revision would let a writer that read the old one pass.
    """
    if state is None or len(state) < HEAD_BYTES or state[:4] != MAGIC:
        return 0
    return int.from_bytes(state[8:12], "little")


def is_state(state: bytes | None, view: View) -> bool:
    """Whether the bytes are a state of this view in its present layout."""
    if state is None or len(state) < _HEADER.size or state[:4] != MAGIC:
        return False
    return int.from_bytes(state[4:8], "little") == view.layout


def row_times(view: View, rows: bytes) -> NDArray[np.int64]:
    """The times of packed rows, shape (n,)."""
    return np.frombuffer(rows, dtype=np.int64).reshape(-1, view.row_size // 8)[:, 0]


def _checksum(body: bytes | memoryview) -> int:
    # A fifth of what CRC-32 costs, and each state is checked whenever it is read.
    return xxh3_64_intdigest(body) & 0xFFFFFFFF


@cache
def _sources(size: int) -> struct.Struct:
    return struct.Struct("<" + "Iq" * size)


def _in_order(view: View, rows: bytes) -> bytes:
    cells = np.frombuffer(rows, dtype=np.int64).reshape(-1, view.row_size // 8)
    return cells[np.argsort(cells[:, 0], kind="stable")].tobytes()


def _members_after(members: bytes, cutoff_us: int) -> bytes:
    table = np.frombuffer(members, dtype=np.int64).reshape(-1, 2)
    return table[table[:, 1] > cutoff_us].tobytes()
