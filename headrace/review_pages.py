"""What `headrace review serve` does: the analysts' pages alone, until stopped."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing

import click
import uvicorn

from headrace.assembly_pages import say_first_link, working_parts
from headrace.opening_pages import OpeningPages
from headrace.settings import Settings
from review.web.site import Site

GRACE_S = 2
"""How long pages that are being answered may take when the server stops; open streams end then, and come back."""


def run_pages(settings: Settings) -> None:
    """Serve until a signal, from the start: 503 as long as the cases' database is gone.

    With no admin yet, print the link that makes the first one.
    """
    with ExitStack() as opened:
        listening = opened.enter_context(closing(_listening(settings.host, settings.review_port)))
        port = listening.getsockname()[1]
        pages = OpeningPages(lambda: working_parts(settings, port), lambda parts: say_first_link(settings, parts, port))
        opened.callback(pages.close)
        click.echo(f"pages at {Site(settings.review_url).url('/', f'localhost:{port}')}")
        config = uvicorn.Config(
            pages,
            lifespan="off",
            # Addresses of pages have one-time links in them, and what analysts search for.
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address. Raises `click.ClickException` where it is taken."""
    try:
        return socket.create_server((host, port), backlog=256)
    except OSError as error:
        raise click.ClickException(
            f"the pages cannot listen on {host}:{port}: {error}; set HEADRACE_REVIEW_PORT"
        ) from None
