"""A Kafka node that asks for TLS, for our certificate, and for a password; and clients that have them or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from stream.child import free_port
from stream.kafka_client import answers, standings
from stream.kafka_log import KafkaLog
from stream.kafka_node import KafkaNode
from stream.kafka_security import KafkaSecurity
from stream.log import LogUnavailable, Message, Partition
from stream.tls import TlsFiles
from tests.certificates import Authority, authority
from tests.until import until

pytestmark = pytest.mark.kafka

PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:SSL_PORT,SASL_SSL://127.0.0.1:SASL_PORT,\
CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:SSL_PORT,SASL_SSL://127.0.0.1:SASL_PORT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=KEYSTORE
ssl.truststore.type=PEM
ssl.truststore.location=TRUSTSTORE
listener.name.ssl.ssl.client.auth=required
listener.name.sasl_ssl.ssl.client.auth=none
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_me="secret";
"""


class SecuredNode(NamedTuple):
    """Where it takes certificates, where passwords, and whom it trusts."""

    ssl: str
    sasl: str
    authority: Authority


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, kafka: None) -> Iterator[SecuredNode]:
    """A node of its own."""
    folder: Path = tmp_path_factory.mktemp("secured")
    ours = authority(folder, "ours")
    cert, key = ours.issue("broker", "IP:127.0.0.1")
    keystore, truststore = folder / "keystore.pem", folder / "ours.crt"
    keystore.write_bytes(Path(key).read_bytes() + Path(cert).read_bytes())
    ports = {"SSL_PORT": str(free_port()), "SASL_PORT": str(free_port())}
    text = PROPERTIES
    for name, value in {**ports, "KEYSTORE": str(keystore), "TRUSTSTORE": str(truststore)}.items():
        text = text.replace(name, value)
    with KafkaNode(folder / "node", more_properties=text):
        yield SecuredNode(f"127.0.0.1:{ports['SSL_PORT']}", f"127.0.0.1:{ports['SASL_PORT']}", ours)


def test_our_certificate_or_our_password_lets_us_write_read_and_ask(node: SecuredNode) -> None:
    files = TlsFiles(str(node.authority.folder / "ours.crt"))
    client = node.authority.issue("client", "DNS:client")
    ways = {
        node.ssl: KafkaSecurity("ssl", files._replace(cert=client[0], key=client[1])),
        node.sasl: KafkaSecurity("sasl_ssl", files, "me", "secret", "PLAIN"),
    }
    for number, (bootstrap, security) in enumerate(ways.items()):
        options, topic = security.options(), f"topic-{number}"
        until(lambda where=bootstrap, how=options: answers(where, how))  # type: ignore[misc]
        with closing(KafkaLog(bootstrap, 1, session_timeout_ms=60_000, security=options)) as log:
            log.append([Message(topic, "k", b"one")])
            assert [entry.value for entry in log.read(Partition(topic, 0), 0, 10)] == [b"one"]
            with closing(log.consumer(f"group-{number}", [topic])) as member:
                found: list[bytes] = []
                while not found:
                    found = [entry.value for entries in member.poll(10, 500).values() for entry in entries]
                member.commit({Partition(topic, 0): 1})
                standing = standings(bootstrap, [f"group-{number}"], options)[f"group-{number}"]
                assert (standing.members, standing.behind) == (1, 0)


def test_whoever_lacks_them_is_told_what_is_missing(node: SecuredNode, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TlsFiles(str(node.authority.folder / "ours.crt"))
    wrong = {
        "HEADRACE_KAFKA_CERT": (node.ssl, KafkaSecurity("ssl", files)),
        "HEADRACE_KAFKA_CA": (node.sasl, KafkaSecurity("sasl_ssl", TlsFiles(), "me", "secret", "PLAIN")),
        "HEADRACE_KAFKA_PASSWORD": (node.sasl, KafkaSecurity("sasl_ssl", files, "me", "guessed", "PLAIN")),
    }
    for setting, (bootstrap, security) in wrong.items():
        # A busy machine protests late; where nobody protests, this is how long it is waited for.
        protest_s = 60.0 if setting == "HEADRACE_KAFKA_CERT" else 0.2
        monkeypatch.setattr("stream.kafka_client.PROTEST_TIMEOUT_S", protest_s)
        with pytest.raises(LogUnavailable, match=setting) as raised:
            KafkaLog(bootstrap, security=security.options(), timeout_ms=5000)
        assert "guessed" not in str(raised.value)
    with pytest.raises(LogUnavailable, match="HEADRACE_KAFKA_SECURITY"):
        KafkaLog(node.sasl, timeout_ms=5000)
