"""From decisions to cases: what was flagged opens a case or joins one, once for each event, with the log's offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, case, delete, insert, select, text, update

from review.audit_sample import Draw
from review.case import Case, is_gravest, joined_by, opened_by, shown
from review.case_rows import COLUMNS, CaseRows, add_to_audit, figures, noted
from review.either import insert_on
from review.nearest import packed
from review.precision import leader_of
from review.review_policy import ReviewPolicy
from review.tables import CASES, FACTS, FLAGS, OFFSETS, TRAITS, VECTORS
from review.terms import terms_of
from review.traits import traits_of
from review.waiting_word_tables import WAITING_WORDS
from stream.log import Partition
from stream.records import Decision, encode, micros

Offsets = Mapping[tuple[str, Partition], int]
"""Where to go on, by the log's name and partition."""

CHUNK = 500
FLAGS_AT_ONCE = 25
KEEPING = 0x6B656570
"""Of PostgreSQL's advisory locks: one keeper takes in at a time, as SQLite has it anyway."""
RANKED_BY = "ranked_by"

T = TypeVar("T")


class Taken(NamedTuple):
    """What a batch of decisions came to; `repeated` had been taken in before. Sampled approvals count as opened."""

    opened: int = 0
    joined: int = 0
    repeated: int = 0

    def plus(self, other: Taken) -> Taken:
        """What both came to."""
        return Taken(*map(sum, zip(self, other, strict=True)))


class Batch:
    """The rows that a batch of decisions causes, before any of them is written."""

    def __init__(self, policy: ReviewPolicy, events_limit: int) -> None:
        self._policy = policy
        self._events_limit = events_limit
        self._open: dict[tuple[str, str], list[Case]] = {}
        self.opened: dict[str, Case] = {}
        self.loss_ranked: dict[str, float] = {}
        self.joined: dict[str, Case] = {}
        self.gravest: dict[str, Decision] = {}
        self.flags: list[dict[str, Any]] = []
        self.audit: list[dict[str, Any]] = []
        self.traits: set[tuple[str, str, str]] = set()
        self.terms: set[tuple[str, str]] = set()

    def knows(self, case: Case) -> None:
        """An open case that the batch may add to; the newest of an entity comes last."""
        self._open.setdefault((case.use_case, case.entity), []).append(case)

    def add(self, decision: Decision) -> bool:
        """Open or join a case; whether it was opened."""
        known = self._open.setdefault((decision.use_case, decision.key), [])
        place = next((i for i in reversed(range(len(known))) if len(known[i].events) < self._events_limit), None)
        if place is None:
            case = opened_by(decision, self._policy)
            known.append(case)
            self.opened[case.case_id] = case
            self.gravest[case.case_id] = decision
        else:
            if is_gravest(known[place], decision):
                self.gravest[known[place].case_id] = decision
            case = known[place] = joined_by(known[place], decision, self._policy)
            (self.opened if case.case_id in self.opened else self.joined)[case.case_id] = case
        self._flag(case.case_id, decision, opens=place is None)
        return place is None

    def add_sampled(self, decision: Decision, loss: float) -> None:
        """Open a case of its own for an approval, ranked as if it might lose so much; no flag ever joins it."""
        case = opened_by(decision, self._policy)
        case = msgspec.structs.replace(case, rank=self._policy.rank(loss, micros(case.due_at)))
        self.opened[case.case_id] = case
        self.loss_ranked[case.case_id] = loss
        self.gravest[case.case_id] = decision
        self._flag(case.case_id, decision, opens=True)

    def _flag(self, case_id: str, decision: Decision, opens: bool) -> None:
        self.flags.append({"event_id": decision.event_id, "case_id": case_id, "decision": encode(decision)})
        deed = noted(case_id, "opened" if opens else "joined", None, decision.scored_at, event_id=decision.event_id)
        self.audit.append(deed)
        self.traits |= {(kind, value, case_id) for kind, value in traits_of(decision)}
        self.terms |= {(term, case_id) for term in terms_of(decision, case_id)}


