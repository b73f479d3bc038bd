"""What an examination says of one thing: whether it is well, in plain words, and what to do where it is not."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["OK", "WARN", "FAIL"]


class Finding(NamedTuple):
    """One line. `WARN` is what will hurt some day, `FAIL` what hurts now; `remedy` is what to do about it."""

    level: Level
    subject: str
    words: str
    remedy: str = ""

    def line(self) -> str:
        """As it is printed.

        >>> Finding("FAIL", "worker", "none is running", "start one: headrace worker").line()
        'FAIL  worker        none is running; start one: headrace worker'
        """
        said = f"{self.words}; {self.remedy}" if self.remedy else self.words
        return f"{self.level:<6}{self.subject:<14}{said}"


def graded(
    value: float, warn_at: float, fail_at: float, subject: str, words: str, remedy: str, *, least: bool = False
) -> Finding:
    """A finding about a number: worse the greater it is, or with `least` the smaller.

    >>> graded(0.8, 0.5, 1.0, "outbox", "80% full", "start a worker").level
    'WARN'
    >>> graded(0.8, 0.1, 0.02, "disk", "80% free", "make room", least=True).line()
    'OK    disk          80% free'
    """
    sign = -1 if least else 1
    if sign * value >= sign * fail_at:
        return Finding("FAIL", subject, words, remedy)
    if sign * value >= sign * warn_at:
        return Finding("WARN", subject, words, remedy)
    return Finding("OK", subject, words)
