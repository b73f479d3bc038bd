"""One look at every process of a service that stands in several places, such as the pods of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple, Protocol

from review.counted_apart import CountedApart, bury, together
from review.scrape import Counts, Readings, ScrapeFailed
from review.service_addresses import ServiceAddresses, Unresolved

LOOK_S = 3.0
"""How long a look waits for the slowest."""
AGAIN_S = 10.0
"""After which an address that was away is asked again: it may hang, and hold up every look."""
LOOKUP_S = 10.0
"""How often the addresses of a name are looked up."""
THREADS = 16
AWAY_SHOWN = 3


class Asked(Counts, Protocol):
    """One service that is asked (`Scrape`)."""

    def close(self) -> None:
        """Ask no more."""
        ...


class Place:
    """One address, what was counted there, and why it is away where it is."""

    def __init__(self, asked: Asked, from_now: bool) -> None:
        self.asked = asked
        self.counted = CountedApart(from_now)
        self.away = ""
        self.again_at_s = 0.0
        self.look: Future[Readings] | None = None

    def take(self, at_s: float) -> None:
        """Take in the look that is under way, if it has ended; where it has not, the place is away."""
        if self.look is None:
            return
        if not self.look.done():
            self._miss("it has not answered yet", at_s)
            return
        ended, self.look = self.look, None
        try:
            self.counted.add(ended.result())
            self.away = ""
        except ScrapeFailed as error:
            self._miss(str(error), at_s)

    def _miss(self, why: str, at_s: float) -> None:
        self.counted.miss()
        self.away, self.again_at_s = why, at_s + AGAIN_S


class Lookup(NamedTuple):
    """Addresses as they were found, and when."""

    urls: list[str]
    at_s: float


class ScrapeAll:
    """Asks all addresses at once and adds up what they say (`together`). Of one thread; close it at the end.

    One that is away is in the words of `away`, and keeps no other from being told. One that is there no longer, or that
    begins anew, takes nothing of what it counted with it. One that comes later counts from then on.
    """

    def __init__(
        self,
        addresses: ServiceAddresses,
        open_one: Callable[[str], Asked],
        clock: Callable[[], float] = time.monotonic,
        look_s: float = LOOK_S,
    ) -> None:
        self.away = ""
        self._addresses = addresses
        self._open = open_one
        self._clock = clock
        self._look_s = look_s
        self._places: dict[str, Place] = {}
        self._ended: Readings = {}
        self._has_looked = False
        self._found: Lookup | None = None
        self._looking_up: Future[list[str]] | None = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="scrape")

    def __call__(self) -> Readings:
        """The numbers of all that answer. Raises `ScrapeFailed` where none does."""
        self._keep(self._urls())
        places = self._places
        for place in places.values():
            if place.look is None and (not place.away or self._clock() >= place.again_at_s):
                place.look = self._pool.submit(place.asked)
        wait([place.look for place in places.values() if place.look is not None], self._look_s)
        for place in places.values():
            place.take(self._clock())
        there = [place for place in places.values() if not place.away]
        self.away = _words({url: place.away for url, place in places.items() if place.away}, len(places))
        if not there:
            raise ScrapeFailed(self.away)
        self._has_looked = True
        return together([place.counted for place in places.values()], self._ended)

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for place in self._places.values():
            place.asked.close()

    def _urls(self) -> list[str]:
        """The addresses as they were found last: a look waits for names only where none was ever found."""
        found = self._found
        if found is None or (self._addresses.are_looked_up and self._clock() - found.at_s >= LOOKUP_S):
            self._looking_up = self._looking_up or self._pool.submit(self._addresses.now)
            wait([self._looking_up], self._look_s if found is None else 0.0)
            if self._looking_up.done():
                looked_up, self._looking_up = self._looking_up, None
                try:
                    found = self._found = Lookup(looked_up.result(), self._clock())
                except Unresolved as error:
                    # Its names' servers may be away while the services are there: those are asked as before.
                    if found is None:
                        raise ScrapeFailed(str(error)) from None
                    found = self._found = found._replace(at_s=self._clock())
        if found is None:
            raise ScrapeFailed("the service's name has not been looked up yet")
        return found.urls

    def _keep(self, urls: Iterable[str]) -> None:
        """The places of these addresses alone."""
        wanted = dict.fromkeys(urls)
        for url in [url for url in self._places if url not in wanted]:
            gone = self._places.pop(url)
            bury(self._ended, gone.counted, [one.counted for one in self._places.values()])
            gone.asked.close()
        for url in wanted:
            if url not in self._places:
                self._places[url] = Place(self._open(url), from_now=self._has_looked)


def _words(away: dict[str, str], places: int) -> str:
    """Who is away and why; nothing where nobody is."""
    if not away:
        return ""
    whys = list(away.values())[:AWAY_SHOWN]
    more = f"; and {len(away) - AWAY_SHOWN} more" if len(away) > AWAY_SHOWN else ""
    return f"{len(away)} of {places} addresses away: {'; '.join(whys)}{more}"
