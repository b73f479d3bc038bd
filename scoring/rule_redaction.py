"""Take one value out of a rule book: a step is never taken back, but the value in it becomes another word.

The word stands for the value wherever it stood, so that a value that was listed and taken off again still was. Every
step stays in its place, and the book as consistent as it was. A list forgets the entity: one that was on `deny` is
denied no more.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import msgspec

from scoring.rule_log import CHUNK_STEPS, book_key
from scoring.step_log import contents
from stream.connection import RedisConnection
from stream.mention import WORD, Mention

TRIES = 20
WHY_LIMIT = 500

_SET = """
for i = 1, #ARGV, 3 do
    if redis.call('LINDEX', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
for i = 1, #ARGV, 3 do redis.call('LSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
return 1
"""


class Redaction:
    """Redacts steps; one for all places, so that all get the same word."""

    def __init__(self, mention: Mention) -> None:
        self.mention = mention
        self.word = f"forgotten-{secrets.token_hex(6)}"
        self._within = re.compile(WORD.format(re.escape(mention.value)))

    def of(self, content: bytes) -> bytes | None:
        """The step without the value; None where it does not have it.

        In lists and snoozes the field must be the entity's; in a rule's text, and in what people wrote, the value
        counts wherever it stands as a word.
        """
        if not self.mention.may_be_in(content):
            return None
        try:
            step: dict[str, Any] = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        own = step.get("field") == self.mention.entity
        if own and self.mention.value in step.get("values", ()):
            step["values"] = [self.word if value == self.mention.value else value for value in step["values"]]
        if own and step.get("value") == self.mention.value:
            step["value"] = self.word
        if "why" in step:
            step["why"] = self.without(step["why"])[:WHY_LIMIT]
        rule = step.get("rule")
        if isinstance(rule, dict):
            if "because" in rule:
                rule["because"] = self.without(rule["because"])[:WHY_LIMIT]
            rule["when"] = self.without(rule["when"])
        redacted = msgspec.json.encode(step)
        if msgspec.json.decode(content) == step:
            return None
        return redacted

    def without(self, text: str) -> str:
        """A text with the word where the value stands as one of its own."""
        return self._within.sub(self.word, text)


def search_book(connection: RedisConnection, use_case: str, redaction: Redaction) -> dict[int, tuple[bytes, bytes]]:
    """The steps in Redis that have the value, by place in the list: as they are, and as they shall be."""
    found: dict[int, tuple[bytes, bytes]] = {}
    for place, content in enumerate(contents(connection, book_key(use_case), CHUNK_STEPS)):
        redacted = redaction.of(content)
        if redacted is not None:
            found[place] = (content, redacted)
    return found


def redact_book(connection: RedisConnection, use_case: str, redaction: Redaction) -> int:
    """Put the redacted steps in the others' place, all at once; how many.

    A scorer that has read the book holds the old steps until it reads it anew: when its last step was redacted, or at
    its next start.
    """
    script = connection.script(_SET)
    for _ in range(TRIES):
        found = search_book(connection, use_case, redaction)
        if not found:
            return 0
        arguments = [part for place, (old, new) in found.items() for part in (place, old, new)]
        if connection.one(*script.command([book_key(use_case)], arguments)):
            return len(found)
    raise TimeoutError("the rule book was written in every try; run the same again")
