"""The pages of rules over a real book in Redis and a real archive: what tests of them begin with."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from headrace.rule_desk import BookDesk
from review.web.app import make_app
from scoring.rule_log import RuleLog
from scoring.rules import read_rules
from scoring.use_case import FRAUD
from stream.archive import Archive
from stream.card_guard import CardGuard
from stream.card_key import CardKey
from stream.connection import RedisConnection
from stream.records import Verdict
from tests.review.office import Office
from tests.scoring.test_rule_backtest import DAY, archive_of, decision, label

LABEL_DELAY = timedelta(days=7)
ARCHIVED_DAYS = 24


def archived(directory: Path, until: datetime, a_day: int = 6) -> Archive:
    """Some weeks of payments before `until`: every sixth is large, of these a third each fraud, good and unknown."""
    records = []
    labels = []
    for number in range(ARCHIVED_DAYS * a_day):
        at = until - timedelta(hours=24 / a_day * number + 1)
        amount = 600.0 + number if number % 6 == 0 else 20.0 + number % 7
        one = decision(
            f"e{number}", at=at, amount=amount, card_id=f"card-{number % 9}", card_count_1h=float(number % 4)
        )
        rules = ["large"] if amount > 600 and number % 12 == 0 else []
        records.append(msgspec.structs.replace(one, rules=rules))
        if number % 18 != 12:
            verdict = "fraud" if number % 6 == 0 and number % 18 else "legit"
            labels.append(label(f"e{number}", verdict, at + DAY))
    return archive_of(directory, [*records, *labels])


def decide_some(office: Office, count: int = 90) -> None:
    """Cases that are decided by one who knows: every third is large, and these are fraud."""
    flags = [
        msgspec.structs.replace(
            decision(
                f"x{number}",
                outcome="review",
                at=office.now - timedelta(minutes=number),
                card_id=f"k-{number}",
                amount=20.0 + number if number % 3 else 700.0 + number,
            ),
            rules=[] if number % 4 else ["card-testing"],
        )
        for number in range(count)
    ]
    office.cases.take_in(flags, {})
    known = {flag.event_id for flag in flags}
    for case in office.cases.queue(2 * count, now=office.now):
        if case.event_id in known:
            verdict: Verdict = "legit" if int(case.event_id[1:]) % 3 else "fraud"
            office.cases.decide(case.case_id, verdict, "ann", office.now)


def add_rules(office: Office, directory: Path, redis: str, a_day: int = 6) -> BookDesk:
    """Give an office a rule book and an archive; whoever does closes the desk."""
    log = RuleLog(RedisConnection(redis), FRAUD.name, read_rules(FRAUD.rules), FRAUD.features)
    desk = BookDesk(
        log,
        FRAUD,
        archived(directory / "archive", office.now, a_day),
        CardGuard("tokenise", CardKey(directory)),
        LABEL_DELAY,
        lambda: lambda record, score: "decline" if score >= 0.5 else "approve",
        lambda: office.now,
    )
    office.parts = replace(office.parts, rules=desk)
    office.app = make_app(office.parts)
    return desk


class RuleOffice(Office):
    """An office with a rule book and an archive."""

    def __init__(self, directory: Path, redis: str) -> None:
        super().__init__(directory / "review.sqlite")
        self.desk_of_rules = add_rules(self, directory, redis)

    def close(self) -> None:
        """Close the book too."""
        self.desk_of_rules.close()
        super().close()
