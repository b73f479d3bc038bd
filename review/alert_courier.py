"""The courier: takes messages out of the outbox and brings them to their targets, again and again if need be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Event

from review.alert_outbox import AlertOutbox, Parcel
from review.alert_target import NotDelivered, Target
from review.engine import CasesUnavailable

IDLE_S = 2.0
logger = logging.getLogger(__name__)


class Courier:
    """Sends to one target after the other. Every message arrives once, or twice where a courier died in between."""

    def __init__(self, outbox: AlertOutbox, targets: Sequence[Target], clock: Callable[[], datetime]) -> None:
        self._outbox = outbox
        self._targets = {target.fingerprint: target for target in targets}
        self._clock = clock
        self._wake = Event()

    def deliver(self) -> int:
        """Try what is due; how many arrived. Raises `CasesUnavailable`."""
        return sum(self._deliver(parcel) for parcel in self._outbox.take(self._clock()))

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    def run(self, stop: Event) -> None:
        """Deliver until stopped."""
        while not stop.is_set():
            try:
                while self.deliver() and not stop.is_set():
                    pass  # The next ones of the same targets.
            except CasesUnavailable as error:
                logger.warning("alerts: %s; trying again", error)
            except Exception:
                logger.exception("the messages about alerts could not be sent; trying again")
            self._wake.wait(IDLE_S)
            self._wake.clear()

    def _deliver(self, parcel: Parcel) -> bool:
        """1. Send. 2. Mark. Reversed, a crash between them would lose the message."""
        target = self._targets.get(parcel.target)
        if target is None:
            problem = "the settings name this target no more"
            self._outbox.mark_failed(parcel, problem, self._clock(), for_good=True)
            return False
        try:
            target.send(parcel.message)
        except Exception as error:
            # Whatever else a target's library raises: the messages of other targets were taken together with this one.
            # Its words may have the address in them.
            problem = str(error) if isinstance(error, NotDelivered) else type(error).__name__
            logger.warning(
                "the message %s about alerts has not reached %s: %s", parcel.message.id, parcel.label, problem
            )
            self._outbox.mark_failed(parcel, problem, self._clock())
            return False
        self._outbox.mark_sent(parcel, self._clock())
        return True
