"""Card numbers for tests, and a look for them in everything that a Redis or a folder holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from stream.connection import RedisConnection

VISA, MASTERCARD, AMEX = "4111111111111111", "5555555555554444", "378282246310005"
# The beginnings of some schemes, and how long their numbers are.
SCHEMES = [("4", 16), ("4", 13), ("4", 19), ("51", 16), ("2720", 16), ("34", 15), ("37", 15), ("300", 14), ("36", 14)]
SCHEMES += [("3528", 16), ("6011", 16), ("65", 16), ("62", 19), ("6304", 13), ("5018", 18), ("2200", 16), ("81", 16)]
READS = {
    b"string": ("GET",),
    b"hash": ("HGETALL",),
    b"list": ("LRANGE", 0, -1),
    b"set": ("SMEMBERS",),
    b"zset": ("ZRANGE", 0, -1),
    b"stream": ("XRANGE", "-", "+"),
}


def completed(digits: str) -> str:
    """With the digit that makes it pass the check, by the book: double every second, from the right."""
    doubled = [2 * int(one) if place % 2 == 0 else int(one) for place, one in enumerate(reversed(digits))]
    return digits + str(-sum(one - 9 if one > 9 else one for one in doubled) % 10)


@st.composite
def card_numbers(draw: st.DrawFn) -> str:
    """Valid numbers of some scheme."""
    start, length = draw(st.sampled_from(SCHEMES))
    missing = length - 1 - len(start)
    return completed(start + draw(st.text("0123456789", min_size=missing, max_size=missing)))


@st.composite
def written(draw: st.DrawFn, digits: str) -> str:
    """A number as people and machines write it: in one piece, in fours, or grouped otherwise; perhaps in a sentence."""
    separator = draw(st.sampled_from(["", " ", "-"]))
    size = draw(st.sampled_from([4, 4, 3, 5, 1]))
    text = separator.join(digits[at : at + size] for at in range(0, len(digits), size)) if separator else digits
    return draw(st.sampled_from(["{}", "card {}", "x{}x", "{} 12/27", "a.{}.", "1 {}", "n={};"])).format(text)


def holds(content: bytes, digits: str) -> bool:
    """Whether a number stands in some bytes, however it is grouped."""
    return digits.encode() in content.translate(None, b" -")


def everything_in(url: str) -> bytes:
    """All keys and values of a Redis."""
    with RedisConnection(url) as connection:
        keys: list[bytes] = connection.one("KEYS", "*")
        kinds = connection.call([("TYPE", key) for key in keys]) if keys else []
        reads = [(READS[kind][0], key, *READS[kind][1:]) for key, kind in zip(keys, kinds, strict=True)]
        return b"\n".join([*keys, *_flat(connection.call(reads) if reads else [])])


def everything_under(folder: Path) -> bytes:
    """All files of a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def _flat(reply: Any) -> Iterable[bytes]:
    if isinstance(reply, list):
        for one in reply:
            yield from _flat(one)
    elif reply is not None:
        yield reply if isinstance(reply, bytes) else str(reply).encode()
