"""Who asks: a person's name and role, as each page gets them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeGuard

Role = Literal["viewer", "analyst", "lead", "admin"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "analyst", "lead", "admin")
"""Each may do all that those before it may."""

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{1,55}")
RESERVED_NAMES: Final = frozenset({"headrace", "keeper", "nobody", "system"})
"""What the audit calls deeds that no person did."""


class InvalidName(ValueError):
    """No account can have this name."""


def is_role(text: object) -> TypeGuard[Role]:
    """Whether it is one of `ROLES`."""
    return text in ROLES


def at_least(role: Role, needed: Role) -> bool:
    """Whether a role may do what `needed` may.

    >>> at_least("lead", "analyst"), at_least("viewer", "analyst")
    (True, False)
    """
    return ROLES.index(role) >= ROLES.index(needed)


def name_of(text: str) -> str:
    """The name that an account of this text has: without case, so that no two look alike. Raises `InvalidName`.

    >>> name_of(" Ann@Example.org ")
    'ann@example.org'
    """
    name = text.strip().lower()
    if not NAME.fullmatch(name) or name in RESERVED_NAMES:
        raise InvalidName(
            f"{text[:64]!r} is no name for an account; use 2 to 56 of a-z, 0-9 and . _ @ + -, beginning with one of "
            f"a-z and 0-9, and none of {', '.join(sorted(RESERVED_NAMES))}"
        )
    return name


def roles_of(text: str) -> dict[str, Role]:
    """Which words of a sign-in provider make which role: `word=role`, with commas; empty: each role by its name.

    >>> roles_of("fraud-team=analyst,fraud-admins=admin")
    {'fraud-team': 'analyst', 'fraud-admins': 'admin'}
    """
    if not text:
        return {role: role for role in ROLES}
    roles: dict[str, Role] = {}
    for pair in text.split(","):
        value, _, role = pair.strip().rpartition("=")
        if not value or not is_role(role):
            raise ValueError(f"{pair.strip()!r} is not like fraud-team=analyst, with a role of {', '.join(ROLES)}")
        roles[value] = role
    return roles


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in. `session_id` names the session and opens nothing; `csrf` goes into each of its forms."""

    name: str
    role: Role
    session_id: str
    csrf: str = field(repr=False)
    account_id: int = 0

    def may(self, needed: Role) -> bool:
        """Whether this role is `needed` or above it."""
        return at_least(self.role, needed)
