"""A backtest: what a rule would have done to the archive's decisions, and whether that would have been right.

DuckDB asks the rule's condition, as SQL from the same tree as its Python, of every archived decision, on the values
with which it was decided. Only mature decisions count: those older than `label_delay` at the archive's end. Frauds
become known at another speed than good payments, so younger ones would make any rule look better or worse than it is.

A rule is tried as though it came last: on the outcome that the decision had, also where other rules had fired. A kept
list is asked as it was when the decision was made. Otherwise a rule that denies listed cards would be praised for the
frauds for which they were listed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from features.expression import ListRef
from features.feature_set import FeatureSet
from scoring.rule_book import Book, Written
from scoring.rule_report import Overlap, RuleReport
from scoring.rule_steps import Answered, Listed, Step, Unlisted, seconds
from scoring.rules import InvalidRule, Rule, check_rule, overrule
from stream.archive import Archive, schema_of
from stream.records import Decision, Label, Outcome, Transaction, decode, from_micros, micros
from stream.table import literal, quoted

CHUNK_ROWS = 5000
Choose = Callable[[Transaction, float], Outcome]
"""The policy's outcome for a record and a score in [0, 1], for rules that add to it."""


class EmptyArchive(LookupError):
    """There are no decisions to try a rule on."""


class _Kept(NamedTuple):
    """A value was on a list from one time to another, in seconds since 1970."""

    list: str
    field: str
    value: str
    from_s: float
    until_s: float


class _Effect(NamedTuple):
    """Decisions of one kind for which the rule fires: how many, and their amount in units of the currency."""

    before: Outcome
    after: Outcome
    verdict: str | None
    currency: str
    decisions: int
    amount: float


def backtest(
    written: Written,
    book: Book,
    steps: Iterable[Step | None],
    archive: Archive,
    features: FeatureSet,
    choose: Choose,
    *,
    label_delay: timedelta,
    since: datetime | None = None,
    until: datetime | None = None,
    lists_at: datetime | None = None,
    into: duckdb.DuckDBPyConnection | None = None,
) -> RuleReport:
    """Try one revision of a rule on the archive's decisions from `since` until before `until`, by event time.

    `steps` are the book's, which say what was on the lists when; with `lists_at` the lists are asked as the book has
    them at that time. Raises `EmptyArchive`, and `InvalidRule` where the rule is not understood.

    With `into`, an empty database, another thread can interrupt this, and what was found stays in its table `tried`
    for `scoring.rule_hits`.
    """
    rule = written.rule
    condition = check_rule(rule, features, book.lists)
    others = _others(rule, book, features)
    columns = columns_of(features)
    asked = {ref for one in (condition, *(other for _, other in others)) for ref in one.lists}
    templates = list_templates(asked)
    with nullcontext(into) if into is not None else duckdb.connect(":memory:") as database:
        _keep(database, _kept(steps) if lists_at is None else _kept_now(book, lists_at))
        counted = _find(database, archive, features, label_delay, since, until)
        # A rule that adds to the score needs the whole record, for the policy's segments.
        payload = "CASE WHEN fires THEN payload END" if rule.action == "add" else "NULL"
        asks = [f"{condition.sql(columns, templates)} AS fires"]
        asks += [f"{other.sql(columns, templates)} AS o{number}" for number, (_, other) in enumerate(others)]
        database.execute(
            f"CREATE TEMP TABLE tried AS SELECT * EXCLUDE (vector, record, payload), {payload} AS payload FROM "
            f"(SELECT *, {', '.join(asks)} FROM mature)"
        )
        effects = list(_added(database, rule, choose) if rule.action == "add" else _replaced(database, rule))
        both = ", ".join(f"count(*) FILTER (o{n}), count(*) FILTER (o{n} AND fires)" for n in range(len(others)))
        pairs = _one(database, f"SELECT {both} FROM tried") if others else ()
        found = "SELECT outcome, count(*), count(*) FILTER (fires) FROM tried GROUP BY outcome ORDER BY outcome"
        outcomes = database.execute(found).fetchall()
        frauds, first, last = _one(
            database, "SELECT count(*) FILTER (verdict = 'fraud'), min(at_us), max(at_us) FROM tried"
        )
    verdicts: Counter[str | None] = Counter()
    for effect in effects:
        verdicts[effect.verdict] += effect.decisions
    saved, harmed = _money(effects)
    return RuleReport(
        name=rule.name,
        revision=written.revision,
        definition_hash=features.definition_hash,
        label_delay_s=label_delay.total_seconds(),
        since=None if first is None else from_micros(first),
        until=None if last is None else from_micros(last),
        decisions=sum(count for _, count, _ in outcomes),
        immature=counted[0],
        other_definition=counted[1],
        fired=verdicts.total(),
        fraud=verdicts["fraud"],
        legit=verdicts["legit"],
        unlabelled=verdicts.total() - verdicts["fraud"] - verdicts["legit"],
        frauds=frauds,
        changed=sum(effect.decisions for effect in effects if effect.before != effect.after),
        saved=saved,
        harmed=harmed,
        outcomes={outcome: Overlap(decisions=count, both=both) for outcome, count, both in outcomes},
        rules={
            other.name: Overlap(decisions=pairs[2 * n], both=pairs[2 * n + 1]) for n, (other, _) in enumerate(others)
        },
    )


