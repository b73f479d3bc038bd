"""What is refreshed beside the requests, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

STOP_TIMEOUT_S = 2.0


class Background:
    """Calls `refresh`, which must not raise, when it starts and then every `interval_s` until it is stopped.

    Where it is not to be called `at_once`, the first time is after the first interval, in the background too.
    """

    def __init__(self, name: str, refresh: Callable[[], None], interval_s: float, at_once: bool = True) -> None:
        self._refresh = refresh
        self._at_once = at_once
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Refresh once, then go on in the background."""
        if self._at_once:
            self._refresh()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._refresh()
