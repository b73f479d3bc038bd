"""What `headrace recommend train` does: a batch fit that everybody adopts, and a ranker in the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import click
import msgspec

from headrace.every import NotYet, repeat
from headrace.recommend_load import records_of
from headrace.recommend_promotion import crown, later_and_earlier
from headrace.revision import git_revision
from headrace.running import none_named
from headrace.settings import Settings
from headrace.training import say
from scoring.live_models import registry_of
from scoring.ranked_features import NAME
from scoring.recommender_snapshot import SnapshotStore
from scoring.sequenced import Adoption
from stream.archive import Archive
from stream.arrivals import arrivals
from stream.connection import RedisConnection
from stream.interaction_file import Columns
from stream.records import Action, Item, Slate
from stream.sequence import NO_MARK, Sequence
from training.batch import NotEnoughToLearn
from training.item_fit import NothingToFit, fit_items
from training.ranker_fit import fit_ranker
from training.recorded_shop import RecordedShop
from training.replayed_slates import replayed_slates
from training.slate_rows import SlateRows

ADOPTIONS = "training/adoptions/0"
"""The source of the sequence that says which batch fit is adopted."""
ADOPT_TRIES = 10
SCHEDULED = "headrace recommend train --every"
LEAST_SLATES = 500
"""Logged slates with an action: where there are fewer, past moments are played instead."""


def train_recommender(
    settings: Settings,
    data: Path | None,
    catalogue: Path | None,
    archive: Path | None,
    only: str | None,
    promote: bool,
    by: str,
    why: str,
    **columns: Any,
) -> int:
    """Fit what is asked for; the exit status: 0 where it was fitted, and promoted if asked."""
    if promote and not by:
        raise click.UsageError("nobody knows who promotes; give --by NAME")
    if only != "ranker" and not settings.redis:
        raise click.UsageError(f"{none_named(settings, 'a batch fit goes to Redis')}, or --only ranker")
    shop = shop_of(settings, data, catalogue, archive, Columns(**columns))
    say(f"{len(shop.records):,} items and actions, {len(shop.slates):,} slates")
    if only != "ranker":
        click.echo(f"batch fit {publish_fit(settings, shop)} is in the sequence: learner and scorers adopt it there")
    return 0 if only == "batch" else train_ranker(settings, rows_of(shop), promote, by, why)


def train_on_schedule(settings: Settings, archive: Path | None, only: str | None, every_s: float, stop: Event) -> None:
    """Fit both from the archive now and then, and let the ranker serve if the gates let it, until stopped."""

    def work(go_on: Callable[[object], None]) -> str:
        shop = shop_of(settings, None, None, archive, Columns())
        go_on(None)
        said = []
        if only != "ranker":
            said.append(f"batch fit {publish_fit(settings, shop)} is adopted")
        if only != "batch":
            go_on(None)
            train_ranker(settings, rows_of(shop), promote=True, by=SCHEDULED, why="on schedule")
            said.append("a new ranker serves")
        return "; ".join(said)

    repeat("recommend", work, every_s, stop, settings.redis)


def shop_of(
    settings: Settings, data: Path | None, catalogue: Path | None, archive: Path | None, columns: Columns
) -> RecordedShop:
    """What files say, or else the archive."""
    if data is not None:
        if archive is not None:
            raise click.UsageError("give either --data FILE or --archive DIRECTORY")
        return RecordedShop.of(records_of(data, catalogue, columns))
    if catalogue is not None:
        raise click.UsageError("a catalogue alone teaches nothing; give --data FILE too")
    directory = archive or settings.home / "archive"
    if not directory.is_dir():
        raise NotYet(f"there is no archive in {directory}; run 'headrace archive', or give --data FILE")
    return RecordedShop.of(_archived(directory))


def publish_fit(settings: Settings, shop: RecordedShop) -> str:
    """Fit, keep it in the home, and let everybody adopt it; its version.

    1. The file.  2. The content in Redis.  3. The entry that says so. Reversed, an entry could name what nobody has.
    """
    interactions = shop.interactions()
    until_us = int(interactions.at_us.max(initial=0)) + 1
    try:
        unnamed = fit_items(interactions, until_us, "")
    except NothingToFit as error:
        raise NotYet(str(error)) from None
    content = unnamed.encode()
    version = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{sha256(content).hexdigest()[:8]}"
    content = replace(unnamed, version=version).encode()
    # 1.
    folder = settings.home / "recommendation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"batch-{version}.bin").write_bytes(content)
    with RedisConnection(settings.redis) as connection:
        # 2.
        SnapshotStore(connection).keep_batch(version, content)
        # 3.
        adopt(Sequence(connection), version, content, until_us)
    return version


def adopt(sequence: Sequence, version: str, content: bytes, at_us: int) -> None:
    """Have everybody who follows the sequence adopt a batch fit at the same place of it."""
    payload = msgspec.json.encode(Adoption(version, sha256(content).hexdigest(), at_us))
    for _ in range(ADOPT_TRIES):
        mark = sequence.marks().get(ADOPTIONS, NO_MARK)
        if sequence.append(ADOPTIONS, mark, [(mark + 1, payload)]):
            return
    raise click.ClickException(f"others adopt batch fits all the time; {version} is kept, and nobody has it")


def rows_of(shop: RecordedShop) -> SlateRows:
    """Slates that were served; where too few were acted on, what past moments would have had."""
    rows = shop.slate_rows()
    acted = len(set(rows.slate[rows.y != 0].tolist()))
    if shop.other_definition:
        say(f"{shop.other_definition:,} slates have features of another definition, and teach nothing")
    if acted >= LEAST_SLATES:
        say(f"learning from {len(set(rows.slate.tolist())):,} slates, {acted:,} of them acted on")
        return rows
    say(f"{acted:,} slates were acted on, fewer than {LEAST_SLATES}: playing past moments instead")
    return replayed_slates(shop, say=say)


def train_ranker(settings: Settings, rows: SlateRows, promote: bool, by: str, why: str) -> int:
    """Fit and register; if it is to be promoted, the last slates judge it and do not teach. The exit status."""
    taught, later = later_and_earlier(rows) if promote else (rows, None)
    try:
        trained = fit_ranker(taught, created_at=datetime.now(UTC), name=NAME, git_revision=git_revision())
    except NotEnoughToLearn as error:
        raise NotYet(f"no ranker was trained: {error}") from None
    version = registry_of(settings.home).register(trained.onnx_bytes, trained.manifest)
    metrics = trained.manifest.metrics
    gain, blend = metrics.get("ndcg_10"), metrics.get("ndcg_10_blend")
    click.echo(f"registered {NAME} {version}: nDCG@10 {gain or 0.0:.3f}, the blend {blend or 0.0:.3f}")
    if later is None:
        click.echo(f"'headrace recommend promote {version}' judges it by later slates", err=True)
        return 0
    return crown(settings, version, later, by=by, why=why or "headrace recommend train")


def _archived(directory: Path) -> Iterator[Item | Action | Slate]:
    archive = Archive(directory)
    # Items first: what the catalogue says is known when it is done with, whatever partition it came by.
    topics = (Item.topic,), (Action.topic, Slate.topic)
    return chain.from_iterable((arrival.record for arrival in arrivals(archive, names)) for names in topics)
