"""Which services a setting names."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from review.service_addresses import ADDRESSES_LIMIT, InvalidAddress, ServiceAddresses, Unresolved, addresses_of


def test_one_address_is_one_service_and_is_never_looked_up() -> None:
    one = ServiceAddresses("https://scores.example:8443/headrace/")
    assert one.is_one and not one.are_looked_up
    assert one.now() == ["https://scores.example:8443/headrace"]


def test_several_addresses_are_each_asked_once() -> None:
    several = ServiceAddresses(" http://a:3000/ http://b:3000\nhttp://a:3000 ")
    assert not several.is_one
    assert several.now() == ["http://a:3000", "http://b:3000"]


def test_every_address_of_a_name_is_asked_as_they_come_and_go() -> None:
    pods = ["10.0.0.7", "10.0.0.9"]
    addresses = ServiceAddresses("dns+http://pods:3000 http://c:3000", lambda name, port: pods)
    assert addresses.are_looked_up and not addresses.is_one
    assert addresses.now() == ["http://10.0.0.7:3000", "http://10.0.0.9:3000", "http://c:3000"]
    pods[:] = ["fd00::7"]
    assert addresses.now() == ["http://[fd00::7]:3000", "http://c:3000"]
    pods[:] = [f"10.0.1.{number}" for number in range(200)]
    assert len(addresses.now()) == ADDRESSES_LIMIT


def test_a_name_without_an_address_is_named() -> None:
    def unknown(name: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(Unresolved, match=r"pods has no address .*not known"):
        ServiceAddresses("dns+http://pods:3000", unknown).now()
    with pytest.raises(Unresolved, match="does any of its pods run"):
        ServiceAddresses("dns+http://pods:3000", lambda name, port: []).now()


def test_a_pod_with_two_kinds_of_address_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(name: str, port: int, type: int) -> list[Any]:
        four = [(socket.AF_INET, type, 6, "", (host, port)) for host in ("10.0.0.9", "10.0.0.7")]
        return [(socket.AF_INET6, type, 6, "", ("fd00::7", port, 0, 0)), *four]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert addresses_of("pods", 3000) == ["10.0.0.7", "10.0.0.9"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, port, type: both(name, port, type)[:1])
    assert addresses_of("pods", 3000) == ["fd00::7"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no address; give one such as http://"),
        ("localhost:3000", "'localhost:3000' is no address"),
        ("http://a:3000,http://b:3000", "is no address"),
        ("http://a:3000 ftp://b", "'ftp://b' is no address"),
        ("dns+https://pods:3000", "addresses have no certificates"),
        ("http://:3000", "is no address"),
    ],
)
def test_what_names_no_service_is_quoted(text: str, words: str) -> None:
    with pytest.raises(InvalidAddress) as found:
        ServiceAddresses(text)
    assert words in str(found.value)
