"""What cases that wait are found by, with their places in the queue; closed ones, in time the most, are elsewhere.

A flag's words are written here alone; once its case is closed, a trigger moves them to `terms`. In both places at once
they would be half of all that a flag writes.
"""

from __future__ import annotations

from sqlalchemy import DDL, Column, Index, Table, event

from review.columns import FLOAT, Words
from review.tables import CASES, METADATA, TERMS, TRAITS, WITHOUT_ROWID

# A "term" (see `review.terms`) or a "rule" of `traits` of a case without a verdict. Triggers keep it as the cases and
# what else is said of them are, whatever version of the program writes these.
WAITING_WORDS = Table(
    "waiting_words",
    METADATA,
    Column("case_id", Words, primary_key=True),
    Column("kind", Words, primary_key=True),
    Column("word", Words, primary_key=True),
    Column("rank", FLOAT, nullable=False),
    **WITHOUT_ROWID,
)
_c = WAITING_WORDS.c
# All that a search reads; of a single word already in the order of the queue.
Index("waiting_words_in_order", _c.kind, _c.word, _c.rank, _c.case_id)

_COLUMNS = "INSERT INTO waiting_words (case_id, kind, word, rank)"
_WAITS = "FROM cases WHERE cases.case_id = NEW.case_id AND cases.status <> 'decided'"
EVERY_WORD = (
    f"{_COLUMNS} SELECT cases.case_id, 'term', terms.term, cases.rank FROM cases JOIN terms "
    "ON terms.case_id = cases.case_id WHERE cases.status IN ('open', 'proposed') ORDER BY terms.term, cases.case_id",
    f"{_COLUMNS} SELECT cases.case_id, 'rule', traits.value, cases.rank FROM cases JOIN traits "
    "ON traits.case_id = cases.case_id AND traits.kind = 'rule' WHERE cases.status IN ('open', 'proposed')",
)
"""What fills the table of a store that has cases."""

_TERM_IN = f"{_COLUMNS} SELECT NEW.case_id, 'term', NEW.term, cases.rank {_WAITS} ON CONFLICT DO NOTHING"
_RULE_IN = f"{_COLUMNS} SELECT NEW.case_id, 'rule', NEW.value, cases.rank {_WAITS} ON CONFLICT DO NOTHING"
_TERM_OUT = "DELETE FROM waiting_words WHERE case_id = OLD.case_id AND kind = 'term' AND word = OLD.term"
_RULE_OUT = "DELETE FROM waiting_words WHERE case_id = OLD.case_id AND kind = 'rule' AND word = OLD.value"
_KEPT = (
    "INSERT INTO terms (term, case_id) SELECT word, case_id FROM waiting_words "
    "WHERE case_id = NEW.case_id AND kind = 'term' ON CONFLICT DO NOTHING"
)
_CLOSED = f"{_KEPT}; DELETE FROM waiting_words WHERE case_id = NEW.case_id"
_BACK = (
    f"{_COLUMNS} SELECT NEW.case_id, 'term', term, NEW.rank FROM terms WHERE case_id = NEW.case_id "
    f"UNION ALL SELECT NEW.case_id, 'rule', value, NEW.rank FROM traits WHERE case_id = NEW.case_id AND kind = 'rule'"
)
_MOVED = "UPDATE waiting_words SET rank = NEW.rank WHERE case_id = NEW.case_id"

_TERM, _VERDICT = "terms_wait", "cases_wait_no_more"
_TRIGGERS = {
    _TERM: ("INSERT ON terms", "", _TERM_IN),
    "terms_go": ("DELETE ON terms", "", _TERM_OUT),
    "rules_wait": ("INSERT ON traits", "NEW.kind = 'rule'", _RULE_IN),
    "rules_go": ("DELETE ON traits", "OLD.kind = 'rule'", _RULE_OUT),
    _VERDICT: ("UPDATE OF status ON cases", "OLD.status <> 'decided' AND NEW.status = 'decided'", _CLOSED),
    "cases_wait_again": ("UPDATE OF status ON cases", "OLD.status = 'decided' AND NEW.status <> 'decided'", _BACK),
    "cases_move_in_queue": (
        "UPDATE OF rank ON cases",
        "OLD.rank <> NEW.rank AND OLD.status <> 'decided' AND NEW.status <> 'decided'",
        _MOVED,
    ),
}


def following_cases() -> dict[str, tuple[str, ...]]:
    """The statements that keep it as the cases are, by database."""
    return {
        "sqlite": tuple(map(_in_sqlite, _TRIGGERS)),
        "postgresql": tuple(
            statement for name in _TRIGGERS for statement in (f"CREATE {_function(name)}", _in_postgresql(name))
        ),
    }


def moving_with_verdicts() -> dict[str, tuple[str, ...]]:
    """The statements that make anew what a verdict causes, by database; for a migration."""
    return {
        "sqlite": (f"DROP TRIGGER {_VERDICT}", _in_sqlite(_VERDICT)),
        "postgresql": (
            f"CREATE OR REPLACE {_function(_VERDICT)}",
            f"DROP TRIGGER {_TERM} ON terms",
            _in_postgresql(_TERM),
        ),
    }


def _in_sqlite(name: str) -> str:
    on, when, statement = _TRIGGERS[name]
    condition = f" WHEN {when}" if when else ""
    return f"CREATE TRIGGER {name} AFTER {on}{condition} BEGIN {statement}; END"


def _function(name: str) -> str:
    statement = _TRIGGERS[name][2]
    return f"FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$"


def _in_postgresql(name: str) -> str:
    on, when, _ = _TRIGGERS[name]
    # What a verdict moves there waits no more: looking at the case for each word of it costs more than the move.
    when = "pg_trigger_depth() = 0" if name == _TERM else when
    condition = f" WHEN ({when})" if when else ""
    return f"CREATE TRIGGER {name} AFTER {on} FOR EACH ROW{condition} EXECUTE FUNCTION {name}()"


for _database, _statements in following_cases().items():
    for _statement in _statements:
        _ddl = DDL(_statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
        event.listen(WAITING_WORDS, "after_create", _ddl.execute_if(dialect=_database))
# The triggers are on these tables, which have to be there first.
for _table in (CASES, TERMS, TRAITS):
    WAITING_WORDS.add_is_dependent_on(_table)
