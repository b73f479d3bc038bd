"""The archive through Feast: its training frame is what was served, and what it loads a worker goes on from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from time import sleep
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from features.feature_set import EntityRef
from features.fraud import FRAUD
from features.history import History
from features.online_store import MemoryOnlineStore, OnlineStore, RedisOnlineStore
from features.pipeline import GROUP, work_once
from features.store_plan import StorePlan
from features.worker import Folder
from headrace.cli import main
from scoring.ledger import Ledger
from scoring.policy_file import load_policy
from scoring.rules import load_rules
from scoring.scorer import Scorer
from scoring.use_case import FRAUD as USE_CASE
from stream.archive import ARCHIVED, Archive
from stream.archiver import GROUP as ARCHIVER
from stream.archiver import Archiver
from stream.connection import RedisConnection
from stream.log import Partition, lag, message_of
from stream.records import Decision, Label, Record, Transaction, from_micros
from stream.redis_log import RedisLog
from tests.oracle import DAY, HOUR, MINUTE, T0_US, payment
from tests.scoring.conftest import Says
from tests.scoring.conftest import live as models
from tests.unhurried import PATIENT_MS

pytestmark = pytest.mark.slow


class Served(NamedTuple):
    """What was decided, by event, and where it is archived."""

    decisions: dict[str, Decision]
    archive: Path


NOW_US = T0_US + 60 * DAY
EVENTS = 240


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def plan(home: Path, redis_url: str) -> StorePlan:
    from feature_repo.repository import apply

    return apply(home, redis_url)


@pytest.fixture
def log(redis_db: str) -> Iterator[RedisLog]:
    with closing(RedisLog(redis_db, partitions=2)) as opened:
        yield opened


@pytest.fixture
def live(redis_db: str, plan: StorePlan) -> Iterator[RedisOnlineStore]:
    with RedisConnection(redis_db) as connection:
        yield RedisOnlineStore(connection, plan, 10_000_000)


def traffic() -> list[Any]:
    """Payments and labels as they arrive: some late by up to the day of grace, some at one moment, some twice."""
    random = Random(8)
    records: list[Any] = []
    for number in range(EVENTS):
        at_us = T0_US + number // 2 * 4 * HOUR - (random.random() < 0.1) * random.randrange(1, 1400) * MINUTE
        # Two of one card at one moment lie as pending fields of its hash, without order: which is the previous?
        card = 2 * random.randrange(6) + number % 2
        fields: dict[str, Any] = {"card_id": f"c{card}", "merchant_id": f"m{random.randrange(5)}"}
        device = random.choice([None, "d0", "d1"])
        latitude = random.choice([None, random.uniform(-90, 90)])
        amount = float(random.randrange(1, 900))
        records.append(payment(number, at_us, device_id=device, latitude=latitude, amount=amount, **fields))
        if number % 6 == 0:
            known = from_micros(at_us + random.choice([MINUTE, -HOUR]))
            records.append(Label(event_id=f"e{number}", label="fraud", labelled_at=known, **fields))
        if number % 25 == 9:
            records.append(records[-4])
    return records


def send(log: RedisLog, records: Sequence[Record]) -> None:
    log.append([message_of(record) for record in records])


def work(log: RedisLog, store: OnlineStore) -> int:
    """One worker until nothing waits; how many records it read."""
    folder = Folder(store, FRAUD.views, log.name)
    read = 0
    with closing(log.consumer(GROUP, folder.topics)) as consumer:
        while any(waits for topic in folder.topics for waits in lag(log, GROUP, topic).values()):
            read += work_once(folder, log, consumer, 7, 20).records
    return read


def archive_all(log: RedisLog, directory: Path) -> None:
    with Archive(directory) as archive, closing(log.consumer(ARCHIVER, ARCHIVED)) as consumer:
        archiver = Archiver(archive, log, consumer, flush_records=100)
        while any(waits for topic in ARCHIVED for waits in lag(log, ARCHIVER, topic).values()):
            archiver.step(60, 20)
            archiver.flush()


def clean(log: RedisLog) -> MemoryOnlineStore:
    """One pass of one worker over everything that the log has."""
    store = MemoryOnlineStore()
    folder = Folder(store, FRAUD.views, log.name)
    for topic in folder.topics:
        for number in range(2):
            part = Partition(topic, number)
            folder.fold({part: log.read(part, 0, 1 << 20)})
    return store


def everything(store: OnlineStore, records: Sequence[Any]) -> dict[str, list[float]]:
    """Every entity's features at one time."""
    refs = {ref for record in records if isinstance(record, Transaction) for ref in FRAUD.refs(record)}
    found: dict[str, list[float]] = {}
    for ref in sorted(refs):
        (entity,) = store.read_states([EntityRef(*ref)])
        for view in FRAUD.views:
            if view.entity == ref.entity:
                history = History.decode(view, entity.states.get(view.name))
                values = FRAUD.read_view(view.name, history, NOW_US)
                found[f"{view.name} {ref.value}"] = np.nan_to_num(values, nan=-1.0).tolist()
    return found