class Intake(CaseRows):
    """Takes decisions in, for the keeper of the queue."""

    events_limit: int

    @property
    def flags_at_once(self) -> int:
        """So many are best taken in together: nobody else writes to a SQLite file meanwhile."""
        return FLAGS_AT_ONCE if self.database.is_sqlite else CHUNK

    def take_in(self, decisions: Iterable[Decision], offsets: Offsets) -> Taken:
        """Open or join a case for each decision that is not to approve, once for each event id; keep the offsets.

        A share of the approvals is drawn (see `review.audit_sample`) and opens cases too. All of it or nothing, durable
        when it returns. Offsets only grow: a batch that comes again moves nothing back.
        """
        draw = Draw(self.database, self.policy.audit_share)
        wanted = [one for one in decisions if one.outcome != "approve" or draw.has(one)]
        with self.database.writing() as db:
            if not self.database.is_sqlite:
                db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": KEEPING})
            taken = self._add(db, wanted, draw) if wanted else Taken()
            rows = [
                {"log": log, "topic": part.topic, "number": part.number, "next": offset}
                for (log, part), offset in offsets.items()
            ]
            if rows:
                statement = insert_on(db, OFFSETS)
                new, old = statement.excluded.next, OFFSETS.c.next
                keys = [OFFSETS.c.log, OFFSETS.c.topic, OFFSETS.c.number]
                db.execute(
                    statement.on_conflict_do_update(
                        index_elements=keys, set_={"next": case((new > old, new), else_=old)}
                    ),
                    rows,
                )
        return taken

    def offset(self, log_name: str, partition: Partition) -> int:
        """Where to go on in this partition; 0 if nothing of it was taken in."""
        with self.database.reading() as db:
            found = db.execute(select(OFFSETS.c.next).where(*_at(log_name, partition))).scalar()
        return 0 if found is None else int(found)

    def rewind(self, log_name: str, partition: Partition) -> None:
        """Go on from the oldest entry of a partition: what was taken in is known by its event ids."""
        with self.database.writing() as db:
            db.execute(delete(OFFSETS).where(*_at(log_name, partition)))

    def rank_anew(self) -> int:
        """Give every case without a verdict its place by this policy, if another one ranked them; how many moved."""
        ours = msgspec.json.encode((self.policy.sla_s, self.policy.halving_s))
        with self.database.writing() as db:
            if db.execute(select(FACTS.c.value).where(FACTS.c.name == RANKED_BY)).scalar() == ours:
                return 0
            columns = [CASES.c[name] for name in ("number", "opened_at_us", "outcome", "loss_ranked")]
            rows = []
            for number, opened_at_us, outcome, loss in db.execute(select(*columns).where(CASES.c.status != "decided")):
                due_at_us = self.policy.due_at_us(opened_at_us, outcome)
                rows.append({"of": number, "due": due_at_us, "new": self.policy.rank(loss, due_at_us)})
            if rows:
                changed: dict[str, Any] = {"due_at_us": bindparam("due"), "rank": bindparam("new")}
                db.execute(update(CASES).where(CASES.c.number == bindparam("of")).values(changed), rows)
            statement = insert_on(db, FACTS).values(name=RANKED_BY, value=ours)
            db.execute(statement.on_conflict_do_update(index_elements=[FACTS.c.name], set_={"value": ours}))
        return len(rows)

    def _add(self, db: Connection, wanted: Sequence[Decision], draw: Draw) -> Taken:
        known = set[str]()
        for some in _chunks([one.event_id for one in wanted]):
            known |= set(db.execute(select(FLAGS.c.event_id).where(FLAGS.c.event_id.in_(some))).scalars())
        batch = Batch(self.policy, self.events_limit)
        flagged = [one for one in wanted if one.outcome != "approve"]
        for one in self._joinable(db, {(one.use_case, one.key) for one in flagged if one.event_id not in known}):
            batch.knows(one)
        opened = joined = repeated = 0
        for decision in wanted:
            if decision.event_id in known:
                repeated += 1
                continue
            known.add(decision.event_id)
            if decision.outcome == "approve":
                batch.add_sampled(decision, draw.loss_like_others(db, decision))
                opened += 1
            elif batch.add(decision):
                opened += 1
            else:
                joined += 1
        if batch.flags:
            _write(db, batch)
        return Taken(opened, joined, repeated)

    def _joinable(self, db: Connection, entities: set[tuple[str, str]]) -> Iterator[Case]:
        # One use case at a time: of pairs SQLite would read every case that waits.
        for use_case, pairs in groupby(sorted(entities), key=itemgetter(0)):
            for some in _chunks([entity for _, entity in pairs]):
                statement = (
                    select(*COLUMNS)
                    .where(
                        CASES.c.use_case == use_case,
                        CASES.c.entity.in_(some),
                        CASES.c.status.in_(("open", "proposed")),
                        CASES.c.event_count < self.events_limit,
                        CASES.c.sampled == 0,
                    )
                    .order_by(CASES.c.number)
                )
                yield from self._found(db, statement.with_for_update())


