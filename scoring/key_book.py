"""What the steps of the keys' history come to: which keys there are, with which secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from scoring.key_steps import Created, KeyStep, Revoked, Rotated
from scoring.rule_book import ForbiddenStep

KEYS_LIMIT = 1000


@dataclass(frozen=True)
class Kept:
    """A key that was not revoked: how it was made, its digest, and the one before with the time until it is taken."""

    made: Created
    digest: str
    old_digest: str | None = None
    old_until: datetime | None = None


@dataclass
class KeyBook:
    """The keys, by id, after `version` steps."""

    version: int = 0
    keys: dict[str, Kept] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)

    def check(self, step: KeyStep) -> None:
        """Raises `ForbiddenStep` where the step cannot be done to these keys."""
        match step:
            case Created(key=key) if key in self.keys or key in self.revoked:
                raise ForbiddenStep(f"there was a key {key!r} before; make another")
            case Created() if len(self.keys) >= KEYS_LIMIT:
                raise ForbiddenStep(f"there are {KEYS_LIMIT:,} keys; revoke what nobody uses")
            case Rotated(key=key) | Revoked(key=key) if key in self.revoked:
                raise ForbiddenStep(f"key {key!r} was revoked; make another with 'headrace keys create'")
            case Rotated(key=key) | Revoked(key=key) if key not in self.keys:
                raise ForbiddenStep(f"there is no key {key!r}; see 'headrace keys list'")

    def apply(self, step: KeyStep) -> None:
        """Do one step, or raise `ForbiddenStep`; either way it is the next version."""
        self.version += 1
        self.check(step)
        match step:
            case Created():
                self.keys[step.key] = Kept(step, step.digest)
            case Rotated():
                kept = self.keys[step.key]
                self.keys[step.key] = Kept(kept.made, step.digest, kept.digest, step.old_until)
            case Revoked():
                del self.keys[step.key]
                self.revoked.add(step.key)
