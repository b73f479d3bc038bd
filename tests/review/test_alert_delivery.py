"""Messages reach a real receiver: again when it fails, again when the courier dies, and signed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from headrace.logs import configure_logs
from review.alert_apprise import AppriseTarget
from review.alert_courier import Courier
from review.alert_message import Message, Told, message
from review.alert_outbox import SENDING, AlertOutbox, add
from review.alert_target import NotDelivered, Target
from review.engine import Database, open_engine
from review.webhook import Webhook
from review.webhook_signature import REPLAY_WINDOW_S, SIGNATURE_HEADER, TIMESTAMP_HEADER, is_genuine, sign
from tests.review.documented import documented
from tests.review.quick_stores import new_store_at
from tests.until import LIMIT_S

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
KEY, OLD_KEY = "k" * 32, "o" * 32
ROOT = Path(__file__).parent.parent.parent
UNHURRIED = "?cto=60&rto=60"
"""Apprise waits four seconds, unless its URL says otherwise."""


class Receiver:
    """Somebody else's system: it keeps what it gets, and answers as it was told to, then with 200."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.address}/alerts"

    @property
    def ids(self) -> list[str]:
        return [headers["idempotency-key"] for headers, _ in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    thread = Thread(target=lambda: one.server.serve_forever(poll_interval=0.02))
    thread.start()
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    new_store_at(path)
    engine = open_engine(path)
    yield Database(engine)
    engine.dispose()


def a_message(at: datetime = NOON) -> Message:
    told = Told(
        name="lag",
        title="Readers are behind",
        turn="firing",
        severity="page",
        value=12.0,
        words="the oldest unread record waits: 12 s",
        since=NOON,
        link="https://headrace.example/",
        alert="https://headrace.example/alerts#lag",
        remedy="run `headrace doctor`",
    )
    return message(at, [told])


def sent_off(database: Database, *targets: Target) -> None:
    with database.writing() as db:
        for target in targets:
            add(db, target.fingerprint, target.label, a_message())


def test_a_receiver_that_fails_twice_gets_the_message_once_it_answers(receiver: Receiver, database: Database) -> None:
    receiver.answers = [503, 302]
    clock = [NOON]
    target = Webhook(receiver.url, [KEY])
    courier = Courier(AlertOutbox(database), [target], lambda: clock[0])
    sent_off(database, target)
    delivered = []
    for wait_s in (0, 1, 4, 9, 1, 60):
        clock[0] += timedelta(seconds=wait_s)
        delivered.append(courier.deliver())
    assert delivered == [0, 0, 0, 0, 1, 0], "at once, after 5 s, after 10 s more"
    assert len(receiver.got) == 3 and set(receiver.ids) == {a_message().id}


class Broken:
    """A target whose library does not say what is wrong in the words that it should."""

    fingerprint, label = "broken", "broken one"

    def send(self, message: Message) -> None:
        raise KeyError("https://s3cret.example")


def test_a_target_that_breaks_holds_up_no_other_and_is_tried_again(
    receiver: Receiver, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    clock, broken, target = [NOON], Broken(), Webhook(receiver.url, [KEY])
    courier = Courier(AlertOutbox(database), [broken, target], lambda: clock[0])
    sent_off(database, broken, target)
    assert courier.deliver() == 1 and len(receiver.got) == 1
    (waiting,) = AlertOutbox(database).troubled()
    assert (waiting.label, waiting.problem, waiting.fate) == ("broken one", "KeyError", "waiting")
    assert "s3cret" not in caplog.text


SEND_AND_DIE = """
import os, sys
import review.webhook
from datetime import datetime
from pathlib import Path
from review.alert_courier import Courier
from review.alert_outbox import AlertOutbox
from review.engine import Database, open_engine
from review.webhook import Webhook

class Dying(AlertOutbox):
    def mark_sent(self, parcel, now):
        os._exit(9)

review.webhook.TIMEOUT_S = 60.0
path, url, key, now = sys.argv[1:]
outbox = Dying(Database(open_engine(Path(path))))
Courier(outbox, [Webhook(url, [key])], lambda: datetime.fromisoformat(now)).deliver()
"""


def test_a_courier_killed_between_sending_and_marking_sends_again_with_the_same_id(
    receiver: Receiver, database: Database, tmp_path: Path
) -> None:
    target = Webhook(receiver.url, [KEY])
    sent_off(database, target)
    words = [sys.executable, "-c", SEND_AND_DIE, str(tmp_path / "review.sqlite"), receiver.url, KEY, NOON.isoformat()]
    died = subprocess.run(words, cwd=ROOT, timeout=LIMIT_S, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert died.returncode == 9 and len(receiver.got) == 1
    clock = [NOON]
    courier = Courier(AlertOutbox(database), [target], lambda: clock[0])
    assert courier.deliver() == 0, "perhaps that one still sends it"
    clock[0] += SENDING
    assert courier.deliver() == 1 and courier.deliver() == 0
    assert len(receiver.ids) == 2 and len(set(receiver.ids)) == 1


def test_a_webhook_is_signed_over_its_time_and_body(receiver: Receiver) -> None:
    Webhook(receiver.url, [KEY, OLD_KEY], clock=lambda: 1_700_000_000.7).send(a_message())
    ((headers, body),) = receiver.got
    time, signature = headers["headrace-timestamp"], headers["headrace-signature"]
    assert time == "1700000000" and headers["content-type"] == "application/json"
    for key in (KEY, OLD_KEY):
        assert is_genuine(key, time, signature, body, 1_700_000_000.0)
    assert msgspec.json.decode(body)["id"] == headers["idempotency-key"] == a_message().id
    assert msgspec.json.decode(body)["alerts"][0]["link"] == "https://headrace.example/"


def test_a_receiver_that_does_as_the_documentation_says_knows_what_is_ours(receiver: Receiver) -> None:
    is_ours = documented("is_ours")
    Webhook(receiver.url, [KEY, OLD_KEY]).send(a_message())
    ((headers, body),) = receiver.got
    said = {name: headers[name.lower()] for name in (TIMESTAMP_HEADER, SIGNATURE_HEADER)}
    assert is_ours(said, body, KEY) and is_ours(said, body, OLD_KEY)
    assert not is_ours(said, body + b" ", KEY) and not is_ours(said, body, "x" * 32)
    assert not is_ours(said | {SIGNATURE_HEADER: "v1=é"}, body, KEY)
    past = str(int(said[TIMESTAMP_HEADER]) - 100_000)
    assert not is_ours({TIMESTAMP_HEADER: past, SIGNATURE_HEADER: sign([KEY], past, body)}, body, KEY)


@pytest.mark.parametrize(
    ("change", "is_ours"),
    [
        ({}, True),
        ({"now_s": 1000.0 + REPLAY_WINDOW_S}, True),
        ({"now_s": 1001.0 + REPLAY_WINDOW_S}, False),
        ({"now_s": 999.0 - REPLAY_WINDOW_S}, False),
        ({"body": b'{"a":2}'}, False),
        ({"timestamp": "1001"}, False),
        ({"timestamp": "1000 "}, False),
        ({"timestamp": "１０００"}, False),
        ({"key": OLD_KEY}, False),
        ({"signature": ""}, False),
        ({"signature": "v1=é"}, False),
    ],
)
def test_what_was_changed_or_is_old_is_not_genuine(change: dict[str, object], is_ours: bool) -> None:
    body = b'{"a":1}'
    given = {"key": KEY, "timestamp": "1000", "signature": sign([KEY], "1000", body), "body": body, "now_s": 1000.0}
    assert is_genuine(**(given | change)) == is_ours  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://example.org/x", KEY),
        ("ftp://example.org", KEY),
        ("https://", KEY),
        ("https://example.org:99999/", KEY),
        ("https://example.org", "short"),
    ],
)
def test_a_webhook_without_encryption_a_host_or_a_key_is_refused(url: str, key: str) -> None:
    with pytest.raises(ValueError, match=r"https://|characters") as raised:
        Webhook(url, [key])
    assert "example.org" not in str(raised.value)


def test_nobody_there_is_a_problem_in_words_without_the_address(receiver: Receiver) -> None:
    receiver.server.shutdown()  # Or its thread would find the socket gone while it listens.
    receiver.server.server_close()
    with pytest.raises(NotDelivered) as raised:
        Webhook(receiver.url, [KEY]).send(a_message())
    assert receiver.address not in str(raised.value)


def test_apprise_delivers_and_says_when_it_could_not(receiver: Receiver) -> None:
    target = AppriseTarget(f"json://user:secret@{receiver.address}/alerts{UNHURRIED}")
    target.send(a_message())
    (_, body) = receiver.got[0]
    sent = msgspec.json.decode(body)
    assert sent["title"] == "[page] Readers are behind" and "https://headrace.example/alerts#lag" in sent["message"]
    assert "secret" not in f"{target.label} {target.fingerprint}"
    receiver.answers = [500]
    with pytest.raises(NotDelivered):
        target.send(a_message())


def test_a_target_that_the_settings_name_no_more_gets_nothing(receiver: Receiver, database: Database) -> None:
    sent_off(database, Webhook(receiver.url, [KEY]))
    courier = Courier(AlertOutbox(database), [Webhook(f"{receiver.url}/other", [KEY])], lambda: NOON)
    assert courier.deliver() == 0 and receiver.got == []
    assert "no more" in AlertOutbox(database).troubled()[0].problem


def test_the_log_says_no_address(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        configure_logs("text", "info")
        Webhook(f"{receiver.url}/s3cret", [KEY]).send(a_message())
        AppriseTarget(f"json://user:s3cret@{receiver.address}/s3cret{UNHURRIED}").send(a_message())
    assert len(receiver.got) == 2 and "s3cret" not in caplog.text


def test_the_database_holds_no_address(receiver: Receiver, database: Database, tmp_path: Path) -> None:
    sent_off(database, Webhook(f"{receiver.url}/s3cret", [KEY]))
    database.engine.dispose()
    assert all(b"s3cret" not in path.read_bytes() for path in tmp_path.iterdir())
