"""A week of decisions of a champion, or of champion and canary, whose models and labels are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from models.contract import Vector
from models.manifest import Manifest
from models.onnx import OnnxModel
from models.registry import Registry
from scoring.canary_split import is_in, place_of
from scoring.use_case import FRAUD
from stream.log import Entry, Message, Partition, message_of
from stream.records import Decision, Label, MemberScore, Verdict
from tests.training.contest import TRUE_WEIGHTS, costs, frame
from tests.training.served import OF_FRAUD, WIDTH, wide
from training.shadow import Shadows
from training.watch_store import WatchStore
from training.watched_groups import Spans
from training.watcher import Keeps, Watcher

DELAY = timedelta(days=1)
SPANS = Spans(promotion_us=3 * 86_400_000_000, label_delay_us=86_400_000_000)
DECLINES = wide(0.0, intercept=6.0)
"""Finds everything fraud."""
INVERSE = wide(*(-weight for weight in TRUE_WEIGHTS))
"""As many alerts, of what is safe."""
TWIN = wide(TRUE_WEIGHTS[0], TRUE_WEIGHTS[1] * 1.02, TRUE_WEIGHTS[2] * 0.98)
"""As good as the truth, and not the same."""
VersionOf = Callable[[str, datetime], str]


def manifest_of(version: str) -> Manifest:
    """A manifest of the fraud features."""
    return msgspec.structs.replace(OF_FRAUD, version=version)


@cache
def vectors(days: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The vectors of the rows."""
    rows = frame(days, seed)
    return np.hstack([rows.X, np.zeros((len(rows.X), WIDTH - rows.X.shape[1]))])


@cache
def scores(content: bytes, days: int, seed: int) -> Vector:
    """What a model says of the rows."""
    return OnnxModel(content, manifest_of("any")).score_many(vectors(days, seed))


def decisions(
    models: dict[str, bytes],
    version_of: VersionOf,
    *,
    days: int = 8,
    seed: int = 0,
    latency_us: Callable[[str, int], int] = lambda version, row: 500 + row % 100,
) -> list[Decision]:
    """The rows as they were answered, by event time; the version '' gave no number."""
    rows = frame(days, seed)
    assert rows.records is not None
    found = []
    for row, (x, record) in enumerate(zip(vectors(days, seed).tolist(), rows.records.tolist(), strict=True)):
        version = version_of(record.card_id, record.event_timestamp)
        score = float(scores(models[version], days, seed)[row]) if version else 0.01
        choice = costs().policy.choose(record, score)
        found.append(
            Decision(
                event_id=record.event_id,
                event_timestamp=record.event_timestamp,
                scored_at=record.event_timestamp,
                use_case="fraud",
                outcome=choice.outcome,
                score=score,
                scores={"batch": MemberScore(version, score)} if version else {},
                vector=list(x),
                definition_hash=FRAUD.features.definition_hash,
                policy_version="1",
                record=record,
                latency_us={"models": latency_us(version, row)},
            )
        )
    return found


def labels(days: int = 8, seed: int = 0) -> list[Label]:
    """The truth of every row, a day later."""
    rows = frame(days, seed)
    assert rows.records is not None
    found = []
    for record, is_fraud in zip(rows.records.tolist(), rows.y.tolist(), strict=True):
        verdict: Verdict = "fraud" if is_fraud else "legit"
        at = record.event_timestamp + DELAY
        found.append(Label(event_id=record.event_id, label=verdict, labelled_at=at))
    return found


def split(champion: str, canary: str, share: int, since: datetime) -> VersionOf:
    """As scorers split entities from a moment on."""

    def version_of(card: str, at: datetime) -> str:
        return canary if at >= since and is_in(place_of("fraud", card), share) else champion

    return version_of


def registry_of(directory: Path, models: dict[str, bytes], champion: str, at: datetime) -> Registry:
    """A registry with these versions."""
    registry = Registry(directory)
    for version, content in models.items():
        registry.register(content, manifest_of(version))
    registry.alias("fraud", "champion", champion, by="ann", why="the first", at=at)
    return registry


def watcher_of(
    registry: Registry, path: Path | str = ":memory:", acts: bool = True, keeps: Keeps | None = None
) -> Watcher:
    """A watcher over a file, or over none."""
    shadows = Shadows(FRAUD, registry, costs())
    return Watcher(FRAUD, WatchStore(path), registry, shadows, SPANS, acts=acts, keeps=keeps)


def send(watcher: Watcher, records: Sequence[Decision | Label], start: int = 0) -> None:
    """Let a watcher take in records as those of one partition, beginning at an offset."""
    (topic,) = {record.topic for record in records}
    entries = [Entry(start + at, one.key, one.value) for at, one in enumerate(messages(records))]
    watcher.take_in({Partition(topic, 0): entries}, "memory")


def messages(records: Sequence[Decision | Label]) -> list[Message]:
    """Records as a log takes them."""
    return [message_of(record) for record in records]
