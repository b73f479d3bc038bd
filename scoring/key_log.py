"""Where the keys are kept: one list in Redis, a step an element, only ever appended to. Its length is the version.

In the manner of the rule book (`scoring/rule_log.py`) a step is appended at the version that its writer had read, whole
or not at all, and writer and readers follow it with one function. The list is the table and its audit in one.
"""

from __future__ import annotations

from collections.abc import Iterator

from scoring.key_book import KeyBook
from scoring.key_steps import KeyStep, decode_key_step, encode_key_step
from scoring.rule_book import ForbiddenStep
from scoring.rule_steps import InvalidStep
from stream.connection import RedisConnection

KEY = "keys"
TRIES = 20
CHUNK_STEPS = 500


class KeyLog:
    """The steps, and the book that they come to, as far as they were read. One thread uses it.

    `problems` says which steps were not followed, by version; `changes` grows with whatever changed. Raises
    `RedisUnavailable` and `RedisError`.
    """

    _APPEND = """
    if redis.call('LLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
    redis.call('RPUSH', KEYS[1], ARGV[2])
    return 1
    """

    def __init__(self, connection: RedisConnection) -> None:
        self.connection = connection
        self.book = KeyBook()
        self.problems: dict[int, str] = {}
        self.changes = 0
        self._last = b""
        self._append = connection.script(self._APPEND)

    def read(self) -> None:
        """Bring the book up to date; what was read stays read where Redis fails in the midst.

        Where Redis has lost steps, or has others than were read, the book starts anew from what Redis has.
        """
        while True:
            known = self.book.version
            first = max(0, known - 1)
            found: list[bytes] = self.connection.one("LRANGE", KEY, first, known + CHUNK_STEPS - 1)
            if known and (not found or found[0] != self._last):
                self.book, self.problems, self._last = KeyBook(), {}, b""
                self.changes += 1
                continue
            for content in found[known - first :]:
                self._follow(content)
            if len(found) < CHUNK_STEPS:
                return

    def steps(self) -> Iterator[tuple[int, KeyStep | None]]:
        """Every step so far with its version, oldest first; None for one that this release does not know."""
        version = 0
        while True:
            contents: list[bytes] = self.connection.one("LRANGE", KEY, version, version + CHUNK_STEPS - 1)
            for content in contents:
                version += 1
                try:
                    yield version, decode_key_step(content)
                except InvalidStep:
                    yield version, None
            if len(contents) < CHUNK_STEPS:
                return

    def append(self, step: KeyStep) -> int:
        """Do one step; its version. Others may append at the same time: it is checked against what they did.

        Raises
        ------
        ForbiddenStep, InvalidStep, InvalidScope
            Nothing was appended; the message says why.
        RedisUnavailable
            It may have been appended or not: the history says.
        """
        for _ in range(TRIES):
            self.read()
            self.book.check(step)
            content = encode_key_step(step)
            version = self.book.version
            if self.connection.one(*self._append.command([KEY], [version, content])):
                return version + 1
        raise ForbiddenStep(f"{TRIES} others were faster; try again")

    def _follow(self, content: bytes) -> None:
        version = self.book.version + 1
        try:
            step = decode_key_step(content)
        except InvalidStep as error:
            self.book.version = version
            self.problems[version] = str(error)
        else:
            try:
                self.book.apply(step)
            except ForbiddenStep as error:
                self.problems[version] = str(error)
        self._last = content
        self.changes += 1
