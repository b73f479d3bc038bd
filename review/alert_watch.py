"""The watch: every some seconds each condition is held against its series, and what turned is kept and told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from secrets import token_hex
from threading import Event

import msgspec

from review.alert_book import AlertBook, LeaseLost, Turned, moment
from review.alert_condition import Alerts, Condition
from review.alert_history import Deed
from review.alert_message import Message, Told, Turn, message
from review.alert_reading import Reading, read
from review.alert_series import Series
from review.alert_silence import ALL, Silence
from review.alert_standing import Standing, begun_anew, step
from review.alert_target import Target
from review.engine import CasesUnavailable
from stream.records import micros

logger = logging.getLogger(__name__)


class AlertWatch:
    """Looks at the series. Of several processes over one store one watches, and another when that one is gone.

    `address` makes the whole address of a path of the pages, for the links in messages. `is_watching`: `run` has begun.
    """

    def __init__(
        self,
        alerts: Alerts,
        series: Series,
        book: AlertBook,
        targets: Sequence[Target] = (),
        address: Callable[[str], str] = lambda path: path,
    ) -> None:
        self.alerts = alerts
        self.series = series
        self.book = book
        self.targets = tuple(targets)
        self._address = address
        self.is_watching = False
        self._began_s: float | None = None
        self._holder = token_hex(8)
        self._leads = False
        self._clear_since_s: dict[str, float] = {}
        self._firing: tuple[str, ...] = ()

    @property
    def firing(self) -> tuple[str, ...]:
        """The names of those that fired at the last look, silenced ones not among them."""
        return self._firing

    def readings(self, now: datetime) -> dict[str, Reading]:
        """What each condition sees now."""
        now_s = micros(now) / 1e6
        began_s = now_s if self._began_s is None else self._began_s
        return {one.name: read(one, self.series, now_s, self.alerts.stale_s, began_s) for one in self.alerts.alerts}

    def look(self, now: datetime) -> Message | None:
        """One look; the message about it, which is on its way. Raises `CasesUnavailable`.

        1. Lead, or only see how things stand. 2. Read and step every condition. 3. Keep what turned together with what
        is to be told. Were they kept one after the other, a crash between them would tell twice, or never.
        """
        if self._began_s is None:
            self._began_s = micros(now) / 1e6
        leads = self.book.lead(self._holder, now)
        standings, silences = self.book.look(now)
        silenced = {silence.name for silence in silences}
        if not leads:
            self._leads = False
            self._see(standings, silenced)
            return None
        now_s = micros(now) / 1e6
        readings = self.readings(now)
        after: dict[str, Standing] = {}
        for condition in self.alerts.alerts:
            before = standings.get(condition.name) or Standing(name=condition.name)
            before = msgspec.structs.replace(before, clear_since_s=self._clear_since_s.get(condition.name))
            if not self._leads:
                before = begun_anew(before, now_s)
            after[condition.name] = step(condition, before, readings[condition.name], now_s)
        turned = [one for condition in self.alerts.alerts if (one := _turned(condition, standings, after))]
        turned += _dropped(standings, after, now_s)
        told = [said for name in after if (said := self._told(name, after[name], silenced, now_s))]
        sent = message(now, told) if told and self.targets else None
        if turned or told:
            parcels = [(target.fingerprint, target.label, sent) for target in self.targets] if sent else []
            try:
                self.book.keep(self._holder, turned, told, parcels, now)
            except LeaseLost:
                self._leads = False
                return None
        self._leads = True
        self._clear_since_s = {name: one.clear_since_s for name, one in after.items() if one.clear_since_s is not None}
        self._see(after, silenced)
        return sent

    def run(self, stop: Event, clock: Callable[[], datetime], wake: Callable[[], None] = lambda: None) -> None:
        """Look until stopped; call `wake` where there is something to send."""
        self.is_watching = True
        while not stop.is_set():
            try:
                if self.look(clock()) is not None:
                    wake()
            except CasesUnavailable as error:
                logger.warning("alerts: %s; looking again", error)
            except Exception:
                # Whatever it is: who watches must not be gone without anybody seeing it.
                logger.exception("the alerts could not be looked at; looking again")
            stop.wait(self.alerts.every_s)
        try:
            self.book.leave(self._holder)
        except CasesUnavailable as error:
            logger.warning("alerts: %s; another process watches in a minute", error)

    def _told(self, name: str, standing: Standing, silenced: set[str], now_s: float) -> Told | None:
        """What is to be told of an alert now.

        Who was told of a beginning is told of the end, silence or not: other systems would keep it open for ever.
        """
        condition = self.alerts.named(name)
        is_silenced = name in silenced or ALL in silenced
        turn: Turn | None = None
        if condition is None:
            return None
        if standing.state == "firing" and standing.told_at_s is None:
            turn = None if is_silenced else "firing"
        elif standing.state == "firing" and standing.told_at_s is not None:
            is_due = now_s - standing.told_at_s >= self.alerts.repeat_s
            turn = "still firing" if is_due and not is_silenced and standing.acknowledged_by is None else None
        elif standing.is_calm and standing.told_at_s is not None:
            turn = "resolved"
        return None if turn is None else self._said(condition, standing, turn)

    def _said(self, condition: Condition, standing: Standing, turn: Turn) -> Told:
        began_s = standing.fired_at_s if standing.fired_at_s is not None else standing.since_s
        return Told(
            name=condition.name,
            title=condition.title,
            turn=turn,
            severity=condition.severity,
            value=standing.value,
            words=standing.words,
            since=moment(began_s),
            link=self._address(condition.link),
            alert=self._address(f"/alerts#{condition.name}"),
            remedy=condition.remedy,
        )

    def _see(self, standings: Mapping[str, Standing], silenced: set[str]) -> None:
        names = [name for name, one in standings.items() if one.state == "firing" and self.alerts.named(name)]
        self._firing = () if ALL in silenced else tuple(name for name in names if name not in silenced)


def silence_of(name: str, silences: Sequence[Silence]) -> Silence | None:
    """The silence of an alert that ends last."""
    return max((one for one in silences if one.name in (name, ALL)), key=lambda one: one.until, default=None)


def _turned(condition: Condition, before: Mapping[str, Standing], after: Mapping[str, Standing]) -> Turned | None:
    """What is to be kept of an alert, where its state is another one than it was."""
    old, new = before.get(condition.name) or Standing(name=condition.name), after[condition.name]
    if (old.state, old.since_s) == (new.state, new.since_s):
        return None
    deeds: dict[str, Deed] = {"firing": "firing", "resolved": "resolved"}
    deed = deeds.get(new.state) if new.state == "firing" or old.state == "firing" else None
    return _to_keep(new, deed, condition.severity)


def _dropped(before: Mapping[str, Standing], after: Mapping[str, Standing], now_s: float) -> list[Turned]:
    """Alerts that were up and that the file has no more."""
    gone = [one for name, one in before.items() if name not in after and not one.is_calm]
    return [
        _to_keep(
            msgspec.structs.replace(one, state="resolved" if one.fired_at_s else "ok", since_s=now_s), "dropped", ""
        )
        for one in gone
    ]


def _to_keep(standing: Standing, deed: Deed | None, severity: str) -> Turned:
    return Turned(**msgspec.structs.asdict(standing), deed=deed, severity=severity)
