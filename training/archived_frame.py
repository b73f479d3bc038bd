"""The frame of what was served: the archive's decisions with their own vectors, and the labels that came later.

Nothing is computed again: a vector is what the scorer saw at that moment. Only mature decisions count, those older
than the label delay at the archive's end: frauds become known at another speed than good payments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np

from features.feature_set import FeatureSet
from stream.archive import Archive
from stream.records import Decision, micros
from training.frame import TrainingFrame
from training.matured import Unlabelled, matured
from training.replay import objects

__all__ = ["NoDecisions", "Unlabelled", "archived_frame"]


class NoDecisions(LookupError):
    """The archive has no decision that could be used. A retry helps once there are some, with labels."""


def archived_frame(
    features: FeatureSet,
    archive: Archive,
    *,
    label_delay: timedelta,
    since: datetime | None = None,
    until: datetime | None = None,
    as_of: datetime | None = None,
    unlabelled: Unlabelled = "out",
    on_progress: Callable[[int], None] = lambda decisions: None,
) -> TrainingFrame:
    """The mature decisions from `since` until before `until`, by event time, with their records.

    An event's newest verdict counts, of those that had arrived at `as_of` (the archive's end); `unknown` is none.
    Events without a verdict are left `out`, or are `legit` where only frauds are ever reported. An event that is
    archived twice counts as it was first scored. Raises `NoDecisions`.
    """
    found = matured(
        archive,
        features.name,
        label_delay=label_delay,
        definition_hash=features.definition_hash,
        since=since,
        until=until,
        as_of=as_of,
        unlabelled=unlabelled,
        on_progress=on_progress,
    )
    rows = found.rows
    if not rows:
        raise NoDecisions(
            f"of {found.fates.decisions:,} decisions of definition {features.definition_hash} in {archive.directory} "
            f"none is older than {label_delay} and labelled; wait for labels, or give a file with --data"
        )
    return frame_of(features, [one for one, _ in rows], [fraud for _, fraud in rows], found.fates.as_of_us)


def frame_of(
    features: FeatureSet, decisions: Sequence[Decision], frauds: Sequence[bool], label_cutoff_us: int
) -> TrainingFrame:
    """Decisions with what became of each, as they were scored, with their records."""
    return TrainingFrame(
        X=np.array([one.vector for one in decisions], dtype=np.float64).reshape(-1, len(features.names)),  # None is NaN
        y=np.array(frauds, dtype=np.int8),
        event_time_us=np.array([micros(one.event_timestamp) for one in decisions], dtype=np.int64),
        card=objects([one.record.card_id for one in decisions]),
        feature_names=features.names,
        definition_hash=features.definition_hash,
        label_cutoff_us=label_cutoff_us,
        records=objects([one.record for one in decisions]),
    )
