"""Who a case can be given to, kept for some seconds: each page of a case offers them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import blake2b

from review.accounts import Accounts
from review.person import Role, at_least

KEPT = timedelta(seconds=15)


class Colleagues:
    """Names of the accounts that can sign in, by role. Safe to call from several threads; two may read at once."""

    def __init__(self, accounts: Accounts, clock: Callable[[], datetime]) -> None:
        self._accounts = accounts
        self._clock = clock
        self._kept: tuple[datetime, tuple[tuple[str, Role], ...]] | None = None

    def names(self, needed: Role = "analyst") -> list[str]:
        """Everybody who may do what `needed` may."""
        now, kept = self._clock(), self._kept
        if kept is None or now - kept[0] > KEPT:
            found = tuple((one.name, one.role) for one in self._accounts.all(now) if one.state == "active")
            kept = self._kept = (now, found)
        return [name for name, role in kept[1] if at_least(role, needed)]

    def lead_for(self, case_id: str, but: str) -> str | None:
        """Whom a case is escalated to: one of the leads, by the case's id, so that it comes to the same one again.

        An admin where there is no lead, and never who escalates; None where nobody is left.
        """
        leads, admins = self.names("lead"), self.names("admin")
        for names in ([name for name in leads if name not in admins], admins):
            others = [name for name in names if name != but]
            if others:
                return others[int.from_bytes(blake2b(case_id.encode(), digest_size=4).digest(), "big") % len(others)]
        return None
