"""The life of a rule: which steps may follow which, by whom, whatever others do at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.expression import ListRef
from scoring.rule_book import Book, ForbiddenStep
from scoring.rule_log import WEIGHT_LIMIT, RuleLog, book_key
from scoring.rule_report import RuleReport
from scoring.rule_steps import (
    Approved,
    Backtested,
    Drafted,
    Expired,
    InvalidStep,
    Listed,
    Shadowed,
    Snoozed,
    Step,
    Unlisted,
    Woken,
    decode_step,
    encode_step,
)
from scoring.rules import InvalidRule, Rule
from scoring.use_case import FRAUD
from stream.connection import RedisConnection, RedisUnavailable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SHIPPED = [Rule(name="shipped", when="amount > 1e6", action="review")]
OpenLog = Callable[[], RuleLog]


def rule(name: str = "mine", when: str = "amount > 10", **more: Any) -> Rule:
    return Rule(name=name, when=when, **{"action": "review", **more})


def report(name: str = "mine", revision: int = 1) -> RuleReport:
    counts = dict.fromkeys(
        ("decisions", "immature", "other_definition", "fired", "fraud", "legit", "unlabelled", "frauds", "changed"), 0
    )
    return RuleReport(
        name=name,
        revision=revision,
        definition_hash="h",
        label_delay_s=0.0,
        since=None,
        until=None,
        saved={},
        harmed={},
        outcomes={},
        rules={},
        **counts,
    )


def draft(by: str = "ann", revision: int = 1, **of: Any) -> Drafted:
    return Drafted(at=NOW, by=by, rule=rule(**of), revision=revision)


def tried(revision: int = 1, name: str = "mine") -> Backtested:
    return Backtested(at=NOW, by="ann", name=name, revision=revision, report=report(name, revision))


def shadowed(revision: int = 1, name: str = "mine") -> Shadowed:
    return Shadowed(at=NOW, by="ann", name=name, revision=revision)


def approved(by: str = "bob", revision: int = 1, name: str = "mine", until: datetime | None = None) -> Approved:
    return Approved(at=NOW, by=by, name=name, revision=revision, expires_at=until)


def expired(name: str = "mine") -> Expired:
    return Expired(at=NOW, by="ann", name=name)


def after(*steps: Step) -> Book:
    book = Book.shipped(SHIPPED)
    for step in steps:
        book.apply(step)
    return book


LIFE: tuple[Step, ...] = (draft(), tried(), shadowed(), approved())


@pytest.fixture
def open_rules(redis_db: str) -> Iterator[OpenLog]:
    opened: list[RedisConnection] = []

    def open_one() -> RuleLog:
        opened.append(RedisConnection(redis_db))
        return RuleLog(opened[-1], "fraud", SHIPPED, FRAUD.features)

    yield open_one
    for connection in opened:
        connection.close()


def test_a_rule_goes_live_step_by_step() -> None:
    stages = []
    for count in range(1, 5):
        known = after(*LIFE[:count]).names["mine"]
        newest = known.next or known.live
        assert newest is not None
        stages.append(newest.stage)
    assert stages == ["draft", "backtested", "shadow", "live"]
    assert [one.rule.name for one in after(*LIFE).live(NOW)] == ["mine", "shipped"]


@pytest.mark.parametrize(
    ("done", "step", "complaint"),
    [
        (0, tried(), "no rule 'mine'"),
        (0, shadowed(), "no rule 'mine'"),
        (0, approved(), "no rule 'mine'"),
        (0, expired(), "no rule 'mine'"),
        (1, shadowed(), "has not been backtested"),
        (1, approved(), "is draft; only what is in shadow goes live"),
        (2, approved(), "is backtested; only what is in shadow goes live"),
        (3, shadowed(), "in shadow already"),
        (3, approved("ann"), "written by ann; another has to approve"),
        (3, approved(" ANN"), "written by ann; another has to approve"),
        (3, approved("ａｎｎ"), "written by ann; another has to approve"),
        (3, approved(revision=2), "at revision 1 by now, not 2"),
        (3, approved(until=NOW), "would expire before"),
        (4, approved("eve"), "has no draft"),
        (4, tried(), "has no draft"),
        (1, draft(revision=1), "has revision 1 by now"),
        (1, draft(revision=3), "has revision 1 by now"),
        (0, Snoozed(at=NOW, by="a", name="nobody", field="card_id", value="c", until=NOW + DAY), "no rule 'nobody'"),
        (0, Snoozed(at=NOW, by="a", name="shipped", field="card_id", value="c", until=NOW), "before it begins"),
        (0, Woken(at=NOW, by="a", name="shipped", field="card_id", value="c"), "is not snoozed for"),
        (0, Unlisted(at=NOW, by="a", list="deny", field="card_id", values=("c",)), "does not have card_id 'c'"),
    ],
)
def test_a_forbidden_step_changes_nothing(done: int, step: Step, complaint: str) -> None:
    book, same = after(*LIFE[:done]), after(*LIFE[:done])
    with pytest.raises(ForbiddenStep, match=complaint):
        book.apply(step)
    same.version += 1
    assert book == same


def test_the_live_revision_stays_until_the_next_is_approved() -> None:
    steps = (*LIFE, draft("bob", 2, when="amount > 20"), tried(2), shadowed(2))
    book = after(*steps)
    assert [one.rule.when for one in book.live(NOW) if one.rule.name == "mine"] == ["amount > 10"]
    assert [one.rule.when for one in book.shadow()] == ["amount > 20"]
    with pytest.raises(ForbiddenStep, match="written by bob"):
        book.apply(approved("bob", 2))
    book.apply(approved("ann", 2))
    assert [one.rule.when for one in book.live(NOW) if one.rule.name == "mine"] == ["amount > 20"]
    assert book.shadow() == []


def test_writing_a_rule_anew_takes_it_out_of_shadow() -> None:
    book = after(*LIFE[:3], draft("ann", 2))
    assert book.shadow() == []
    with pytest.raises(ForbiddenStep, match="at revision 2 by now, not 1"):
        book.apply(approved(revision=1))


def test_a_shipped_rule_can_be_replaced_and_ended() -> None:
    replaced = after(draft(name="shipped"), tried(name="shipped"), shadowed(name="shipped"), approved(name="shipped"))
    assert [one.rule.when for one in replaced.live(NOW)] == ["amount > 10"]
    assert after(expired("shipped")).live(NOW) == []


def test_a_rule_expires_by_itself_or_at_once() -> None:
    book = after(*LIFE[:3], approved(until=NOW + DAY))
    assert [one.rule.name for one in book.live(NOW)] == ["mine", "shipped"]
    assert [one.rule.name for one in book.live(NOW + DAY)] == ["shipped"]
    book.apply(expired())
    assert [one.rule.name for one in book.live(NOW)] == ["shipped"]
    with pytest.raises(ForbiddenStep, match="has ended already"):
        book.apply(expired())
    book.apply(draft(revision=2))
    assert book.names["mine"].newest == 2


def test_lists_and_snoozes_hold_values_until_their_time() -> None:
    book = after(
        Listed(at=NOW, by="a", list="deny", field="card_id", values=("c", "d"), until=NOW + DAY),
        Listed(at=NOW, by="a", list="mules", field="card_id", values=("c",), until=None),
        Listed(at=NOW, by="a", list="deny", field="card_id", values=("c",), until=NOW + 2 * DAY),
        Unlisted(at=NOW, by="a", list="deny", field="card_id", values=("d",)),
        Snoozed(at=NOW, by="a", name="shipped", field="card_id", value="c", until=NOW + DAY),
    )
    assert book.entries[ListRef("deny", "card_id")] == {"c": (NOW + 2 * DAY).timestamp()}
    assert book.entries[ListRef("mules", "card_id")] == {"c": float("inf")}
    assert book.lists == ["allow", "deny", "mules"]
    assert book.snoozes == {"shipped": {("card_id", "c"): (NOW + DAY).timestamp()}}
    book.apply(Woken(at=NOW, by="b", name="shipped", field="card_id", value="c"))
    assert book.circumstances().snoozes["shipped"] == {}


PEOPLE = st.sampled_from(["ann", "bob"])
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(draft, PEOPLE, st.integers(1, 3)),
    st.builds(tried, st.integers(1, 3)),
    st.builds(shadowed, st.integers(1, 3)),
    st.builds(approved, PEOPLE, st.integers(1, 3)),
    st.builds(expired),
)


@given(st.lists(STEPS, max_size=30))
def test_no_sequence_of_steps_makes_a_rule_live_without_shadow_and_a_second_person(steps: list[Step]) -> None:
    book = Book.shipped([])
    for step in steps:
        before = {name: (one.live, one.next) for name, one in book.names.items()}.get("mine", (None, None))
        try:
            book.apply(step)
        except ForbiddenStep:
            continue
        live = book.names["mine"].live
        if live is not None and live != before[0]:
            assert isinstance(step, Approved)
            assert before[1] is not None and before[1].stage == "shadow" and before[1].report is not None
            assert live.author != live.approved_by == step.by


@pytest.mark.parametrize(
    "step", [*LIFE, expired(), Listed(at=NOW, by="a", list="l", field="f", values=("v",), until=NOW)]
)
def test_a_step_survives_the_way_through_json(step: Step) -> None:
    assert decode_step(encode_step(step)) == step


@pytest.mark.parametrize(
    "step",
    [
        draft(by=""),
        draft(by="ann\x1b[2J"),
        draft(by="x" * 65),
        Listed(at=NOW, by="a", list="Not A Name", field="card_id", values=("c",), until=None),
        Listed(at=NOW, by="a", list="deny", field="card_id", values=(), until=None),
        Listed(at=NOW, by="a", list="deny", field="card_id", values=("c",) * 1001, until=None),
        Expired(at=NOW.replace(tzinfo=None), by="a", name="mine"),
        Expired(at=NOW, by="a", name="mine", why="two\nlines"),
    ],
)
def test_a_step_with_a_bad_field_is_refused(step: Step) -> None:
    with pytest.raises(InvalidStep):
        encode_step(step)


def test_the_log_keeps_every_step_for_every_reader(open_rules: OpenLog) -> None:
    one, other = open_rules(), open_rules()
    assert [one.append(step) for step in LIFE] == [1, 2, 3, 4]
    for log in (one, other, other):
        log.read()
        assert log.changes == 4
    assert other.book == one.book
    assert [step for _, step in other.steps()] == list(LIFE)


def test_what_is_not_allowed_or_not_understood_is_not_appended(open_rules: OpenLog) -> None:
    log = open_rules()
    refusals: list[tuple[Step, type[Exception], str]] = [
        (approved(), ForbiddenStep, "no rule 'mine'"),
        (draft(when="amont > 1"), InvalidRule, "did you mean 'amount'"),
        (draft(when="card_id in dney"), InvalidRule, "did you mean 'deny'"),
        (
            Listed(at=NOW, by="a", list="deny", field="card_idd", values=("c",), until=None),
            InvalidStep,
            "did you mean 'card_id'",
        ),
        (Listed(at=NOW, by="a", list="deny", field="amount", values=("1",), until=None), InvalidStep, "no text field"),
    ]
    for step, kind, complaint in refusals:
        with pytest.raises(kind, match=complaint):
            log.append(step)
    assert list(log.steps()) == []


def test_rules_together_have_a_weight_limit(open_rules: OpenLog) -> None:
    log = open_rules()
    heavy = " or ".join(["amount in (1, 2, 3, 4, 5, 6, 7, 8, 9)"] * 40)
    names = [f"h{number}" for number in range(WEIGHT_LIMIT // (19 * 40) + 1)]
    for name in names:
        log.append(draft(name=name, when=heavy))
        log.append(tried(name=name))
    for name in names[:-1]:
        log.append(shadowed(name=name))
    with pytest.raises(InvalidStep, match=f"with rule '{names[-1]}' all rules would weigh more than"):
        log.append(shadowed(name=names[-1]))


def test_of_authors_at_the_same_time_each_step_is_done_or_refused(open_rules: OpenLog) -> None:
    logs = [open_rules() for _ in range(4)]
    done: list[str] = []
    refused: list[str] = []
    ready = threading.Barrier(len(logs))

    def write(number: int) -> None:
        ready.wait()
        for turn in range(10):
            for step in (draft(f"author {number}"), draft(f"author {number}", name=f"own {number} {turn}")):
                try:
                    logs[number].append(step)
                    done.append(f"{step.name} {step.by}")
                except ForbiddenStep:
                    refused.append(step.name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(logs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    steps = [step for _, step in logs[0].steps()]
    assert sorted(done) == sorted(f"{step.name} {step.by}" for step in steps if isinstance(step, Drafted))
    assert len(steps) == 41  # each own rule, and one of all the same first revisions
    assert refused == ["mine"] * 39
    logs[0].read()
    assert logs[0].problems == {}


def test_a_crash_after_the_append_leaves_it_done_once(open_rules: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log, other = open_rules(), open_rules()
    for step in LIFE[:3]:
        log.append(step)
    call = log.connection.call

    def torn(commands: Any, timeout_ms: float | None = None) -> Any:
        replies = call(commands, timeout_ms)
        if commands[0][0] == "EVALSHA":
            raise RedisUnavailable("gone before the reply")
        return replies

    with monkeypatch.context() as patch:
        patch.setattr(log.connection, "call", torn)
        with pytest.raises(RedisUnavailable):
            log.append(LIFE[3])
    with pytest.raises(ForbiddenStep, match="has no draft"):
        log.append(LIFE[3])
    assert [step for _, step in other.steps()] == list(LIFE)


def test_a_reader_follows_no_step_that_is_not_allowed(open_rules: OpenLog, redis_db: str) -> None:
    log = open_rules()
    with closing(RedisConnection(redis_db)) as connection:
        for content in (encode_step(draft()), encode_step(approved()), b"not a step", encode_step(tried())):
            connection.one("RPUSH", book_key("fraud"), content)
    log.read()
    assert [one.rule.name for one in log.book.live(NOW)] == ["shipped"]
    assert log.book.version == 4
    assert "only what is in shadow" in log.problems[2]
    assert "not a step" in log.problems[3]
    assert log.append(shadowed()) == 5


def test_a_long_history_is_read_in_parts(open_rules: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RuleLog, "chunk_steps", 3)
    for count in (0, 1, 2, 3, 4, 5, 6, 7, 8):
        log, other = open_rules(), open_rules()
        log.connection.one("DEL", log.key)
        for revision in range(1, count + 1):
            log.append(draft(revision=revision))
            other.read()
            assert (other.book.version, other.changes) == (revision, revision)
        fresh = open_rules()
        fresh.read()
        assert fresh.book == other.book
        assert [version for version, _ in fresh.steps()] == list(range(1, count + 1))


def test_where_redis_lost_steps_the_book_follows_it(open_rules: OpenLog, redis_db: str) -> None:
    log = open_rules()
    for step in LIFE:
        log.append(step)
    log.read()
    with closing(RedisConnection(redis_db)) as connection:
        connection.one("LTRIM", book_key("fraud"), 0, 1)
        log.read()
        assert (log.book.version, [one.rule.name for one in log.book.live(NOW)]) == (2, ["shipped"])
        connection.one("DEL", book_key("fraud"))
        log.read()
        assert log.book.version == 0
        connection.one("RPUSH", book_key("fraud"), encode_step(draft(name="another")))
        log.read()
        assert "another" in log.book.names
