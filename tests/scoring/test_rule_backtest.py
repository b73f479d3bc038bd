"""Backtests: what a rule would have done, counted by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.expression import InvalidExpression, ListRef, parse
from scoring.rule_backtest import EmptyArchive, backtest, columns_of, list_templates
from scoring.rule_book import Book, Written
from scoring.rule_report import Overlap, RuleReport
from scoring.rule_steps import Listed, Step, Unlisted
from scoring.rules import Circumstances, Rule, RuleSet
from scoring.use_case import FRAUD
from stream.archive import Archive
from stream.log import Entry, Partition
from stream.records import Decision, Label, Outcome, Transaction, encode
from tests.features.expressions import BOOLEAN

T0 = datetime(2026, 1, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = FRAUD.features.names
DELAY = 7 * DAY


def decision(event_id: str, outcome: Outcome = "approve", at: datetime = T0, **of: Any) -> Decision:
    """A decision of `amount` EUR; other names are features."""
    fields = {name: of.pop(name) for name in Transaction.__struct_fields__ if name in of}
    special: dict[str, Any] = {
        name: of.pop(name) for name in ("score", "definition_hash", "scored_at", "use_case") if name in of
    }
    record = Transaction(
        **{"event_id": event_id, "event_timestamp": at, "card_id": "c", "merchant_id": "m", "amount": 10.0, **fields}
    )
    given: dict[str, Any] = {
        "scored_at": at,
        "use_case": "fraud",
        "score": 0.1,
        "definition_hash": FRAUD.features.definition_hash,
        **special,
    }
    return Decision(
        event_id=event_id,
        event_timestamp=at,
        outcome=outcome,
        scores={},
        vector=[of.get(name) for name in NAMES],
        policy_version="p",
        record=record,
        **given,
    )


def label(event_id: str, verdict: Any, at: datetime = T0 + 20 * DAY, source: str = "feed") -> Label:
    return Label(event_id=event_id, label=verdict, labelled_at=at, source=source)


def archive_of(directory: Path, records: Sequence[Any]) -> Archive:
    batch: dict[Partition, list[Entry]] = {}
    for offset, record in enumerate(records):
        part = Partition(record.topic, 0)
        batch.setdefault(part, []).append(Entry(offset, record.key, encode(record)))
    with Archive(directory) as archive:
        archive.write("redis", batch)
    return archive


def tried(
    archive: Archive,
    when: str = "amount > 100",
    steps: Sequence[Step] = (),
    others: Sequence[Rule] = (),
    lists_at: datetime | None = None,
    delay: timedelta = DELAY,
    since: datetime | None = None,
    until: datetime | None = None,
    **of: Any,
) -> RuleReport:
    book = Book.shipped(others)
    for step in steps:
        book.apply(step)
    rule = Rule(name="mine", when=when, **{"action": "decline", **of})
    return backtest(
        Written(rule, 3, "ann", T0, "draft"),
        book,
        steps,
        archive,
        FRAUD.features,
        lambda record, score: "decline" if score >= 0.5 else "approve",
        label_delay=delay,
        since=since,
        until=until,
        lists_at=lists_at,
    )


@pytest.fixture
def traffic(tmp_path: Path) -> Archive:
    records = [
        decision("f1", amount=500.0),
        decision("f2", "decline", amount=300.0),
        decision("f3", amount=5.0),
        decision("g1", amount=200.0),
        decision("g2", "review", amount=150.0),
        decision("g3", amount=1.0),
        decision("u1", amount=900.0),
        decision("usd", amount=400.0, currency="USD"),
        decision("young", at=T0 + 14 * DAY, amount=700.0),
        decision("other", amount=700.0, definition_hash="another"),
        decision("items", amount=700.0, use_case="recommendation"),
        *(label(name, "fraud") for name in ("f1", "f2", "f3", "usd", "young")),
        *(label(name, "legit") for name in ("g1", "g2", "g3")),
        label("u1", "unknown"),
    ]
    return archive_of(tmp_path, records)


def test_a_decline_is_counted_by_hand(traffic: Archive) -> None:
    found = tried(traffic)
    assert (found.decisions, found.immature, found.other_definition) == (8, 1, 1)
    assert (found.fired, found.fraud, found.legit, found.unlabelled, found.frauds) == (6, 3, 2, 1, 4)
    assert found.precision == pytest.approx(3 / 5)
    assert found.fired_rate == pytest.approx(6 / 8)
    assert found.recall == pytest.approx(3 / 4)
    assert found.saved == {"EUR": 500.0, "USD": 400.0}  # f2 was declined anyway
    assert found.harmed == {"EUR": 200.0}  # g2 was stopped anyway
    assert found.changed == 5  # all that fired but f2
    assert found.outcomes == {
        "approve": Overlap(decisions=6, both=4),
        "decline": Overlap(decisions=1, both=1),
        "review": Overlap(decisions=1, both=1),
    }
    assert (found.since, found.until, found.revision) == (T0, T0, 3)


def test_an_approval_is_judged_the_other_way_round(traffic: Archive) -> None:
    found = tried(traffic, action="approve")
    assert found.saved == {"EUR": 150.0}
    assert found.harmed == {"EUR": 300.0}
    assert found.changed == 2


def test_a_tag_changes_nothing(traffic: Archive) -> None:
    found = tried(traffic, action="tag", tag="x")
    assert (found.fired, found.changed, found.saved, found.harmed) == (6, 0, {}, {})


def test_what_is_added_goes_through_the_policy(tmp_path: Path) -> None:
    scores = {"low": 0.1, "middle": 0.4, "high": 0.6}
    records = [decision(name, amount=200.0, score=score) for name, score in scores.items()]
    records[2] = decision("high", "decline", amount=200.0, score=0.6)
    archive = archive_of(tmp_path, [*records, *(label(name, "fraud") for name in scores)])
    assert tried(archive, action="add", add=0.2).saved == {"EUR": 200.0}
    assert tried(archive, action="add", add=0.4).saved == {"EUR": 400.0}
    assert tried(archive, action="add", add=-0.2).harmed == {"EUR": 200.0}


def test_overlap_with_other_rules_is_by_what_they_are_now(traffic: Archive) -> None:
    others = [
        Rule(name="large", when="amount > 250", action="review"),
        Rule(name="never", when="amount < 0", action="review"),
        Rule(name="unknown", when="gone > 1", action="review"),
        Rule(name="mine", when="amount > 1", action="review"),
    ]
    assert tried(traffic, others=others).rules == {
        "large": Overlap(decisions=4, both=4),
        "never": Overlap(decisions=0, both=0),
    }


@pytest.mark.parametrize(
    ("delay", "decisions", "immature"), [(timedelta(0), 9, 0), (DELAY, 8, 1), (19 * DAY, 8, 1), (21 * DAY, 0, 10)]
)
def test_only_what_is_old_enough_counts(traffic: Archive, delay: timedelta, decisions: int, immature: int) -> None:
    found = tried(traffic, delay=delay)
    assert (found.decisions, found.immature) == (decisions, immature)


def test_without_a_mature_decision_there_are_no_figures(traffic: Archive) -> None:
    found = tried(traffic, delay=60 * DAY)
    assert (found.precision, found.fired_rate, found.recall, found.since) == (None, None, None, None)


def test_a_span_leaves_out_the_rest(traffic: Archive) -> None:
    assert tried(traffic, since=T0 + DAY).decisions == 0
    assert tried(traffic, until=T0).decisions == 0
    assert tried(traffic, since=T0, until=T0 + DAY).decisions == 8


def test_the_newest_verdict_counts_and_a_copy_does_not(tmp_path: Path) -> None:
    archive = archive_of(
        tmp_path,
        [
            decision("a", amount=200.0),
            label("a", "fraud", T0 + 18 * DAY),
            label("a", "legit", T0 + 19 * DAY, "analyst"),
        ],
    )
    with archive:
        archive.write("kafka", {Partition("decisions", 0): [Entry(0, "c", encode(decision("a", amount=200.0)))]})
    found = tried(archive)
    assert (found.decisions, found.fraud, found.legit) == (1, 0, 1)


def test_a_list_is_asked_as_it_was(tmp_path: Path) -> None:
    def at(days: float) -> datetime:
        return T0 + days * DAY

    records = [decision(f"d{day}", at=at(day), card_id="thief") for day in range(6)]
    archive = archive_of(tmp_path, [*records, *(label(one.event_id, "fraud") for one in records)])
    steps: list[Step] = [
        Listed(at=at(1.5), by="a", list="deny", field="card_id", values=("thief",), until=at(9)),
        Unlisted(at=at(2.5), by="a", list="deny", field="card_id", values=("thief",)),
        Listed(at=at(3.5), by="a", list="deny", field="card_id", values=("thief", "x"), until=at(4.5)),
    ]
    found = tried(archive, "card_id in deny", steps)
    assert found.fired == 2  # on day 2 and on day 4
    assert tried(archive, "card_id not in deny", steps).fired == 4
    assert tried(archive, "device_id in deny", steps).fired == 0
    assert tried(archive, "card_id in deny", steps, lists_at=at(4)).fired == 6
    assert tried(archive, "card_id in deny", steps, lists_at=at(5)).fired == 0


def test_without_decisions_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmptyArchive, match="'headrace archive'"):
        tried(archive_of(tmp_path / "none", []))
    with pytest.raises(EmptyArchive, match="no decisions of 'fraud'"):
        tried(archive_of(tmp_path / "others", [decision("i", use_case="recommendation")]))


FIELDS = {"a": "amount", "b": "latitude", "amount": "card_count_1h", "t": "merchant_id", "u": "customer_id"}
ANY = st.one_of(st.none(), st.sampled_from([0.0, 1.0, -1.0, 0.1, 90.0]), st.floats(-90, 90, allow_subnormal=False))
IDS = st.sampled_from(["x", "y", "it's", "é"])
LISTED = st.sampled_from(["t in deny", "u in deny", "not u in deny", "u not in deny", "t not in allow"])
CONDITIONS = st.one_of(BOOLEAN, LISTED, st.tuples(BOOLEAN, LISTED).map(lambda both: f"({both[0]}) or {both[1]}"))
DECISIONS = st.lists(st.tuples(st.floats(0, 1e6), ANY, ANY, IDS, st.none() | IDS), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET threads = 1")
        opened.execute(
            "CREATE TABLE kept AS SELECT * FROM (VALUES ('deny', 'merchant_id', 'x', 0, 1e12), "
            "('deny', 'customer_id', 'it''s', 0, 1e12)) AS k(list, field, value, from_s, until_s)"
        )
        yield opened


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=CONDITIONS, rows=DECISIONS)
def test_a_rule_fires_in_the_scorer_where_it_fires_in_sql(
    database: duckdb.DuckDBPyConnection, text: str, rows: list[tuple[Any, ...]]
) -> None:
    kinds = {own: FRAUD.features.kinds[name] for own, name in FIELDS.items()}
    try:
        condition = parse(text, kinds, "boolean", ("allow", "deny"))
    except InvalidExpression as error:
        assert "too large" in str(error) or "at most" in str(error)
        return
    # The same tree over the scorer's names: as SQL over an archived decision, as Python in a rule set.
    columns = {own: columns_of(FRAUD.features)[name] for own, name in FIELDS.items()}
    decisions = [
        decision("e", amount=amount, latitude=latitude, card_count_1h=count, merchant_id=merchant, customer_id=customer)
        for amount, latitude, count, merchant, customer in rows
    ]
    renamed = Rule(name="mine", when=_renamed(text), action="review")
    entries = {ListRef("deny", "merchant_id"): {"x": math.inf}, ListRef("deny", "customer_id"): {"it's": math.inf}}
    rules = RuleSet([renamed], FRAUD.features, circumstances=Circumstances(entries))
    templates = {
        ref: template.replace(f"'{ref.field}'", f"'{FIELDS[ref.field]}'")
        for ref, template in list_templates(condition.lists).items()
    }
    for one in decisions:
        vector = [math.nan if value is None else value for value in one.vector]
        in_python = bool(rules.fired(one.record, vector).rules)
        record: dict[str, Any] = {"amount": one.record.amount, "latitude": one.record.latitude}
        record |= {"merchant_id": one.record.merchant_id, "customer_id": one.record.customer_id}
        place = ", ".join(
            f"?::{'DOUBLE' if name in ('amount', 'latitude') else 'VARCHAR'} AS {name}" for name in record
        )
        query = (
            f"SELECT {condition.sql(columns, templates)} FROM (SELECT ?::DOUBLE[] AS vector, r AS record, "
            f"1.0 AS scored_s FROM (SELECT {place}) AS r)"
        )
        (in_sql,) = database.execute(query, [one.vector, *record.values()]).fetchone()  # type: ignore[misc]
        assert in_python is in_sql, (text, one.record, one.vector)


def _renamed(text: str) -> str:
    names = re.compile(r"""("[^"]*"|'[^']*')|\b(amount|a|b|t|u)\b""")
    return names.sub(lambda match: match[1] or FIELDS[match[2]], text)
