"""The rows of the feedback member, from the archive: what analysts said lately, and a sample of all mature traffic.

An event's newest label counts, whoever gave it: a verdict that was reversed teaches its last value, and `unknown`
nothing. Time is the archive's: its newest event or reported label is now, so that a data set of an earlier year is read
as it was then; and of the verdicts, the newest verdict, since analysts who look at that data set have today's clock.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from features.feature_set import FeatureSet
from stream.archive import Archive
from stream.records import Decision, Label, decode, micros
from stream.table import literal
from training.archived_frame import NoDecisions, frame_of
from training.frame import TrainingFrame
from training.matured import Unlabelled
from training.replay import objects

POPULATION_LIMIT = 50_000
VERDICTS_LIMIT = 20_000
"""Rows at most, drawn by their ids: more would cost minutes and teach a small model nothing."""
FETCHED = 1_000
NO_LABELS = (
    "SELECT NULL::VARCHAR AS event_id, NULL::VARCHAR AS label, NULL::TIMESTAMPTZ AS labelled_at, "
    'NULL::VARCHAR AS source, NULL::BIGINT AS "offset" WHERE FALSE'
)


class JudgedRows(NamedTuple):
    """A frame in the order of its events' times, their ids, and when each was told (0: never), of shape (n_rows,).

    Microseconds since 1970: of a row of the population its newest label; of a verdict the first that an analyst gave.
    Who only confirms or corrects a verdict, a feed days later, does not make it new: a model that has learned it by
    then would be judged by it.
    """

    frame: TrainingFrame
    event_id: NDArray[Any]
    told_us: NDArray[np.int64]

    def where(self, wanted: NDArray[np.bool_]) -> JudgedRows:
        """The rows that are wanted, shape (n_rows,); the label cut-off is theirs."""
        told_us = self.told_us[wanted]
        frame = self.frame.where(wanted)
        if len(told_us):
            frame = replace(frame, label_cutoff_us=int(told_us.max()))
        return JudgedRows(frame, self.event_id[wanted], told_us)


class FeedbackRows(NamedTuple):
    """`covered` is the share of the mature decisions that have a label, or count as legit without one."""

    verdicts: JudgedRows
    population: JudgedRows
    covered: float


def feedback_rows(
    features: FeatureSet,
    archive: Archive,
    *,
    analysts: str,
    window: timedelta,
    label_delay: timedelta,
    as_of: datetime,
    unlabelled: Unlabelled = "out",
) -> FeedbackRows:
    """What an analyst labelled in the last `window`, and the decisions of one `window` before the label delay.

    Parameters
    ----------
    analysts
        What the source of an analyst's label begins with.
    as_of
        What is said to be later is not known yet: a clock that is wrong somewhere must not move the window.
    unlabelled
        What a mature decision without any label is: `out`, or `legit` where only frauds are reported. A declined one
        is always out: nobody knows what would have become of it.

    Raises
    ------
    NoDecisions
        When there is nothing of these features.
    """
    files = {topic: archive.files(topic) for topic in (Decision.topic, Label.topic)}
    newest = max((file.day for file in files[Decision.topic] if file.day <= as_of.date()), default=as_of.date())
    since = newest - window - label_delay - timedelta(days=1)
    decisions, labels = ([str(file.path) for file in some if file.day >= since] for some in files.values())
    if not decisions:
        raise NoDecisions(
            f"there are no decisions in {archive.directory}; 'headrace archive' stores them every 5 minutes"
        )
    delay_us, window_us = (round(one.total_seconds() * 1e6) for one in (label_delay, window))
    is_legit = "told_us IS NULL AND outcome <> 'decline'" if unlabelled == "legit" else "FALSE"
    with duckdb.connect(":memory:") as database:
        database.execute("SET threads = 1")  # whoever scores on this machine comes first
        now_us, judged_us = _find(database, features, decisions, labels, analysts, micros(as_of))
        if now_us is None:
            ours = features.definition_hash
            raise NoDecisions(f"{archive.directory} has no decision of definition {ours}; wait for some")
        mature = f"at_us <= {now_us - delay_us} AND at_us > {now_us - delay_us - window_us}"
        known = f"(verdict IN ('fraud', 'legit') OR ({is_legit}))"
        count, told = _one(database, f"SELECT count(*), count(*) FILTER ({known}) FROM found WHERE {mature}")
        lately = f"verdict IN ('fraud', 'legit') AND judged_us > {(judged_us or now_us) - window_us}"
        return FeedbackRows(
            _rows(database, features, lately, VERDICTS_LIMIT, now_us, "first_judged_us"),
            _rows(database, features, f"{mature} AND {known}", POPULATION_LIMIT, now_us, "told_us"),
            told / count if count else 0.0,
        )


def _find(
    database: duckdb.DuckDBPyConnection,
    features: FeatureSet,
    decisions: list[str],
    labels: list[str],
    analysts: str,
    as_of_us: int,
) -> tuple[int | None, int | None]:
    """Make the tables `archived` and `found`, a row for each event; the newest time, and that of the verdicts."""
    database.execute(
        f"CREATE TEMP VIEW archived AS {_read(decisions)} WHERE use_case = {literal(features.name)} "
        f"AND definition_hash = {literal(features.definition_hash)} AND epoch_us(event_timestamp) <= {as_of_us}"
    )
    is_judged = f"starts_with(source, {literal(analysts)})"
    # In the order in which they came: of two labels of one moment the later one counts, as it does for the learner.
    database.execute(
        'CREATE TEMP TABLE told AS SELECT event_id, last(label ORDER BY labelled_at, "offset") AS verdict, '
        "epoch_us(max(labelled_at)) AS told_us, "
        f"epoch_us(max(labelled_at) FILTER (WHERE {is_judged})) AS judged_us, "
        f"epoch_us(min(labelled_at) FILTER (WHERE {is_judged})) AS first_judged_us, "
        f"epoch_us(max(labelled_at) FILTER (WHERE NOT {is_judged})) AS reported_us "
        f"FROM ({_read(labels) if labels else NO_LABELS}) WHERE epoch_us(labelled_at) <= {as_of_us} GROUP BY event_id"
    )
    # A log that was replaced may have left a decision in the archive twice.
    database.execute(
        "CREATE TEMP TABLE found AS SELECT * FROM (SELECT event_id, min(scored_at) AS scored_at, "
        "epoch_us(min(event_timestamp)) AS at_us, arg_min(outcome, scored_at) AS outcome FROM archived "
        "GROUP BY event_id) LEFT JOIN told USING (event_id)"
    )
    now_us, judged_us = _one(
        database,
        "SELECT max(greatest(at_us, coalesce(reported_us, 0))), max(judged_us) FROM found",
    )
    return now_us, judged_us


def _rows(
    database: duckdb.DuckDBPyConnection, features: FeatureSet, wanted: str, limit: int, now_us: int, told: str
) -> JudgedRows:
    """The rows that are `wanted`; `told` is the column that says when."""
    chosen = f"SELECT * FROM found WHERE {wanted} ORDER BY hash(event_id), event_id LIMIT {limit}"
    asked = database.execute(
        f"SELECT payload, verdict, {told} FROM ({chosen}) JOIN archived USING (event_id, scored_at)"
    )
    found: dict[str, tuple[Decision, bool, int]] = {}
    while some := asked.fetchmany(FETCHED):
        for payload, verdict, told_us in some:
            decision: Decision = decode(payload, Decision)
            found[decision.event_id] = (decision, verdict == "fraud", told_us or 0)
    rows = sorted(found.values(), key=lambda row: (row[0].event_timestamp, row[0].event_id))
    told_us = np.array([told_us for _, _, told_us in rows], dtype=np.int64)
    cutoff_us = int(told_us.max(initial=0)) or now_us
    frame = frame_of(features, [one for one, _, _ in rows], [fraud for _, fraud, _ in rows], cutoff_us)
    return JudgedRows(frame, objects([one.event_id for one, _, _ in rows]), told_us)


def _read(paths: list[str]) -> str:
    return f"SELECT * FROM read_parquet([{', '.join(map(literal, paths))}], union_by_name = true)"


def _one(database: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    return database.execute(query).fetchone() or (None,)
