"""Play shoppers over HTTP: three arms of visitors, a catalogue that changes meanwhile, what became of each slate."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import msgspec
import numpy as np

from headrace.link import Failures, Link, Reply
from headrace.shop_arms import ARMS, Arm, arm_of
from headrace.shop_source import Shop, Visit
from stream.records import Action, Item, encode, visitor

LANES = 4
PLACES = 10
CHANGES_PAUSE_S = 0.2
TRENDING_PLACES = 100
"""What is asked for, since the trending arm leaves out what the visitor has seen: the model does too."""


@dataclass
class ShopView:
    """What the player saw. `deleted_shown` counts places of slates that were asked for after a DELETE had returned."""

    arms: dict[str, Arm] = field(default_factory=lambda: {name: Arm() for name in ARMS})
    latency_ms: list[float] = field(default_factory=list)
    requests: int = 0
    actions_sent: int = 0
    appeared: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    appeared_shown: set[str] = field(default_factory=set)
    deleted_shown: Counter[str] = field(default_factory=Counter)
    short_slates: int = 0
    degraded: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    versions: dict[str, str] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    sent_again: Counter[str] = field(default_factory=Counter)


class _Place(msgspec.Struct):
    item_id: str
    source: str = ""


class _Answer(msgspec.Struct):
    items: list[_Place]
    slate_id: str | None = None
    degraded: list[str] = []
    versions: dict[str, str] = {}


class ShopPlayer:
    """Visitors of a shop ask for slates and react to them; what they do goes to `POST /events`.

    A third of the visitors gets the slates of `POST /recommend`, a third what `GET /trending` says, a third items
    drawn from the catalogue, all without what the visitor has acted on before (`seen`, by visitor, is what history
    knows). The actions of all of them are sent, and so teach the one model. A visit's requests come one after another,
    on one connection.

    The traps: visitors of the other arms see a trending that visitors of the model's arm have a part in, as in any
    comparison on live traffic; and the service's time is now, so that the shop's moments are moved by `shift`.
    """

    def __init__(
        self,
        url: str,
        shop: Shop,
        seen: dict[str, set[str]],
        *,
        seed: int = 0,
        api_key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seen = ShopView()
        self._url = url
        self._api_key = api_key
        self._shop = shop
        self._acted_on = seen
        self._seed = seed
        self._clock = clock
        self._failures = Failures(self.seen.errors, self.seen.sent_again)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._arrivals = shop.arrivals()
        self._visits = 0
        self._slots = 0
        self._slates: int | None = None
        self._catalogue = [item.item_id for item in shop.catalogue()]
        self._began_s, self._ends_s, self._rate = 0.0, 0.0, 1.0
        self._shift = timedelta()

    def play(self, rate: float, seconds: float, slates: int | None = None) -> None:
        """Play `rate` slates a second until the seconds or the slates are over, nobody comes, or `stop`. Blocks."""
        self._rate = rate
        self._slates = slates
        self._began_s = self._clock()
        self._ends_s = self._began_s + seconds
        self._shift = datetime.now(UTC) - self._shop.opens
        shopping = [self._thread(self._shopping) for _ in range(LANES)]
        keeping = self._thread(self._keeping)
        for thread in shopping:
            thread.join()
        self._stop.set()
        keeping.join()

    def stop(self) -> None:
        """End soon; `play` returns."""
        self._stop.set()

    def _thread(self, work: Callable[[Link], None]) -> threading.Thread:
        def run() -> None:
            link = Link(self._url, self._api_key, self._failures)
            try:
                work(link)
            except BaseException as error:
                # A player that broke must not look like one that had nothing to say.
                self._failures.count(f"{type(error).__name__}: {error}", last=True)
                self._stop.set()
                raise
            finally:
                link.close()

        thread = threading.Thread(target=run, daemon=True, name="shopper")
        thread.start()
        return thread

    @property
    def _over(self) -> bool:
        return self._stop.is_set() or self._clock() >= self._ends_s

    def _now(self) -> datetime:
        """The shop's time: as long after its opening as the play has gone on."""
        return self._shop.opens + timedelta(seconds=self._clock() - self._began_s)

    def _shopping(self, link: Link) -> None:
        while not self._over:
            with self._lock:
                shopper = next(self._arrivals, None)
                self._visits += 1
                number = self._visits
            if shopper is None:
                return
            self._visit(link, self._shop.visit(shopper, self._now()), np.random.default_rng([self._seed, number]))

    def _visit(self, link: Link, visit: Visit, rng: np.random.Generator) -> None:
        who = visitor(visit.user_id or "", visit.session_id)
        arm = arm_of(who)
        acted_on = self._acted_on.setdefault(who, set())
        while not visit.over and not self._over:
            self._send(link, visit.browse(self._now()), acted_on)
            if not self._wait_for_slot():
                return
            slate_id, shown = self._slate(link, arm, visit, acted_on, rng)
            at = self._now()
            known = [visit.click_probability(item_id, place, at) for place, item_id in enumerate(shown, 1)]
            actions = visit.react(shown, at, slate_id)
            with self._lock:
                self.seen.arms[arm].add(who, known, actions)
                self.seen.short_slates += len(shown) < PLACES
                if arm == "model":
                    self.seen.appeared_shown.update(self.seen.appeared.keys() & shown)
            self._send(link, actions, acted_on)

    def _slate(
        self, link: Link, arm: str, visit: Visit, acted_on: set[str], rng: np.random.Generator
    ) -> tuple[str | None, list[str]]:
        if arm == "random":
            with self._lock:
                there = self._catalogue
            drawn = [there[place] for place in rng.permutation(len(there))[: PLACES + len(acted_on)]]
            return None, _without(drawn, acted_on)
        if arm == "trending":
            answer = self._ask(link, "GET", f"/trending?k={TRENDING_PLACES}")
            return None, _without((one.item_id for one in answer.items), acted_on)
        who = {"session_id": visit.session_id} | ({"user_id": visit.user_id} if visit.user_id else {})
        answer = self._ask(link, "POST", "/recommend", msgspec.json.encode({**who, "k": PLACES}))
        with self._lock:
            self.seen.sources.update(one.source for one in answer.items)
            self.seen.versions |= answer.versions
        return answer.slate_id, [one.item_id for one in answer.items]

    def _ask(self, link: Link, method: str, path: str, body: bytes | None = None) -> _Answer:
        """An answer with items, examined for what must not be in it; an empty one where there was none."""
        reply = link.send(method, path, body)
        if reply is None:
            return _Answer([])
        answer = msgspec.json.decode(reply.content, type=_Answer)
        with self._lock:
            self._count(reply, answer, is_recommended=method == "POST")
        return answer

    def _count(self, reply: Reply, answer: _Answer, is_recommended: bool) -> None:
        self.seen.requests += 1
        if is_recommended:
            self.seen.latency_ms.append(reply.took_ms)
        self.seen.degraded.update(answer.degraded)
        for one in answer.items:
            if self.seen.gone.get(one.item_id, reply.sent_at_s) < reply.sent_at_s:
                self.seen.deleted_shown[one.item_id] += 1

    def _send(self, link: Link, actions: Iterable[Action], acted_on: set[str]) -> None:
        for action in actions:
            moved = msgspec.structs.replace(action, event_timestamp=action.event_timestamp + self._shift)
            if link.send("POST", "/events", encode(moved)) is not None:
                with self._lock:
                    self.seen.actions_sent += 1
            if action.item_id is not None:
                acted_on.add(action.item_id)

    def _wait_for_slot(self) -> bool:
        """Wait for the next slate's turn; False where the play is over by then."""
        with self._lock:
            if self._slots == self._slates:
                self._stop.set()
                return False
            until_s = self._began_s + self._slots / self._rate
            self._slots += 1
        self._stop.wait(max(0.0, min(until_s, self._ends_s) - self._clock()))
        return not self._over

    def _keeping(self, link: Link) -> None:
        """Put what appears into the service's catalogue, and delete what goes."""
        since = self._shop.opens
        while not self._over:
            until = self._now()
            for item in self._shop.changes(since, until):
                self._change(link, item)
            since = until
            self._stop.wait(CHANGES_PAUSE_S)

    def _change(self, link: Link, item: Item) -> None:
        path = f"/items/{quote(item.item_id, safe='')}"
        if item.deleted:
            if link.send("DELETE", path) is None:
                return
            with self._lock:
                self.seen.gone[item.item_id] = time.perf_counter()
                self._catalogue = [item_id for item_id in self._catalogue if item_id != item.item_id]
            return
        facts = {"title": item.title, "category": item.category, "tags": item.tags, "price": item.price}
        if link.send("PUT", path, msgspec.json.encode(facts)) is not None:
            with self._lock:
                self.seen.appeared[item.item_id] = time.perf_counter()
                self._catalogue = [*self._catalogue, item.item_id]


def _without(items: Iterable[str], acted_on: set[str]) -> list[str]:
    return [item_id for item_id in items if item_id not in acted_on][:PLACES]
