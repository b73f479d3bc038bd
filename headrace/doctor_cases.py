"""What `headrace doctor` finds of the cases: whether their database answers, and is of this version."""

from __future__ import annotations

from pathlib import Path

from headrace.finding import Finding
from headrace.review import has_cases, place_of
from headrace.settings import Settings
from review.engine import CasesUnavailable, Database, InvalidStoreUrl, open_engine
from review.migrations import HEAD
from review.schema import steps_taken

WAITS = "what is flagged waits on the log until then"


def examine_cases(settings: Settings) -> Finding:
    """One look that changes nothing: a store of an older version stays as it is."""
    if not has_cases(settings):
        words = f"there is no {place_of(settings)} here; 'headrace review keep' makes it where it runs"
        return Finding("OK", "cases", words)
    try:
        engine = open_engine(place_of(settings))
    except InvalidStoreUrl as error:
        return Finding("FAIL", "cases", str(error), "correct HEADRACE_CASES")
    database = Database(engine)
    try:
        with database.reading() as db:
            taken = steps_taken(db)
    except CasesUnavailable as error:
        place = place_of(settings)
        remedy = f"look at {place} and its disk" if isinstance(place, Path) else "start it, or correct HEADRACE_CASES"
        return Finding("FAIL", "cases", str(error), f"{remedy}; {WAITS}")
    finally:
        database.close()
    return judge_steps(taken)


def judge_steps(taken: int) -> Finding:
    """Whether the tables are those of this version.

    >>> judge_steps(99).level, judge_steps(int(HEAD)).level, judge_steps(1).level
    ('FAIL', 'OK', 'WARN')
    """
    known = int(HEAD)
    if taken > known:
        words = f"the store has taken {taken} steps, this version knows {known}"
        remedy = f"run the version that wrote it, or restore the backup before it; {WAITS}"
        return Finding("FAIL", "cases", words, remedy)
    if taken < known:
        words = f"the store has taken {taken} of {known} steps"
        return Finding("WARN", "cases", words, "whichever process opens it next takes the others; make a backup first")
    return Finding("OK", "cases", f"the store answers, and has taken all {known} steps")
