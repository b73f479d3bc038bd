"""Put recommending together from the settings: what the service, benches and tests share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from features.online_store import RedisOnlineStore
from headrace.assembly import PATIENCE_SHARE, open_online_store
from headrace.settings import Settings
from scoring.catalogue import Catalogue
from scoring.item_table import ItemTable
from scoring.ledger import Ledger
from scoring.live_models import registry_of
from scoring.ranker_feed import RankerFeed
from scoring.readings import Feed
from scoring.recommender_feed import RecommenderFeed
from scoring.recommending import Recommending
from scoring.slate_file import SHIPPED, load_slate_policy
from scoring.slate_log import SlateLog
from scoring.tally import Counts


@dataclass(frozen=True)
class RecommendingFeeds:
    """What keeps recommending fresh: the state, the items' features and the ranker, each in a thread of its own."""

    recommender: RecommenderFeed
    items: ItemTable
    ranker: RankerFeed

    def start(self) -> None:
        """Load what there is, then go on in the background."""
        self.recommender.start()
        self.items.start()
        self.ranker.start()

    def counts(self) -> Counts:
        """What is wrong with each, and how often it could not be renewed."""
        feeds: dict[str, Feed] = {"recommender": self.recommender, "items": self.items, "ranker": self.ranker}
        return Counts(
            {"headrace_feed_failures_total": {(name,): float(feed.failures) for name, feed in feeds.items()}},
            {},
            {"headrace_feed_problems": {(name,): float(len(feed.problems)) for name, feed in feeds.items()}},
        )

    def stop(self) -> None:
        """End all, and close their connections."""
        self.ranker.stop()
        self.items.stop()
        self.recommender.stop()


def open_recommending(settings: Settings, ledger: Ledger) -> tuple[Recommending, Catalogue, RecommendingFeeds]:
    """Recommending over a ledger, the catalogue over the same, and what keeps it fresh (not started).

    The ledger's connection is the one that requests wait for: one with a breaker, where answers are served.
    """
    feed = RecommenderFeed(settings.redis)
    store: RedisOnlineStore = open_online_store(settings)
    table = ItemTable(store, lambda: feed.ids)
    feed.touched = table.touch
    feed.renumbered = table.forget
    rankers = RankerFeed(registry_of(settings.home), settings.deadline * PATIENCE_SHARE)
    policy = load_slate_policy(Path(settings.slate_policy) if settings.slate_policy else SHIPPED)
    log = SlateLog(ledger, settings.slate_retention)
    recommending = Recommending(log, feed, table, lambda: rankers.current, policy)
    return recommending, Catalogue(ledger), RecommendingFeeds(feed, table, rankers)
