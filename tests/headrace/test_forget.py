"""Forgetting: after it, no byte of the entity is in Redis or in any file, and what others did is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from headrace import forget
from headrace.cards import open_guard
from headrace.forget_files import ArchivePlace, LearnerPlace
from headrace.forget_place import Place
from headrace.forget_redis import LogPlace, RulePlace
from headrace.settings import Settings
from review.case_store import CaseStore
from review.sql_book import SqlBook
from stream import archive_pause
from stream.archive import Archive
from stream.archiver import Archiver, archive_forever
from stream.chain_check import ChainCheck, Erasure
from stream.connection import RedisConnection
from stream.mention import Mention
from stream.redis_erasure import keys
from tests.headrace.forget_house import DENIED, House, open_house, places_with, records_of_others, working
from tests.scoring.auditing import card
from tests.scoring.conftest import T0, payment
from tests.until import until
from training.learner_store import LearnerStore

MERCHANT = "m4"


@pytest.fixture(autouse=True)
def nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no worker runs, nobody has a batch in hand."""
    monkeypatch.setattr(forget, "SETTLE_S", 0.05)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house") / "home") as opened:
        yield opened


def test_an_entity_is_forgotten_everywhere_and_nobody_else_is(house: House) -> None:
    assert len(house.events_of(DENIED)) > 20
    with closing(CaseStore(house.home / "review.sqlite")) as store:
        SqlBook(store.database).begin(f"SELECT * FROM decisions WHERE record.card_id = '{DENIED}'", "ann", T0)
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
    with working(house.office):
        result = house.forget("card_id", value)
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


def test_an_archiver_that_runs_stores_what_it_holds_and_lends_the_archive(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [0]
    step = Archiver.step

    def counted(self: Archiver, *arguments: Any) -> Any:
        written = step(self, *arguments)
        held.append(self.waiting)
        return written

    monkeypatch.setattr(Archiver, "step", counted)
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
    until(lambda: held[-1] >= 4)  # a transaction and a decision of each
    result = house.forget("card_id", card(1))
    assert result.exit_code == 0, result.output
    assert places_with(house, card(1)) == set()
    held.append(0)
    house.office.score("held-later", card_id="card-of-another", amount=55.0)
    until(lambda: held[-1] >= 2)
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
