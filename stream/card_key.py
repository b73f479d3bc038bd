"""The key of card tokens: given as a setting, or a file of the home that the first process in need of it makes."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

FILE = "card.key"
LEAST_CHARACTERS = 16


class NoCardKey(RuntimeError):
    """There is no key to make tokens with. A retry helps once there is one."""


class CardKey:
    """The key of one home, read when it is first asked for.

    `given` is the text of the setting; empty, the key is `<home>/card.key`. Where that is missing, `make` says whether
    it is made (readable by its owner only): whoever runs beside a deployment must not make another than it has. Raises
    `ValueError` for a text that is too short to be a key.
    """

    def __init__(self, home: Path, given: str = "", make: bool = True) -> None:
        if given and len(given) < LEAST_CHARACTERS:
            raise ValueError(f"a card key of {len(given)} characters can be guessed; give at least {LEAST_CHARACTERS}")
        self.path = home / FILE
        self.is_given = bool(given)
        self._make = make
        self._key = _key_of(given) if given else None

    def read(self) -> bytes:
        """The key's 32 bytes. Raises `NoCardKey`."""
        if self._key is None:
            try:
                if self._make and not self.path.exists():
                    make_key(self.path)
                text = self.path.read_text().strip()
            except (OSError, ValueError) as error:
                raise NoCardKey(
                    f"card numbers need a key, and {self.path} cannot be used: {error}; set HEADRACE_CARD_KEY_FILE, "
                    "or HEADRACE_HOME to the home of the deployment"
                ) from error
            if len(text) < LEAST_CHARACTERS:
                raise NoCardKey(f"{self.path} holds no key; restore it, or delete it to have a new one made")
            self._key = _key_of(text)
        return self._key

    def fingerprint(self) -> str:
        """A few letters that are the same for the same key and say nothing about it. Raises `NoCardKey`."""
        return blake2b(b"fingerprint", key=self.read(), digest_size=4).hexdigest()


def make_key(path: Path) -> None:
    """A new key in a file of its own, unless another process is faster: all then have one, and never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _key_of(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=32).digest()
