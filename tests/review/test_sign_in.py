"""Who may come in, how often they may try, and how long it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from threading import Thread

import pytest
from sqlalchemy import event

from review.account import AccountPolicy, Caller, Delay, TooManyTries, WrongPassword
from review.accounts import Accounts
from review.password_rules import WeakPassword, check_password
from review.passwords import Cost, Passwords
from tests.review.account_desks import CHEAP, NOON, PASSWORD, accounts_in, with_person
from tests.review.quick_stores import ON_BOTH
from tests.until import LIMIT_S

HERE = Caller("192.0.2.1", "Firefox")
THERE = Caller("198.51.100.7", "Chrome")
MINUTE = timedelta(minutes=1)
POLICY = AccountPolicy(name_delay=Delay(free=3), address_delay=Delay(free=6), sessions_limit=3)


@pytest.fixture
def accounts(one_place: str) -> Iterator[Accounts]:
    """Accounts with one admin, ann, where the third failure of a name waits, and the sixth of an address."""
    made = accounts_in(one_place, ("ann", "admin"), policy=POLICY)
    yield made
    made.database.close()


def failure(accounts: Accounts, name: str, caller: Caller, after_s: float = 0.0) -> float:
    """How long to wait before the next try: 0 where this one was taken (and was wrong)."""
    try:
        accounts.sign_in.with_password(name, "not the password", caller, NOON + timedelta(seconds=after_s))
    except WrongPassword:
        return 0.0
    except TooManyTries as error:
        return error.wait_s
    raise AssertionError("a wrong password was taken")


# One answer


@ON_BOTH
def test_whatever_is_wrong_the_answer_and_the_work_are_the_same(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_person(accounts, "off", "viewer")
    accounts.turn_off("off", "ann", NOON)
    accounts.invite("new", "viewer", "ann", NOON)
    costs: list[str] = []
    is_right = Passwords.is_right

    def counted(self: Passwords, kept: str | None, password: str) -> bool:
        costs.append((kept or self._nobodys).split("$")[3])
        return is_right(self, kept, password)

    monkeypatch.setattr(Passwords, "is_right", counted)
    said, work, statements = set(), set(), list[str]()
    event.listen(accounts.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    for number, name in enumerate(("ann", "nobody-here", "off", "new", "'; drop table accounts; --", "\x00\ud800é")):
        statements.clear()
        with pytest.raises(WrongPassword) as error:
            accounts.sign_in.with_password(name, "not the password", Caller(f"192.0.2.{number}"), NOON)
        said.add(str(error.value))
        # A line in the audit for those who exist, a touch for the rest: one write either way.
        work.add(tuple("write" if one.startswith(("INSERT", "UPDATE")) else one.split()[0] for one in statements))
    assert len(said) == 1
    assert costs == ["m=8,t=1,p=1"] * 6, "one hash each, of one price"
    assert len(work) == 1, "the same reads and writes in the same order"
    assert accounts.entries("nobody-here") == [], "what a stranger types as a name may be a password"


def test_a_hash_of_an_older_price_is_made_anew_at_sign_in(one_place: str, accounts: Accounts) -> None:
    dearer = accounts_in(one_place, cost=Cost(passes=2, memory_kib=8, lanes=1))
    for _ in range(2):
        assert dearer.sign_in.with_password("ann", PASSWORD, HERE, NOON).name == "ann"
        assert not dearer._passwords.is_outdated(_kept(dearer))
    assert accounts._passwords.is_outdated(_kept(dearer))
    dearer.database.close()


def _kept(accounts: Accounts) -> str:
    with accounts.database.reading() as connection:
        return str(connection.exec_driver_sql("SELECT password FROM accounts").scalar_one())


# Tries


def test_failures_of_a_name_wait_longer_and_longer_from_wherever_they_come(accounts: Accounts) -> None:
    now_s, waits = 0.0, []
    for number in range(7):
        assert failure(accounts, "ann", Caller(f"198.51.100.{number}"), now_s) == 0.0
        waits.append(failure(accounts, "ann", Caller("203.0.113.9"), now_s) if number >= 2 else 0.0)
        now_s += waits[-1]
    assert waits == [0.0, 0.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    locked = NOON + timedelta(seconds=now_s - 1)
    with pytest.raises(TooManyTries, match="taken in 1 second"):
        accounts.sign_in.with_password("ann", PASSWORD, THERE, locked)
    assert accounts.sign_in.with_password("ann", PASSWORD, THERE, locked + MINUTE)
    assert failure(accounts, "ann", THERE, now_s + 61) == 0.0, "who came in begins anew"


def test_a_name_that_nobody_has_locks_like_one_that_somebody_has(accounts: Accounts) -> None:
    waits = {
        name: [failure(accounts, name, Caller(f"{name}-{n}")) for n in range(5)] for name in ("ann", "nobody-here")
    }
    assert waits["ann"] == waits["nobody-here"] == [0.0, 0.0, 0.0, 2.0, 2.0]


def test_the_name_is_one_however_it_is_written(accounts: Accounts) -> None:
    for number, name in enumerate(("ann", "ANN", " Ann ")):
        assert failure(accounts, name, Caller(f"198.51.100.{number}")) == 0.0
    assert failure(accounts, "aNN", Caller("198.51.100.9")) == 2.0


def test_one_address_cannot_go_through_many_names(accounts: Accounts) -> None:
    assert [failure(accounts, f"name{number}", THERE) for number in range(8)] == [0.0] * 6 + [2.0, 2.0]
    assert failure(accounts, "name9", HERE) == 0.0


def test_addresses_of_one_ipv6_network_are_one(accounts: Accounts) -> None:
    waits = [failure(accounts, f"name{number}", Caller(f"2001:db8::{number:x}:1")) for number in range(8)]
    assert waits == [0.0] * 6 + [2.0, 2.0]


def test_an_own_account_buys_no_more_guesses_at_others(accounts: Accounts) -> None:
    with_person(accounts, "eve", "viewer")
    taken = 0
    for number in range(20):
        taken += failure(accounts, f"name{number}", THERE) == 0.0
        try:
            accounts.sign_in.with_password("eve", PASSWORD, THERE, NOON)
        except TooManyTries:
            break
    assert taken <= 6


@ON_BOTH
def test_guesses_that_come_at_once_are_counted_before_they_are_checked(accounts: Accounts) -> None:
    waits: list[float] = []
    threads = [
        Thread(target=lambda n=number: waits.append(failure(accounts, "ann", Caller(f"198.51.100.{n}"))))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert sorted(waits) == [0.0] * 3 + [2.0] * 5


@ON_BOTH
def test_strangers_do_not_lock_out_a_browser_that_was_here_before(accounts: Accounts) -> None:
    device = accounts.sign_in.with_password("ann", PASSWORD, HERE, NOON).device
    while failure(accounts, "ann", THERE) == 0.0:
        pass
    with pytest.raises(TooManyTries):
        accounts.sign_in.with_password("ann", PASSWORD, HERE, NOON)
    known = HERE._replace(device=device)
    again = accounts.sign_in.with_password("ann", PASSWORD, known, NOON)
    assert again.session and not again.device, "the browser keeps the token that it has"
    # It has tries of its own, no more of them, and none at other names.
    assert [failure(accounts, "ann", known) for _ in range(5)] == [0.0] * 3 + [2.0] * 2
    with_person(accounts, "bob", "viewer")
    for number in range(7):
        wait_s = failure(accounts, f"name{number}", known)
    assert wait_s > 0.0, "the address waits"
    assert failure(accounts, "bob", known) > 0.0, "for bob, whose browser this never was"


@ON_BOTH
def test_a_day_later_failures_are_forgotten_and_swept(accounts: Accounts) -> None:
    for number in range(6):
        failure(accounts, f"name{number}", THERE)
    assert failure(accounts, "ann", THERE, 25 * 3600) == 0.0
    with accounts.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM account_tries").scalar_one() == 2


def test_an_admin_sees_who_waits_and_ends_it(accounts: Accounts) -> None:
    while failure(accounts, "ann", THERE) == 0.0:
        pass
    assert accounts.account("ann", NOON).locked_until == NOON + timedelta(seconds=2)
    accounts.unlock("ann", "root", NOON)
    assert accounts.account("ann", NOON).locked_until is None
    assert accounts.sign_in.with_password("ann", PASSWORD, HERE, NOON)


# Sessions


def test_a_session_sleeps_after_half_an_hour_and_ends_after_twelve_whatever_is_done(accounts: Accounts) -> None:
    session = accounts.sign_in.with_password("ann", PASSWORD, HERE, NOON).session
    assert accounts.sessions.person(session, NOON + 29 * MINUTE)
    assert accounts.sessions.person(session, NOON + 58 * MINUTE)
    assert accounts.sessions.person(session, NOON + 58 * MINUTE + 30 * MINUTE) is None
    busy = accounts.sign_in.with_password("ann", PASSWORD, HERE, NOON).session
    for minutes in range(0, 12 * 60, 20):
        assert accounts.sessions.person(busy, NOON + minutes * MINUTE)
    assert accounts.sessions.person(busy, NOON + 12 * 60 * MINUTE) is None


def test_what_a_page_asks_by_itself_keeps_no_session_awake(accounts: Accounts) -> None:
    session = accounts.sign_in.with_password("ann", PASSWORD, HERE, NOON).session
    for minutes in range(0, 30, 5):
        assert accounts.sessions.person(session, NOON + minutes * MINUTE, awake=False)
    assert accounts.sessions.person(session, NOON + 30 * MINUTE) is None


@ON_BOTH
def test_the_oldest_session_over_the_limit_ends(accounts: Accounts) -> None:
    sessions = [
        accounts.sign_in.with_password("ann", PASSWORD, HERE, NOON + number * MINUTE).session for number in range(4)
    ]
    alive = [accounts.sessions.person(session, NOON + 5 * MINUTE) is not None for session in sessions]
    assert alive == [False, True, True, True]
    assert len(set(sessions)) == 4


def test_nobody_ends_a_session_of_somebody_else(accounts: Accounts) -> None:
    with_person(accounts, "eve", "viewer")
    anns = accounts.sign_in.with_password("ann", PASSWORD, HERE, NOON).session
    eves = accounts.sign_in.with_password("eve", PASSWORD, THERE, NOON).session
    ann, eve = accounts.sessions.person(anns, NOON), accounts.sessions.person(eves, NOON)
    assert ann and eve
    assert not accounts.sessions.end(eve, ann.session_id, THERE, NOON)
    assert accounts.sessions.end_others(eve, THERE, NOON) == 0
    assert accounts.sessions.person(anns, NOON)
    assert accounts.sessions.end(ann, ann.session_id, HERE, NOON)
    assert accounts.sessions.person(anns, NOON) is None


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "\x00" * 43, "é" * 43, "' OR 1=1 --".ljust(43)])
def test_a_made_up_token_is_nobodys(accounts: Accounts, token: str) -> None:
    accounts.sign_in.with_password("ann", PASSWORD, HERE, NOON)
    assert accounts.sessions.person(token, NOON) is None


# Passwords


@pytest.mark.parametrize(
    "password",
    [
        *(
            "",
            "short",
            "elevenchars",
            "password1234",
            "P@ssw0rd2026!",
            "passwordpassword",
            "Welcome-2026!!",
            "qwertyuiop12",
        ),
        *("123456789012", "abcdefghijkl", "lkjhgfdsapoiuytrewq", "aaaaaaaaaaaaaa", "abababababab", "abcabcabcabcabc"),
        *(
            "ann.lee-2026",
            "ann.lee@example.org",
            "ANN.LEE.ANN.LEE",
            "headrace-admin-1",
            "x" * 300,
            "a\nriver\nand a mill",
        ),
        *("correcthorsebatterystaple", "１２３４５６７８９０１２"),
    ],
)
def test_the_first_guesses_are_not_taken(password: str) -> None:
    with pytest.raises(WeakPassword) as error:
        check_password(password, "ann.lee@example.org")
    assert not password or password not in str(error.value)


@pytest.mark.parametrize(
    "password",
    [
        "a river, a wheel and a mill",
        "tq7#Lw0!zR4p",
        "fünf große Mühlen",
        "川の流れは絶えずしてしかも",
        "xk" * 3 + "9%Vm-a2",
    ],
)
def test_long_ones_that_nobody_guesses_are_taken(password: str) -> None:
    check_password(password, "ann.lee@example.org")


def test_a_password_is_the_same_however_its_letters_are_composed() -> None:
    passwords = Passwords(CHEAP)
    kept = passwords.hash("fünf große Mühlen")
    assert passwords.is_right(kept, "fünf große Mühlen")
    assert not passwords.is_right(kept, "fünf grosse Mühlen")
    assert not passwords.is_right(kept, "fünf große Mühlen" + "x" * 100_000)
    assert kept.startswith("$argon2id$")
