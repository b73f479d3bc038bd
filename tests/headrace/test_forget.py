"""Forgetting: after it, no byte of the entity is in Redis or in any file, and what others did is as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from features.pipeline import work_forever
from features.store_plan import PLAN_FILE
from features.worker import Folder
from headrace import forget
from headrace.assembly import all_views
from headrace.cards import open_guard
from headrace.cli import main
from headrace.forget_files import ArchivePlace, LearnerPlace
from headrace.forget_place import Place
from headrace.forget_redis import LogPlace, RulePlace
from headrace.settings import Settings
from models.online import OnlineLearner
from review.case_store import CaseStore
from scoring.use_case import FRAUD
from stream import archive_pause
from stream.archive import ARCHIVED, Archive
from stream.archive_erasure import texts_of
from stream.archiver import archive_forever
from stream.chain_check import ChainCheck, Erasure
from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from stream.log import Message, Partition
from stream.mention import Mention
from stream.records import DeadLetter, Decision, Label, encode
from stream.redis_erasure import keys, sweep
from tests.scoring.auditing import KEY, PARTITIONS, Office, card, open_office, score_varied
from tests.scoring.conftest import PLAN, T0, amount_bytes, payment
from training.learner import DelayedLearner
from training.learner_loop import catch_up
from training.learner_store import LearnerStore

GROUPS = ("worker", "learner", "archiver", "audit", "review")
DENIED, SNOOZED = card(5), card(3)
MERCHANT = "m4"


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


@pytest.fixture(autouse=True)
def nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no worker runs, nobody has a batch in hand."""
    monkeypatch.setattr(forget, "SETTLE_S", 0.05)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two hundred decisions, half of them folded, in every place that keeps any."""
    home = tmp_path_factory.mktemp("house") / "home"
    home.mkdir()
    PLAN.save(home / PLAN_FILE)
    with EmbeddedRedis(home / "redis") as redis, open_office(home, redis.url, amount_bytes()) as office:
        decisions = score_varied(office)
        for decision in decisions[::4]:
            label = Label(event_id=decision.event_id, label="fraud", labelled_at=T0 + timedelta(days=2))
            office.scorer.accept(label)
        work(office)
        decisions += [office.score(f"late{n}", card_id=card(n % 9), amount=1700.0) for n in range(18)]
        letter = DeadLetter(
            event_id="w/0", from_topic="transactions", partition=0, offset=1, reason="?", payload=DENIED.encode()
        )
        office.log.append([Message(letter.topic, letter.key, encode(letter))])
        office.keep()
        fill_files(office, home)
        yield House(home, redis.url, office, decisions)


def work(office: Office, stop_after_s: float = 1.5) -> None:
    """Fold what the log has."""
    stop = Event()
    folder = Folder(office.scorer.store, all_views(), office.log.name)
    thread = Thread(target=work_forever, args=(folder, office.log, stop), kwargs={"poll_timeout_ms": 50})
    thread.start()
    time.sleep(stop_after_s)
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


def test_an_entity_is_forgotten_everywhere_and_nobody_else_is(house: House) -> None:
    assert len(house.events_of(DENIED)) > 20
    known = places_with(house, DENIED)
    assert {place.split("/")[0].split(" ")[0] for place in known} >= {"redis", "archive", "states", "audit"}
    assert {"review.sqlite", "redis rules:fraud"} <= {place.removesuffix("-wal") for place in known}
    before = records_of_others(house, DENIED)

    result = house.forget("card_id", DENIED, "--dry-run")
    assert result.exit_code == 0, result.output
    assert places_with(house, DENIED) == known

    result = house.forget("card_id", DENIED, "--why", f"{DENIED} asked for it")
    assert result.exit_code == 0, result.output
    assert "complete: the value is nowhere" in result.output
    assert places_with(house, DENIED) == set()
    after = records_of_others(house, DENIED)
    for place, content in before.items():
        assert after[place] == content, place


def test_what_is_left_still_verifies_and_replays(house: House) -> None:
    house.forget("card_id", DENIED)
    verdict = ChainCheck(house.home / "audit").run()
    assert verdict.is_good, verdict
    assert verdict.erased >= 20
    assert house.run("audit", "verify").exit_code == 0
    sources, recomputer = house.office.recomputer()
    recorded = [one for one in house.decisions if "not recorded yet" not in one.degraded]
    for decision in recorded[::3]:
        if decision.record.card_id != DENIED:
            found = recomputer.run(sources.decisions(decision.event_id)[-1])
            assert (found.differing, found.unchecked) == ([], {}), decision.event_id
    gone = house.run("audit", "replay", house.events_of(DENIED)[-1])
    assert gone.exit_code == 1
    assert "was erased" in gone.output


def test_forgetting_twice_is_forgetting_once(house: House) -> None:
    house.forget("card_id", DENIED)
    head = house.office.chain.head()
    result = house.forget("card_id", DENIED)
    assert result.exit_code == 0, result.output
    assert house.office.chain.head() == head


def test_the_chain_says_who_asked_and_nothing_that_names_the_entity(house: House) -> None:
    house.forget("card_id", DENIED, "--why", "a letter")
    said = [
        msgspec.json.decode(entry.payload, type=Erasure)
        for _, entry in house.office.chain.entries()
        if entry.kind == "erasure"
    ]
    assert said[0].by == "ann"
    assert said[0].mark == forget.mark_of(house.home / "audit", "card_id", DENIED)
    assert said[0].mark != forget.mark_of(house.home / "audit", "card_id", card(1))


class Crash(RuntimeError):
    """The process ends here."""


@pytest.mark.parametrize(
    ("number", "place"),
    [(0, LogPlace), (2, ArchivePlace), (4, LearnerPlace), (3, RulePlace)],
)
def test_a_crash_after_any_place_is_gone_on_from(
    house: House, monkeypatch: pytest.MonkeyPatch, number: int, place: type[Place]
) -> None:
    value = card(number)
    events = house.events_of(value)
    erase = place.erase

    def erase_and_crash(self: Place, mention: Mention) -> int:
        erase(self, mention)
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(place, "erase", erase_and_crash)
        assert isinstance(house.forget("card_id", value).exception, Crash)
    result = house.forget("card_id", value)
    assert result.exit_code == 0, result.output
    assert places_with(house, value) == set()
    with closing(LearnerStore(house.home / "learner.sqlite")) as learned:
        assert not any(learned.decision(event_id) for event_id in events)
    assert not list((house.home / "audit").glob("forgetting-*"))
    assert ChainCheck(house.home / "audit").run().is_good


def test_a_crash_before_payloads_are_overwritten_is_gone_on_from(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    value = card(7)
    with monkeypatch.context() as patched:
        patched.setattr("stream.chain.Chain.overwrite", lambda *_: (_ for _ in ()).throw(Crash()))
        assert isinstance(house.forget("card_id", value).exception, Crash)
    assert "was not" in ChainCheck(house.home / "audit").run().problem
    assert house.forget("card_id", value).exit_code == 0
    assert places_with(house, value) == set()
    assert ChainCheck(house.home / "audit").run().is_good


def test_a_worker_that_runs_meanwhile_does_not_bring_it_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget, "SETTLE_S", 1.0)
    value = card(8)
    for number in range(30):
        house.office.scorer.accept(payment(f"mean{number}", card_id=value, merchant_id=f"m{number % 5}"))
    thread = Thread(target=work, args=(house.office, 3.0))
    thread.start()
    result = house.forget("card_id", value)
    thread.join()
    assert result.exit_code == 0, result.output
    assert places_with(house, value) == set()
    with RedisConnection(house.url) as connection:
        merchants = [connection.one("HKEYS", key) for key in keys(connection, "merchant_id:*")]
    assert not [name for names in merchants for name in names if name.startswith(b"p:mean")]


def test_a_card_number_is_forgotten_by_its_token(house: House) -> None:
    number = "4111111111111111"
    settings = Settings({"home": house.home}, {})
    token = open_guard(settings).text(number, "card_id")
    assert token != number
    house.office.score("by-token", card_id=token)
    house.office.keep()
    result = house.forget("card_id", number)
    assert result.exit_code == 0, result.output
    assert places_with(house, token) == set()
    assert house.office.scorer.decision("by-token") is None


def test_an_archiver_that_runs_stores_what_it_holds_and_lends_the_archive(house: House) -> None:
    house.office.score("held-own", card_id=card(1), amount=55.0)
    house.office.score("held-other", card_id="card-of-another", amount=55.0)
    stop = Event()
    archive = Archive(house.home / "archive")
    arguments: dict[str, Any] = {
        "retention": timedelta(days=10_000),
        "flush_s": 1e6,
        "poll_timeout_ms": 50,
        "linger_s": 0.01,
    }
    thread = Thread(target=archive_forever, args=(archive, house.office.log, stop), kwargs=arguments)
    thread.start()
    time.sleep(1.0)
    result = house.forget("card_id", card(1))
    assert result.exit_code == 0, result.output
    assert places_with(house, card(1)) == set()
    house.office.score("held-later", card_id="card-of-another", amount=55.0)
    time.sleep(1.0)
    stop.set()
    thread.join()
    kept = [row for path in archive.directory.rglob("*.parquet") for row in pq.read_table(path)["payload"].to_pylist()]
    for event_id, is_kept in (("held-own", False), ("held-other", True), ("held-later", True)):
        assert any(event_id.encode() in payload for payload in kept) is is_kept, event_id


def test_an_archive_that_is_not_lent_is_named(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget, "borrowed", lambda archive: archive_pause.borrowed(archive, 0.1))
    with Archive(house.home / "archive"):
        result = house.forget("card_id", card(1))
    assert result.exit_code == 1
    assert "does not lend the archive" in result.output


def test_a_merchant_is_forgotten_in_the_cases_of_its_cards(house: House) -> None:
    result = house.forget("merchant_id", MERCHANT)
    assert result.exit_code == 0, result.output
    with closing(CaseStore(house.home / "review.sqlite")) as store:
        cases = store.queue(1000)
        flagged = [decision for case in cases for decision in store.decisions(case.case_id)]
    assert not any(decision.record.merchant_id == MERCHANT for decision in flagged)
    for case in cases:
        assert set(case.events) == {one.event_id for one in flagged if one.event_id in case.events}


def test_kafka_is_never_called_complete(house: House) -> None:
    result = house.forget("card_id", "card-that-never-was", "--kafka", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "no single record can be deleted" in result.output


def test_what_the_sweep_finds_is_named(house: House) -> None:
    (house.home / "logs").mkdir(exist_ok=True)
    log = house.home / "logs" / "worker.log"
    log.write_text("refused card-in-a-log, and card-in-a-log2 too")
    result = house.forget("card_id", "card-in-a-log")
    assert result.exit_code == 1
    assert f"still in file {log}" in result.output
    log.write_text("refused card-in-a-log2")
    result = house.forget("card_id", "card-in-a-log")
    assert result.exit_code == 0
    assert f"perhaps in file {log}" in result.output
