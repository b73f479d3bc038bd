"""What the pages ask of other rooms. `headrace` binds them; where one is missing its part of the page is not there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from stream.records import Decision, Verdict


class Contribution(Protocol):
    """What one feature adds to the score's margin: above 0 it raised the score."""

    @property
    def feature(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def value(self) -> float | None: ...  # noqa: D102
    @property
    def usual(self) -> float | None: ...  # noqa: D102
    @property
    def contribution(self) -> float: ...  # noqa: D102


class Explanation(Protocol):
    """The exact difference between a score and that of what is usual, shared out among the features."""

    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def base(self) -> float: ...  # noqa: D102
    @property
    def margin(self) -> float: ...  # noqa: D102
    @property
    def contributions(self) -> Sequence[Contribution]: ...  # noqa: D102


class ExactReasons(Protocol):
    """Shapley values of the model's score. Takes milliseconds, called from several threads."""

    def explain(self, decision: Decision) -> Explanation:
        """Share the score out. Raises `LookupError` or `ValueError`, in words, where that cannot be done."""
        ...


class Lessons(Protocol):
    """What the learner has of verdicts. Takes milliseconds, called from several threads."""

    def learned(self, event_ids: Sequence[str], verdict: Verdict, at: datetime) -> int | None:
        """Of how many of these events the learner has this verdict, of this time or later; None where nobody knows."""
        ...
