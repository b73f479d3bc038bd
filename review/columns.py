"""Types of columns that mean the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Dialect, Double, Integer, LargeBinary, Text
from sqlalchemy.dialects.sqlite import REAL
from sqlalchemy.types import TypeDecorator, TypeEngine

NUMBER = BigInteger().with_variant(Integer(), "sqlite")
"""A whole number of 64 bits; as a single primary key it counts up by itself."""

MICROS = NUMBER
"""A moment, in microseconds since 1970 UTC."""

FLOAT: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
"""A float of 64 bits."""

BYTES = LargeBinary()

_ESCAPE, _NUL = "\uf8ff", "\x00"


class Words(TypeDecorator[str]):
    """Text as it is, ordered by its UTF-8 bytes, which is the order of its characters' numbers, on both databases.

    PostgreSQL's text cannot hold the character 0, which an id may: it is escaped there, reversibly.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """PostgreSQL's text in the collation of bytes."""
        return dialect.type_descriptor(Text(collation="C") if dialect.name == "postgresql" else Text())

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None] | None:
        """As it is stored; None: as it is."""
        return _escaped_or_none if dialect.name == "postgresql" else None

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], str | None] | None:
        """As it was given; None: as it is."""
        return _unescaped_or_none if dialect.name == "postgresql" else None


def escaped(text: str) -> str:
    """Without the character 0.

    >>> escaped("a") == "a", "\\x00" in escaped("a\\x00b")
    (True, False)
    """
    return text.replace(_ESCAPE, _ESCAPE + "1").replace(_NUL, _ESCAPE + "0")


def _escaped_or_none(text: str | None) -> str | None:
    return None if text is None else escaped(text)


def _unescaped_or_none(text: str | None) -> str | None:
    if text is None or _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE + "0", _NUL).replace(_ESCAPE + "1", _ESCAPE)
