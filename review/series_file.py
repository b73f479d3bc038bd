"""The last days of every series, a minute a row: what the memory of an hour leaves behind, in a small SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Column, Connection, MetaData, Table, delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError

from review.columns import FLOAT, NUMBER, Words
from review.engine import CasesUnavailable, Database, open_engine
from review.series import Columns

MINUTE_S = 60
KEPT_DAYS = 15
NAMES_LIMIT = 1_000
ROWS_LIMIT = 200_000
"""That one look reads: 20 series of 7 days by the minute."""

_TABLES = MetaData()
NAMES = Table(
    "series_names",
    _TABLES,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("name", Words, nullable=False, unique=True),
    sqlite_strict=True,
)
# `total` of `looks` values, the largest of them `most`. Ordered by series, so that one is read in one stretch.
MINUTES = Table(
    "series_minutes",
    _TABLES,
    Column("series", NUMBER, primary_key=True),
    Column("minute", NUMBER, primary_key=True),
    Column("looks", NUMBER, nullable=False),
    Column("total", FLOAT, nullable=False),
    Column("most", FLOAT, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)


class SeriesUnavailable(RuntimeError):
    """The file cannot be read or written: charts of days are missing, nothing else is. A retry can help."""


class Minute(NamedTuple):
    """The values of one series in one minute."""

    looks: int
    total: float
    most: float

    def with_value(self, value: float) -> Minute:
        """And one more."""
        return Minute(self.looks + 1, self.total + value, max(self.most, value))


class SeriesFile:
    """Minutes of the last `KEPT_DAYS` days, 25 bytes a series and minute. Any thread may use it.

    It is one process's memory of what it saw, not the cases' database: losing it loses charts. Every call raises
    `SeriesUnavailable` where the file cannot be read or written now.
    """

    def __init__(self, place: Path | str) -> None:
        self._place = place
        self._database = Database(open_engine(place))
        self._numbers: dict[str, int] = {}
        with self._named(self._database.writing) as db:
            _TABLES.create_all(db)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(self, minute: int, values: Mapping[str, Minute]) -> None:
        """Add what was seen in a minute (since 1970) to what is there of it: a restart within it loses nothing."""
        with self._named(self._database.writing) as db:
            if unknown := [name for name in values if name not in self._numbers]:
                # A number that an upsert passes over is used up, so only new names are inserted.
                known = {name: number for number, name in db.execute(select(NAMES))}
                new = [{"name": name} for name in unknown if name not in known][: max(NAMES_LIMIT - len(known), 0)]
                if new:
                    db.execute(insert(NAMES), new)
                    known = {name: number for number, name in db.execute(select(NAMES))}
                numbers = known
            else:
                numbers = self._numbers
            rows = [
                {"series": numbers[name], "minute": minute, **one._asdict()}
                for name, one in values.items()
                if name in numbers
            ]
            if rows:
                statement = insert(MINUTES)
                new_row = statement.excluded
                db.execute(
                    statement.on_conflict_do_update(
                        index_elements=["series", "minute"],
                        set_={
                            "looks": MINUTES.c.looks + new_row.looks,
                            "total": MINUTES.c.total + new_row.total,
                            "most": func.max(MINUTES.c.most, new_row.most),
                        },
                    ),
                    rows,
                )
        self._numbers = numbers

    def forget(self, before_minute: int) -> None:
        """Drop what is older."""
        with self._named(self._database.writing) as db:
            db.execute(delete(MINUTES).where(MINUTES.c.minute < before_minute))

    def read(
        self, names: Iterable[str], since_s: float, until_s: float, step_s: int = MINUTE_S, *, most: bool = False
    ) -> Columns:
        """Means by steps of whole minutes, or with `most` the largest values; each step's time is its middle."""
        step = max(step_s // MINUTE_S, 1)
        wanted = list(names)
        first, last = int(since_s // MINUTE_S), int(until_s // MINUTE_S)
        place = MINUTES.c.minute.op("/")(step)
        value = func.max(MINUTES.c.most) if most else func.sum(MINUTES.c.total) / func.sum(MINUTES.c.looks)
        statement = (
            select(NAMES.c.name, place.label("place"), value)
            .join(MINUTES, MINUTES.c.series == NAMES.c.number)
            .where(NAMES.c.name.in_(wanted), MINUTES.c.minute >= first, MINUTES.c.minute <= last)
            .group_by(NAMES.c.name, "place")
            .limit(ROWS_LIMIT)
        )
        with self._named(self._database.reading) as db:
            rows = db.execute(statement).all()
        places = sorted({int(row.place) for row in rows})
        order = {place: index for index, place in enumerate(places)}
        columns: dict[str, list[float | None]] = {name: [None] * len(places) for name in wanted}
        for name, at, number in rows:
            columns[name][order[int(at)]] = float(number)
        return Columns([(place + 0.5) * step * MINUTE_S for place in places], columns)

    def names(self) -> list[str]:
        """All series that were ever kept."""
        with self._named(self._database.reading) as db:
            return sorted(name for (name,) in db.execute(select(NAMES.c.name)))

    @contextmanager
    def _named(self, open_: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Connection]:
        try:
            with open_() as db:
                yield db
        except (CasesUnavailable, DBAPIError) as error:
            words = error.orig if isinstance(error, DBAPIError) else error.__cause__
            raise SeriesUnavailable(
                f"the series in {self._place} cannot be used: {words}; if the file is broken, delete it"
            ) from error
