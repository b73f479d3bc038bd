"""What each test of a store would otherwise do again: making tables, and turning the same statements into SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy import create_engine

import review.engine
from review.schema import bring_up_to_date

ON_BOTH = pytest.mark.parametrize("one_place", ["sqlite", "postgresql"], indirect=True)
"""Where databases differ: transactions that meet, and what is only theirs to hold. The rest is the same statements."""


class Compiled(dict[Any, Any]):
    """Statements as SQL, of all engines of one kind of database: an engine's own are gone with it."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_by_name(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_by_name(key), value)


def _by_name(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return (key[0].name, *key[1:])


@contextmanager
def statements_compiled_once() -> Iterator[None]:
    """From now on whatever is opened shares its statements with what was opened before."""
    with pytest.MonkeyPatch.context() as patch:
        shared = partial(create_engine, execution_options={"compiled_cache": Compiled()})
        patch.setattr(review.engine, "create_engine", shared)
        yield


def new_store_at(path: Path | str) -> None:
    """An empty store in a file, where there is none."""
    if "://" not in str(path) and not Path(path).exists():
        Path(path).write_bytes(_new_file())


@cache
def _new_file() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "new.sqlite"
        engine = review.engine.open_engine(path)
        bring_up_to_date(engine)
        engine.dispose()
        return path.read_bytes()
