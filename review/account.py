"""What an account is, what was done to it, and what may go wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from review.person import Role

State = Literal["invited", "active", "off"]
"""`invited`: no password yet. `off`: cannot sign in, and its name is never given again."""

AccountDeed = Literal[
    "signed_in",
    "refused",
    "signed_out",
    "session_ended",
    "invited",
    "link_made",
    "password_set",
    "password_changed",
    "role_changed",
    "turned_off",
    "turned_on",
    "unlocked",
]

AGENT_LIMIT = 200


class Caller(NamedTuple):
    """Where a request comes from. `device` is the token of a browser that signed in before, if it sent one."""

    address: str = ""
    agent: str = ""
    device: str = ""


class Delay(NamedTuple):
    """How long to wait after failed tries: nothing for the first `free` ones, then doubling from `first_s`."""

    free: int
    first_s: float = 2.0
    longest_s: float = 900.0

    def after(self, failures: int) -> timedelta:
        """The wait after so many failures.

        >>> [Delay(free=2).after(failures).total_seconds() for failures in (1, 2, 3, 4, 99)]
        [0.0, 2.0, 4.0, 8.0, 900.0]
        """
        if failures < self.free:
            return timedelta()
        return timedelta(seconds=min(self.first_s * 2.0 ** min(failures - self.free, 60), self.longest_s))


class AccountPolicy(NamedTuple):
    """How long things last, and how many there may be."""

    idle: timedelta = timedelta(minutes=30)
    longest: timedelta = timedelta(hours=12)
    seen_every: timedelta = timedelta(seconds=60)
    link_lasts: timedelta = timedelta(hours=1)
    invitation_lasts: timedelta = timedelta(hours=24)
    name_delay: Delay = Delay(free=5)
    # An office has one address for all its people.
    address_delay: Delay = Delay(free=30)
    tries_forgotten: timedelta = timedelta(hours=24)
    sessions_limit: int = 20
    devices_limit: int = 10


@dataclass(frozen=True, slots=True)
class Account:
    """One person's account, as the page of accounts shows it."""

    account_id: int
    name: str
    role: Role
    state: State
    has_password: bool
    is_provided: bool
    """Whether its role comes from an OIDC provider."""
    made_at: datetime
    signed_in_at: datetime | None
    sessions: int = 0
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is signed in."""

    session_id: str
    made_at: datetime
    seen_at: datetime
    ends_at: datetime
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """One line of the accounts' audit. `by` did `deed` to the account `name`."""

    at: datetime
    name: str
    deed: AccountDeed
    by: str
    address: str
    agent: str
    detail: str


class AccountError(ValueError):
    """What was asked of an account cannot be done; the text says what can."""


class UnknownAccount(LookupError):
    """There is no such account."""


class WrongPassword(AccountError):
    """Name and password do not belong together, whichever of them is wrong."""

    def __init__(self) -> None:
        super().__init__("this name and password do not belong together")


class TooManyTries(AccountError):
    """Too many failed tries; `wait_s` later another one is taken."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(f"too many tries; the next one is taken in {spoken(wait_s)}")


class DeadLink(AccountError):
    """A one-time link that is unknown, used or over."""

    def __init__(self) -> None:
        super().__init__("this link was used, is over or never was; ask an admin for a new one")


def spoken(seconds: float) -> str:
    """A wait in words, rounded up.

    >>> spoken(1.2), spoken(61), spoken(900)
    ('2 seconds', '2 minutes', '15 minutes')
    """
    whole = max(1, -int(-seconds // 1))
    if whole <= 60:
        return f"{whole} second{'' if whole == 1 else 's'}"
    return f"{-(-whole // 60)} minutes"
