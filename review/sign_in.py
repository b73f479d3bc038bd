"""Signing in: a name and a password, or what an OIDC provider vouches for, become a session."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select, update

from review.account import AccountError, AccountPolicy, Caller, Delay, TooManyTries, WrongPassword
from review.account_audit import note
from review.account_tables import ACCOUNTS, add_account
from review.admission import SignedIn, admit, is_known_device
from review.engine import Database
from review.passwords import Passwords
from review.person import NAME, Person, Role, name_of
from review.secret_token import hash_of
from review.sessions import end_sessions
from review.tries import Key, block_of, charge, clear, forgive, key_of, sweep, touch
from stream.records import micros

_log = logging.getLogger(__name__)


class Vouched(NamedTuple):
    """What an OIDC provider says of somebody. `subject` is what it never gives to another; a name it may."""

    subject: str
    name: str
    role: Role | None


class SignIn:
    """Who may come in. A name that nobody has is answered like a wrong password, with the same work before."""

    def __init__(self, database: Database, passwords: Passwords, policy: AccountPolicy) -> None:
        self._database = database
        self._passwords = passwords
        self._policy = policy

    def with_password(self, name: str, password: str, caller: Caller, now: datetime) -> SignedIn:
        """A session for whoever knows the password. Blocks for as long as hashing takes.

        1. Count the try as failed.  2. Hash.  3. Take the count back if it was right.
        In another order, guesses that arrive together would all be checked before any was counted.

        Raises `WrongPassword`; `TooManyTries` without looking at the password.
        """
        name = name.strip().lower()[:64]
        address = key_of("address", block_of(caller.address))
        with self._database.reading() as connection:
            is_known = is_known_device(connection, caller.device, name, now)
        # A browser that its owner signed in with before waits for its own failures alone: strangers who guess at the
        # name, or from the same office, do not lock the owner out.
        own = key_of("device", hash_of(caller.device).hex()) if is_known else key_of("name", name)
        delays = {own: self._policy.name_delay} | ({} if is_known else {address: self._policy.address_delay})
        account = self._demand(name, password, delays, caller, now)
        anew = self._passwords.hash(password) if self._passwords.is_outdated(account.password) else account.password
        with self._database.writing() as connection:
            current = self._account(connection, name)
            if current is None or current.state != "active" or current.password != account.password:
                raise WrongPassword  # changed while we hashed
            changed = update(ACCOUNTS).where(ACCOUNTS.c.name == name)
            connection.execute(changed.values(password=anew))
            clear(connection, [own])
            if not is_known:
                forgive(connection, address)
            return admit(connection, self._policy, current, caller, now, "password")

    def vouched(self, by_provider: Vouched, caller: Caller, now: datetime) -> SignedIn:
        """A session for whom the provider vouches; their account is made the first time, and has the role it says now.

        An account of that name without this subject is never opened. Raises `AccountError` and `InvalidName`.
        """
        with self._database.writing() as connection:
            account = self._vouched_account(connection, by_provider, caller, now)
            if account is not None and account.state == "active" and by_provider.role is not None:
                return admit(connection, self._policy, account, caller, now, "provider")
            if account is not None:
                end_sessions(connection, account.account_id)
                why = "no role" if by_provider.role is None else account.state
                note(connection, "refused", account.name, now, caller=caller, detail=why)
        if by_provider.role is None:
            raise AccountError("you have no role here; ask whoever gives roles at your sign-in provider")
        raise AccountError("this account is turned off; an admin can turn it on")

    def check_again(self, person: Person, password: str, caller: Caller, now: datetime) -> str:
        """What is kept of the password, once whoever sits there knows it: a deed that a found browser must not do.

        Counts as a try. Raises `WrongPassword` and `TooManyTries`.
        """
        key = key_of("again", person.name)
        account = self._demand(person.name, password, {key: self._policy.name_delay}, caller, now)
        with self._database.writing() as connection:
            clear(connection, [key])
        return str(account.password)

    def _demand(self, name: str, password: str, delays: dict[Key, Delay], caller: Caller, now: datetime) -> Row[Any]:
        try:
            with self._database.writing() as connection:
                charge(connection, delays, now, self._policy.tries_forgotten)
                account = self._account(connection, name)
        except TooManyTries as error:
            _log.warning("sign-in from %s: no try is taken for %.0f s", caller.address, error.wait_s)
            raise
        kept = account.password if account is not None and account.state == "active" else None
        if self._passwords.is_right(kept, password) and account is not None:
            return account
        with self._database.writing() as connection:
            sweep(connection, now, self._policy.tries_forgotten)
            # One durable write either way. What a stranger typed as a name is not noted: it may be a password.
            if account is None:
                touch(connection, next(iter(delays)), now)
            else:
                note(connection, "refused", name, now, caller=caller, detail="password")
        raise WrongPassword

    def _account(self, connection: Connection, name: str) -> Row[Any] | None:
        if not NAME.fullmatch(name):
            name = ""  # Nobody's; asked for all the same. Not every text can be asked for.
        return connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.name == name).with_for_update()).first()

    def _vouched_account(self, connection: Connection, one: Vouched, caller: Caller, now: datetime) -> Row[Any] | None:
        theirs = select(ACCOUNTS).where(ACCOUNTS.c.subject == one.subject).with_for_update()
        account = connection.execute(theirs).first()
        if one.role is None:
            return account
        if account is None:
            name = name_of(one.name)
            row = {"name": name, "role": one.role, "state": "active", "subject": one.subject}
            if add_account(connection, **row, made_at_us=micros(now)):
                note(connection, "invited", name, now, by="provider", caller=caller, detail=one.role)
            elif connection.execute(theirs).first() is None:
                raise AccountError(f"the name {name!r} is another account's; an admin of this site can invite you")
        elif account.role != one.role:
            changed = update(ACCOUNTS).where(ACCOUNTS.c.account_id == account.account_id)
            connection.execute(changed.values(role=one.role))
            detail = f"{account.role} to {one.role}"
            note(connection, "role_changed", account.name, now, by="provider", detail=detail)
        return connection.execute(theirs).one()
