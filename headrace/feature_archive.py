"""What the commands do that take features from an archive: states for Feast, and training frames."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from features.feature_set import FeatureSet
from features.fraud import FRAUD
from headrace.settings import Settings
from stream.archive import Archive, day_of
from stream.arrivals import arrivals
from stream.records import Label, from_micros
from training.replay import in_share

if TYPE_CHECKING:
    from training.archived_states import ArchivedStates, Asked
    from training.state_files import Every

FRAME_FOLDER = "history"
FRAME_ROWS = 5000
"""Rows that are joined at once: their states are in memory."""
Verdicts = dict[str, tuple[int, str]]


def write_states_of_archive(
    settings: Settings, directory: Path, start: datetime | None, end: datetime | None, every: Every
) -> None:
    """Fold an archive into the files that Feast's state views read, and say how to load them."""
    from training.archived_states import write_archived_states

    folder = settings.home / "states"
    with Console(stderr=True).status("folding") as status:
        found = write_archived_states(
            FRAUD,
            _open(directory),
            folder,
            every=every,
            start=_day(start),
            end=_day(end),
            on_progress=lambda now: status.update(f"folding: {now.records:,} records"),
        )
    for name, rows in found.rows.items():
        click.echo(f"{rows:>9} rows  {folder / name}_state.parquet")
    click.echo(f"{found.folded:,} records folded, {found.repeated:,} copies, {found.refused:,} refused")
    for (log, partition), offset in sorted(found.ends.items()):
        click.echo(f"{log} {partition.topic}/{partition.number} ends with offset {offset}")
    if found.records:
        longest = timedelta(microseconds=max(view.horizon_us for view in FRAUD.views))
        # A second more at each side: Feast's span is given in whole seconds.
        last = from_micros(found.newest_us) + timedelta(seconds=1)
        click.echo(f"feast -c feature_repo materialize {last - longest:%Y-%m-%dT%H:%M:%S} {last:%Y-%m-%dT%H:%M:%S}")


def write_frame(
    settings: Settings, directory: Path, out: Path, start: datetime | None, end: datetime | None, share: float
) -> None:
    """The training frame of an archive's events, joined by Feast, as one Parquet file.

    Feast's registry and the states of these events are in `<home>/history` afterwards.
    """
    from feature_repo.repository import apply, open_store

    home = settings.home / FRAME_FOLDER
    archive = _open(directory)
    with Console(stderr=True).status("applying the declarations") as status:
        # A historical join asks the files alone: there need be no Redis at this address.
        redis_url = settings.redis or "redis://127.0.0.1:6379"
        apply(home, redis_url)
        found = states_of_events(
            FRAUD,
            archive,
            home / "states",
            _day(start),
            _day(end),
            share,
            lambda now: status.update(f"folding: {now.records:,} records"),
        )
        store = open_store(home, redis_url)
        out.parent.mkdir(parents=True, exist_ok=True)
        new = out.with_name(f".{out.name}.new")
        with pq.ParquetWriter(new, _schema(FRAUD)) as writer:
            for done, table in frames(store, FRAUD, found.asked, newest_verdicts(archive)):
                writer.write_table(table)
                status.update(f"joining: {done:,} of {len(found.asked):,} rows")
        new.replace(out)
    click.echo(f"{len(found.asked):,} rows of {len(FRAUD.names)} features, definition {FRAUD.definition_hash}: {out}")


def states_of_events(
    features: FeatureSet,
    archive: Archive,
    folder: Path,
    start: date | None,
    end: date | None,
    share: float,
    on_progress: Any = lambda now: None,
) -> ArchivedStates:
    """The states that the scored events of a span found; those events, in the order in which they came."""
    from training.archived_states import write_archived_states

    longest = timedelta(microseconds=max(view.horizon_us for view in features.views))

    def wanted(record: Any) -> bool:
        if not isinstance(record, features.source) or not in_share(record.key, share):
            return False
        day = day_of(record)
        return (start is None or day >= start) and (end is None or day < end)

    return write_archived_states(
        features,
        archive,
        folder,
        every="event",
        start=None if start is None else start - longest - timedelta(days=1),
        # Some come a little late, after the first of the next day.
        end=None if end is None else end + timedelta(days=2),
        wanted=wanted,
        on_progress=on_progress,
    )


def newest_verdicts(archive: Archive) -> Verdicts:
    """What each event turned out to be by the archive's end: when that became known, in microseconds, and what."""
    verdicts: Verdicts = {}
    for one in arrivals(archive, [Label.topic]):
        if one.at_us >= verdicts.get(one.record.event_id, (one.at_us, ""))[0]:
            verdicts[one.record.event_id] = (one.at_us, one.record.label)
    return verdicts


def frames(store: Any, features: FeatureSet, asked: list[Asked], verdicts: Verdicts) -> Iterator[tuple[int, pa.Table]]:
    """The frame in parts, each with how many rows are done: the events, their labels, all features in declared order.

    The stored features come from Feast's `get_historical_features`; those of the request are computed from them and
    from the record, as the scorer does.
    """
    from feature_repo.repository import point_in_time

    schema = _schema(features)
    for begin in range(0, len(asked), FRAME_ROWS):
        part = asked[begin : begin + FRAME_ROWS]
        rows = [
            {entity: getattr(one.record, entity) for entity in features.entities}
            | {"at_us": one.at_us, "event_timestamp": from_micros(one.join_us)}
            for one in part
        ]
        stored = point_in_time(store, features, rows)
        columns: list[Any] = [[one.record.event_id for one in part], [one.record.event_timestamp for one in part]]
        columns += [[row[entity] for row in rows] for entity in features.entities]
        known = [verdicts.get(one.record.event_id) for one in part]
        columns.append([None if verdict is None else verdict[1] for verdict in known])
        columns.append([None if verdict is None else from_micros(verdict[0]) for verdict in known])
        vectors = [features.with_derived(one.record, values) for one, values in zip(part, stored, strict=True)]
        columns += [[vector[position] for vector in vectors] for position in range(len(features.names))]
        arrays = [pa.array(column, field.type, from_pandas=True) for column, field in zip(columns, schema, strict=True)]
        yield begin + len(part), pa.Table.from_arrays(arrays, schema=schema)


def _schema(features: FeatureSet) -> pa.Schema:
    at = pa.timestamp("us", tz="UTC")
    fields = [("event_id", pa.string()), ("event_timestamp", at)]
    fields += [(entity, pa.string()) for entity in features.entities]
    fields += [("label", pa.string()), ("labelled_at", at)]
    fields += [(name, pa.float64()) for name in features.names]
    return pa.schema(fields, metadata={"feature_set": features.name, "definition_hash": features.definition_hash})


def _open(directory: Path) -> Archive:
    if not any(directory.glob("*/date=*/*.parquet")):
        raise click.ClickException(f"there is no archive in {directory}; run 'headrace archive', or give --archive")
    return Archive(directory)


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.replace(tzinfo=UTC).date()
