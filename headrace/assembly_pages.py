"""The analysts' pages with all that works behind them, for a server of their own and for the service."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import click

from headrace.alerts import watching
from headrace.assembly_live import collecting
from headrace.assembly_review import open_parts
from headrace.assembly_rule_desk import open_rule_desk
from headrace.opening_pages import OpeningPages
from headrace.settings import Settings
from headrace.users import FIRST, first_link
from review.scrape import Counts, Readings, parsed
from review.series_table import WANTED
from review.web.app import SEGMENTS
from review.web.parts import Parts
from scoring.pages_door import Pages, pages_at


@contextmanager
def working_parts(settings: Settings, port: int, counts: Counts | None = None) -> Iterator[Parts]:
    """The parts of the pages at this port, with their threads at work until the block ends.

    `counts` are the service's numbers where they are this process's own; else they are asked for over HTTP. Raises what
    `open_parts` and `collecting` do.
    """
    parts = open_parts(settings)
    with closing(parts.cases), collecting(settings, counts) as live, ExitStack() as started:
        if live is not None:
            parts = replace(parts, collector=live[0], series=live[1])
        rules = open_rule_desk(settings)
        if rules is not None:
            parts = replace(parts, rules=started.enter_context(closing(rules)))
        yield replace(parts, alerts=started.enter_context(watching(settings, parts, port)))


def say_first_link(settings: Settings, parts: Parts, port: int) -> None:
    """Print the link that makes the first admin, where there is none."""
    link = first_link(settings, parts.accounts, port)
    if link is not None:
        click.echo(f"{FIRST}\n  {link}")


class MountedPages:
    """The pages within the service, which has one worker then: `Settings` sees to it. Close it when that ends."""

    def __init__(self, settings: Settings, told: Callable[[Collection[str]], str]) -> None:
        """`told` gives the samples of this service that have these names; one thread calls it each 2 to 10 s.

        Where their store is gone they answer 503 until it is back: no reason not to score. Raises what
        `working_parts` does otherwise.
        """

        def counts() -> Readings:
            return parsed(told(WANTED), WANTED)

        port = settings.port or 3000
        self._opening = OpeningPages(
            lambda: working_parts(settings, port, counts), lambda parts: say_first_link(settings, parts, port)
        )
        self.pages: Pages = pages_at(self._opening, SEGMENTS)

    def close(self) -> None:
        """End its threads and close its stores."""
        self._opening.close()