def columns_of(features: FeatureSet) -> dict[str, str]:
    """The SQL of each name that a rule may read, over archived decisions."""
    columns = {}
    for place in schema_of(Decision.topic).field("record").type:
        column = f"record.{quoted(place.name)}"
        if pa.types.is_timestamp(place.type):
            column = f"CAST(epoch_us({column}) AS DOUBLE)"
        columns[place.name] = column
    for position, name in enumerate(features.names, 1):
        columns.setdefault(name, f"vector[{position}]")
    return columns


def list_templates(asked: Iterable[ListRef]) -> dict[ListRef, str]:
    """The SQL that asks each kept list, for `Expression.sql`, over archived decisions."""
    return {
        ref: f"EXISTS (SELECT 1 FROM kept WHERE kept.list = {literal(ref.list)} AND kept.field = {literal(ref.field)} "
        "AND kept.value = {0} AND kept.from_s <= scored_s AND scored_s < kept.until_s)"
        for ref in asked
    }


def _find(
    database: duckdb.DuckDBPyConnection,
    archive: Archive,
    features: FeatureSet,
    label_delay: timedelta,
    since: datetime | None,
    until: datetime | None,
) -> tuple[int, int]:
    """Make the view `mature`; how many decisions it leaves out as too young, and as of another definition."""
    decisions = [str(file.path) for file in archive.files(Decision.topic)]
    if not decisions:
        raise EmptyArchive(
            f"there are no decisions in {archive.directory}; 'headrace archive' stores them every 5 minutes"
        )
    _view(database, "archived", decisions, [f"use_case = {literal(features.name)}"])
    labels = [str(file.path) for file in archive.files(Label.topic)]
    empty = "SELECT NULL::VARCHAR AS event_id, NULL::VARCHAR AS label, NULL::TIMESTAMPTZ AS labelled_at WHERE FALSE"
    database.execute(f"CREATE TEMP VIEW labels AS {_read(labels) if labels else empty}")
    (newest_us,) = _one(
        database,
        "SELECT greatest((SELECT max(epoch_us(event_timestamp)) FROM archived), "
        "(SELECT max(epoch_us(labelled_at)) FROM labels))",
    )
    if newest_us is None:
        raise EmptyArchive(f"there are no decisions of {features.name!r} in {archive.directory}")
    at = "epoch_us(event_timestamp)"
    within = " AND ".join(
        ["TRUE", *(f"{at} {sign} {micros(end)}" for sign, end in ((">=", since), ("<", until)) if end is not None)]
    )
    mature = f"{at} <= {newest_us - round(label_delay.total_seconds() * 1e6)}"
    ours = f"definition_hash = {literal(features.definition_hash)}"
    # The newest verdict is the one that counts. A log that was replaced may have left a decision in the archive twice.
    database.execute(
        f"CREATE TEMP VIEW mature AS SELECT event_id, {at} AS at_us, epoch(scored_at) AS scored_s, outcome, score, "
        "vector, record, record.amount AS amount, record.currency AS currency, payload, verdict FROM archived "
        "LEFT JOIN (SELECT event_id, arg_max(label, labelled_at) AS verdict FROM labels GROUP BY event_id) "
        f"USING (event_id) WHERE {within} AND {mature} AND {ours} "
        "QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY scored_at) = 1"
    )
    young, other = _one(
        database,
        f"SELECT count(*) FILTER (NOT {mature}), count(*) FILTER ({mature} AND NOT {ours}) FROM archived "
        f"WHERE {within}",
    )
    return young, other


def _view(database: duckdb.DuckDBPyConnection, name: str, paths: Sequence[str], conditions: Sequence[str]) -> None:
    database.execute(f"CREATE TEMP VIEW {name} AS {_read(paths)} WHERE {' AND '.join(conditions)}")


