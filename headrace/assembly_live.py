"""The live dashboard put together: the service that is asked, the last hour's series and the file of the last days."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

from headrace.client_key import bearer, key_of
from headrace.running import service_of_home
from headrace.settings import InvalidSetting, Settings
from review.collector import Collector
from review.scrape import Counts, Scrape
from review.scrape_all import ScrapeAll
from review.series import Series
from review.series_file import SeriesFile, SeriesUnavailable
from review.series_history import SeriesHistory
from review.series_table import WANTED
from review.service_addresses import InvalidAddress, ServiceAddresses

FILE = "series.sqlite"
TIMEOUT_OF_SEVERAL_S = 2.5
"""Of one address of several: less than a look waits for all of them."""
logger = logging.getLogger(__name__)


@contextmanager
def collecting(settings: Settings, counts: Counts | None = None) -> Iterator[tuple[Collector, SeriesHistory] | None]:
    """A collector that runs as long as this lasts, and what it has seen; None where there is no service.

    The service is the one that is named, else that of the `headrace up` in the home. With `counts` it reads these and
    asks no service. Without its file it goes on with the last hour alone. Raises `InvalidSetting`.
    """
    if counts is not None:
        with _collector(settings, counts) as made:
            yield made
        return
    url = settings.review_service or (f"http://{settings.host}:{settings.port}" if settings.port else "")
    url = url or service_of_home(settings.home)
    if not url:
        yield None
        return
    try:
        addresses = ServiceAddresses(url)
    except InvalidAddress as error:
        raise InvalidSetting(f"HEADRACE_REVIEW_SERVICE: {error}") from None
    try:
        headers = bearer(key_of(None))
    except ValueError as error:
        raise InvalidSetting(str(error)) from None
    with closing(_asked(addresses, headers)) as asked:
        away = (lambda: asked.away) if isinstance(asked, ScrapeAll) else str
        with _collector(settings, asked, away) as made:
            yield made


def _asked(addresses: ServiceAddresses, headers: Mapping[str, str]) -> Scrape | ScrapeAll:
    if addresses.is_one:
        return Scrape(addresses.now()[0], WANTED, headers)
    return ScrapeAll(addresses, lambda url: Scrape(url, WANTED, headers, TIMEOUT_OF_SEVERAL_S))


@contextmanager
def _collector(
    settings: Settings, counts: Counts, away: Callable[[], str] = str
) -> Iterator[tuple[Collector, SeriesHistory]]:
    days, series = _days(settings), Series()
    collector = Collector(counts, series, days, away=away)
    collector.start()
    try:
        yield collector, SeriesHistory(series, days)
    finally:
        collector.stop()
        if days is not None:
            days.close()


def _days(settings: Settings) -> SeriesFile | None:
    try:
        return SeriesFile(settings.home / FILE)
    except SeriesUnavailable as error:
        logger.warning("the live dashboard keeps the last hour only: %s", error)
        return None
