"""Rules as pages write them: their addresses, and conditions with each kind of word in its colour."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

TAKEN = frozenset({"new", "check", "words", "try", "suggest", "lists", "history", "trials"})
"""Addresses under `/rules` that are no rules. A rule of such a name has an = before it, which no name has."""
_WORD = re.compile(
    r"""(?P<text>'[^']*'|"[^"]*")|(?P<number>\b\d[\d.]*(?:[eE][+-]?\d+)?\b)|(?P<key>\b(?:and|or|not|in)\b)"""
    r"""|(?P<call>\b[a-z_]\w*(?=\())|(?P<name>\b[A-Za-z_]\w*)"""
)


def rule_address(name: str) -> str:
    """The page of a rule.

    >>> rule_address("card-testing"), rule_address("at night"), rule_address("new")
    ('/rules/card-testing', '/rules/at%20night', '/rules/=new')
    """
    return f"/rules/{'=' if name in TAKEN else ''}{quote(name, safe='')}"


def name_in(text: str) -> str:
    """The rule's name of an address.

    >>> name_in("=new"), name_in("card-testing")
    ('new', 'card-testing')
    """
    return text.removeprefix("=")


def condition(text: str) -> Markup:
    """A condition, with its words marked by kind. Every character of it is text.

    >>> print(condition("hour < 5 and x == '<b>'"))
    hour &lt; <i class="w-number">5</i> <i class="w-key">and</i> x == <i class="w-text">&#39;&lt;b&gt;&#39;</i>
    """
    pieces: list[Markup] = []
    at = 0
    for found in _WORD.finditer(text):
        pieces.append(escape(text[at : found.start()]))
        kind = found.lastgroup
        if kind == "name":
            pieces.append(escape(found[0]))
        else:
            pieces.append(Markup('<i class="w-{}">{}</i>').format(kind, found[0]))
        at = found.end()
    return Markup("").join([*pieces, escape(text[at:])])


RULE_FILTERS: dict[str, Callable[..., Any]] = {"rule_address": rule_address, "condition": condition}
