"""Where the values of one field come from: the tables that a column mapping is made of."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from stream.records import EPOCH

SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
ColumnName = Annotated[str, Meta(min_length=1)]
CellValue = bool | int | float | str
Unit = Literal["ms", "s", "m", "h", "d"]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the values of one field come from."""

    @property
    def named_columns(self) -> list[tuple[str, str]]:
        """Each column that is read, with the key that names it."""
        raise NotImplementedError


class TimeSource(Source, frozen=True, kw_only=True):
    """A date and time column, or with `unit` a column of numbers counted from `origin`.

    `zone` holds for times without an offset of their own; it does not apply to numbers.
    """

    column: ColumnName
    zone: str = "UTC"
    unit: Unit | None = None
    origin: Annotated[datetime, Meta(tz=True)] = EPOCH

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no time zone {self.zone!r}; name one such as UTC or Europe/Berlin") from None

    @property
    def named_columns(self) -> list[tuple[str, str]]:
        """The one column."""
        return [("column", self.column)]


class TextSource(Source, frozen=True, kw_only=True):
    """A column, several columns joined with `separator`, a constant, or the row's number; `prefix` goes before any.

    The trap of `row` as a card: each payment then is a card of its own, and nothing is known of its past.
    """

    column: ColumnName | None = None
    columns: list[ColumnName] = []
    constant: Annotated[str, Meta(min_length=1)] | None = None
    row: bool = False
    prefix: str = ""
    separator: str = "-"

    def __post_init__(self) -> None:
        if (self.column is not None) + bool(self.columns) + (self.constant is not None) + self.row != 1:
            raise ValueError("give exactly one of column, columns, constant and row = true")

    @property
    def named_columns(self) -> list[tuple[str, str]]:
        """The column or the joined columns; none for a constant or the row's number."""
        if self.column is not None:
            return [("column", self.column)]
        return [(f"columns[{place}]", column) for place, column in enumerate(self.columns)]


class NumberSource(Source, frozen=True, kw_only=True):
    """A column of numbers times `scale`, or a constant."""

    column: ColumnName | None = None
    constant: float | None = None
    scale: Annotated[float, Meta(gt=0.0)] = 1.0

    def __post_init__(self) -> None:
        if (self.column is None) == (self.constant is None):
            raise ValueError("give exactly one of column and constant")

    @property
    def named_columns(self) -> list[tuple[str, str]]:
        """The column; none for a constant."""
        return [("column", self.column)] if self.column is not None else []


class LabelSource(Source, frozen=True, kw_only=True):
    """The column that says fraud, the values that mean it, and how late it is known.

    The trap: every value that is not listed is legit, so a value misspelt here makes frauds legit.
    """

    column: ColumnName
    fraud: Annotated[list[CellValue], Meta(min_length=1)]
    unknown: list[CellValue] = []
    delay: str = "7d"

    def __post_init__(self) -> None:
        parse_duration(self.delay)

    @property
    def named_columns(self) -> list[tuple[str, str]]:
        """The one column."""
        return [("column", self.column)]


def parse_duration(text: str) -> timedelta:
    """A length of time such as "7d", "12h", "30m" or "90s". Raises `ValueError`.

    >>> parse_duration("7d")
    datetime.timedelta(days=7)
    """
    match = re.fullmatch(r"(\d{1,6})([dhms])", text)
    if not match:
        raise ValueError(f"{text!r} is no length of time; write such as 7d, 12h, 30m or 90s")
    return timedelta(seconds=int(match[1]) * SECONDS[match[2]])
