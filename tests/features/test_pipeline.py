"""The worker's loop: what waits between two of its batches."""

from __future__ import annotations

import threading
from contextlib import closing

from features.fraud import FRAUD
from features.online_store import MemoryOnlineStore
from features.pipeline import GROUP, work_forever
from features.worker import FoldCount, Folder
from stream.log import Message, lag
from stream.records import Transaction, encode
from stream.redis_log import RedisLog
from tests.scoring.conftest import payment
from tests.until import until

RECORDS = 40


def batches_of_a_trickle(redis_db: str, linger_s: float) -> list[FoldCount]:
    """Each record comes when the one before is folded; where the worker waits after a batch, they come meanwhile."""
    counts: list[FoldCount] = []
    stop = threading.Event()
    with closing(RedisLog(redis_db, partitions=1)) as log, closing(RedisLog(redis_db, partitions=1)) as sender:
        folder = Folder(MemoryOnlineStore(), FRAUD.views, log.name)
        thread = threading.Thread(
            target=work_forever, args=(folder, log, stop), kwargs={"linger_s": linger_s, "on_batch": counts.append}
        )
        thread.start()
        try:
            for number in range(RECORDS):
                record = payment(f"{linger_s}-{number}")
                sender.append([Message(Transaction.topic, record.key, encode(record))])
                if not linger_s or not number:
                    until(lambda: sum(count.records for count in counts) == number + 1, every_s=0.005)  # noqa: B023
            until(lambda: not any(lag(sender, GROUP, Transaction.topic).values()))
        finally:
            stop.set()
            thread.join()
    return counts


def test_a_worker_that_waits_after_a_small_batch_folds_the_same_in_fewer_batches(redis_db: str) -> None:
    at_once = batches_of_a_trickle(redis_db, 0.0)
    waiting = batches_of_a_trickle(redis_db, 0.3)
    assert sum(count.records for count in at_once) == sum(count.records for count in waiting) == RECORDS
    assert len(waiting) < len(at_once) / 2
