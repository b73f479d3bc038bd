"""`GET /metrics?name[]=…`: some samples, answered before BentoML. `name[]` is what Prometheus's own libraries call it.

All of /metrics is BentoML's to answer, which takes a score's time on the way to it and some more for its own metrics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qsl

from scoring.api import Answer
from scoring.own_metrics import PREFIX

PATH = "/metrics"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"
NAMES_LIMIT = 200


class Tells(Protocol):
    """Who knows the samples (`Telling`)."""

    def some(self, names: Collection[str]) -> str:
        """The samples of these names. It may take a while."""
        ...


class MetricsDoor:
    """Answers who asks for some samples of ours."""

    def __init__(self, telling: Callable[[], Tells | None]) -> None:
        self._telling = telling

    async def answer(self, query: bytes) -> Answer | None:
        """The samples that a query asks for; None where the question is BentoML's."""
        telling = self._telling()
        names = names_in(query)
        if telling is None or not names:
            return None
        return Answer(200, (await asyncio.to_thread(telling.some, names)).encode(), content_type=TEXT)


@lru_cache(maxsize=16)
def names_in(query: bytes) -> frozenset[str]:
    """The names that a query asks for; none where it asks for anything else, or for what is not ours to tell.

    >>> sorted(names_in(b"name[]=headrace_model&name%5B%5D=headrace_outcomes_total"))
    ['headrace_model', 'headrace_outcomes_total']
    >>> names_in(b"name[]=headrace_model&name[]=bentoml_request_total"), names_in(b"n=1"), names_in(b"name[]=\\xff")
    (frozenset(), frozenset(), frozenset())
    """
    try:
        asked = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=NAMES_LIMIT)
    except ValueError:
        return frozenset()
    is_ours = all(key == "name[]" and value.startswith(PREFIX) for key, value in asked)
    return frozenset(value for _, value in asked) if is_ours else frozenset()
