"""`headrace rules`: the whole life of a rule by its commands, and what they refuse."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli import main
from scoring.use_case import FRAUD
from tests.scoring.test_rule_backtest import T0, archive_of, decision, label

WHEN = "amount > 100 and card_count_1h >= 1"


class Person:
    """Somebody at a terminal, who may have a name."""

    def __init__(self, redis: str, home: Path) -> None:
        self._options = {"HEADRACE_REDIS": redis, "HEADRACE_HOME": str(home)}

    def tries(self, *words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["rules", *words], env=self._options)
        return result.exit_code, result.output

    def does(self, *words: str) -> str:
        status, text = self.tries(*words)
        assert status == 0, text
        return text

    def reads(self, *words: str) -> Any:
        return json.loads(self.does(*words, "--json"))


@pytest.fixture
def person(redis_db: str, tmp_path: Path) -> Person:
    records = [decision(f"e{n}", amount=100.0 * n, card_count_1h=2.0) for n in range(5)]
    late = decision("late", at=T0 + timedelta(days=30), amount=500.0)
    archive_of(tmp_path / "archive", [*records, late, label("e3", "fraud"), label("e4", "legit")])
    return Person(redis_db, tmp_path)


def drafted(person: Person, name: str = "large", when: str = WHEN, *more: str) -> str:
    return person.does("add", name, "--when", when, "--action", "review", "--by", "ann", *more)


def test_a_rule_goes_from_a_draft_to_its_end(person: Person, tmp_path: Path) -> None:
    assert "revision 1 of rule 'large' is a draft" in drafted(person, "large", WHEN, "--because", "it is large")
    text = person.does("backtest", "large", "--by", "ann", "--json", str(tmp_path / "report.json"))
    assert "50.00%" in text
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["fired"], report["fraud"], report["legit"], report["saved"]) == (3, 1, 1, {"EUR": 300.0})
    person.does("shadow", "large", "--by", "ann")
    status, text = person.tries("approve", "large", "--by", "Ann")
    assert status == 1
    assert "another has to approve it" in text
    assert "is live until" in person.does("approve", "large", "--by", "bob", "--for", "7d", "--revision", "1")
    (shown,) = person.reads("show", "large")
    assert (shown["stage"], shown["author"], shown["approved by"]) == ("live", "ann", "bob")
    assert shown["report"]["fired"] == 3
    assert "it is large" in person.does("show", "large")
    person.does("expire", "large", "--by", "eve", "--why", "too many")
    steps = person.reads("history", "large")
    assert [(one["step"]["do"], one["step"]["by"]) for one in steps] == [
        ("draft", "ann"),
        ("backtest", "ann"),
        ("shadow", "ann"),
        ("approve", "bob"),
        ("expire", "eve"),
    ]
    assert "too many" in person.does("history")
    assert "large" not in person.does("list")
    assert "large" in person.does("list", "--all")


def test_the_shipped_rules_are_listed(person: Person) -> None:
    listed = {one["rule"]: one["stage"] for one in person.reads("list")}
    assert listed == dict.fromkeys(
        ("allowed", "card-testing", "denied", "device-of-many-cards", "impossible-travel"), "live"
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("add", "x", "--when", "amont > 1", "--action", "review", "--by", "a"), "did you mean 'amount'?"),
        (("add", "x", "--when", "amount > 1", "--action", "add", "--by", "a"), "give 'add' too"),
        (("add", "x\n", "--when", "amount > 1", "--action", "review", "--by", "a"), "name"),
        (("add", "x", "--when", "amount > 1", "--action", "review"), "Missing option '--by'"),
        (("add", "x", "--when", "amount > 1", "--action", "review", "--by", "\x1b[2J"), "printable"),
        (("show", "nobody"), "there is no rule 'nobody'; there is allowed"),
        (("shadow", "denied", "--by", "a"), "has no draft"),
        (("approve", "denied", "--by", "a"), "has no draft"),
        (("expire", "nobody", "--by", "a"), "there is no rule 'nobody'"),
        (("lists", "add", "deny", "card_idd", "c", "--by", "a"), "did you mean 'card_id'?"),
        (("lists", "add", "deny", "card_id", "c", "--for", "soon", "--by", "a"), "soon"),
        (("lists", "remove", "deny", "card_id", "c", "--by", "a"), "does not have card_id 'c'"),
        (("snooze", "add", "denied", "card_id", "c", "--for", "ever", "--by", "a"), "a snooze ends"),
        (("snooze", "remove", "denied", "card_id", "c", "--by", "a"), "is not snoozed"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(person: Person, words: tuple[str, ...], complaint: str) -> None:
    status, text = person.tries(*words)
    assert status in (1, 2)
    assert complaint in text
    assert person.reads("history") == []


def test_a_condition_is_checked_without_redis() -> None:
    def check(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["rules", "check", *words], env={"HEADRACE_REDIS": ""})
        return result.exit_code, result.output

    assert check("amount > 1 and card_id in deny")[1].startswith("understood; it reads amount, card_id")
    assert 'record."amount"' in check("amount > 1", "--sql")[1]
    status, text = check("amount > 1 and card_idd in deny")
    assert status == 1
    assert text.splitlines()[1:] == ["  amount > 1 and card_idd in deny", "                 ^"]


def test_the_other_commands_need_a_redis() -> None:
    result = CliRunner().invoke(main, ["rules", "list"], env={"HEADRACE_REDIS": ""})
    assert result.exit_code == 1
    assert "give --redis" in result.output


def test_lists_and_snoozes_come_and_go(person: Person) -> None:
    person.does("lists", "add", "deny", "card_id", "c1", "c2", "--for", "7d", "--by", "ann", "--why", "mules")
    person.does("lists", "add", "travellers", "customer_id", "p1", "--for", "ever", "--by", "ann")
    person.does("lists", "remove", "deny", "card_id", "c2", "--by", "bob")
    assert [(one["list"], one["value"]) for one in person.reads("lists", "show")] == [
        ("deny", "c1"),
        ("travellers", "p1"),
    ]
    assert [one["until"] for one in person.reads("lists", "show", "travellers")] == ["ever"]
    assert "understood" in person.does("check", "customer_id not in travellers")
    person.does("snooze", "add", "denied", "card_id", "c1", "--for", "1d", "--by", "ann")
    assert [(one["rule"], one["value"]) for one in person.reads("snooze", "show")] == [("denied", "c1")]
    assert "silent for card_id c1" in person.does("show", "denied")
    person.does("snooze", "remove", "denied", "card_id", "c1", "--by", "bob")
    assert person.reads("snooze", "show") == []
    assert [one["step"]["do"] for one in person.reads("history", "deny")] == ["list", "unlist"]


def test_a_live_rule_is_tried_without_a_step(person: Person) -> None:
    assert "0.00%" in person.does("backtest", "card-testing", "--by", "ann", "--label-delay", "1d")
    assert person.reads("history") == []
    assert "card-testing" in FRAUD.rules.read_text()


def test_what_a_rule_adds_is_tried_with_the_shipped_policy(person: Person, tmp_path: Path) -> None:
    person.does("add", "worse", "--when", WHEN, "--action", "add", "--add", "0.9", "--by", "ann")
    person.does("backtest", "worse", "--by", "ann", "--json", str(tmp_path / "report.json"))
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["changed"], report["saved"], report["harmed"]) == (3, {"EUR": 300.0}, {"EUR": 400.0})


def test_values_from_outside_obey_no_terminal_and_no_markup(person: Person) -> None:
    person.does("lists", "add", "deny", "card_id", "\x1b[2J[red]c", "--by", "ann")
    text = person.does("lists", "show")
    assert "\\x1b[2J[red]c" in text
    assert "\x1b" not in person.does("history")
