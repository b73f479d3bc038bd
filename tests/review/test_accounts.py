"""Accounts, their links and what admins do, without a page: rules that hold whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from review.account import AccountError, Caller, DeadLink, UnknownAccount, WrongPassword
from review.accounts import Accounts
from review.password_rules import WeakPassword
from review.person import InvalidName, name_of
from tests.review.account_desks import NOON, PASSWORD, accounts_in, with_person
from tests.review.quick_stores import ON_BOTH
from tests.until import LIMIT_S

HERE = Caller("192.0.2.1", "Firefox")
THERE = Caller("198.51.100.7", "Chrome")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def accounts(one_place: str) -> Iterator[Accounts]:
    made = accounts_in(one_place)
    yield made
    made.database.close()


@pytest.fixture
def ann(one_place: str) -> Iterator[Accounts]:
    """Accounts with one admin, ann."""
    made = accounts_in(one_place, ("ann", "admin"))
    yield made
    made.database.close()


# Links


@ON_BOTH
def test_the_first_link_makes_the_first_admin_once(accounts: Accounts) -> None:
    token = accounts.links.first(NOON)
    assert token is not None
    assert accounts.links.look(token, NOON).role == "admin"
    signed_in = accounts.links.use(token, " Ann ", PASSWORD, HERE, NOON)
    person = accounts.sessions.person(signed_in.session, NOON)
    assert person is not None and (person.name, person.role) == ("ann", "admin")
    with pytest.raises(DeadLink):
        accounts.links.use(token, "eve", PASSWORD, HERE, NOON)
    assert accounts.links.first(NOON) is None


def test_a_newer_first_link_replaces_the_one_before(accounts: Accounts) -> None:
    old, new = accounts.links.first(NOON), accounts.links.first(NOON)
    assert old and new
    with pytest.raises(DeadLink):
        accounts.links.look(old, NOON)
    assert accounts.links.look(new, NOON).name is None


def test_a_link_ends_after_its_hour(accounts: Accounts) -> None:
    token = accounts.links.first(NOON)
    assert token
    accounts.links.look(token, NOON + 59 * MINUTE)
    with pytest.raises(DeadLink):
        accounts.links.use(token, "ann", PASSWORD, HERE, NOON + 60 * MINUTE)


@ON_BOTH
def test_of_two_who_use_a_link_at_once_one_comes_in(accounts: Accounts) -> None:
    token = accounts.links.first(NOON)
    assert token
    came: list[str] = []

    def use(name: str) -> None:
        with suppress(DeadLink):
            came.append(accounts.links.use(token, name, PASSWORD, HERE, NOON).name)

    threads = [Thread(target=use, args=(f"person{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert len(came) == 1
    assert [account.name for account in accounts.all(NOON)] == came


def test_a_password_that_is_not_taken_uses_no_link_up(accounts: Accounts) -> None:
    token = accounts.links.first(NOON)
    assert token
    for name, password, error in (("ann", "short", WeakPassword), ("x" * 80, PASSWORD, InvalidName)):
        with pytest.raises(error):
            accounts.links.use(token, name, password, HERE, NOON)
    assert accounts.links.use(token, "ann", PASSWORD, HERE, NOON).session


def test_a_new_link_ends_the_one_before_and_its_use_ends_all_sessions(ann: Accounts) -> None:
    session = ann.sign_in.with_password("ann", PASSWORD, HERE, NOON).session
    old, new = ann.links.make("ann", "ann", NOON), ann.links.make("ann", "ann", NOON)
    with pytest.raises(DeadLink):
        ann.links.look(old, NOON)
    assert ann.sessions.person(session, NOON), "making a link ends nothing"
    ann.links.use(new, "eve", "another river and another mill", THERE, NOON)
    assert ann.sessions.person(session, NOON) is None
    with pytest.raises(WrongPassword):
        ann.sign_in.with_password("ann", PASSWORD, HERE, NOON)


def test_no_token_is_in_the_store(ann: Accounts, tmp_path: Path) -> None:
    link = ann.links.make("ann", "ann", NOON)
    signed_in = ann.sign_in.with_password("ann", PASSWORD, HERE, NOON)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("review.sqlite*"))
    assert b"ann" in kept
    for secret in (link, signed_in.session, signed_in.device, PASSWORD):
        assert secret.encode() not in kept


# What admins do


def test_a_session_is_nobodys_while_its_account_is_off_however_it_came_to_be(ann: Accounts) -> None:
    session = ann.sign_in.with_password("ann", PASSWORD, HERE, NOON).session
    with ann.database.writing() as connection:
        connection.execute(text("UPDATE accounts SET state = 'off'"))
    assert ann.sessions.person(session, NOON) is None


def test_a_role_holds_from_the_next_request_on(ann: Accounts) -> None:
    with_person(ann, "bob", "analyst")
    session = ann.sign_in.with_password("bob", PASSWORD, THERE, NOON).session
    ann.set_role("bob", "viewer", "ann", NOON)
    person = ann.sessions.person(session, NOON)
    assert person is not None and person.role == "viewer"
    assert ann.entries("bob")[0].detail == "analyst to viewer"
    assert ann.entries("bob")[0].by == "ann"


@ON_BOTH
def test_who_is_turned_off_is_out_at_once_and_comes_back_with_no_old_session(ann: Accounts) -> None:
    with_person(ann, "bob", "analyst")
    session = ann.sign_in.with_password("bob", PASSWORD, THERE, NOON).session
    link = ann.links.make("bob", "ann", NOON)
    ann.turn_off("bob", "ann", NOON)
    assert ann.sessions.person(session, NOON) is None
    with pytest.raises(WrongPassword):
        ann.sign_in.with_password("bob", PASSWORD, THERE, NOON)
    with pytest.raises(AccountError, match="turned off"):
        ann.links.make("bob", "ann", NOON)
    ann.turn_on("bob", "ann", NOON)
    assert ann.sessions.person(session, NOON) is None
    with pytest.raises(DeadLink):
        ann.links.use(link, "", PASSWORD, THERE, NOON)
    assert ann.sign_in.with_password("bob", PASSWORD, THERE, NOON).name == "bob"


def test_the_only_admin_stays_one(ann: Accounts) -> None:
    ann.invite("bob", "admin", "ann", NOON)  # who has not come yet, and may never
    with pytest.raises(AccountError, match="only admin"):
        ann.set_role("ann", "lead", "ann", NOON)
    with pytest.raises(AccountError, match="only admin"):
        ann.turn_off("ann", "ann", NOON)
    with_person(ann, "cy", "admin")
    ann.set_role("ann", "lead", "cy", NOON)
    assert ann.account("ann", NOON).role == "lead"


@ON_BOTH
def test_of_two_admins_who_turn_each_other_off_at_once_one_is_left(ann: Accounts) -> None:
    with_person(ann, "bob", "admin")

    def turn_off(name: str, by: str) -> None:
        with suppress(AccountError):
            ann.turn_off(name, by, NOON)

    threads = [Thread(target=turn_off, args=names) for names in (("ann", "bob"), ("bob", "ann"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert [account.state for account in ann.all(NOON)].count("active") == 1


@ON_BOTH
def test_of_two_who_invite_one_name_at_once_one_is_told_that_it_is_taken(ann: Accounts) -> None:
    together, tokens, told = Barrier(4), list[str](), list[str]()

    def invite() -> None:
        together.wait(LIMIT_S)
        try:
            tokens.append(ann.invite("bob", "viewer", "ann", NOON))
        except AccountError as error:
            told.append(str(error))

    threads = [Thread(target=invite) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert (len(tokens), len(told)) == (1, 3)
    assert "there is an account 'bob'" in told[0]


def test_a_name_is_given_once_whatever_its_case(ann: Accounts) -> None:
    with_person(ann, "bob", "analyst")
    ann.turn_off("bob", "ann", NOON)
    for name in ("bob", "BOB", " Bob "):
        with pytest.raises(AccountError, match="there is an account 'bob'"):
            ann.invite(name, "viewer", "ann", NOON)
    with pytest.raises(UnknownAccount):
        ann.set_role("nobody-here", "admin", "ann", NOON)


@pytest.mark.parametrize("name", ["", "a", "a b", "@me", "a\nb", "-ann", "x" * 57, "аnn", "ann/..", "system", "<b>ann"])
def test_no_account_has_such_a_name(name: str) -> None:
    with pytest.raises(InvalidName):
        name_of(name)


def test_a_changed_password_ends_all_other_sessions(ann: Accounts) -> None:
    here, there = (ann.sign_in.with_password("ann", PASSWORD, caller, NOON).session for caller in (HERE, THERE))
    person = ann.sessions.person(here, NOON)
    assert person is not None
    with pytest.raises(WrongPassword):
        ann.change_password(person, "not the password", "another river and another mill", HERE, NOON)
    ann.change_password(person, PASSWORD, "another river and another mill", HERE, NOON)
    assert ann.sessions.person(here, NOON) and not ann.sessions.person(there, NOON)
    with pytest.raises(WrongPassword):
        ann.sign_in.with_password("ann", PASSWORD, HERE, NOON)
    assert ann.sign_in.with_password("ann", "another river and another mill", HERE, NOON)


def test_a_password_that_a_link_sets_meanwhile_is_not_changed_by_who_knew_the_old_one(
    ann: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = ann.sessions.person(ann.sign_in.with_password("ann", PASSWORD, HERE, NOON).session, NOON)
    assert person is not None
    token, hashed = ann.links.make("ann", "lead", NOON), ann._passwords.hash

    def overtaken(password: str) -> str:
        monkeypatch.undo()
        ann.links.use(token, "", "another river and another mill", THERE, NOON)
        return hashed(password)

    monkeypatch.setattr(ann._passwords, "hash", overtaken)
    with pytest.raises(WrongPassword):
        ann.change_password(person, PASSWORD, "what a thief would choose", HERE, NOON)
    ann.sign_in.with_password("ann", "another river and another mill", THERE, NOON)


@ON_BOTH
def test_the_audit_says_who_did_what_and_cannot_be_changed(ann: Accounts) -> None:
    with_person(ann, "bob", "analyst")
    ann.sign_in.with_password("bob", PASSWORD, THERE, NOON)
    ann.turn_off("bob", "ann", NOON)
    entries = list(reversed(ann.entries("bob")))
    said = [(entry.deed, entry.by) for entry in entries if entry.deed != "session_ended"]
    assert said == [
        *(("invited", "test"), ("password_set", "bob"), ("signed_in", "bob")),
        *(("signed_in", "bob"), ("turned_off", "ann")),
    ]
    assert entries[-2].address == THERE.address
    for statement in ("DELETE FROM account_deeds", "UPDATE account_deeds SET name = 'eve'"):
        with pytest.raises(DBAPIError, match="append-only"), ann.database.writing() as connection:
            connection.execute(text(statement))
