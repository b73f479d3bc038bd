"""Which passwords are taken: long ones that are not the first an attacker tries."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from pathlib import Path

LEAST_CHARACTERS = 12
MOST_CHARACTERS = 256
LEAST_DIFFERENT = 5

_LISTS = tomllib.loads(Path(__file__).with_name("common_passwords.toml").read_text())
_COMMON = frozenset(_LISTS["words"])
_KNOWN = frozenset(_LISTS["known"])
_LINES = tuple(line for way in _LISTS["lines"] for line in (way * 2, way[::-1] * 2))
_DISGUISE = str.maketrans("0134578@$!", "oleastbasi")


class WeakPassword(ValueError):
    """The password is not taken; the text says why and never quotes it."""


def normal(password: str) -> str:
    """The same password however a keyboard or system composes its letters (NFKC)."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, name: str) -> None:
    """Raise `WeakPassword` for one that is short, made of the name, or among the first an attacker tries.

    >>> check_password("a river, a wheel and a mill", "ann")
    >>> check_password("Password-2026!", "ann")
    Traceback (most recent call last):
    review.password_rules.WeakPassword: this is a common password with something added; use a few unrelated words
    """
    text = normal(password)
    if len(text) < LEAST_CHARACTERS:
        raise WeakPassword(
            f"the password has {len(text)} characters; use {LEAST_CHARACTERS} or more, such as a few words"
        )
    if max(len(text), len(password)) > MOST_CHARACTERS:
        raise WeakPassword(
            f"the password has {max(len(text), len(password))} characters; use at most {MOST_CHARACTERS}"
        )
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise WeakPassword("the password has control characters, which no keyboard can type again; use others")
    plain = text.casefold()
    if len(set(plain)) < LEAST_DIFFERENT:
        raise WeakPassword(f"the password has fewer than {LEAST_DIFFERENT} different characters; use a few words")
    person = name.casefold().partition("@")[0]
    if len(_without(plain, {name.casefold(), person})) < LEAST_CHARACTERS // 2:
        raise WeakPassword("the password is the account's name with little added; use something that is not about you")
    if plain in _KNOWN or _is_line(plain):
        raise WeakPassword("this is one of the first passwords an attacker tries; use a few unrelated words instead")
    if any(len(_without(form, _COMMON)) < LEAST_CHARACTERS // 2 for form in (plain, plain.translate(_DISGUISE))):
        raise WeakPassword("this is a common password with something added; use a few unrelated words")


def _without(text: str, words: set[str] | frozenset[str]) -> str:
    """What is left of the text's letters without these words."""
    for word in sorted(words, key=len, reverse=True):
        if len(word) >= 3:
            text = text.replace(word, "")
    return re.sub(r"[\W_]", "", text)


def _is_line(text: str) -> bool:
    """Whether it is keys or letters in a row, or a short piece again and again."""
    if any(text in line for line in _LINES):
        return True
    return any(text == (text[:size] * len(text))[: len(text)] for size in range(1, 5))