def headrace(*words: str) -> str:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def load(home: Path, archive: Path, redis_url: str, *options: str) -> str:
    """`headrace features states` and the `feast materialize` that it names; what the former said."""
    from feature_repo.repository import open_store

    said = headrace("features", "states", "--archive", str(archive), "--home", str(home), *options)
    *_, begin, end = next(line for line in said.splitlines() if line.startswith("feast ")).split()
    open_store(home, redis_url).materialize(pd.Timestamp(begin, tz="UTC"), pd.Timestamp(end, tz="UTC"))
    return said


@pytest.mark.parametrize("folded", [0, 100, 160])
def test_a_worker_goes_on_from_an_archive_and_counts_nothing_twice(
    log: RedisLog, live: RedisOnlineStore, home: Path, tmp_path: Path, redis_db: str, folded: int
) -> None:
    """The archive ends at 160 of the records; the workers had committed none, some or all of them, the log has all."""
    records = traffic()
    send(log, records[:folded])
    work(log, MemoryOnlineStore())  # somebody folded and committed them; that store is lost
    send(log, records[folded:160])
    archive_all(log, tmp_path / "archive")
    send(log, records[160:])
    said = load(home, tmp_path / "archive", redis_db)
    assert sum(line.startswith("redis ") for line in said.splitlines()) == 3
    read = work(log, live)
    assert read == len(records) - folded
    expected = everything(clean(log), records)
    assert close(everything(live, records), expected)
    # And what comes next is folded once more only.
    more = [payment(5000 + n, NOW_US - HOUR, card_id=f"c{n}", merchant_id="m1") for n in range(5)]
    send(log, [*more, more[0]])
    work(log, live)
    assert close(everything(live, records), everything(clean(log), records))


def close(found: dict[str, list[float]], expected: dict[str, list[float]]) -> bool:
    return found.keys() == expected.keys() and all(
        np.allclose(found[key], expected[key], rtol=1e-9, atol=1e-9) for key in found
    )


def test_nothing_is_lost_that_the_archive_had_not_stored_whole(
    log: RedisLog, live: RedisOnlineStore, home: Path, tmp_path: Path, redis_db: str
) -> None:
    from stream.archive_note import read_note, write_note

    records = traffic()
    send(log, records)
    archive_all(log, tmp_path)
    # As if the archiver had died within its last flush: the note is behind, one of the days is not there.
    part = max(read_note(tmp_path), key=lambda one: one[1].topic)[1]
    middle = log.read(part, 0, 1000)[40].offset
    write_note(tmp_path, read_note(tmp_path) | {(log.name, part): middle})
    torn = [file for file in Archive(tmp_path).files(part.topic) if file.partition == part and file.first > middle]
    torn[0].path.unlink()
    load(home, tmp_path, redis_db)
    work(log, live)
    assert close(everything(live, records), everything(clean(log), records))


def score_all(scorer: Scorer, store: RedisOnlineStore, log: RedisLog, records: Sequence[Any]) -> dict[str, Decision]:
    """Live traffic: scored one by one, the worker behind by some; the decisions by event."""
    served: dict[str, Decision] = {}
    for number, record in enumerate(records):
        sleep(0.002)  # Within a millisecond the log does not know what came first in two partitions.
        if isinstance(record, Transaction):
            served.setdefault(record.event_id, scorer.score(record, PATIENT_MS))
        else:
            scorer.accept(record, PATIENT_MS)
        if number % 17 == 0:
            work(log, store)
    return served


