"""Card numbers as the settings want them treated, and what `headrace doctor` says of their key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from headrace.finding import Finding
from headrace.secret_file import SUFFIX, is_open
from headrace.settings import SETTINGS, Settings
from stream.card_guard import CardGuard
from stream.card_key import CardKey, NoCardKey


def open_guard(settings: Settings, make_key: bool = True) -> CardGuard:
    """What lets no card number in. The key is read, or with `make_key` made, when the first one comes."""
    return CardGuard(settings.card_numbers, CardKey(settings.home, settings.card_key, make_key))


def judge_cards(settings: Settings) -> Iterator[Finding]:
    """Where the key of tokens is, and who else needs it."""
    if settings.card_numbers == "refuse":
        yield Finding("OK", "card numbers", "refused")
        return
    key = CardKey(settings.home, settings.card_key, make=False)
    if not key.is_given and not key.path.exists():
        yield Finding("OK", "card numbers", f"none has come; the first one makes the key of tokens, {key.path}")
        return
    try:
        words = f"become tokens; key {key.fingerprint()}"
    except NoCardKey as error:
        yield Finding("FAIL", "card numbers", str(error), "until then they are refused")
        return
    if key.is_given:
        yield Finding("OK", "card numbers", f"{words}, from HEADRACE_CARD_KEY")
        return
    words += f", in {key.path}"
    if is_open(key.path):
        yield Finding("WARN", "card numbers", f"{words}, which others can read", f"run: chmod 600 {key.path}")
    elif settings.kafka:
        remedy = "give them all one HEADRACE_CARD_KEY_FILE, a copy of this"
        yield Finding("WARN", "card numbers", f"{words}; processes with another home make other tokens", remedy)
    else:
        yield Finding("OK", "card numbers", f"{words}; back it up: without it, every card gets a new token")


def judge_secret_files(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the files of secrets are for their owner only."""
    for setting in SETTINGS:
        place = environ.get(setting.variable + SUFFIX) if setting.secret else None
        if place and is_open(Path(place)):
            words = f"{setting.variable}{SUFFIX}={place} can be read by every user of this machine"
            yield Finding("WARN", "secrets", words, f"run: chmod 600 {place}")
