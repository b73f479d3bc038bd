"""Where the keys are kept: a log of steps, which is the table and its audit in one."""

from __future__ import annotations

from scoring.key_book import KeyBook
from scoring.key_steps import KeyStep, decode_key_step, encode_key_step
from scoring.step_log import StepLog
from stream.connection import RedisConnection

KEY = "keys"
CHUNK_STEPS = 500


class KeyLog(StepLog[KeyStep, KeyBook]):
    """The steps of all keys. `append` raises `InvalidStep`, `InvalidScope` or `ForbiddenStep`."""

    chunk_steps = CHUNK_STEPS
    encode = staticmethod(encode_key_step)
    decode = staticmethod(decode_key_step)

    def __init__(self, connection: RedisConnection) -> None:
        super().__init__(connection, KEY)

    def beginning(self) -> KeyBook:
        """No key."""
        return KeyBook()

    def check(self, step: KeyStep) -> None:
        """Raises `ForbiddenStep`."""
        self.book.check(step)
