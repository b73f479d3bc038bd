"""One look at a service's /metrics: Prometheus's text as numbers by name and labels, of the metrics that are wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol
from urllib.parse import urlencode

import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
"""Names and values of labels, sorted by name."""
Readings = dict[str, dict[Labels, float]]
"""Numbers by a sample's name, such as `headrace_score_seconds_bucket`, and its labels."""

TIMEOUT_S = 5.0
BYTES_LIMIT = 8_000_000
SAMPLES_LIMIT = 5_000
PREFIX = "headrace_"
KNOWN_LIMIT = 20_000
_known: dict[str, tuple[str, Labels]] = {}
"""Series by how a line of them begins: the same ones come each two seconds, and to read their labels takes the time."""


class ScrapeFailed(RuntimeError):
    """The service did not say its metrics. The text names it and what to do; a retry can help."""


class Counts(Protocol):
    """Where numbers come from. Called each two seconds by one thread; it may take some milliseconds."""

    def __call__(self) -> Readings:
        """All numbers as they are now. Raises `ScrapeFailed`."""
        ...


def parsed(text: str, wanted: Collection[str]) -> Readings:
    r"""The samples whose names begin with one of `wanted`; the other lines are not parsed, for that takes the time.

    >>> parsed('headrace_n_total{b="2",a="1"} 3\nheadrace_other 1\n', ["headrace_n"])
    {'headrace_n_total': {(('a', '1'), ('b', '2')): 3.0}}
    """
    beginnings = tuple(wanted)
    lines = [line for line in text.splitlines() if line.startswith(beginnings)]
    found: Readings = {}
    new: list[str] = []
    try:
        for line in lines[:SAMPLES_LIMIT]:
            begins, _, value = line.rpartition(" ")
            if (known := _known.get(begins)) is None:
                new.append(line)
            else:
                found.setdefault(known[0], {})[known[1]] = float(value)
        for line in new:
            for name, labels, number in _read(line):
                found.setdefault(name, {})[labels] = number
    except (ValueError, KeyError, IndexError) as error:
        raise ScrapeFailed(f"the metrics cannot be read ({error}); is this the service of Headrace?") from None
    return found


def _read(line: str) -> Iterator[tuple[str, Labels, float]]:
    """The sample of a line, whose series is known from then on. Unless a time follows the value."""
    for family in text_string_to_metric_families(line + "\n"):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            begins = line.rpartition(" ")[0]
            if begins.endswith("}") or " " not in begins:
                if len(_known) >= KNOWN_LIMIT:
                    _known.clear()
                _known[begins] = sample.name, labels
            yield sample.name, labels, float(sample.value)


class Scrape:
    """Asks one service, over a connection that stays open. `headers` may carry an API key; it is in no error's text."""

    def __init__(
        self,
        url: str,
        wanted: Collection[str],
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._url = url.rstrip("/") + "/metrics"
        # A service that does not know the question says everything.
        self._asked = f"{self._url}?{urlencode([('name[]', name) for name in sorted(wanted)])}"
        self._wanted = wanted
        self._client = httpx.Client(timeout=timeout_s, headers=dict(headers or {}))

    def __call__(self) -> Readings:
        """The numbers as the service says them now. Raises `ScrapeFailed`."""
        try:
            with self._client.stream("GET", self._asked) as answer:
                if answer.status_code in (401, 403):
                    raise ScrapeFailed(f"{self._url} asks for a key with the scope metrics:read; set HEADRACE_API_KEY")
                if answer.status_code != 200:
                    raise ScrapeFailed(f"{self._url} says {answer.status_code}; see the log of the service")
                content = bytearray()
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > BYTES_LIMIT:
                        raise ScrapeFailed(f"{self._url} says more than {BYTES_LIMIT:,} bytes; is it Headrace's?")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = str(error) or type(error).__name__
            raise ScrapeFailed(f"{self._url} does not answer ({words}); start it with 'headrace serve'") from None
        found = parsed(content.decode("utf-8", "replace"), self._wanted)
        if not any(name.startswith(PREFIX) for name in found):
            raise ScrapeFailed(f"{self._url} has no metrics of Headrace; correct HEADRACE_REVIEW_SERVICE")
        return found

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
