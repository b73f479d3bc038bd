"""What the clients of a soak saw: latency, statuses, what was missing, and how long each fault was felt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.figures import Figure, Figures
from bench.soak_call import Said

WINDOW_S = 5.0
FELT_S = 10.0
"""So long after its end a fault is still counted as one, in the figures outside of faults."""
SCORES = ("score", "again")


@dataclass(frozen=True)
class Felt:
    """One fault that was: from when to when in seconds of the load, what was seen; `failed` where that was wrong."""

    name: str
    began_s: float
    ended_s: float
    what: str
    failed: bool = False


def load_figures(said: Sequence[Said], faults: Sequence[Felt], deadline_ms: float) -> Figures:
    """All that comes from the journal. Latency is of single scores, from when they were due to their last answer."""
    scores = [one for one in said if one.kind in SCORES and one.status == 200]
    calm = [one for one in scores if not _within(one.due_s, faults)]
    figures: Figures = {}
    for where, some in (("", scores), (" outside faults", calm)):
        for p in (50.0, 99.0, 99.9):
            value = _percentile([one.took_ms for one in some], p)
            figures[f"p{p:g}{where}"] = Figure(value, "ms", None, "lower", f"of {len(some):,} scores")
    statuses = Counter(str(one.status or "given up") for one in said)
    retried: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for one in said:
        retried.update(one.refusals)
        missing.update(what for answer in one.answers for what in answer.degraded)
    degraded = sum(any(answer.degraded for answer in one.answers) for one in said)
    note = ", ".join(f"{count:,} x {status}" for status, count in statuses.most_common())
    figures["calls"] = Figure(len(said), "", None, "higher", note)
    figures["given up"] = Figure(statuses["given up"], "", 0.0, "lower", "by the client, after all its tries")
    figures["refused for good"] = Figure(
        sum(one.status >= 400 or any(each.status >= 400 for each in one.answers) for one in said),
        "",
        0.0,
        "lower",
        "answers of 400 and more that no retry can mend",
    )
    note = ", ".join(f"{count:,} x {why}" for why, count in retried.most_common())
    figures["sent again"] = Figure(sum(retried.values()), "", None, "lower", note)
    note = ", ".join(f"{what} {count:,}" for what, count in missing.most_common())
    figures["degraded"] = Figure(degraded, "", None, "lower", note)
    for fault in faults:
        figures[f"fault: {fault.name}, felt after its end"] = _felt(fault, said, faults, deadline_ms)
    wrong = [f"{fault.name}: {fault.what}" for fault in faults if fault.failed]
    figures["faults not answered as promised"] = Figure(len(wrong), "", 0.0, "lower", "; ".join(wrong))
    return figures


def _felt(fault: Felt, said: Sequence[Said], faults: Sequence[Felt], deadline_ms: float) -> Figure:
    next_s = min((other.began_s for other in faults if other.began_s > fault.began_s), default=math.inf)
    during = [one for one in said if fault.began_s <= one.due_s < fault.ended_s + FELT_S]
    again = sum(sum(one.refusals.values()) for one in during)
    degraded = sum(any(answer.degraded for answer in one.answers) for one in during)
    slowest_ms = max((one.took_ms for one in during), default=0.0)
    note = (
        f"{fault.what}; at {fault.began_s:.0f} s for {fault.ended_s - fault.began_s:.1f} s: "
        f"{again:,} sent again, {degraded:,} degraded, slowest {slowest_ms:,.0f} ms"
    )
    recovered_s = recovery_s(fault, said, deadline_ms, next_s)
    if recovered_s is None:
        return Figure(math.nan, "s", None, "lower", f"no window of {WINDOW_S:g} s was good before the next; {note}")
    return Figure(recovered_s, "s", None, "lower", note)


def recovery_s(fault: Felt, said: Sequence[Said], deadline_ms: float, until_s: float) -> float | None:
    """From a fault's end to the first window whose p99 is within the deadline and in which nothing was degraded.

    None where there is none before `until_s`.
    """
    last_s = min(until_s, max((one.due_s for one in said), default=0.0))
    after = sorted((one for one in said if one.due_s >= fault.ended_s), key=lambda one: one.due_s)
    begin_s, place = fault.ended_s, 0
    while begin_s + WINDOW_S <= last_s:
        window = []
        while place < len(after) and after[place].due_s < begin_s + WINDOW_S:
            window.append(after[place])
            place += 1
        if window and _is_good(window, deadline_ms):
            return begin_s - fault.ended_s
        begin_s += WINDOW_S
    return None


def _is_good(window: Sequence[Said], deadline_ms: float) -> bool:
    if any(answer.degraded for one in window for answer in one.answers):
        return False
    took = [one.took_ms for one in window if one.kind in SCORES]
    return not took or _percentile(took, 99) <= deadline_ms


def _within(due_s: float, faults: Sequence[Felt]) -> bool:
    return any(fault.began_s <= due_s < fault.ended_s + FELT_S for fault in faults)


def _percentile(values: Sequence[float], p: float) -> float:
    return float(np.percentile(values, p)) if values else math.nan
