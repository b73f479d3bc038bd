"""The skew check finds what was served otherwise than it is trained, and tells late arrivals from defects."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from features.fraud import FRAUD
from features.online_store import MemoryOnlineStore
from features.worker import Folder
from scoring.deciding import view_reads
from scoring.skew_report import SkewReport
from stream.archive import Archive
from stream.log import Entry, Partition, partition_of
from stream.records import Decision, Label, Record, Transaction, encode, from_micros
from stream.redis_keys import SEQUENCE_BITS
from tests.oracle import DAY, HOUR, MINUTE, T0_US, payment
from training.skew import SkewCheck

Change = Callable[[Decision], Decision]
ARRIVED_MS = 1_800_000_000_000


def served(record: Transaction, store: MemoryOnlineStore) -> Decision:
    refs = FRAUD.refs(record)
    vector = FRAUD.vector(record, view_reads(FRAUD, refs, store.read(refs), record))
    return Decision(
        event_id=record.event_id,
        event_timestamp=record.event_timestamp,
        scored_at=record.event_timestamp,
        use_case="fraud",
        outcome="approve",
        score=0.1,
        scores={},
        vector=[None if math.isnan(value) else value for value in vector.values.tolist()],
        definition_hash=FRAUD.definition_hash,
        policy_version="p",
        record=record,
        approximate=vector.approximate,
    )


def archive_of(directory: Path, arrivals: list[Any], change: Change, name: str = "redis") -> Archive:
    """Live traffic: every transaction is scored and folded as it arrives, one every ten seconds; then archived."""
    store = MemoryOnlineStore()
    folder = Folder(store, FRAUD.views, name)
    batch: dict[Partition, list[Entry]] = {}

    def append(record: Record, offset: int) -> dict[Partition, list[Entry]]:
        part = Partition(record.topic, partition_of(record.key, 2))
        entry = Entry(offset, record.key, encode(record))
        batch.setdefault(part, []).append(entry)
        return {part: [entry]}

    for number, record in enumerate(arrivals):
        offset = (ARRIVED_MS + 10_000 * number) << SEQUENCE_BITS
        if isinstance(record, Transaction) and number % 3 != 0:
            append(change(served(record, store)), offset)
        folder.fold(append(record, offset))
    with Archive(directory) as archive:
        archive.write(name, batch)
    return archive


def traffic() -> list[Any]:
    random = Random(1)
    records: list[Any] = []
    for number in range(200):
        fields: dict[str, Any] = {"card_id": f"c{random.randrange(8)}", "merchant_id": f"m{random.randrange(4)}"}
        at_us = T0_US + number * HOUR
        records.append(payment(number, at_us, device_id="d", amount=float(random.randrange(1, 90)), **fields))
        if number % 10 == 0:
            at = from_micros(at_us + MINUTE)
            records.append(Label(event_id=f"e{number}", label="fraud", labelled_at=at, event_timestamp=at, **fields))
    return records


def unchanged(decision: Decision) -> Decision:
    return decision


def check(archive: Archive, share: float = 1.0, **options: Any) -> SkewReport:
    return SkewCheck(FRAUD, archive, share, **options).run()


def found(report: SkewReport) -> dict[str, tuple[int, int]]:
    return {name: (one.late, one.defects) for name, one in report.features.items() if one.late or one.defects}


@pytest.mark.parametrize("name", ["redis", "a Kafka cluster"])
def test_what_was_served_is_what_is_trained(tmp_path: Path, name: str) -> None:
    report = check(archive_of(tmp_path, traffic(), unchanged, name))
    assert found(report) == {}
    assert report.compared == report.decisions > 100
    assert report.features["card_count_1h"].compared == report.compared


def test_an_injected_defect_is_a_defect_of_its_feature(tmp_path: Path) -> None:
    position = FRAUD.names.index("card_sum_amount_30d")

    def wrong(decision: Decision) -> Decision:
        if decision.event_id != "e100":
            return decision
        vector = [*decision.vector]
        vector[position] = 12345.0
        return msgspec.structs.replace(decision, vector=vector)

    report = check(archive_of(tmp_path, traffic(), wrong))
    assert found(report) == {"card_sum_amount_30d": (0, 1)}
    (example,) = report.examples
    assert (example.event_id, example.feature, example.served) == ("e100", "card_sum_amount_30d", 12345.0)
    assert report.defects == 1


def test_a_late_arrival_is_not_a_defect_and_hides_none(tmp_path: Path) -> None:
    records = traffic()
    late = payment(999, T0_US + 100 * HOUR - MINUTE, card_id="c1", merchant_id="other", amount=7.0)
    after = next(i for i, r in enumerate(records) if isinstance(r, Transaction) and r.event_id == "e140")
    records.insert(after, late)
    report = check(archive_of(tmp_path / "late", records, unchanged))
    assert report.defects == 0
    assert report.features["card_count_7d"].late > 1
    assert report.features["merchant_count_7d"].late == 0

    position = FRAUD.names.index("card_sum_amount_30d")

    def wrong(decision: Decision) -> Decision:
        vector = [*decision.vector]
        vector[position] = (vector[position] or 0.0) + 1.0
        return msgspec.structs.replace(decision, vector=vector)

    report = check(archive_of(tmp_path / "both", records, wrong))
    assert report.features["card_sum_amount_30d"].defects == report.compared
    assert report.features["card_count_7d"].defects == 0


def test_what_cannot_be_compared_is_counted_with_its_reason(tmp_path: Path) -> None:
    def odd(decision: Decision) -> Decision:
        if decision.event_id == "e100":
            return msgspec.structs.replace(decision, definition_hash="old")
        if decision.event_id == "e101":
            return msgspec.structs.replace(decision, degraded=["online store"])
        return decision

    report = check(archive_of(tmp_path, traffic(), odd), since=from_micros(T0_US) + timedelta(microseconds=DAY))
    assert report.skipped["another definition of the features"] == 1
    assert report.skipped["before the beginning"] > 5
    assert report.compared == report.decisions - sum(report.skipped.values())


def test_a_share_of_the_cards_is_a_sample_of_the_decisions(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, traffic(), unchanged)
    assert 0 < check(archive, 0.5).decisions < check(archive).decisions
