"""Sessions: which browsers are signed in, as whom, until when."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from review.account import AGENT_LIMIT, AccountDeed, AccountPolicy, Caller, Session
from review.account_audit import note
from review.account_tables import ACCOUNTS, SESSIONS
from review.engine import CasesUnavailable, Database
from review.person import Person
from review.secret_token import csrf_of, hash_of, new_token
from stream.records import from_micros, micros

SWEPT_LIMIT = 1000


def open_session(
    connection: Connection,
    account_id: int,
    caller: Caller,
    now: datetime,
    policy: AccountPolicy,
) -> str:
    """A new session's token, for the cookie, this once. The account's oldest sessions over the limit end.

    Always a new token: one that a browser brought along may be known to whoever put it there.
    """
    token = new_token()
    row = {
        "session_id": secrets.token_hex(8),
        "token_hash": hash_of(token),
        "account_id": account_id,
        "made_at_us": micros(now),
        "seen_at_us": micros(now),
        "ends_at_us": micros(now + policy.longest),
        "address": caller.address,
        "agent": caller.agent[:AGENT_LIMIT],
    }
    connection.execute(insert(SESSIONS).values(row))
    over = select(SESSIONS.c.session_id).where(SESSIONS.c.account_id == account_id)
    over = over.order_by(SESSIONS.c.seen_at_us.desc(), SESSIONS.c.made_at_us.desc())
    kept = [one.session_id for one in connection.execute(over.limit(policy.sessions_limit))]
    if len(kept) == policy.sessions_limit:
        older = and_(SESSIONS.c.account_id == account_id, SESSIONS.c.session_id.not_in([*kept, row["session_id"]]))
        connection.execute(delete(SESSIONS).where(older))
    sweep_sessions(connection, now, policy)
    return token


def sweep_sessions(connection: Connection, now: datetime, policy: AccountPolicy) -> None:
    """Delete some of what is over."""
    over = select(SESSIONS.c.session_id).where(~_is_alive(now, policy)).limit(SWEPT_LIMIT)
    connection.execute(delete(SESSIONS).where(SESSIONS.c.session_id.in_(over)))


def end_sessions(connection: Connection, account_id: int, but: str = "") -> int:
    """End all sessions of an account, but one if it is named; how many there were."""
    gone = delete(SESSIONS).where(SESSIONS.c.account_id == account_id, SESSIONS.c.session_id != but)
    return connection.execute(gone).rowcount


def _is_alive(now: datetime, policy: AccountPolicy) -> ColumnElement[bool]:
    return and_(SESSIONS.c.ends_at_us > micros(now), SESSIONS.c.seen_at_us > micros(now - policy.idle))


class Sessions:
    """Looks a cookie up at every request, so that whatever is done to an account holds from the next one on."""

    def __init__(self, database: Database, policy: AccountPolicy) -> None:
        self._database = database
        self._policy = policy

    def person(self, token: str, now: datetime, *, awake: bool = True) -> Person | None:
        """Whose session this is; None for one that is unknown, over or of an account that is off.

        `awake`: somebody did something. What a page asks by itself keeps no session from ending.
        """
        found = (
            select(
                SESSIONS.c.session_id, SESSIONS.c.seen_at_us, ACCOUNTS.c.account_id, ACCOUNTS.c.name, ACCOUNTS.c.role
            )
            .join(ACCOUNTS, ACCOUNTS.c.account_id == SESSIONS.c.account_id)
            .where(SESSIONS.c.token_hash == hash_of(token), ACCOUNTS.c.state == "active")
            .where(_is_alive(now, self._policy))
        )
        with self._database.reading() as connection:
            row = connection.execute(found).first()
        if row is None:
            return None
        if awake and row.seen_at_us <= micros(now - self._policy.seen_every):
            # A store that is too busy to be written to for a moment keeps nobody from reading.
            with suppress(CasesUnavailable), self._database.writing() as connection:
                seen = update(SESSIONS).where(SESSIONS.c.session_id == row.session_id)
                connection.execute(seen.values(seen_at_us=micros(now)))
        return Person(row.name, row.role, row.session_id, csrf_of(token), row.account_id)

    def of(self, account_id: int, now: datetime) -> list[Session]:
        """An account's sessions, the last used first."""
        alive = select(SESSIONS).where(SESSIONS.c.account_id == account_id, _is_alive(now, self._policy))
        with self._database.reading() as connection:
            rows = connection.execute(alive.order_by(SESSIONS.c.seen_at_us.desc())).all()
        return [
            Session(
                row.session_id,
                from_micros(row.made_at_us),
                from_micros(row.seen_at_us),
                from_micros(row.ends_at_us),
                row.address,
                row.agent,
            )
            for row in rows
        ]

    def sign_out(self, person: Person, caller: Caller, now: datetime) -> None:
        """End the session that the person asks with."""
        self._end(person, person.session_id, "signed_out", caller, now)

    def end(self, person: Person, session_id: str, caller: Caller, now: datetime) -> bool:
        """End one of the person's own sessions; False where they have none of that id, whoever else does."""
        return self._end(person, session_id, "session_ended", caller, now)

    def end_others(self, person: Person, caller: Caller, now: datetime) -> int:
        """End all of the person's sessions but the one they ask with; how many."""
        with self._database.writing() as connection:
            ended = end_sessions(connection, person.account_id, but=person.session_id)
            if ended:
                detail = f"{ended} other{'' if ended == 1 else 's'}"
                note(connection, "session_ended", person.name, now, caller=caller, detail=detail)
        return ended

    def _end(self, person: Person, session_id: str, deed: AccountDeed, caller: Caller, now: datetime) -> bool:
        theirs = and_(SESSIONS.c.session_id == session_id, SESSIONS.c.account_id == person.account_id)
        with self._database.writing() as connection:
            ended = connection.execute(delete(SESSIONS).where(theirs)).rowcount > 0
            if ended:
                note(connection, deed, person.name, now, caller=caller)
        return ended
