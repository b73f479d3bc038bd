"""Decisions of an archive with what became known of them: which are mature, which are not, and how many of each.

A decision is mature when it is older than the label delay at the archive's end (or at `as_of`). Younger ones never
count, labelled or not: frauds become known sooner than good payments, so the youngest labels are nearly all frauds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from stream.archive import Archive, entries
from stream.invalid_record import InvalidRecord
from stream.records import Decision, Label, decode, micros

Unlabelled = Literal["out", "legit"]
SAY_EVERY = 10_000


class Fates(NamedTuple):
    """What became of the decisions of a span. `mature` is what counts; the others are left out, each with its reason.

    `assumed` of the mature ones had no verdict and count as legit. `as_of_us` is the moment from which one looks back.
    """

    decisions: int
    mature: int
    immature: int
    unlabelled: int
    assumed: int
    as_of_us: int


class Matured(NamedTuple):
    """The mature decisions with their verdicts (whether each was fraud), by event time; and all of the span."""

    rows: list[tuple[Decision, bool]]
    everything: list[Decision]
    fates: Fates


def matured(
    archive: Archive,
    use_case: str,
    *,
    label_delay: timedelta,
    definition_hash: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    as_of: datetime | None = None,
    unlabelled: Unlabelled = "out",
    on_progress: Callable[[int], None] = lambda decisions: None,
) -> Matured:
    """The decisions from `since` until before `until`, by event time.

    An event's newest verdict counts, of those that had arrived at `as_of` (the newest time of the archive); `unknown`
    is none. Mature events without a verdict are left `out`, or are `legit` where only frauds are ever reported. An
    event that is archived twice counts as it was first scored.
    """
    as_of_us = None if as_of is None else micros(as_of)
    verdicts, newest_us = _verdicts(archive, as_of_us)
    first_us = None if since is None else micros(since)
    last_us = None if until is None else micros(until)
    found: dict[str, Decision] = {}
    for number, decision in enumerate(_decisions(archive, since)):
        if number % SAY_EVERY == 0:
            on_progress(number)
        at_us = micros(decision.event_timestamp)
        if as_of_us is not None and at_us > as_of_us:
            continue
        newest_us = max(newest_us, at_us)
        if decision.use_case != use_case or definition_hash not in (None, decision.definition_hash):
            continue
        if (first_us is not None and at_us < first_us) or (last_us is not None and at_us >= last_us):
            continue
        held = found.get(decision.event_id)
        if held is None or decision.scored_at < held.scored_at:
            found[decision.event_id] = decision
    end_us = newest_us if as_of_us is None else as_of_us
    everything = sorted(found.values(), key=lambda one: (one.event_timestamp, one.event_id))
    mature_us = end_us - round(label_delay.total_seconds() * 1e6)
    rows: list[tuple[Decision, bool]] = []
    immature = without = assumed = 0
    for decision in everything:
        verdict = verdicts.get(decision.event_id, (0, "unknown"))[1]
        if micros(decision.event_timestamp) > mature_us:
            immature += 1
        elif verdict != "unknown":
            rows.append((decision, verdict == "fraud"))
        elif unlabelled == "legit" and decision.event_id not in verdicts:
            assumed += 1
            rows.append((decision, False))
        else:
            without += 1
    return Matured(rows, everything, Fates(len(everything), len(rows), immature, without, assumed, end_us))


def _verdicts(archive: Archive, as_of_us: int | None) -> tuple[dict[str, tuple[int, str]], int]:
    """The newest verdict on each event with its time, and the newest time of all."""
    verdicts: dict[str, tuple[int, str]] = {}
    newest_us = 0
    for files in archive.sources([Label.topic]).values():
        for entry in entries(files):
            try:
                label: Label = decode(entry.value, Label)
            except InvalidRecord:
                continue
            at_us = micros(label.labelled_at)
            if as_of_us is not None and at_us > as_of_us:
                continue
            newest_us = max(newest_us, at_us)
            if at_us >= verdicts.get(label.event_id, (at_us, ""))[0]:
                verdicts[label.event_id] = (at_us, label.label)
    return verdicts, newest_us


def _decisions(archive: Archive, since: datetime | None) -> Iterator[Decision]:
    for files in archive.sources([Decision.topic]).values():
        for entry in entries([file for file in files if since is None or file.day >= since.date()]):
            try:
                decision: Decision = decode(entry.value, Decision)
            except InvalidRecord:
                continue
            yield decision
