"""Pages that are there from the start: 503 with the reason until their store can be opened, then the pages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from threading import Event, Thread

from starlette.types import Receive, Scope, Send

from review.engine import CasesUnavailable
from review.schema import NewerFile
from review.web.app import make_app
from review.web.closed import closed_pages
from review.web.parts import Parts
from review.web.refusal import CASES_AWAY, CASES_NEWER
from stream.patience import Patience

FIRST_TRY_S = 10.0
"""How long a start waits for the first try to end. Later ones are waited for by nobody."""
PAUSE_LIMIT_S = 5.0
JOIN_S = 20.0
BROKEN = "the pages could not be opened, and scoring goes on without them; the log of this process says why"
_log = logging.getLogger(__name__)


class OpeningPages:
    """An ASGI application. `opening` opens the parts and closes them again; `opened` is told of them once.

    The first try is waited for, so that a mistake in the settings stops the start: whatever it raises besides
    `CasesUnavailable` and `NewerFile` is raised here. A store that is gone or newer is tried until it opens or `close`.
    """

    def __init__(
        self,
        opening: Callable[[], AbstractContextManager[Parts]],
        opened: Callable[[Parts], None],
        first_try_s: float = FIRST_TRY_S,
        pause_limit_s: float = PAUSE_LIMIT_S,
    ) -> None:
        self._opening = opening
        self._opened = opened
        self._stop, self._tried = Event(), Event()
        self._open = ExitStack()
        self._mistake: Exception | None = None
        self._app = closed_pages(CASES_AWAY)
        self._thread = Thread(target=self._try, args=(pause_limit_s,), name="pages-open", daemon=True)
        self._thread.start()
        self._tried.wait(first_try_s)
        if self._mistake is not None:
            self._thread.join()
            raise self._mistake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with whatever there is now."""
        await self._app(scope, receive, send)

    def close(self) -> None:
        """End the tries, and close what was opened. Nobody asks any more."""
        self._stop.set()
        self._thread.join(JOIN_S)
        self._open.close()

    def _try(self, pause_limit_s: float) -> None:
        patience = Patience(self._stop, _log, "pages", pause_limit_s)
        while not self._stop.is_set():
            try:
                self._once()
                return
            except (CasesUnavailable, NewerFile) as error:
                self._app = closed_pages(CASES_NEWER if isinstance(error, NewerFile) else CASES_AWAY)
                self._tried.set()
                patience.wait(error)
            except Exception as error:
                _log.error("there are no pages: %s", error, exc_info=self._tried.is_set())
                self._app, self._mistake = closed_pages(BROKEN), error
                return
            finally:
                self._tried.set()

    def _once(self) -> None:
        with ExitStack() as opened:
            parts = opened.enter_context(self._opening())
            self._opened(parts)
            self._app = make_app(parts)
            self._open = opened.pop_all()