@pytest.fixture(scope="module")
def served_once(plan: StorePlan, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Decisions that a real scorer gave over a real Redis, and the archive of that traffic."""
    archive: Path = tmp_path_factory.mktemp("served") / "archive"
    policy, rules = load_policy(USE_CASE.policy, USE_CASE.source), load_rules(USE_CASE.rules, FRAUD)
    with RedisConnection(redis_url) as connection, closing(RedisLog(redis_url, partitions=2)) as log:
        connection.one("FLUSHALL")
        live = RedisOnlineStore(connection, plan, 10_000_000)
        ledger = Ledger(connection, live, 2, 10_000_000, 100_000, 1000)
        found = score_all(Scorer(USE_CASE, ledger, models(Says(0.001)), policy, rules), live, log, traffic())
        archive_all(log, archive)
    assert not any("online store" in one.degraded for one in found.values())
    return Served(found, archive)


@pytest.fixture
def served(served_once: Served, tmp_path: Path) -> dict[str, Decision]:
    """Those decisions; a copy of the archive is in `<tmp>/archive`."""
    shutil.copytree(served_once.archive, tmp_path / "archive")
    return served_once.decisions


def differing(found: np.ndarray[Any, Any], decision: Decision) -> list[tuple[str, float, float]]:
    """What is not as it was served: name, found, served."""
    served = vector(decision)[: len(found)]
    names = [name for view in FRAUD.views for name in view.names] + [one.name for one in FRAUD.derived]
    equal = np.isclose(found, served, rtol=1e-9, atol=1e-9, equal_nan=True)
    return [(names[i], found[i], served[i]) for i in np.flatnonzero(~equal)]


def vector(decision: Decision) -> np.ndarray[Any, Any]:
    return np.array([np.nan if value is None else value for value in decision.vector])


def test_the_training_frame_of_an_archive_is_what_was_served(served: dict[str, Decision], tmp_path: Path) -> None:
    out = tmp_path / "frame.parquet"
    # The archive is all there is: no Redis, no home.
    words = ("--archive", str(tmp_path / "archive"), "--out", str(out), "--home", str(tmp_path / "home"))
    said = headrace("features", "history", *words)
    assert f"{EVENTS} rows" in said
    table = pq.read_table(out)
    assert table.schema.metadata[b"definition_hash"].decode() == FRAUD.definition_hash
    frame = table.to_pandas().set_index("event_id")
    assert sorted(frame.index) == sorted(served)
    for event_id, decision in served.items():
        found = frame.loc[event_id, list(FRAUD.names)].to_numpy(dtype=np.float64)
        assert differing(found, decision) == [], event_id
        assert frame.loc[event_id, "event_timestamp"] == decision.event_timestamp
    labelled = frame[frame["label"].notna()]
    assert len(labelled) == EVENTS / 6
    assert set(labelled["label"]) == {"fraud"}


def test_a_frame_of_a_span_and_a_share_is_the_same_for_its_events(served: dict[str, Decision], tmp_path: Path) -> None:
    out = tmp_path / "frame.parquet"
    words = ("--archive", str(tmp_path / "archive"), "--out", str(out), "--home", str(tmp_path / "home"))
    headrace("features", "history", *words, "--from", "2026-01-08", "--to", "2026-01-12", "--share", "0.5")
    frame = pq.read_table(out).to_pandas().set_index("event_id")
    cards = set(frame["card_id"])
    span = [one for one in served.values() if 8 <= one.event_timestamp.day < 12 and one.event_timestamp.month == 1]
    wanted = [one for one in span if one.record.card_id in cards]
    assert 0 < len(wanted) < len(span)
    assert sorted(frame.index) == sorted(one.event_id for one in wanted)
    for decision in wanted:
        found = frame.loc[decision.event_id, list(FRAUD.names)].to_numpy(dtype=np.float64)
        assert differing(found, decision) == [], decision.event_id


def test_feasts_own_call_gives_the_frame_of_an_entity_data_frame(
    served: dict[str, Decision], plan: StorePlan, home: Path, tmp_path: Path, redis_db: str
) -> None:
    from feature_repo.repository import open_store

    headrace("features", "states", "--archive", str(tmp_path / "archive"), "--home", str(home), "--every", "event")
    # Those that share their moment with no other.
    alone: dict[Any, list[Decision]] = {}
    for decision in served.values():
        alone.setdefault(decision.event_timestamp, []).append(decision)
    rows = [own[0] for own in alone.values() if len(own) == 1 and own[0].record.device_id]
    assert len(rows) > 10
    entity_df = pd.DataFrame(
        [
            {
                "event_id": one.event_id,
                "event_timestamp": one.event_timestamp,
                "at_us": int(one.event_timestamp.timestamp() * 1_000_000),
                **{name: getattr(one.record, name) for name in FRAUD.entities},
            }
            for one in rows
        ]
    )
    store = open_store(home, redis_db)
    job = store.get_historical_features(entity_df=entity_df, features=store.get_feature_service("fraud_v1"))
    frame = job.to_df().set_index("event_id")
    names = [name for view in FRAUD.views for name in view.names]
    for one in rows:
        found = frame.loc[one.event_id, names].to_numpy(dtype=np.float64)
        assert differing(found, one) == [], one.event_id


def test_an_empty_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    words = ["features", "states", "--archive", str(tmp_path), "--home", str(tmp_path)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "'headrace archive'" in result.output
    for wrong in (["features", "states"], [*words, "--data", __file__], [*words, "--mapping", __file__]):
        assert CliRunner().invoke(main, wrong).exit_code == 2