def _write(db: Connection, batch: Batch) -> None:
    if batch.opened:
        db.execute(insert(CASES), [_row(one, batch) for one in batch.opened.values()])
    joined = [
        figures(one) | {"of_case": case_id} | _led(batch.gravest.get(case_id)) for case_id, one in batch.joined.items()
    ]
    # Rows with and without another gravest event set other columns.
    for rows in ([row for row in joined if "led_by" in row], [row for row in joined if "led_by" not in row]):
        if rows:
            changed: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "of_case"}
            db.execute(update(CASES).where(CASES.c.case_id == bindparam("of_case")).values(changed), rows)
    db.execute(insert(FLAGS), batch.flags)
    write_traces(db, batch.traits, batch.gravest)
    # After the places of the cases, which the words have too: a trigger moves only those that are there.
    cases = batch.opened | batch.joined
    words = [
        {"case_id": case_id, "kind": "term", "word": term, "rank": cases[case_id].rank}
        for term, case_id in sorted(batch.terms)
    ]
    db.execute(insert_on(db, WAITING_WORDS).on_conflict_do_nothing(), words)
    add_to_audit(db, batch.audit)


def write_traces(db: Connection, traits: Iterable[tuple[str, str, str]], gravest: Mapping[str, Decision]) -> None:
    """What cases are linked and compared by. Sorted, since indexes like it."""
    links = [{"kind": kind, "value": value, "case_id": case_id} for kind, value, case_id in sorted(traits)]
    if links:
        db.execute(insert_on(db, TRAITS).on_conflict_do_nothing(), links)
    vectors = [
        {"case_id": case_id, "definition_hash": one.definition_hash, "vector": packed(one.vector)}
        for case_id, one in gravest.items()
    ]
    if vectors:
        statement = insert_on(db, VECTORS)
        new = statement.excluded
        changed = {"definition_hash": new.definition_hash, "vector": new.vector}
        db.execute(statement.on_conflict_do_update(index_elements=[VECTORS.c.case_id], set_=changed), vectors)


def _row(one: Case, batch: Batch) -> dict[str, Any]:
    fixed = {
        "case_id": one.case_id,
        "use_case": one.use_case,
        "entity": one.entity,
        "opened_at_us": micros(one.opened_at),
        "status": one.status,
        "sampled": int(one.case_id in batch.loss_ranked),
    }
    loss = {"loss_ranked": batch.loss_ranked.get(one.case_id, one.expected_loss)}
    return fixed | figures(one) | loss | _led(batch.gravest[one.case_id])


def _led(decision: Decision | None) -> dict[str, str]:
    return {} if decision is None else {"led_by": leader_of(shown(decision))}


def _at(log_name: str, partition: Partition) -> tuple[Any, ...]:
    return (OFFSETS.c.log == log_name, OFFSETS.c.topic == partition.topic, OFFSETS.c.number == partition.number)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
