"""Backtests that are under way or were made of late, each on a thread of its own: pages look in on them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from threading import Lock, Semaphore, Thread
from typing import Literal

from review.rule_desk import RuleRefused, RulesUnavailable, Trial
from review.rule_facts import Findings, RuleText
from review.secret_token import new_token

RUNNING_LIMIT = 2
UNDER_WAY_LIMIT = 8
KEPT_LIMIT = 60
LOOK_S = 0.2
State = Literal["waiting", "running", "done", "failed", "cancelled"]
logger = logging.getLogger(__name__)


class Backtest:
    """One of them. `text` is what is tried where it is no rule of the book. One thread changes it, any may look."""

    def __init__(self, trial: Trial, name: str, text: RuleText | None, by: str, period: str, now: datetime) -> None:
        self.id = new_token()[:16]
        self.trial = trial
        self.name = name
        self.text = text
        self.by = by
        self.period = period
        self.begun_at = now
        self.state: State = "waiting"
        self.findings: Findings | None = None
        self.problem = ""

    @property
    def is_under_way(self) -> bool:
        """Whether there is something to wait for."""
        return self.state in ("waiting", "running")

    @property
    def percent(self) -> int | None:
        """How far it is; None where nobody can say."""
        share = self.trial.progress() if self.state == "running" else None
        return None if share is None else round(100 * share)


class Backtests:
    """Those of one process. At most two run at a time, eight are under way, and the newest sixty are remembered."""

    def __init__(self, clock: Callable[[], datetime], running_limit: int = RUNNING_LIMIT) -> None:
        self._clock = clock
        self._lock = Lock()
        self._turns = Semaphore(running_limit)
        self._kept: OrderedDict[str, Backtest] = OrderedDict()

    def begin(self, trial: Trial, name: str, text: RuleText | None, by: str, period: str) -> Backtest:
        """Begin one. Raises `RuleRefused` where too many are under way."""
        begun = Backtest(trial, name, text, by, period, self._clock())
        with self._lock:
            under_way = [one for one in self._kept.values() if one.is_under_way]
            if len(under_way) >= UNDER_WAY_LIMIT:
                raise RuleRefused(f"{len(under_way)} backtests are under way; wait for one, or cancel one of yours")
            self._kept[begun.id] = begun
            over = [one for one in self._kept.values() if not one.is_under_way][: max(0, len(self._kept) - KEPT_LIMIT)]
            for one in over:
                del self._kept[one.id]
        Thread(target=self._run, args=(begun,), name="backtest", daemon=True).start()
        return begun

    def find(self, id: str) -> Backtest | None:
        """The one with this id, as long as it is remembered."""
        with self._lock:
            return self._kept.get(id)

    def newest(self, name: str) -> Backtest | None:
        """The newest of a rule that is in the book."""
        with self._lock:
            return next((one for one in reversed(self._kept.values()) if one.name == name and one.text is None), None)

    def cancel(self, id: str) -> None:
        """End one soon, whoever began it: it only reads."""
        found = self.find(id)
        if found is not None and found.is_under_way:
            found.state = "cancelled"
            found.trial.cancel()

    def _run(self, begun: Backtest) -> None:
        while not (is_its_turn := self._turns.acquire(timeout=LOOK_S)) and begun.state != "cancelled":
            pass  # One that is cancelled keeps no thread until there is a turn for it.
        try:
            self._try(begun)
        finally:
            if is_its_turn:
                self._turns.release()

    def _try(self, begun: Backtest) -> None:
        if begun.state == "cancelled":
            begun.problem = "it was cancelled before it began"
            return
        begun.state = "running"
        try:
            begun.findings = begun.trial.run()
            begun.state = "done"
        except (RuleRefused, RulesUnavailable) as error:
            begun.problem = str(error)
            begun.state = "cancelled" if "cancelled" in begun.problem else "failed"
        except Exception:
            logger.exception("a backtest of %r failed", begun.name)
            begun.problem = "it failed; the log of the pages says why"
            begun.state = "failed"
