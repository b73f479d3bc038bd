"""How clients of kafka-python are made here, and what becomes of its errors."""

from __future__ import annotations

import logging
import socket
import ssl
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from stream.log import LogUnavailable, Partition
from stream.tls import remedy_of

with warnings.catch_warnings():
    # kafka-python reads its schemas in a way that Python 3.11 deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaConnectionError, KafkaError
    from kafka.net.compat import KafkaNetClient
    from kafka.net.inet import KafkaNetSocket

# kafka-python reports every lost connection by itself; callers get `LogUnavailable` instead.
logging.getLogger("kafka").addHandler(logging.NullHandler())
logging.getLogger("kafka").setLevel(logging.CRITICAL)

CONTACT_TIMEOUT_S = 1.0
HANDSHAKE_TIMEOUT_S = 5.0
"""A broker that has just started, or that is a continent away, may need seconds for its first TLS handshake."""
PROTEST_TIMEOUT_S = 0.2
"""How long a server that wants a certificate of ours is given to say so: by TLS 1.3 only after the handshake."""
ANSWER_TIMEOUT_MS = 1000
"""How long `answers` waits for a broker that takes connections; who starts one asks again."""
STANDING_TIMEOUT_MS = 5000
NEWEST = -1
"""What Kafka takes for the time of a partition's end."""


class _ClosingSocket(KafkaNetSocket):  # type: ignore[misc]
    """kafka-python leaves the socket of a failed connection open; this one, chosen by its scheme, closes it."""

    SCHEMES = ("closing",)

    async def sock_connect(self, net: Any, sock: Any, sockaddr: Any, timeout_at: float | None = None) -> Any:
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise


def addresses_of(bootstrap: str) -> list[tuple[str, int]]:
    """Hosts and ports of "host:port", several with commas. Raises `ValueError` where it is not that.

    >>> addresses_of("one:9092,[::1]:9093")
    [('one', 9092), ('::1', 9093)]
    """
    found = []
    for part in bootstrap.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"Kafka address {part!r} is not understood; use host:port, several with commas")
        found.append((host.strip("[]"), int(port)))
    return found


def contact(bootstrap: str, tls: ssl.SSLContext | None = None) -> None:
    """Return if any of the addresses takes a connection, else raise `OSError`: at once where none is listened on.

    Cheaper than a client, which would start a thread for each attempt and try until its timeout; and with TLS it says
    why there is no connection.
    """
    addresses = addresses_of(bootstrap)
    for address in addresses:
        try:
            with socket.create_connection(address, timeout=CONTACT_TIMEOUT_S) as link:
                if tls is not None:
                    _greet(link, address[0], tls)
            return
        except OSError:
            if address == addresses[-1]:
                raise


def _greet(link: socket.socket, host: str, tls: ssl.SSLContext) -> None:
    link.settimeout(HANDSHAKE_TIMEOUT_S)
    with tls.wrap_socket(link, server_hostname=host) as secured:
        secured.settimeout(PROTEST_TIMEOUT_S)
        try:
            secured.recv(1)  # no broker speaks first
        except TimeoutError:
            return


def answers(bootstrap: str, security: Mapping[str, Any] | None = None) -> bool:
    """Whether a broker at `bootstrap` knows its cluster by now; takes seconds at most, and raises nothing."""
    try:
        contact(bootstrap, (security or {}).get("ssl_context"))
        admin = _admin(bootstrap, ANSWER_TIMEOUT_MS, security)
    except (KafkaError, OSError):
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()


class GroupStanding(NamedTuple):
    """A group on Kafka: how many members it has, and how many records lie behind what it has committed."""

    members: int
    behind: int
    behind_by_partition: Mapping[Partition, int] = {}


def standings(
    bootstrap: str, groups: Iterable[str], security: Mapping[str, Any] | None = None
) -> dict[str, GroupStanding]:
    """Where these groups are; one that Kafka does not know has no members. Makes no topic and no group.

    A partition of which a group has committed nothing does not count as behind. Raises `LogUnavailable`.
    """
    with kafka_errors(bootstrap):
        admin = _admin(bootstrap, STANDING_TIMEOUT_MS, security)
        try:
            known = {group["group_id"] for group in admin.list_groups()}
            return {group: _standing(admin, group) if group in known else GroupStanding(0, 0) for group in groups}
        finally:
            admin.close()


def _admin(bootstrap: str, timeout_ms: int, security: Mapping[str, Any] | None) -> Any:
    given = {"bootstrap_timeout_ms": timeout_ms, "proxy_url": "closing://", **(security or {})}
    return open_client(KafkaAdminClient, bootstrap_servers=bootstrap.split(","), **given)


def _standing(admin: Any, group: str) -> GroupStanding:
    members = len(admin.describe_groups([group])[group]["members"])
    committed = {place: max(0, int(one.offset)) for place, one in admin.list_group_offsets(group)[group].items()}
    ends = admin.list_partition_offsets(dict.fromkeys(committed, NEWEST)) if committed else {}
    behind = {Partition(*place): max(0, int(ends[place].offset) - offset) for place, offset in committed.items()}
    return GroupStanding(members, sum(behind.values()), behind)


def open_client(
    kind: Callable[..., Any], *arguments: str, may_write: Callable[[], bool] | None = None, **settings: Any
) -> Any:
    """A client of kafka-python, whose sockets and thread do not stay behind if it cannot be made.

    `may_write` is asked right before bytes go to a broker; where it says no, that connection is lost instead.
    """
    links: list[Any] = []

    def link(**configs: Any) -> Any:
        links.append(KafkaNetClient(**configs))
        if may_write is not None:
            _ask_before_writes(links[-1]._manager, may_write)
        return links[-1]

    try:
        return kind(*arguments, kafka_client=link, **settings)
    except BaseException:
        for made in links:
            made.close()
        raise


def _ask_before_writes(manager: Any, may_write: Callable[[], bool]) -> None:
    build = manager._build_transport

    async def build_asking(*arguments: Any, **options: Any) -> Any:
        transport = await build(*arguments, **options)
        write = transport._sock_send
        refused = 0, KafkaConnectionError("held back: it is too late to be sent")
        transport._sock_send = lambda: write() if may_write() else refused
        return transport

    manager._build_transport = build_asking


@contextmanager
def kafka_errors(bootstrap: str, usual_remedy: str = "") -> Iterator[None]:
    """Raise kafka-python's errors as `LogUnavailable`, with what helps: of TLS, or what usually does."""
    try:
        yield
    except (KafkaError, OSError) as error:
        remedy = remedy_of(error, "HEADRACE_KAFKA") or usual_remedy
        reason = f"{error}; {remedy}" if remedy else str(error)
        raise LogUnavailable(f"Kafka at {bootstrap} did not answer: {reason}") from error
