"""Recommending: from who asks to a slate, in two round trips to Redis.

1. One round trip reads the user's and the session's hashes, whole, which items were deleted just now, and whether the
   log of slates has room.
2. Visitor, candidates, ranking, slate and reasons, all in this process (`scoring/slate_making.py`).
3. One round trip logs the slate, for those who learn from it and for feedback.

Whatever is missing makes the answer poorer, never late or a failure; `degraded` names it: `online store` (who asks is
known only from what was learned), `recommender` (no state at hand: what was popular a second ago answers), `ranker`
(the fixed blend ranks), `rules`, `reasons`, `slate log` (nobody will learn from it, and feedback may be refused),
`items` (there is nothing to recommend).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from features.feature_set import ViewRead
from features.online_store import RedisOnlineStore, StoredEntity
from features.recommendation import RECOMMENDATION
from features.recommendation import Visit as Asked
from models.candidates import TRENDING
from models.ranker import Ranker
from scoring.because import SOURCE_NAMES
from scoring.deciding import Stages
from scoring.found import find
from scoring.gone import Gone
from scoring.item_table import ItemTable
from scoring.ranked_features import DEFINITION_HASH
from scoring.recommend_bodies import RecommendRequest
from scoring.recommender_feed import Busy, RecommenderFeed
from scoring.slate_file import SlatePolicy
from scoring.slate_log import SlateLog
from scoring.slate_making import LEAST_WAIT_MS, STATE_SHARE, Making, SlateMaker
from scoring.visitor import bits_of, reads_of, seen_bits, vector_of
from stream.connection import Command, RedisError, RedisUnavailable, Reply
from stream.packed_vector import packed
from stream.records import Shown, Slate, visitor

DEFAULT_DEADLINE_MS = 50.0
READ_SHARE = 0.4
"""Of the deadline: what the first round trip may take."""
Floats = NDArray[np.float32]
LEADERS_VERSION = "leaders"

_log = logging.getLogger(__name__)


class Recommending:
    """The one way in for HTTP, benches and tests. It serves one thread."""

    def __init__(
        self,
        log: SlateLog,
        feed: RecommenderFeed,
        table: ItemTable,
        ranker: Callable[[], Ranker],
        policy: SlatePolicy,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.log = log
        self.feed = feed
        self.policy = policy
        self.clock = clock
        self.gone = Gone()
        self.maker = SlateMaker(feed, table, ranker, policy)
        self.store: RedisOnlineStore = log.ledger.store
        self.connection = log.ledger.connection

    def recommend(self, request: RecommendRequest, deadline_ms: float = DEFAULT_DEADLINE_MS) -> Slate:
        """A slate for who asks, within the deadline, with what there is. Never raises for want of any part."""
        making = self._begin(request, secrets.token_hex(12), deadline_ms)
        # 1. Read.
        stored = self._read(making)
        making.stages.mark("read")
        # 2. Make.
        slate = self._made(making, stored)
        # 3. Log.
        replies = self.ask(self.log.commands(slate, making.unread), making.left_ms)
        if replies is None or not self.log.recorded(replies):
            slate.degraded.append("slate log")
        making.stages.mark("log")
        return slate

    def warm_up(self, rounds: int = 20) -> None:
        """Do all that a request does but log it, so that the first one does not pay for first times."""
        for _ in range(rounds):
            making = self._begin(RecommendRequest(user_id="(nobody)"), "warm-up", 1000.0)
            self._made(making, self._read(making))

    def learn_gone(self, reply: Reply, limit_ms: float) -> None:
        """Take in the reply to `gone.command`. Raises `RedisUnavailable` and `RedisError`."""
        if not self.gone.take(reply):
            self.gone.read(self.connection, max(LEAST_WAIT_MS, limit_ms))

    def ask(self, commands: list[Command], timeout_ms: float) -> list[Reply] | None:
        """All commands in one round trip; None without one."""
        try:
            return self.connection.call(commands, max(LEAST_WAIT_MS, timeout_ms))
        except (RedisUnavailable, RedisError):
            return None

    def _begin(self, request: RecommendRequest, slate_id: str, deadline_ms: float) -> Making:
        started_s = time.perf_counter()
        asked = Asked(
            event_timestamp=self.clock(),
            user_id=visitor(request.user_id, request.session_id),
            session_id=request.session_id,
            scenario=request.scenario,
        )
        return Making(request, asked, slate_id, started_s + deadline_ms / 1000, Stages(started_s))

    def _read(self, making: Making) -> dict[str, StoredEntity]:
        """The entities of who asks, by entity, as they are now; none where Redis does not say."""
        refs = RECOMMENDATION.refs(making.asked)
        limit_ms = READ_SHARE * making.left_ms
        unread = self.log.unread_command(making.asked.user_id)
        replies = self.ask([self.gone.command(), unread, *self.store.read_commands(refs)], limit_ms)
        if replies is not None:
            try:
                making.unread = replies[1] if isinstance(replies[1], int) else None
                self.learn_gone(replies[0], limit_ms)
                return {ref.entity: self.store.parse(ref, reply) for ref, reply in zip(refs, replies[2:], strict=True)}
            except (RedisUnavailable, RedisError):
                pass
        making.degraded.append("online store")
        return {}

    def _made(self, making: Making, stored: Mapping[str, StoredEntity]) -> Slate:
        asked, reads = making.asked, reads_of(stored)
        vector = vector_of(asked, reads).astype(np.float32)
        making.stages.mark("visitor")
        shown = self._shown(making, reads, vector)
        return Slate(
            event_id=making.slate_id,
            event_timestamp=asked.event_timestamp,
            user_id=asked.user_id,
            session_id=asked.session_id,
            scenario=asked.scenario,
            items=shown,
            vector=packed(vector),
            definition_hash=DEFINITION_HASH,
            versions={**making.versions, "batch": self.feed.adopted, "policy": self.policy.version},
            degraded=making.degraded if shown else [*making.degraded, "items"],
            latency_us=making.stages.marks,
        )

    def _shown(self, making: Making, reads: Mapping[str, ViewRead], vector: Floats) -> list[Shown]:
        k = self.maker.places_of(making)
        try:
            with self.feed.held(STATE_SHARE * making.left_ms) as recommender:
                found = find(recommender, self.feed.numbers, making.request, making.asked, reads, k, self.gone.latest)
            if self.gone.ids:
                found = found.without(self.gone.ids)
            making.stages.mark("candidates")
            return self.maker.shown(making, found, vector, recommender)
        except Busy:
            pass
        except Exception:  # whatever is wrong with the state, something popular can be answered
            _log.exception("recommending: no slate could be made")
        making.degraded.append("recommender")
        return self._leaders(making, reads, k)

    def _leaders(self, making: Making, reads: Mapping[str, ViewRead], k: int) -> list[Shown]:
        """What was popular a second ago, without what this visitor has seen."""
        making.versions["ranker"] = LEADERS_VERSION
        seen = seen_bits(reads)
        unwanted = self.gone.ids.union(making.request.exclude)
        leaders = [
            Shown(item, score, SOURCE_NAMES[TRENDING], "popular now")
            for item, score in self.feed.leaders
            if item not in unwanted and bits_of(item) not in seen
        ]
        making.stages.mark("candidates")
        return leaders[:k]
