"""Accounts: who may use the pages, as what, until when; what admins do to them and people to their own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from review.account import (
    Account,
    AccountEntry,
    AccountError,
    AccountPolicy,
    Caller,
    UnknownAccount,
    WrongPassword,
)
from review.account_audit import entries, note
from review.account_tables import ACCOUNTS, LINKS, SESSIONS, add_account
from review.engine import Database
from review.one_time_links import OneTimeLinks, make_link
from review.password_rules import check_password
from review.passwords import Passwords
from review.person import Person, Role, name_of
from review.sessions import Sessions, end_sessions
from review.sign_in import SignIn
from review.tries import clear, key_of, locked_until
from stream.records import from_micros, micros


class Accounts:
    """All of accounts over one database: `sign_in`, `sessions`, `links`, and what admins do.

    Safe to use from several threads and processes. Every call may block; those that hash a password do for long.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords | None = None,
        policy: AccountPolicy = AccountPolicy(),  # noqa: B008 - immutable
    ) -> None:
        self.database = database
        self._passwords = passwords or Passwords()
        self.policy = policy
        self.sessions = Sessions(database, policy)
        self.sign_in = SignIn(database, self._passwords, policy)
        self.links = OneTimeLinks(database, self._passwords, policy)

    # Reading

    def all(self, now: datetime) -> list[Account]:
        """Every account by name, those that are off too."""
        alive = (SESSIONS.c.account_id == ACCOUNTS.c.account_id) & (SESSIONS.c.ends_at_us > micros(now))
        alive &= SESSIONS.c.seen_at_us > micros(now - self.policy.idle)
        count = select(func.count()).select_from(SESSIONS).where(alive).scalar_subquery().label("open_sessions")
        with self.database.reading() as connection:
            rows = connection.execute(select(ACCOUNTS, count).order_by(ACCOUNTS.c.name)).all()
            return [self._read(connection, row, now) for row in rows]

    def account(self, name: str, now: datetime) -> Account:
        """One account. Raises `UnknownAccount`."""
        found = [one for one in self.all(now) if one.name == name]
        if not found:
            raise UnknownAccount(f"there is no account {name!r}")
        return found[0]

    def entries(self, name: str | None = None, limit: int = 100) -> list[AccountEntry]:
        """The newest lines of the audit, of one account or of all, the newest first."""
        with self.database.reading() as connection:
            return entries(connection, name, limit)

    # What admins do

    def invite(self, name: str, role: Role, by: str, now: datetime) -> str:
        """Make an account and the token of the link that sets its password. Raises `InvalidName`, `AccountError`."""
        name = name_of(name)
        with self.database.writing() as connection:
            if not add_account(connection, name=name, role=role, state="invited", made_at_us=micros(now)):
                raise AccountError(f"there is an account {name!r}; names are given once, choose another or make a link")
            note(connection, "invited", name, now, by=by, detail=role)
            account = self._get(connection, name)
            return make_link(connection, account.account_id, now, self.policy.invitation_lasts)

    def set_role(self, name: str, role: Role, by: str, now: datetime) -> None:
        """Give an account another role, from its next request on. Raises `AccountError` for the last admin."""
        with self.database.writing() as connection:
            admins = self._admins(connection)
            account = self._get(connection, name)
            if account.role == role:
                return
            if account.subject is not None:
                raise AccountError(f"the role of {name!r} comes from the provider; change it there")
            self._demand_another(admins, account)
            self._change(connection, account, role=role)
            note(connection, "role_changed", name, now, by=by, detail=f"{account.role} to {role}")

    def turn_off(self, name: str, by: str, now: datetime) -> None:
        """Keep somebody out from now on: sessions end, links are dead. Raises `AccountError` for the last admin."""
        with self.database.writing() as connection:
            admins = self._admins(connection)
            account = self._get(connection, name)
            if account.state == "off":
                return
            self._demand_another(admins, account)
            self._change(connection, account, state="off")
            connection.execute(LINKS.delete().where(LINKS.c.account_id == account.account_id))
            end_sessions(connection, account.account_id)
            note(connection, "turned_off", name, now, by=by)

    def turn_on(self, name: str, by: str, now: datetime) -> None:
        """Let somebody in again, with the role and password they had."""
        with self.database.writing() as connection:
            account = self._get(connection, name)
            if account.state == "off":
                can_sign_in = account.password is not None or account.subject is not None
                self._change(connection, account, state="active" if can_sign_in else "invited")
                note(connection, "turned_on", name, now, by=by)

    def unlock(self, name: str, by: str, now: datetime) -> None:
        """Forget the failed tries of a name."""
        with self.database.writing() as connection:
            self._get(connection, name)
            clear(connection, [key_of("name", name), key_of("again", name)])
            note(connection, "unlocked", name, now, by=by)

    def end_sessions(self, name: str, by: str, now: datetime) -> int:
        """Sign somebody out everywhere; how many sessions there were."""
        with self.database.writing() as connection:
            ended = end_sessions(connection, self._get(connection, name).account_id)
            note(connection, "session_ended", name, now, by=by, detail=f"all {ended}")
        return ended

    # What people do to their own

    def change_password(self, person: Person, old: str, new: str, caller: Caller, now: datetime) -> None:
        """Change one's password; other sessions and links end. Raises what `check_again` does, and `WeakPassword`."""
        check_password(new, person.name)
        before = self.sign_in.check_again(person, old, caller, now)
        kept = self._passwords.hash(new)
        with self.database.writing() as connection:
            account = self._get(connection, person.name)
            if account.state != "active" or account.password != before:
                raise WrongPassword  # Changed while we hashed: by a link, of whoever the account is given back to.
            self._change(connection, account, password=kept)
            connection.execute(LINKS.delete().where(LINKS.c.account_id == account.account_id))
            end_sessions(connection, account.account_id, but=person.session_id)
            note(connection, "password_changed", person.name, now, caller=caller)

    def _find(self, connection: Connection, name: str) -> Row[Any] | None:
        return connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.name == name).with_for_update()).first()

    def _get(self, connection: Connection, name: str) -> Row[Any]:
        account = self._find(connection, name)
        if account is None:
            raise UnknownAccount(f"there is no account {name!r}")
        return account

    def _admins(self, connection: Connection) -> list[int]:
        """Who is an admin now, locked: two who turn each other off at once must not both be let."""
        found = select(ACCOUNTS.c.account_id).where(ACCOUNTS.c.role == "admin", ACCOUNTS.c.state == "active")
        return list(connection.execute(found.order_by(ACCOUNTS.c.account_id).with_for_update()).scalars())

    def _demand_another(self, admins: list[int], account: Row[Any]) -> None:
        if admins == [account.account_id]:
            raise AccountError(f"{account.name!r} is the only admin; make another one first")

    def _change(self, connection: Connection, account: Row[Any], **values: object) -> None:
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.account_id == account.account_id).values(**values))

    def _read(self, connection: Connection, row: Row[Any], now: datetime) -> Account:
        return Account(
            account_id=row.account_id,
            name=row.name,
            role=row.role,
            state=row.state,
            has_password=row.password is not None,
            is_provided=row.subject is not None,
            made_at=from_micros(row.made_at_us),
            signed_in_at=None if row.signed_in_at_us is None else from_micros(row.signed_in_at_us),
            sessions=row.open_sessions,
            locked_until=locked_until(connection, key_of("name", row.name), now),
        )
