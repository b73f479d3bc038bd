"""What SQLite and PostgreSQL both can and SQLAlchemy says in two dialects."""

from __future__ import annotations

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_on(db: Connection, table: Table) -> sqlite.Insert:
    """An insert that may say what to do `on_conflict_…`: both databases say it with the same words."""
    if db.dialect.name == "postgresql":
        return postgresql.insert(table)  # type: ignore[return-value]
    return sqlite.insert(table)
