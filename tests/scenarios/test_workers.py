"""Several processes of one service keep what one promises: they share nothing but Redis."""

from __future__ import annotations

import http.client
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
from tests.patient import DEADLINE, ask_over, connected
from tests.scoring.conftest import feature, payment
from tests.until import until

pytestmark = pytest.mark.slow

CLIENTS = 12
EVENTS = 20
COUNT = "card_count_30d"


@pytest.fixture
def service(home: Path) -> Iterator[tuple[Stack, str]]:
    with Stack(Settings({"home": home, "workers": 2, "deadline": DEADLINE}, {})) as stack:
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
        links = [opened.enter_context(closing(connected(url))) for _ in range(CLIENTS)]
        pool = opened.enter_context(ThreadPoolExecutor(CLIENTS))

        def ask(link: http.client.HTTPConnection, body: bytes) -> bytes:
            answer = ask_over(link, "POST", "/fraud/score", body)
            assert answer.status == 200, answer
            return answer.content

        # One process may have taken all connections at first. While both are asked, some are dealt again.
        numbers, dealt = count(), Event()

        def press(link: http.client.HTTPConnection) -> None:
            while not dealt.is_set():
                number = next(numbers)
                ask(link, encode(payment(f"p{number}", event_timestamp=began, card_id=f"p{number}")))

        port = place.port or 0
        pressed = [pool.submit(press, link) for link in links]
        try:
            until(lambda: clients_by_process(stack, port)[1] > 0, "a connection of each process", every_s=0.1)
        finally:
            dealt.set()
        for one in pressed:
            one.result()
        seen: list[float | None] = []
        served: list[list[int]] = []
        for number in range(EVENTS):
            served.append(clients_by_process(stack, port))
            body = encode(payment(f"e{number}", event_timestamp=began + timedelta(seconds=number)))
            answers = set(pool.map(lambda link, body=body: ask(link, body), links))
            assert len(answers) == 1
            decision: Decision = decode(answers.pop(), Decision)
            assert decision.degraded == []
            seen.append(feature(decision.vector, COUNT))
    # Connections go on being dealt again: the last answer of all may have ended the only one of a process.
    assert any(counts[1] > 0 for counts in served), f"one process served all {CLIENTS} connections: {served}"
    assert seen == [float(number + 1) for number in range(EVENTS)]
    asked = next(numbers)
    with closing(open_outbox(stack.settings)) as log:
        for topic in (Transaction.topic, Decision.topic):
            entries = [one for n in range(log.partitions(topic)) for one in log.read(Partition(topic, n), 0, 10**6)]
            assert len(entries) == EVENTS + asked
