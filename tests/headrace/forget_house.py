"""A home that forgets: decisions in every place that keeps any, and what is found there of an entity and of others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner, Result

from features.declared import all_views
from features.pipeline import GROUP as WORKER
from features.pipeline import work_forever
from features.store_plan import PLAN_FILE
from features.worker import Folder
from headrace.cli import main
from models.online import OnlineLearner
from review.case_store import CaseStore
from scoring.use_case import FRAUD
from stream.archive import ARCHIVED, Archive
from stream.archive_erasure import texts_of
from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from stream.log import Partition, lag, message_of
from stream.mention import Mention
from stream.records import DeadLetter, Decision, Label
from stream.redis_erasure import keys, sweep
from tests.scoring.auditing import KEY, PARTITIONS, Office, card, open_office, score_varied
from tests.scoring.conftest import PLAN, T0, amount_bytes
from tests.until import until
from training.learner import DelayedLearner
from training.learner_loop import catch_up
from training.learner_store import LearnerStore

DENIED = card(5)


@dataclass
class House:
    """A whole home, its Redis, and what scored into it."""

    home: Path
    url: str
    office: Office
    decisions: list[Decision]

    def run(self, *words: str) -> Result:
        """`headrace` with these words."""
        given = ["--home", str(self.home)]
        redis = ["--redis", self.url, "--partitions", str(PARTITIONS)] if words[0] == "forget" else []
        environment = {"HEADRACE_LET_THROUGH_KEY": KEY}
        return CliRunner().invoke(main, [*words, *given, *redis], env=environment)

    def forget(self, entity: str, value: str, *words: str) -> Result:
        """`headrace forget`, by Ann."""
        return self.run("forget", entity, value, "--by", "ann", *words)

    def events_of(self, value: str) -> list[str]:
        """The recorded events of a card."""
        recorded = (one for one in self.decisions if "not recorded yet" not in one.degraded)
        return [one.event_id for one in recorded if one.record.card_id == value]


def places_with(house: House, value: str) -> set[str]:
    """Where the bytes are, found without any of the code under test but the reading of Parquet."""
    found = set()
    with RedisConnection(house.url) as connection:
        found |= {f"redis {key}" for key, _ in sweep(connection, Mention("card_id", value))}
    for path in house.home.rglob("*"):
        if not path.is_file():
            continue
        needle = value.encode()
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += b"\n".join(one if isinstance(one, bytes) else one.encode() for one in texts_of(path))
        if needle in content:
            found.add(str(path.relative_to(house.home)))
    return found


def records_of_others(house: House, *values: str) -> dict[str, object]:
    """Everything that is kept of other cards, by place."""
    with RedisConnection(house.url) as connection:
        hashes = {key: connection.one("HGETALL", key) for key in sorted(set(keys(connection, "card_id:*")))}
        log = house.office.log
        parts = [Partition(topic, number) for topic in ARCHIVED for number in range(PARTITIONS)]
        streams = [(part, entry) for part in parts for entry in log.read(part, 0, 10_000)]
        answers = {key: connection.one("GET", key) for key in set(keys(connection, "answer:*"))}
    archive = Archive(house.home / "archive")
    archived = [
        row
        for topic in ARCHIVED
        for file in archive.files(topic)
        for row in pq.ParquetFile(file.path).read(columns=["offset", "payload"]).to_pylist()
    ]
    with closing(CaseStore(house.home / "review.sqlite")) as store:
        cases = store.queue(1000)
    with closing(LearnerStore(house.home / "learner.sqlite")) as learned:
        rows = [learned.decision(one.event_id) for one in house.decisions if one.record.card_id not in values]
    payloads = [entry.payload for _, entry in house.office.chain.entries() if entry.kind == "decision"]
    needles = [value.encode() for value in values]
    events = {event.encode() for value in values for event in house.events_of(value)}

    def is_other(content: bytes) -> bool:
        return not any(needle in content for needle in needles)

    return {
        "hashes": {
            key: dict(zip(fields[::2], fields[1::2], strict=True)) for key, fields in hashes.items() if is_other(key)
        },
        "streams": [one for one in streams if is_other(one[1].value)],
        "answers": {
            key: value
            for key, value in answers.items()
            if is_other(value) and key.split(b":")[2].split(b"|")[0] not in events
        },
        "archive": [row for row in archived if is_other(row["payload"])],
        "cases": [case for case in cases if case.entity not in values],
        "learner": [(row.event_id, row.scores, row.verdict) for row in rows if row is not None],
        "chain": [payload for payload in payloads if is_other(payload) and payload.strip(b"-")],
    }


@contextmanager
def open_house(home: Path) -> Iterator[House]:
    """Two hundred decisions, half of them folded, in every place that keeps any."""
    home.mkdir()
    PLAN.save(home / PLAN_FILE)
    with EmbeddedRedis(home / "redis") as redis, open_office(home, redis.url, amount_bytes()) as office:
        decisions = score_varied(office)
        for decision in decisions[::4]:
            label = Label(event_id=decision.event_id, label="fraud", labelled_at=T0 + timedelta(days=2))
            office.scorer.accept(label)
        with working(office):
            pass
        decisions += [office.score(f"late{n}", card_id=card(n % 9), amount=1700.0) for n in range(18)]
        letter = DeadLetter(
            event_id="w/0", from_topic="transactions", partition=0, offset=1, reason="?", payload=DENIED.encode()
        )
        office.log.append([message_of(letter)])
        office.keep()
        fill_files(office, home)
        yield House(home, redis.url, office, decisions)


@contextmanager
def working(office: Office) -> Iterator[None]:
    """A worker, which has folded what the log has in the end."""
    stop = Event()
    folder = Folder(office.scorer.store, all_views(), office.log.name)
    thread = Thread(target=work_forever, args=(folder, office.log, stop), kwargs={"poll_timeout_ms": 50})
    thread.start()
    try:
        yield
        until(lambda: not any(any(lag(office.log, WORKER, topic).values()) for topic in folder.topics))
    finally:
        stop.set()
        thread.join()


def fill_files(office: Office, home: Path) -> None:
    """The archive, the learner, the cases, the batch states."""
    log = office.log
    parts = [Partition(topic, number) for topic in ARCHIVED for number in range(PARTITIONS)]
    with Archive(home / "archive") as archive:
        archive.write(log.name, {part: log.read(part, 0, 10_000) for part in parts})
    with closing(LearnerStore(home / "learner.sqlite")) as store:
        beginning = OnlineLearner(FRAUD.features.names, definition_hash=FRAUD.features.definition_hash)
        catch_up(DelayedLearner(store, beginning, use_case="fraud"), log, Event(), 1000)
        store.add_early(Label(event_id="unknown", label="legit", labelled_at=T0, card_id=DENIED), 10**9)
    with closing(CaseStore(home / "review.sqlite")) as cases:
        entries = (entry for n in range(PARTITIONS) for entry in log.read(Partition("decisions", n), 0, 10_000))
        cases.take_in([msgspec.json.decode(entry.value, type=Decision) for entry in entries], {})
        for case in cases.queue(1000)[:6]:
            cases.decide(case.case_id, "fraud", "ann", datetime.now(UTC))
    (home / "states").mkdir()
    table = pa.table({"card_id": [card(n) for n in range(9)], "state": [b"s"] * 9})
    pq.write_table(table, home / "states" / "card_state.parquet")
