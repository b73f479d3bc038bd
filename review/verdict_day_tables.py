"""What the verdicts of a day came to, kept so that figures over months read days and not cases."""

from __future__ import annotations

from sqlalchemy import DDL, Column, Table, event

from review.columns import NUMBER, Words
from review.tables import CASES, METADATA, WITHOUT_ROWID

DAY_US = 86_400_000_000

# `day` counts from 1970, UTC; `kind` is "verdict", "model", "rule" or "analyst". A day that is here has a row of the
# kind "whole", and all its others; whatever changes a verdict of that day takes them all out.
VERDICT_DAYS = Table(
    "verdict_days",
    METADATA,
    Column("day", NUMBER, primary_key=True, autoincrement=False),
    Column("kind", Words, primary_key=True),
    Column("name", Words, primary_key=True),
    Column("verdict", Words, primary_key=True),
    Column("cases", NUMBER, nullable=False),
    **WITHOUT_ROWID,
)
COUNTING = 0x64617973
"""Of PostgreSQL's advisory locks: whoever counts a day waits until nobody is in the middle of changing a verdict."""


def keeping_true() -> dict[str, tuple[str, ...]]:
    """The statements that take out a day whose verdicts change, by database: whoever writes, of whatever version."""
    gone = f"DELETE FROM verdict_days WHERE day IN (OLD.decided_at_us / {DAY_US}, NEW.decided_at_us / {DAY_US})"
    deleted = f"DELETE FROM verdict_days WHERE day = OLD.decided_at_us / {DAY_US}"
    changes = "OLD.status = 'decided' OR NEW.status = 'decided'"
    return {
        "sqlite": (
            f"CREATE TRIGGER cases_tell_their_day AFTER UPDATE ON cases WHEN {changes} BEGIN {gone}; END",
            "CREATE TRIGGER cases_leave_their_day AFTER DELETE ON cases WHEN OLD.status = 'decided' "
            f"BEGIN {deleted}; END",
        ),
        "postgresql": (
            "CREATE FUNCTION cases_tell_their_day() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"PERFORM pg_advisory_xact_lock_shared({COUNTING}); "
            f"IF TG_OP = 'DELETE' THEN {deleted}; ELSE {gone}; END IF; RETURN NULL; END $$",
            f"CREATE TRIGGER cases_tell_their_day AFTER UPDATE ON cases FOR EACH ROW WHEN ({changes}) "
            "EXECUTE FUNCTION cases_tell_their_day()",
            "CREATE TRIGGER cases_leave_their_day AFTER DELETE ON cases FOR EACH ROW WHEN (OLD.status = 'decided') "
            "EXECUTE FUNCTION cases_tell_their_day()",
        ),
    }


for _database, _statements in keeping_true().items():
    for _statement in _statements:
        _ddl = DDL(_statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
        event.listen(VERDICT_DAYS, "after_create", _ddl.execute_if(dialect=_database))
# The triggers are on that table, which has to be there first.
VERDICT_DAYS.add_is_dependent_on(CASES)
