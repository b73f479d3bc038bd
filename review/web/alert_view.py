"""What the page of alerts shows: every condition with how it stands and what is heard of it now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup, escape

from review.alert_book import moment
from review.alert_condition import Condition
from review.alert_history import Happened, newest
from review.alert_outbox import AlertOutbox, Parcel
from review.alert_reading import Reading
from review.alert_silence import Silence
from review.alert_standing import Standing
from review.alert_watch import AlertWatch, silence_of
from review.alert_words import condition_words
from stream.records import micros

HISTORY_SHOWN = 50
TROUBLED_SHOWN = 20
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class AlertRow:
    """A condition, how it stands, and what is heard of it."""

    condition: Condition
    standing: Standing
    reading: Reading
    silence: Silence | None

    @property
    def is_known(self) -> bool:
        """Whether there is word of it."""
        return self.reading.value is not None

    @property
    def says(self) -> str:
        """What is heard now; while it fires and there is no word, what it said when it began."""
        if self.standing.state == "firing" and not self.is_known:
            return f"{self.reading.words}; when it began: {self.standing.words}"
        return self.reading.words

    @property
    def when(self) -> str:
        """The condition in words."""
        return condition_words(self.condition)

    @property
    def remedy(self) -> Markup:
        """What to do."""
        return coded(self.condition.remedy)

    @property
    def since(self) -> datetime:
        """Since when it is in its state."""
        return moment(self.standing.since_s)

    @property
    def fires_at(self) -> datetime:
        """When a pending one fires, if it goes on."""
        return self.since + timedelta(seconds=self.condition.for_s)

    @property
    def fired_at(self) -> datetime:
        """When it began to fire."""
        return moment(self.standing.fired_at_s or 0.0)

    @property
    def fired_at_us(self) -> int:
        """That, for the form: an acknowledgement is of this firing alone."""
        return micros(self.fired_at)

    @property
    def acknowledged_at(self) -> datetime:
        """When somebody said that they know."""
        return moment(self.standing.acknowledged_at_s or 0.0)


@dataclass(frozen=True)
class AlertView:
    """All of the page, of about one moment."""

    rows: list[AlertRow]
    silences: list[Silence]
    troubled: list[Parcel]
    history: list[Happened]

    @property
    def firing(self) -> list[AlertRow]:
        """Those that somebody should do something about before those that somebody knows of; pages first."""

        def place(row: AlertRow) -> tuple[bool, str, datetime]:
            is_known = bool(row.silence or row.standing.acknowledged_by)
            return is_known, row.condition.severity, row.fired_at

        return sorted((row for row in self.rows if row.standing.state == "firing"), key=place)

    @property
    def pending(self) -> list[AlertRow]:
        """Those that will fire."""
        return [row for row in self.rows if row.standing.state == "pending"]

    @property
    def silent(self) -> list[str]:
        """The names of those that nothing is heard of."""
        return [row.condition.name for row in self.rows if row.reading.is_silent]


def alert_view(watch: AlertWatch, now: datetime) -> AlertView:
    """The page as it is now. Raises `CasesUnavailable`."""
    database = watch.book.database
    standings, silences = watch.book.look(now)
    readings = watch.readings(now)
    rows = [
        AlertRow(
            condition,
            standings.get(condition.name) or Standing(name=condition.name),
            readings[condition.name],
            silence_of(condition.name, silences),
        )
        for condition in watch.alerts.alerts
    ]
    return AlertView(rows, silences, AlertOutbox(database).troubled(TROUBLED_SHOWN), newest(database, HISTORY_SHOWN))


def coded(text: str) -> Markup:
    """Words with what is between backticks as code, and a full stop.

    >>> coded("run `a <b>` now")
    Markup('Run <code>a &lt;b&gt;</code> now.')
    """
    sentence = f"{text[:1].upper()}{text[1:].removesuffix('.')}."
    pieces = _CODE.split(sentence)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if index % 2 else escape(piece) for index, piece in enumerate(pieces)
    )
