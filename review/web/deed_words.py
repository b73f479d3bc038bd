"""What was done to a case, in words, for the list of all that was."""

from __future__ import annotations

from review.case import AuditEntry

WORDS = {
    "opened": "opened by event {event_id}",
    "joined": "event {event_id} joined",
    "decided": "decided: {verdict}",
    "confirmed": "confirmed: {verdict}",
    "reversed": "reversed to {verdict}",
    "reopened": "reopened",
    "claimed": "claimed",
    "released": "released",
    "taken_over": "took it over from {text}",
    "snoozed": "snoozed until {text}",
    "woken": "woken",
    "assigned": "assigned to {text}",
    "noted": "noted: {text}",
    "evidence": "added evidence: {text}",
    "proposed": "proposed: {verdict}",
    "disagreed": "disagreed: {verdict}",
    "undone": "undid the verdict",
}


def said_of(entry: AuditEntry) -> str:
    """One deed in words; one that this version does not know by its name.

    >>> from datetime import UTC, datetime
    >>> said_of(AuditEntry(case_id="c", at=datetime.now(UTC), by="ann", deed="decided", verdict="fraud"))
    'decided: fraud'
    """
    text = entry.text if entry.text else "nobody" if entry.deed == "assigned" else ""
    words = WORDS.get(entry.deed, entry.deed)
    return (
        words.replace("{event_id}", entry.event_id or "")
        .replace("{verdict}", entry.verdict or "")
        .replace("{text}", text)
    )
