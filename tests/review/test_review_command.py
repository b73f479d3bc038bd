"""`headrace review` as a person types it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.review import open_cases
from headrace.settings import Settings
from review.case_store import CaseStore
from stream.log import Partition, partition_of
from stream.records import Decision, Label, decode
from stream.redis_log import RedisLog

Make = Callable[..., Decision]


@pytest.fixture
def case_id(path: Path, decision: Make) -> str:
    with closing(CaseStore(path)) as store:
        store.take_in([decision("e1", "[red]card[/]\x1b[2J", 0.9, 1000.0, rules=["rich"])], {})
        return store.queue()[0].case_id


def run(path: Path, *arguments: Any) -> Result:
    variables = {"HEADRACE_HOME": str(path.parent), "HEADRACE_REDIS": "", "HEADRACE_KAFKA": ""}
    return CliRunner().invoke(main, ["review", *map(str, arguments)], env=variables)


def labels_in(log: RedisLog) -> list[Label]:
    number = partition_of("labels", log.partitions(Label.topic))
    return [decode(entry.value, Label) for entry in log.read(Partition(Label.topic, number), 0, 10)]


def test_list_shows_the_queue_and_obeys_no_markup(path: Path, case_id: str) -> None:
    shown = run(path, "list")
    assert shown.exit_code == 0
    for text in (case_id, "[red]card[/]\\x1b[2J", "1,000.00 EUR", "900.00", "rich"):
        assert text in shown.output


def test_decide_sends_the_labels_itself(path: Path, case_id: str, redis_db: str) -> None:
    decided = run(path, "decide", case_id, "fraud", "--by", "ann", "--redis", redis_db, "--partitions", 2)
    assert (decided.exit_code, decided.output) == (0, f"case {case_id} is fraud: 1 label\n")
    with closing(RedisLog(redis_db, partitions=2)) as log:
        assert [(label.event_id, label.source) for label in labels_in(log)] == [("e1", "analyst:ann")]
    with closing(CaseStore(path)) as store:
        assert store.unsent(1, datetime.now(UTC)) == []


def test_deciding_the_same_again_sends_nothing(path: Path, case_id: str, redis_db: str) -> None:
    for _ in range(2):
        decided = run(path, "decide", case_id, "legit", "--by", "ann", "--redis", redis_db, "--partitions", 2)
    assert (decided.exit_code, decided.output) == (0, f"case {case_id} is legit: as before, no new labels\n")
    with closing(RedisLog(redis_db, partitions=2)) as log:
        assert len(labels_in(log)) == 1


@pytest.mark.parametrize("redis", ["", "redis://127.0.0.1:1/0"])
def test_a_verdict_without_a_log_waits_for_the_keeper(path: Path, case_id: str, redis: str) -> None:
    decided = run(path, "decide", case_id, "fraud", "--by", "ann", "--redis", redis)
    assert decided.exit_code == 0
    assert "kept for 'headrace review keep' to send" in decided.output
    with closing(CaseStore(path)) as store:
        assert [label.event_id for label in store.unsent(10, datetime.now(UTC))] == ["e1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("decide", "c-404", "fraud", "--by", "ann"), "no case 'c-404'"),
        (("decide", "c-404", "guilty", "--by", "ann"), "guilty"),
        (("decide", "c-404", "fraud"), "--by"),
        (("decide", "c-404", "fraud", "--by", ""), "cannot sign a verdict"),
        (("list", "--limit", "0"), "--limit"),
    ],
)
def test_a_mistake_is_named(path: Path, case_id: str, arguments: tuple[str, ...], says: str) -> None:
    refused = run(path, *arguments)
    assert refused.exit_code != 0
    assert says in refused.output
    assert "Traceback" not in refused.output


def test_a_home_without_cases_says_what_to_start(tmp_path: Path) -> None:
    refused = run(tmp_path / "review.sqlite", "list")
    assert refused.exit_code == 1
    assert "headrace review keep" in refused.output
    assert not (tmp_path / "review.sqlite").exists()


def test_a_home_tells_how_many_cases_are_open(path: Path, tmp_path: Path, case_id: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert [open_cases(Settings({"home": home}, environ={})) for home in (path.parent, elsewhere)] == [1, 0]
