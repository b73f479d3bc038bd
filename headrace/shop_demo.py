"""The shoppers of a demo, from an empty service to their summary."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from rich.console import Console

from headrace.bootstrap import register_champion
from headrace.recommend_train import publish_fit
from headrace.revision import git_revision
from headrace.settings import Settings
from headrace.shop_load import Loaded, load_shop
from headrace.shop_movies import MovieShop
from headrace.shop_play import ShopPlayer
from headrace.shop_source import MadeUpShop, Shop
from headrace.shop_summary import ShopSummary, summarize_shop
from headrace.stack import Stack
from scoring.live_models import registry_of
from scoring.ranked_features import NAME
from stream.connection import RedisConnection
from stream.sequence import Sequence
from training.batch import NotEnoughToLearn
from training.ranker_fit import fit_ranker
from training.recorded_shop import RecordedShop
from training.replayed_slates import replayed_slates

SCOPES = ("recommendation:read", "events:write", "items:write")
SEQUENCED_TIMEOUT_S = 60.0
SLATES_REPLAYED = 1_000
"""Moments of the past that teach the first ranker: some seconds."""


class ShopDemo:
    """One shop that is loaded, learned, and then played beside the payments.

    1. `load`: the catalogue and the history, before the workers read the log.
    2. `learn`: the learner of recommending, up to the end of history, before the service starts.
    3. `trained`: a first ranker, which is trained while the service starts.
    4. `start`, `stop`, `finish`: visitors, once the service is ready.
    """

    def __init__(self, shop: Shop, slates_a_second: float, seed: int) -> None:
        self.shop = shop
        self.slates_a_second = slates_a_second
        self.seed = seed
        self.player: ShopPlayer | None = None
        self._loaded = Loaded([], [], {})
        self._thread: threading.Thread | None = None
        self._training: threading.Thread | None = None
        self._first_ranker: str | BaseException = ""

    @classmethod
    def of(cls, folder: Path | None, slates_a_second: float, seed: int) -> ShopDemo:
        """Shoppers of MovieLens' files in a folder, or made-up ones where there is none."""
        return cls(MadeUpShop(seed) if folder is None else MovieShop(folder), slates_a_second, seed)

    def load(self, settings: Settings, console: Console) -> None:
        """Put the catalogue, append the history."""
        with console.status(f"loading {self.shop.name}"):
            self._loaded = load_shop(settings, self.shop)
        items, actions = len(self._loaded.items), len(self._loaded.actions)
        console.print(f"loaded {self.shop.name}: {items:,} items there, {actions:,} actions before")

    def learn(self, stack: Stack) -> None:
        """Start the learner, and the training of a first ranker; wait until the sequence has all that was loaded.

        Raises `TimeoutError` where it has not in time.
        """
        stack.start("recommender", "recommend", "learn")
        self._training = threading.Thread(target=self._train, args=(stack.settings,), name="first-ranker", daemon=True)
        self._training.start()
        self._wait_for_sequence(stack)

    def trained(self, console: Console) -> None:
        """Wait for the first ranker, which a service takes up by itself. Raises what the training raised."""
        assert self._training is not None
        with console.status("training a first ranker on what shoppers did"):
            self._training.join()
        if isinstance(self._first_ranker, BaseException):
            raise self._first_ranker
        console.print(self._first_ranker)

    def _train(self, settings: Settings) -> None:
        try:
            self._first_ranker = train_first(settings, RecordedShop.of(chain(self._loaded.items, self._loaded.actions)))
        except BaseException as error:
            self._first_ranker = error

    def _wait_for_sequence(self, stack: Stack) -> None:
        wanted = len(self._loaded.items) + len(self._loaded.actions)
        until_s = time.monotonic() + SEQUENCED_TIMEOUT_S
        with RedisConnection(stack.settings.redis) as connection:
            sequence = Sequence(connection)
            while (count := sequence.count) < wanted:
                if time.monotonic() > until_s or stack.failed():
                    raise TimeoutError(
                        f"{count:,} of {wanted:,} records were sequenced in {SEQUENCED_TIMEOUT_S:g} s; see "
                        f"{stack.home / 'logs' / 'recommender.log'}"
                    )
                time.sleep(0.1)

    def start(self, url: str, api_key: str | None, seconds: float) -> None:
        """Let visitors in, in threads of their own."""
        player = ShopPlayer(url, self.shop, self._loaded.acted_on, seed=self.seed, api_key=api_key)
        self.player = player
        self._thread = threading.Thread(target=player.play, args=(self.slates_a_second, seconds), name="shop")
        self._thread.start()

    def stop(self) -> None:
        """Let no more visitors in."""
        if self.player is not None:
            self.player.stop()

    def finish(self) -> ShopSummary | None:
        """Wait for the visitors who are there; the summary, None where there never were any."""
        if self.player is None or self._thread is None:
            return None
        self._thread.join()
        return summarize_shop(self.shop.name, self.player.seen)


def train_first(settings: Settings, recorded: RecordedShop) -> str:
    """A batch fit for everybody, and the first champion where it ranks past moments better than the blend; in words."""
    publish_fit(settings, recorded)
    try:
        rows = replayed_slates(recorded, SLATES_REPLAYED)
        trained = fit_ranker(rows, created_at=datetime.now(UTC), name=NAME, git_revision=git_revision())
    except NotEnoughToLearn as error:
        return f"no first ranker, the fixed blend ranks: {error}"
    metrics = trained.manifest.metrics
    ranker, blend = metrics.get("ndcg_10") or 0.0, metrics.get("ndcg_10_blend") or 0.0
    on = f"nDCG@10 {ranker:.3f} on past moments that it had not seen, the fixed blend {blend:.3f}"
    registry = registry_of(settings.home)
    if ranker <= blend:
        version = registry.register(trained.onnx_bytes, trained.manifest)
        return f"trained {NAME} {version}, which does not serve: {on}"
    manifest = register_champion(registry, trained, "bootstrap of the demo")
    return f"trained {manifest.name} {manifest.version} on what shoppers did: {on}"
