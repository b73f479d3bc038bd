"""Which state stands at which time, so that a point-in-time join finds what a scorer found.

A scorer sees all that arrived before, whatever its time; Feast's join takes the newest state at or before a time. For
each record that is scored, therefore, each of its entities gets one row of its own: the state that its scorer found,
with the record itself put in its place.

- It stands at the record's time; where records of one entity share a microsecond, the second one at the next, and on.
- Also where the record came late: it has what had come by then (a reader cuts off what lies after its time).
- What a late record changed for later readers stands at the first microsecond after the entity's newest record.

What is not scored (a label) stands at its time, or at the first microsecond after the newest scored record, if it came
later than that: before, nobody could have seen it. A scored record has a row there as well, with what it found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from features.feature_set import FeatureSet
from features.history import NEVER, History, row_times
from features.view import View
from training.state_files import StateFile

State = tuple[View, str, bytes]
TAKEN_LIMIT = 300_000
"""Row times that are remembered. A late record of a microsecond whose row is forgotten stands beside that row."""


class _Held(NamedTuple):
    """A row that is not written yet; one that is no record's `own` gives way to a newer state of the same time."""

    row_us: int
    state: bytes
    keep: bool
    own: bool


class MomentRows:
    """Writes the rows of records that are given one by one, as they came."""

    def __init__(self, features: FeatureSet, files: dict[str, StateFile]) -> None:
        self._scored = features.source
        self._others = [view for view in features.views if view.source is not features.source]
        self._files = files
        self._held: dict[tuple[str, str], _Held] = {}
        self._folded: dict[tuple[str, str], bytes] = {}
        self._clock_us = NEVER
        self._taken: dict[tuple[str, str, int], None] = {}

    def put(self, record: Any, at_us: int, states: Sequence[State], keep: bool, *, is_new: bool) -> int:
        """The states that a record left; the time at which a join finds what its scorer found.

        `keep` says whether the record's own rows are wanted. A copy (not new) adds no row.
        """
        if not is_new:
            return at_us
        join_us = at_us
        if isinstance(record, self._scored):
            join_us = self._put_scored(record, at_us, states, keep)
            self._clock_us = max(self._clock_us, join_us)
        else:
            for view, value, state in states:
                row_us = max(History.decode(view, state).newest_us, self._clock_us + 1)
                self._place(view, value, _Held(row_us, state, keep=True, own=False))
        for view, value, state in states:
            self._folded[view.name, value] = state
        return join_us

    def _put_scored(self, record: Any, at_us: int, states: Sequence[State], keep: bool) -> int:
        decoded = [(view, value, state, History.decode(view, state)) for view, value, state in states]
        join_us = self._free_us(record, at_us, decoded)
        for view, value, state, history in decoded:
            before = History.decode(view, self._folded.get((view.name, value)))
            own = _as_found(before, history, view.row(record), at_us) if keep else state
            self._place(view, value, _Held(join_us, own, keep, own=True))
            if history.newest_us != at_us:
                self._place(view, value, _Held(history.newest_us + 1, state, keep, own=False))
        if keep:
            for view in self._others:
                value = getattr(record, view.entity)
                if value is not None:
                    found = self._folded.get((view.name, value)) or History(view).encode()
                    self._place(view, value, _Held(join_us, found, keep, own=True))
        return join_us

    def _free_us(self, record: Any, at_us: int, decoded: Sequence[tuple[View, str, bytes, History]]) -> int:
        """The first microsecond from the record's time on at which none of its entities has a row."""
        free_us = at_us
        for view, value, _, history in decoded:
            held = self._held.get((view.name, value))
            if held is not None and history.newest_us == at_us:
                free_us = max(free_us, held.row_us + 1)
        keys = [(view.name, value) for view, value, _, _ in decoded]
        keys += [(view.name, getattr(record, view.entity)) for view in self._others]
        while any((*key, free_us) in self._taken for key in keys):
            free_us += 1
        return free_us

    def finish(self) -> None:
        """Write what is held."""
        for (name, value), held in self._held.items():
            self._write(name, value, held)
        self._held.clear()

    def _place(self, view: View, value: str, new: _Held) -> None:
        """Hold the newest row back, for one of the same time may replace it; write an older one at once."""
        key = (view.name, value)
        held = self._held.get(key)
        if held is not None and new.own and new.row_us < held.row_us:
            self._write(*key, new)
        else:
            if held is not None:
                new = new._replace(row_us=max(new.row_us, held.row_us + 1 if held.own else held.row_us))
                if held.row_us < new.row_us:
                    self._write(*key, held)
            self._held[key] = new
        self._taken[(*key, new.row_us)] = None
        if len(self._taken) > TAKEN_LIMIT:
            del self._taken[next(iter(self._taken))]

    def _write(self, name: str, value: str, held: _Held) -> None:
        if held.keep:
            self._files[name].add(value, held.state, held.row_us)


def _as_found(before: History, after: History, row: bytes | None, at_us: int) -> bytes:
    """The rows before a record with its own in its place, nothing merged for it; offsets and identities of after it."""
    assert row is not None
    size = before.view.row_size
    end = int(row_times(before.view, before.rows).searchsorted(at_us, side="right")) * size
    before.rows = before.rows[:end] + row + before.rows[end:]
    before.sources, before.ids, before.revision = after.sources, after.ids, after.revision - 1
    return before.encode()