def _read(paths: Sequence[str]) -> str:
    return f"SELECT * FROM read_parquet([{', '.join(map(literal, paths))}], union_by_name = true)"


def _one(database: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row = database.execute(query).fetchone()
    assert row is not None
    return row


def _others(rule: Rule, book: Book, features: FeatureSet) -> list[tuple[Rule, Any]]:
    """The other rules that are live or in shadow now, with their conditions; those not understood are left out."""
    found = []
    for name in sorted(book.names):
        known = book.names[name]
        one = known.live or (known.next if known.next is not None and known.next.stage == "shadow" else None)
        if one is not None and name != rule.name:
            try:
                found.append((one.rule, check_rule(one.rule, features, book.lists)))
            except InvalidRule:
                continue
    return found


def _replaced(database: duckdb.DuckDBPyConnection, rule: Rule) -> Iterator[_Effect]:
    query = "SELECT outcome, verdict, currency, count(*), sum(amount) FROM tried WHERE fires GROUP BY ALL"
    for outcome, verdict, currency, count, amount in database.execute(query).fetchall():
        yield _Effect(outcome, overrule(outcome, [rule]), verdict, currency, count, amount)


def _added(database: duckdb.DuckDBPyConnection, rule: Rule, choose: Choose) -> Iterator[_Effect]:
    assert rule.add is not None
    asked = database.execute("SELECT outcome, score, verdict, payload FROM tried WHERE fires")
    while rows := asked.fetchmany(CHUNK_ROWS):
        for outcome, score, verdict, payload in rows:
            record: Transaction = decode(payload, Decision).record
            before, after = choose(record, score), choose(record, min(1.0, max(0.0, score + rule.add)))
            # What the policy would choose now may be another than was chosen then: only a change of it counts.
            final = outcome if before == after else after
            yield _Effect(outcome, final, verdict, record.currency, 1, record.amount)


def _money(effects: Iterable[_Effect]) -> tuple[dict[str, float], dict[str, float]]:
    """What would have been saved and harmed, by currency."""
    saved: defaultdict[str, float] = defaultdict(float)
    harmed: defaultdict[str, float] = defaultdict(float)
    for effect in effects:
        stops, stopped = effect.after != "approve", effect.before != "approve"
        if stops == stopped or effect.verdict not in ("fraud", "legit"):
            continue
        (saved if (effect.verdict == "fraud") == stops else harmed)[effect.currency] += effect.amount
    return tuple({name: round(money[name], 2) for name in sorted(money)} for money in (saved, harmed))  # type: ignore[return-value]


def _keep(database: duckdb.DuckDBPyConnection, kept: Sequence[_Kept]) -> None:
    columns = {name: [getattr(one, name) for one in kept] for name in _Kept._fields}
    kinds = [("list", pa.string()), ("field", pa.string()), ("value", pa.string())]
    table = pa.table(columns, schema=pa.schema([*kinds, ("from_s", pa.float64()), ("until_s", pa.float64())]))
    database.register("kept_rows", table)
    database.execute("CREATE TEMP TABLE kept AS SELECT * FROM kept_rows")


def _kept_now(book: Book, now: datetime) -> list[_Kept]:
    return [
        _Kept(*ref, value, 0.0, math.inf)
        for ref, values in book.entries.items()
        for value, until_s in values.items()
        if until_s > now.timestamp()
    ]


def _kept(steps: Iterable[Step | None]) -> list[_Kept]:
    """When each value was on each list."""
    found: list[_Kept] = []
    there: dict[tuple[ListRef, str], _Kept] = {}
    waiting: dict[int, Listed | Unlisted] = {}
    for version, step in enumerate(steps, 1):
        if isinstance(step, Listed | Unlisted) and step.waits:
            waiting[version] = step
            continue
        at_s = 0.0 if step is None else step.at.timestamp()
        if isinstance(step, Answered):
            change = waiting.pop(step.version, None) if step.agreed else None
        else:
            change = step if isinstance(step, Listed | Unlisted) else None
        if change is not None:
            ref = ListRef(change.list, change.field)
            for value in change.values:
                earlier = there.pop((ref, value), None)
                if earlier is not None:
                    found.append(earlier._replace(until_s=min(earlier.until_s, at_s)))
                if isinstance(change, Listed):
                    there[ref, value] = _Kept(*ref, value, at_s, seconds(change.until))
    return [*found, *there.values()]
