"""What a search finds a case by: the beginnings of ids and of their parts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from review.case import case_id_of
from stream.records import Decision

PARTS_LIMIT = 4
LAST_CHARACTERS = 4
HIGHEST = "\U0010ffff"
_BREAK = re.compile(r"[-_:./@\s]+")


def terms_of(decision: Decision, case_id: str) -> set[str]:
    """The words under which an event's case is found: its ids, their parts, and the end of the entity's."""
    record = decision.record
    ids = [case_id, decision.event_id, decision.key, record.merchant_id, record.customer_id, record.device_id]
    found = {part for one in ids if one for part in parts_of(one)}
    return found | {normal(decision.key)[-LAST_CHARACTERS:]}


def parts_of(identifier: str) -> set[str]:
    """An id and what follows each of its first breaks, in small letters.

    >>> sorted(parts_of("Shop-Berlin-7"))
    ['7', 'berlin-7', 'shop-berlin-7']
    """
    whole = normal(identifier)
    starts = [match.end() for match in _BREAK.finditer(whole)][:PARTS_LIMIT]
    return {whole, *(whole[start:] for start in starts if start < len(whole))}


def normal(text: str) -> str:
    """As terms are compared: what is meant, not how it was typed."""
    return text.casefold()


def searched(text: str) -> tuple[str, str] | None:
    """The first term that begins with this text, and what is above the last; None where nothing is searched for."""
    words = normal(text.strip())
    return (words, words + HIGHEST) if words else None


def names_somebody(text: str, decisions: Iterable[Decision]) -> bool:
    """Whether a search is for one of these events by a whole id or a part of one."""
    words = normal(text.strip())
    return bool(words) and any(words in terms_of(one, case_id_of(one.event_id)) for one in decisions)
