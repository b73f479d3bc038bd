"""One-time links: who has one sets the account's password, once. No password is a default, and none is ever sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from review.account import AccountError, AccountPolicy, Caller, DeadLink, UnknownAccount
from review.account_audit import note
from review.account_tables import ACCOUNTS, LINKS, add_account
from review.admission import SignedIn, admit
from review.engine import Database
from review.password_rules import check_password
from review.passwords import Passwords
from review.person import Role, name_of
from review.secret_token import hash_of, new_token
from review.sessions import end_sessions
from review.tries import clear, key_of
from stream.records import micros


class Invitation(NamedTuple):
    """What a link is for. Without a name it makes the first admin, who chooses one."""

    name: str | None
    role: Role


def make_link(connection: Connection, account_id: int | None, now: datetime, lasts: timedelta) -> str:
    """A link's token, this once. It replaces the account's link before it, if there is one."""
    token = new_token()
    same = LINKS.c.account_id.is_(None) if account_id is None else LINKS.c.account_id == account_id
    connection.execute(delete(LINKS).where(or_(same, LINKS.c.ends_at_us <= micros(now))))
    row = {"account_id": account_id, "made_at_us": micros(now), "ends_at_us": micros(now + lasts)}
    connection.execute(insert(LINKS).values(token_hash=hash_of(token), **row))
    return token


def has_admin(connection: Connection) -> bool:
    """Whether somebody can invite others."""
    admins = select(ACCOUNTS.c.account_id).where(ACCOUNTS.c.role == "admin", ACCOUNTS.c.state == "active")
    return connection.execute(admins.limit(1)).first() is not None


class OneTimeLinks:
    """Makes links, says what they are for, and lets each be used once.

    Looking at a link does not use it: mail scanners and previews look at every one.
    """

    def __init__(self, database: Database, passwords: Passwords, policy: AccountPolicy) -> None:
        self._database = database
        self._passwords = passwords
        self._policy = policy

    def first(self, now: datetime) -> str | None:
        """The token of a link that makes the first admin; None where there is an admin. The ones before it are dead."""
        with self._database.writing() as connection:
            if has_admin(connection):
                return None
            return make_link(connection, None, now, self._policy.link_lasts)

    def make(self, name: str, by: str, now: datetime) -> str:
        """The token of a link that sets the password of an account. Its password and sessions stand until it is used.

        Raises `UnknownAccount`; `AccountError` for one that is off or has no password here.
        """
        with self._database.writing() as connection:
            account = _account(connection, name)
            if account is None:
                raise UnknownAccount(f"there is no account {name!r}")
            if account.state == "off":
                raise AccountError(f"the account {name!r} is turned off; turn it on first")
            if account.subject is not None:
                raise AccountError(f"{name!r} signs in with the provider, which has their password")
            is_new = account.state == "invited"
            lasts = self._policy.invitation_lasts if is_new else self._policy.link_lasts
            note(connection, "link_made", name, now, by=by)
            return make_link(connection, account.account_id, now, lasts)

    def look(self, token: str, now: datetime) -> Invitation:
        """What a link is for. Raises `DeadLink`."""
        with self._database.reading() as connection:
            return self._look(connection, token, now)[0]

    def use(self, token: str, name: str, password: str, caller: Caller, now: datetime) -> SignedIn:
        """Set the password, end what sessions the account had, and sign in. Blocks for as long as hashing takes.

        `name` counts only where the link has none. A password or name that is not taken uses nothing up: raises
        `WeakPassword`, `InvalidName`, `AccountError`. Raises `DeadLink`.
        """
        with self._database.reading() as connection:
            invitation, _ = self._look(connection, token, now)
        name = invitation.name or name_of(name)
        check_password(password, name)
        kept = self._passwords.hash(password)
        with self._database.writing() as connection:
            _, account_id = self._look(connection, token, now)
            # Of two that come at once, one deletes the row.
            if not connection.execute(delete(LINKS).where(_is_of(token, now))).rowcount:
                raise DeadLink
            if account_id is None:
                row = {"name": name, "role": "admin", "state": "active", "password": kept, "made_at_us": micros(now)}
                if not add_account(connection, **row):
                    raise AccountError(f"the name {name!r} is taken; choose another")
            else:
                changed = update(ACCOUNTS).where(ACCOUNTS.c.account_id == account_id)
                connection.execute(changed.values(password=kept, state="active"))
                end_sessions(connection, account_id)
            clear(connection, [key_of("name", name), key_of("again", name)])
            note(connection, "password_set", name, now, caller=caller, detail="by a one-time link")
            account = _account(connection, name)
            assert account is not None
            return admit(connection, self._policy, account, caller, now, "one-time link")

    def _look(self, connection: Connection, token: str, now: datetime) -> tuple[Invitation, int | None]:
        link = connection.execute(select(LINKS).where(_is_of(token, now))).first()
        if link is None:
            raise DeadLink
        if link.account_id is None:
            if has_admin(connection):
                raise DeadLink  # somebody else is the first admin
            return Invitation(None, "admin"), None
        account = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.account_id == link.account_id)).one()
        if account.state == "off" or account.subject is not None:
            raise DeadLink
        return Invitation(account.name, account.role), account.account_id


def _is_of(token: str, now: datetime) -> Any:
    return (LINKS.c.token_hash == hash_of(token)) & (LINKS.c.ends_at_us > micros(now))


def _account(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.name == name).with_for_update()).first()
