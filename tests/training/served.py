"""An archive of decisions with vectors of the fraud features, and labels that come seven days later."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from pathlib import Path

import msgspec

from models.manifest import Manifest
from scoring.use_case import FRAUD
from stream.archive import Archive
from stream.log import Entry, Partition
from stream.records import Decision, Label, Verdict, encode
from tests.training.contest import MANIFEST, TRUE_WEIGHTS, artefact, frame

WIDTH = len(FRAUD.features.names)
DELAY = timedelta(days=7)
OF_FRAUD: Manifest = msgspec.structs.replace(
    MANIFEST, feature_names=FRAUD.features.names, definition_hash=FRAUD.features.definition_hash
)


def wide(*weights: float, intercept: float = -4.0) -> bytes:
    """A model of the fraud features that looks at the first few."""
    return artefact((*weights, *[0.0] * (WIDTH - len(weights))), intercept)


GOOD = wide(*TRUE_WEIGHTS)
HALF = wide(0.0, 1.2, intercept=-3.1)


@cache
def decisions(days: int = 13) -> list[tuple[Decision, Label]]:
    """The rows of `contest.frame` as they were served; the labels of the last days come after the archive's end."""
    rows = frame(days)
    assert rows.records is not None
    found = []
    for x, is_fraud, record in zip(rows.X.tolist(), rows.y.tolist(), rows.records.tolist(), strict=True):
        at = record.event_timestamp
        decision = Decision(
            event_id=record.event_id,
            event_timestamp=at,
            scored_at=at,
            use_case="fraud",
            outcome="approve",
            score=0.1,
            scores={},
            vector=[*x, *[0.0] * (WIDTH - len(x))],
            definition_hash=FRAUD.features.definition_hash,
            policy_version="1",
            record=record,
        )
        verdict: Verdict = "fraud" if is_fraud else "legit"
        found.append((decision, Label(event_id=record.event_id, label=verdict, labelled_at=at + DELAY)))
    return found


def archive_of(directory: Path, records: list[Decision | Label]) -> Archive:
    """These records, in this order."""
    batch: dict[Partition, list[Entry]] = {}
    for offset, record in enumerate(records):
        batch.setdefault(Partition(record.topic, 0), []).append(Entry(offset, record.key, encode(record)))
    with Archive(directory) as archive:
        archive.write("memory", batch)
    return archive


def archive_until_the_end(directory: Path) -> Archive:
    """All decisions, and the labels that are known when the last one is made."""
    both = decisions()
    end = max(decision.event_timestamp for decision, _ in both)
    labels = [label for _, label in both if label.labelled_at <= end]
    return archive_of(directory, [*(decision for decision, _ in both), *labels])
