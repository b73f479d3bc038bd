"""Several processes of one service keep what one promises: they share nothing but Redis."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import psutil
import pytest

from headrace.assembly import open_outbox
from headrace.settings import Settings
from headrace.stack import Stack
from stream.log import Partition
from stream.records import Decision, Transaction, decode, encode
from tests.scoring.conftest import feature, payment

pytestmark = pytest.mark.xdist_group("stack")

CLIENTS = 12
EVENTS = 40
COUNT = "card_count_30d"


@pytest.fixture
def service(home: Path) -> Iterator[tuple[Stack, str]]:
    with Stack(Settings({"home": home, "workers": 2, "deadline": "5s"}, {})) as stack:
        stack.start_redis()
        yield stack, stack.start_service()


def clients_by_process(stack: Stack, port: int) -> list[int]:
    """How many connections each process of the service serves, most first."""
    service = psutil.Process(stack.children["service"].pid)
    counts = [
        sum(link.status == psutil.CONN_ESTABLISHED and link.laddr.port == port for link in child.net_connections())
        for child in service.children(recursive=True)
    ]
    return sorted(counts, reverse=True)


def test_two_processes_give_one_event_one_decision_and_see_each_others_answers(service: tuple[Stack, str]) -> None:
    stack, url = service
    place = urlsplit(url)
    began = datetime.now(UTC) - timedelta(hours=1)
    with ExitStack() as opened:
        links = [opened.enter_context(closing(http.client.HTTPConnection(place.netloc))) for _ in range(CLIENTS)]
        pool = opened.enter_context(ThreadPoolExecutor(CLIENTS))

        def ask(link: http.client.HTTPConnection, body: bytes) -> bytes:
            link.request("POST", "/fraud/score", body, {"content-type": "application/json"})
            answer = link.getresponse()
            content = answer.read()
            assert answer.status == 200, content
            return content

        # One process may have taken all connections at first. While both are asked, some are dealt again.
        numbers, dealt = count(), Event()

        def press(link: http.client.HTTPConnection) -> None:
            while not dealt.is_set():
                number = next(numbers)
                ask(link, encode(payment(f"p{number}", event_timestamp=began, card_id=f"p{number}")))

        assert place.port is not None
        pressed = [pool.submit(press, link) for link in links]
        until = time.monotonic() + 60
        while clients_by_process(stack, place.port)[1] == 0 and time.monotonic() < until:
            time.sleep(0.1)
        dealt.set()
        for one in pressed:
            one.result()
        served = clients_by_process(stack, place.port)
        assert served[1] > 0, f"one process served all {CLIENTS} connections: {served}"
        seen: list[float | None] = []
        for number in range(EVENTS):
            body = encode(payment(f"e{number}", event_timestamp=began + timedelta(seconds=number)))
            answers = set(pool.map(lambda link, body=body: ask(link, body), links))
            assert len(answers) == 1
            decision: Decision = decode(answers.pop(), Decision)
            assert decision.degraded == []
            seen.append(feature(decision.vector, COUNT))
    assert seen == [float(number + 1) for number in range(EVENTS)]
    asked = next(numbers)
    with closing(open_outbox(stack.settings)) as log:
        for topic in (Transaction.topic, Decision.topic):
            entries = [one for n in range(log.partitions(topic)) for one in log.read(Partition(topic, n), 0, 10**6)]
            assert len(entries) == EVENTS + asked
