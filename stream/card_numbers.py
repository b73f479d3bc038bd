"""Card numbers (PANs) in texts: found, masked, normalised. Pure: what is to be done about one is `CardGuard`'s matter.

A card number is 13 to 19 digits, in one piece or in groups with single spaces or dashes between them, that pass the
Luhn check and begin as some card scheme's numbers do. It may stand inside a longer text; its ends are ends of groups,
so `order 1 4111 1111 1111 1111` has one. One in ten numbers that begin so passes the check by chance: whoever replaces
them must do it in a way that harms no other number.

The traps: digits that run on without a break on either side (a number and its CVV glued together) are not found, nor
are digits in another writing (words, base64). A UUID is never taken for a card number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

LEAST_DIGITS, MOST_DIGITS = 13, 19
SEARCHED_LIMIT = 8192
"""Characters of a text that are searched by group. Beyond it every long run of digits counts: no record is so long."""

RUNS_LIMIT = 100
"""Long runs of digits that are judged in passing; more than any record has."""

_ZEROS = bytes.maketrans(b"0123456789", b"0" * 10)
_RUN_OF_ZEROS = b"0" * LEAST_DIGITS
_SEPARATORS = b" -"
_ESCAPE = b"\\u00"
_RUN = re.compile(r"[0-9](?:[ -]?[0-9]){12,}+")
_DIGIT = re.compile(r"[0-9]")
_GROUP = re.compile(r"[0-9]+")
_UUID = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f])")
_ISSUED = re.compile(
    r"""
      4(?:\d{12}|\d{15}|\d{18})                                                            # Visa
    | 5[1-5]\d{14} | 2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}                     # Mastercard
    | 3[47]\d{13}                                                                          # American Express
    | 3(?:0[0-5]|095|6|8|9)\d{11,}                                                         # Diners Club
    | 35(?:2[89]|[3-8]\d)\d{12,}                                                           # JCB
    | (?:50|5[6-9]|6\d)\d{11,}                                                             # Maestro, Discover, RuPay
    | 8[12]\d{14,}                                                                         # UnionPay, RuPay
    | 220[0-5]\d{12,}                                                                      # Mir, Borica
    | (?:8600|9860|9792)\d{12}                                                             # Uzcard, Humo, Troy
    """,
    re.VERBOSE,
)
# The digit sum of twice a digit, as the character of that digit.
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")


class CardNumber(NamedTuple):
    """Where one stands in a text, and its digits without what is between them."""

    start: int
    end: int
    digits: str


def may_hold(payload: bytes) -> bool:
    """Whether these bytes (a text, or JSON with its escapes) need a closer look; nearly always False, within 1 us."""
    zeros = payload.translate(_ZEROS, _SEPARATORS)
    at = zeros.find(_RUN_OF_ZEROS)
    # For a single byte `in` is several times as fast, and few records have any.
    return (b"\\" in payload and _ESCAPE in payload) or (at >= 0 and _has_long_run(payload, zeros, at))


def _has_long_run(payload: bytes, zeros: bytes, at: int) -> bool:
    """Whether a long run of digits is more than the tail of a fraction: that is in one piece and fails the check."""
    joined = payload.translate(None, _SEPARATORS)
    for _ in range(RUNS_LIMIT):
        stop = len(zeros) - len(zeros[at:].lstrip(b"0"))
        digits = joined[at:stop]
        if joined.count(digits) != payload.count(digits) or is_card_number(digits.decode()):
            return True
        at = zeros.find(_RUN_OF_ZEROS, stop)
        if at < 0:
            return False
    return True


def find(text: str) -> Iterator[CardNumber]:
    """The card numbers of a text, in order; none overlaps another.

    >>> [found.digits for found in find("paid with 4111-1111 1111-1111, 12/27")]
    ['4111111111111111']
    """
    uuids = None
    for run in _RUN.finditer(text):
        for number in _in_run(text, run.start(), run.end()):
            if uuids is None:
                uuids = [found.span() for found in _UUID.finditer(text)]
            if not any(start < number.end and number.start < end for start, end in uuids):
                yield number


def _in_run(text: str, start: int, end: int) -> Iterator[CardNumber]:
    groups = [found.span() for found in _GROUP.finditer(text, start, end)]
    if len(groups) == 1:
        if is_card_number(text[start:end]):
            yield CardNumber(start, end, text[start:end])
        return
    digits = "".join([text[slice(*group)] for group in groups])
    ends = list(accumulate(stop - begin for begin, stop in groups))
    # Sums of the digits before each place, with those at even or at odd places doubled: a check takes one difference.
    plain, doubled = digits.encode(), digits.encode().translate(_DOUBLED)
    sums = [
        [0, *accumulate((doubled if place % 2 == parity else plain)[place] - 48 for place in range(len(digits)))]
        for parity in (0, 1)
    ]
    first = begin = 0
    while first < len(groups):
        found = None
        for last in range(first, len(groups)):
            stop = ends[last]
            if stop - begin > MOST_DIGITS:
                break
            total = sums[stop % 2]
            passes = stop - begin >= LEAST_DIGITS and (total[stop] - total[begin]) % 10 == 0
            if passes and _ISSUED.fullmatch(digits, begin, stop):
                found = last
        if found is not None:
            yield CardNumber(groups[first][0], groups[found][1], digits[begin : ends[found]])
            first = found
        begin = ends[first]
        first += 1


def is_card_number(digits: str) -> bool:
    """Whether these digits are one.

    >>> is_card_number("4111111111111111"), is_card_number("4111111111111112"), is_card_number("1767225600000")
    (True, False, False)
    """
    if not LEAST_DIGITS <= len(digits) <= MOST_DIGITS:
        return False
    backwards = digits.encode()[::-1]
    total = sum(backwards[::2]) + sum(backwards[1::2].translate(_DOUBLED)) - 48 * len(backwards)
    return total % 10 == 0 and _ISSUED.fullmatch(digits) is not None


def mask(text: str) -> str:
    """The text with stars for every digit of a card number but the last four.

    >>> mask("4111 1111 1111 1111 was sent")
    '**** **** **** 1111 was sent'
    """
    if len(text) > SEARCHED_LIMIT:
        return _RUN.sub(lambda run: _stars(run[0]), text)
    parts, at = [], 0
    for found in find(text):
        parts += [text[at : found.start], _stars(text[found.start : found.end])]
        at = found.end
    return "".join(parts) + text[at:]


def mask_bytes(payload: bytes) -> bytes:
    """As `mask`, of bytes that need not be text."""
    return mask(payload.decode("latin-1")).encode("latin-1") if may_hold(payload) else payload


def _stars(text: str) -> str:
    digits = sum(map(text.count, "0123456789"))
    return _DIGIT.sub("*", text, count=digits - 4)
