"""Steps kept as one list in Redis, an element each, only ever appended to. The list's length is the version.

A step is appended by a script that does so only at the version which the writer had read: what was allowed when it was
checked is allowed still. A crash leaves the whole step or none of it. Writers and readers follow a step with one
function, so the book that they come to and the history are the same thing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from scoring.rule_book import ForbiddenStep
from scoring.rule_steps import InvalidStep
from stream.connection import RedisConnection

TRIES = 20


class StepBook(Protocol):
    """What steps come to. `version` is how many were followed."""

    version: int

    def apply(self, step: Any) -> None:
        """Follow one step. Raises `ForbiddenStep` where it is not allowed; it counts all the same."""


S = TypeVar("S")
B = TypeVar("B", bound=StepBook)


class StepLog(ABC, Generic[S, B]):
    """The steps of one list, and the book that they come to, as far as they were read. One thread uses it.

    `problems` says which steps were not followed, by version; `changes` grows with whatever changed. Raises
    `RedisUnavailable` and `RedisError`.
    """

    chunk_steps: int
    """Steps in one read: as many as come within a short time limit."""

    _APPEND = """
    if redis.call('LLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
    redis.call('RPUSH', KEYS[1], ARGV[2])
    return 1
    """

    def __init__(self, connection: RedisConnection, key: str) -> None:
        self.connection = connection
        self.key = key
        self.book = self.beginning()
        self.problems: dict[int, str] = {}
        self.changes = 0
        self._last = b""
        self._append = connection.script(self._APPEND)

    @abstractmethod
    def beginning(self) -> B:
        """The book before the first step."""

    @abstractmethod
    def check(self, step: S) -> None:
        """Raises `ForbiddenStep`, or says otherwise why the step must not be appended to the present book."""

    @staticmethod
    @abstractmethod
    def encode(step: S) -> bytes:
        """The step as it is kept. Raises `InvalidStep`."""

    @staticmethod
    @abstractmethod
    def decode(content: bytes) -> S:
        """A step that was kept. Raises `InvalidStep` for one that this release does not know."""

    def read(self) -> None:
        """Bring the book up to date; what was read stays read where Redis fails in the midst.

        Where Redis has lost steps, or has others than were read, the book starts anew from what Redis has.
        """
        while True:
            known = self.book.version
            first = max(0, known - 1)
            found: list[bytes] = self.connection.one("LRANGE", self.key, first, known + self.chunk_steps - 1)
            if known and (not found or found[0] != self._last):
                self.book, self.problems, self._last = self.beginning(), {}, b""
                self.changes += 1
                continue
            for content in found[known - first :]:
                self._follow(content)
            if len(found) < self.chunk_steps:
                return

    def steps(self) -> Iterator[tuple[int, S | None]]:
        """Every step so far with its version, oldest first; None for one that this release does not know."""
        for version, content in enumerate(contents(self.connection, self.key, self.chunk_steps), 1):
            try:
                yield version, self.decode(content)
            except InvalidStep:
                yield version, None

    def append(self, step: S) -> int:
        """Do one step; its version. Others may append at the same time: it is checked against what they did.

        Raises what `check` and then `encode` raise: nothing was appended, the message says why. With `RedisUnavailable`
        it may have been appended or not: the history says.
        """
        for _ in range(TRIES):
            self.read()
            self.check(step)
            content = self.encode(step)
            version = self.book.version
            if self.connection.one(*self._append.command([self.key], [version, content])):
                return version + 1
        raise ForbiddenStep(f"{TRIES} others were faster; try again")

    def _follow(self, content: bytes) -> None:
        if problem := follow(self.book, content, self.decode):
            self.problems[self.book.version] = problem
        self._last = content
        self.changes += 1


def contents(connection: RedisConnection, key: str, chunk_steps: int, start: int = 0) -> Iterator[bytes]:
    """The steps as they are kept, from a place on, oldest first, so many in one read."""
    while True:
        some: list[bytes] = connection.one("LRANGE", key, start, start + chunk_steps - 1)
        yield from some
        if len(some) < chunk_steps:
            return
        start += len(some)


def follow(book: StepBook, content: bytes, decode: Callable[[bytes], Any]) -> str:
    """Let a book follow one step as it is kept. Why it did not, or nothing; the step counts all the same."""
    try:
        book.apply(decode(content))
    except InvalidStep as error:
        book.version += 1
        return str(error)
    except ForbiddenStep as error:
        return str(error)
    return ""
