"""The first model: replay a stretch of transactions, train on its labels, warm the online store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from features.online_store import OnlineStore
from headrace.revision import git_revision
from models.manifest import Manifest
from models.registry import Registry
from scoring.use_case import UseCase
from stream.played import Played
from training.batch import SplitDays, Trained, train
from training.replay import Replay

Stage = Callable[[str], None]


@dataclass(frozen=True)
class Stretch:
    """Which part of the past teaches: histories from `start`, rows from `collect_from`, until `end`."""

    start: datetime
    collect_from: datetime
    end: datetime
    share: float
    split: SplitDays

    @classmethod
    def before(cls, end: datetime, days: int, collect_days: int, share: float, split: SplitDays) -> Stretch:
        """The last `days` before a moment, rows from the last `collect_days` of them."""
        return cls(end - timedelta(days=days), end - timedelta(days=collect_days), end, share, split)


def fit_stretch(
    use_case: UseCase, played: Iterable[Played], stretch: Stretch, family: str, stage: Stage
) -> tuple[Replay, Trained]:
    """Replay a stretch and train one model on it. Labels that were not known by its end are not used."""
    replay = Replay(use_case.features)
    frame = replay.advance(
        played,
        collect_from=stretch.collect_from,
        share=stretch.share,
        on_event=lambda count: stage(f"replayed {count:,} transactions") if count % 5000 == 0 else None,
        keep_records=True,
    )
    assert frame is not None
    trained = train(
        frame,
        family,
        created_at=datetime.now(UTC),
        name=use_case.name,
        split=stretch.split,
        git_revision=git_revision(),
        on_stage=stage,
    )
    return replay, trained


def register_champion(registry: Registry, trained: Trained, why: str, simulated: bool = False) -> Manifest:
    """Put a model into the registry and let it be the champion, without gates: no later rows are there to judge by.

    One of made-up events is marked so: its dates say nothing of the events that it will score.
    """
    version = registry.register(trained.onnx_bytes, msgspec.structs.replace(trained.manifest, simulated=simulated))
    registry.alias(trained.manifest.name, "champion", version, by="bootstrap", why=why)
    return registry.manifest(trained.manifest.name, version)


def warm(replay: Replay, store: OnlineStore) -> int:
    """Write the replayed histories into the online store. How many entities."""
    return replay.materialize(store)
