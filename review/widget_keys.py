"""Keys that sign widgets' addresses: named, revocable, and without a secret in the database.

A secret is derived: the HMAC of the key's id with the deployment's own secret, which is a setting or a file of the
home. So what verifies a signature is made anew each time, and neither the database nor a copy of it can sign anything.
Whoever has the deployment's secret can sign with any key; who changes it makes every link invalid.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import msgspec
from sqlalchemy import func, insert, select, update

from review.engine import Database
from review.refusals import Refused
from review.widget_tables import KEYS, LINKS
from stream.card_key import LEAST_CHARACTERS, make_key
from stream.records import from_micros, micros

FILE = "widget.key"
NAME_LIMIT = 64
KEYS_LIMIT = 100
Standing = Literal["good", "revoked", "unknown"]


class NoWidgetSecret(RuntimeError):
    """The deployment's secret cannot be read. A retry helps once it can."""


class WidgetKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key, as it may be shown."""

    key_id: str
    name: str
    made_at: datetime
    made_by: str
    revoked_at: datetime | None = None
    revoked_by: str | None = None


class DeploymentSecret:
    """The text of the setting, or `<home>/widget.key`, which the first that needs it makes, for its owner alone."""

    def __init__(self, home: Path, given: str = "") -> None:
        if given and len(given) < LEAST_CHARACTERS:
            raise ValueError(f"a secret of {len(given)} characters can be guessed; give at least {LEAST_CHARACTERS}")
        self.path = home / FILE
        self._key = _bytes_of(given) if given else None

    def __call__(self) -> bytes:
        """Its 32 bytes. Raises `NoWidgetSecret`."""
        if self._key is None:
            try:
                if not self.path.exists():
                    make_key(self.path)
                text = self.path.read_text().strip()
            except (OSError, ValueError) as error:
                words = f"widgets need a secret, and {self.path} cannot be used: {error}; set HEADRACE_WIDGET_KEY_FILE"
                raise NoWidgetSecret(words) from error
            if len(text) < LEAST_CHARACTERS:
                raise NoWidgetSecret(f"{self.path} holds no secret; restore it, or delete it: then links end at once")
            self._key = _bytes_of(text)
        return self._key


class WidgetKeys:
    """The keys of one store. Any thread may use it. Every method but `secret_of` raises `CasesUnavailable`."""

    def __init__(self, database: Database, deployment: Callable[[], bytes]) -> None:
        self.database = database
        self._deployment = deployment

    def make(self, name: str, by: str, at: datetime) -> tuple[WidgetKey, str]:
        """A key, and its secret, which is shown this once. Raises `Refused` and `NoWidgetSecret`."""
        name = name.strip()
        if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable():
            raise Refused(f"a key needs a name of 1 to {NAME_LIMIT} printable characters")
        key = WidgetKey(key_id=secrets.token_hex(6), name=name, made_at=at, made_by=by)
        secret = self.secret_of(key.key_id)
        with self.database.writing() as db:
            standing = select(func.count()).select_from(KEYS).where(KEYS.c.revoked_at_us.is_(None))
            if db.execute(standing.where(KEYS.c.name == name)).scalar_one():
                raise Refused(f"there is a key {name!r}; revoke it first, or give another name")
            if db.execute(standing).scalar_one() >= KEYS_LIMIT:
                raise Refused(f"there are {KEYS_LIMIT} keys; revoke one that is not needed")
            row = {"key_id": key.key_id, "name": name, "made_at_us": micros(at), "made_by": by}
            db.execute(insert(KEYS).values(**row))
        return key, secret

    def revoke(self, name: str, by: str, at: datetime) -> WidgetKey:
        """End a key, by its name or id: whatever it signed is refused from now on. Raises `Refused`."""
        with self.database.writing() as db:
            found = select(KEYS).where((KEYS.c.key_id == name) | (KEYS.c.name == name), KEYS.c.revoked_at_us.is_(None))
            row = db.execute(found.with_for_update()).first()
            if row is None:
                raise Refused(f"there is no key {name[:NAME_LIMIT]!r} that could be revoked")
            ended = {"revoked_at_us": micros(at), "revoked_by": by}
            db.execute(update(KEYS).where(KEYS.c.key_id == row.key_id).values(**ended))
            return _key(db.execute(select(KEYS).where(KEYS.c.key_id == row.key_id)).one())

    def all(self) -> list[WidgetKey]:
        """Every key there ever was: those that sign first, then the newest first."""
        with self.database.reading() as db:
            rows = db.execute(select(KEYS).order_by(KEYS.c.made_at_us.desc(), KEYS.c.key_id)).all()
        return sorted(map(_key, rows), key=lambda key: key.revoked_at is not None)

    def standing(self, key_id: str) -> Standing:
        """Whether a key may sign."""
        with self.database.reading() as db:
            row = db.execute(select(KEYS.c.revoked_at_us).where(KEYS.c.key_id == key_id[:NAME_LIMIT])).first()
        return "unknown" if row is None else "good" if row.revoked_at_us is None else "revoked"

    def secret_of(self, key_id: str) -> str:
        """What signs and verifies for a key, whether there is such a key or not. Raises `NoWidgetSecret`."""
        text = b"headrace widget key\n" + key_id[:NAME_LIMIT].encode("utf-8", "replace")
        return hmac.digest(self._deployment(), text, hashlib.sha256).hex()

    def note(self, key_id: str, kind: str, ancestors: Sequence[str], until: datetime, by: str, at: datetime) -> None:
        """Keep for good that somebody had a link signed here; not about whom it is."""
        row = {"key_id": key_id, "kind": kind, "ancestors": " ".join(ancestors), "until_us": micros(until)}
        with self.database.writing() as db:
            db.execute(insert(LINKS).values(at_us=micros(at), by=by, **row))

    def made(self, limit: int = 20) -> list[tuple[datetime, str, str, str]]:
        """The newest links that were signed here: when, by whom, of which kind, for which origins."""
        rows = select(LINKS).order_by(LINKS.c.number.desc()).limit(limit)
        with self.database.reading() as db:
            return [(from_micros(row.at_us), row.by, row.kind, row.ancestors) for row in db.execute(rows)]


def _key(row: object) -> WidgetKey:
    found = row._asdict()  # type: ignore[attr-defined]
    made_us, revoked_us = found.pop("made_at_us"), found.pop("revoked_at_us")
    revoked_at = None if revoked_us is None else from_micros(revoked_us)
    return WidgetKey(**found, made_at=from_micros(made_us), revoked_at=revoked_at)


def _bytes_of(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=32).digest()
