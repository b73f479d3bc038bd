"""TLS against real servers: an embedded Redis behind a forwarder that ends TLS, and a Kafka node with its own."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from feature_repo.environment import environment
from stream.connection import RedisConnection, RedisUnavailable
from stream.kafka_client import contact
from stream.kafka_log import KafkaLog
from stream.kafka_security import KafkaSecurity
from stream.log import LogUnavailable
from stream.tls import TlsFiles, remedy_of, with_files, without_password
from tests.certificates import Authority, authority
from tests.unhurried import PATIENT_MS, PATIENT_S


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("others"), "others")


@pytest.fixture(scope="module")
def server_files(ours: Authority) -> tuple[str, str]:
    return ours.issue("server", "IP:127.0.0.1")


class Forwarder:
    """Ends TLS and forwards what is within to a server that speaks plain text."""

    def __init__(self, target: tuple[str, int], context: ssl.SSLContext) -> None:
        self._target = target
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(link,), daemon=True).start()

    def _forward(self, link: socket.socket) -> None:
        try:
            link.settimeout(PATIENT_S)
            with (
                self._context.wrap_socket(link, server_side=True) as near,
                socket.create_connection(self._target) as far,
            ):
                while True:
                    ready = [near] if near.pending() else select.select([near, far], [], [], PATIENT_S)[0]
                    if not ready:
                        return
                    for source in ready:
                        content = source.recv(65536)
                        if not content:
                            return
                        (far if source is near else near).sendall(content)
        except OSError:
            return


OpenForwarder = Callable[..., int]


@pytest.fixture
def forward(redis_db: str, ours: Authority, server_files: tuple[str, str]) -> Iterator[OpenForwarder]:
    """Opens a TLS port before the embedded Redis; with `wants_cert` only for those whose certificate is of ours."""
    parts = urlsplit(redis_db)
    with ExitStack() as opened:

        def open_one(files: tuple[str, str] = server_files, wants_cert: bool = False) -> int:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            if wants_cert:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(ours.ca)
            forwarder = opened.enter_context(closing(Forwarder((str(parts.hostname), parts.port or 0), context)))
            return forwarder.port

        yield open_one


def ask(url: str, connect_timeout_ms: float = PATIENT_MS) -> bytes:
    with RedisConnection(url, timeout_ms=PATIENT_MS, connect_timeout_ms=connect_timeout_ms) as connection:
        answer: bytes = connection.one("ECHO", "hello")
        return answer


def secured(port: int, *files: str, host: str = "127.0.0.1") -> str:
    return with_files(f"rediss://{host}:{port}/0", TlsFiles(*files))


def test_with_the_right_authority_it_answers(forward: OpenForwarder, ours: Authority) -> None:
    assert ask(secured(forward(), ours.ca)) == b"hello"


def test_many_commands_in_one_round_trip_come_back_whole(forward: OpenForwarder, ours: Authority) -> None:
    with RedisConnection(secured(forward(), ours.ca), timeout_ms=PATIENT_MS) as connection:
        commands = [("ECHO", "x" * 50_000) for _ in range(40)]
        assert connection.call(commands) == [b"x" * 50_000] * 40


def test_an_unknown_authority_is_refused_with_the_setting_that_helps(forward: OpenForwarder, others: Authority) -> None:
    port = forward()
    for url in (secured(port), secured(port, others.ca)):
        with pytest.raises(RedisUnavailable, match=r"certificate verify failed.*; set HEADRACE_REDIS_CA"):
            ask(url)


def test_a_certificate_for_another_name_is_refused(forward: OpenForwarder, ours: Authority) -> None:
    with pytest.raises(RedisUnavailable, match="for another name"):
        ask(secured(forward(ours.issue("elsewhere", "DNS:elsewhere.example")), ours.ca))
    with pytest.raises(RedisUnavailable, match="for another name"):
        ask(secured(forward(), ours.ca, host="localhost"))


def test_a_server_that_speaks_plain_text_is_no_silent_way_round(redis_db: str, ours: Authority) -> None:
    with pytest.raises(RedisUnavailable, match="does not speak TLS"):
        ask(secured(urlsplit(redis_db).port or 0, ours.ca), connect_timeout_ms=500)


def test_plain_text_to_a_server_that_speaks_tls_says_so(forward: OpenForwarder) -> None:
    with pytest.raises(RedisUnavailable, match=r"write rediss://"):
        ask(f"redis://127.0.0.1:{forward()}/0")


def test_a_server_that_asks_for_our_certificate_gets_it(
    forward: OpenForwarder, ours: Authority, others: Authority
) -> None:
    port = forward(wants_cert=True)
    assert ask(secured(port, ours.ca, *ours.issue("client", "DNS:client"))) == b"hello"
    with pytest.raises(RedisUnavailable, match=r"asks for a certificate.*HEADRACE_REDIS_CERT and HEADRACE_REDIS_KEY"):
        ask(secured(port, ours.ca))
    with pytest.raises(RedisUnavailable, match=r"HEADRACE_REDIS_CERT"):
        ask(secured(port, ours.ca, *others.issue("stranger", "DNS:stranger")))


def test_files_that_cannot_be_used_are_named(tmp_path: Path, ours: Authority) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    with pytest.raises(ValueError, match=r"there is no file .*absent\.pem"):
        TlsFiles(str(tmp_path / "absent.pem")).context()
    with pytest.raises(ValueError, match="holds no certificates"):
        TlsFiles(str(empty)).context()
    with pytest.raises(ValueError, match="no certificate and its unencrypted key"):
        TlsFiles(ours.ca, str(empty)).context()
    with pytest.raises(ValueError, match="without its certificate"):
        TlsFiles(key=ours.ca).context()
    with pytest.raises(ValueError, match="write rediss://"):
        with_files("redis://127.0.0.1:1/0", TlsFiles(ours.ca))


def test_a_url_cannot_switch_the_check_off() -> None:
    with pytest.raises(ValueError, match="takes no ssl_cert_reqs"):
        RedisConnection("rediss://127.0.0.1:1/0?ssl_cert_reqs=none")


def test_feasts_client_connects_with_the_same_files(forward: OpenForwarder, ours: Authority, tmp_path: Path) -> None:
    client = ours.issue("feast", "DNS:feast")
    port = forward(wants_cert=True)
    words = environment(tmp_path, secured(port, ours.ca, *client))["HEADRACE_FEAST_REDIS"].split(",")
    # As Feast splits them; the client is the one that it makes.
    options: dict[str, Any] = dict(word.split("=", 1) for word in words[1:])
    options |= {"db": int(options["db"]), "ssl": options["ssl"] == "true"}
    with closing(redis.Redis("127.0.0.1", port, **options)) as connection:
        assert connection.ping()


def test_feast_is_given_the_same_files(tmp_path: Path) -> None:
    found = environment(tmp_path, with_files("rediss://:pw@store:7000/2", TlsFiles("/ca.pem", "/c.pem", "/k.pem")))
    assert found["HEADRACE_FEAST_REDIS"] == (
        "store:7000,db=2,password=pw,ssl=true,ssl_ca_certs=/ca.pem,ssl_certfile=/c.pem,ssl_keyfile=/k.pem"
    )


@pytest.mark.parametrize("url", ["redis://:secret@h:1/0", "rediss://me:s@cret@h/0?ssl_ca_certs=/x", "redis//:secret@h"])
def test_no_password_is_shown(url: str) -> None:
    assert "secret" not in without_password(url).replace("s@cret", "secret")
    with pytest.raises(ValueError, match=r"not understood|takes no") as raised:
        RedisConnection(url.replace("redis", "radis"))
    assert "secret" not in str(raised.value) and "s@cret" not in str(raised.value)


def test_settings_of_kafka_become_those_of_the_client(ours: Authority) -> None:
    assert KafkaSecurity().options() == {}
    found = KafkaSecurity("sasl_ssl", TlsFiles(ours.ca), "me", "secret", "SCRAM-SHA-256").options()
    context = found.pop("ssl_context")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert found == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "me",
        "sasl_plain_password": "secret",
    }
    with_user = KafkaSecurity("ssl", user="me", password="secret")
    for wrong in (KafkaSecurity(files=TlsFiles(ours.ca)), KafkaSecurity("sasl_ssl"), with_user):
        with pytest.raises(ValueError, match=r"ssl or sasl_ssl|needs kafka_user|takes no user"):
            wrong.options()


def test_a_broker_whose_certificate_is_wrong_is_named_with_the_remedy(
    forward: OpenForwarder, ours: Authority, others: Authority, redis_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As far as the handshake any server will do.
    contact(f"127.0.0.1:{forward()}", TlsFiles(ours.ca).context())
    cases = {
        forward(): (TlsFiles(others.ca), "set HEADRACE_KAFKA_CA"),
        forward(wants_cert=True): (TlsFiles(ours.ca), "HEADRACE_KAFKA_CERT"),
        urlsplit(redis_db).port: (TlsFiles(ours.ca), "does not speak TLS"),
    }
    # A busy machine protests late; who is refused hears it, and waits no longer than it takes.
    monkeypatch.setattr("stream.kafka_client.PROTEST_TIMEOUT_S", 60.0)
    for port, (files, remedy) in cases.items():
        if remedy == "does not speak TLS":  # then it says nothing, for as long as anybody waits
            monkeypatch.setattr("stream.kafka_client.HANDSHAKE_TIMEOUT_S", 0.5)
        with pytest.raises(LogUnavailable, match=remedy) as raised:
            KafkaLog(f"127.0.0.1:{port}", security=KafkaSecurity("ssl", files).options())
        assert "KafkaError" not in str(raised.value)


def test_an_error_that_is_not_of_tls_has_no_such_remedy() -> None:
    assert remedy_of(ConnectionRefusedError("refused"), "HEADRACE_REDIS") == ""
