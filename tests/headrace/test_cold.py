"""The commands of the archive, as processes over a real Redis."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from time import sleep

import pytest
from click.testing import CliRunner, Result

from features.fraud import FRAUD
from features.pipeline import GROUP, work_once
from features.worker import Folder
from headrace.assembly import open_log, open_online_store
from headrace.cli import main
from headrace.cold import run_archiver
from headrace.settings import Settings
from stream.archiver import GROUP as ARCHIVER
from stream.log import lag, message_of
from stream.records import Transaction
from tests.oracle import MINUTE, T0_US, payment
from tests.scoring.conftest import PLAN


@pytest.fixture
def settings(redis_db: str, tmp_path: Path) -> Settings:
    PLAN.save(tmp_path / "plan.json")
    return Settings({"home": str(tmp_path), "redis": redis_db, "partitions": 2}, {})


def run(settings: Settings, *words: str) -> Result:
    options = ("--home", str(settings.home), "--redis", str(settings.redis), "--partitions", "2")
    return CliRunner().invoke(main, [*words, *options])


def fold_some(settings: Settings, count: int) -> None:
    with closing(open_log(settings)) as log:
        records = [payment(n, T0_US + n * MINUTE, device_id="d") for n in range(count)]
        log.append([message_of(record) for record in records])
        store = open_online_store(settings)
        folder = Folder(store, FRAUD.views, log.name)
        with closing(store.connection), closing(log.consumer(GROUP, folder.topics)) as consumer:
            while any(lag(log, GROUP, Transaction.topic).values()):
                work_once(folder, log, consumer, 100, 20)


def archive_some(settings: Settings) -> None:
    """As long as it takes: the archiver stores what it has when it is stopped."""
    for while_s in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        stop = Event()
        archiver = Thread(target=run_archiver, args=(settings, stop))
        archiver.start()
        sleep(while_s)
        stop.set()
        archiver.join()
        if list((settings.home / "archive").rglob("*.parquet")) and is_archived(settings):
            return
    pytest.fail("the archiver stored nothing")


def is_archived(settings: Settings) -> bool:
    with closing(open_log(settings)) as log:
        return not any(lag(log, ARCHIVER, Transaction.topic).values())


def test_replay_restores_what_was_deleted_from_the_log_and_from_the_archive(settings: Settings) -> None:
    fold_some(settings, 20)
    archive_some(settings)
    store = open_online_store(settings)
    refs = FRAUD.refs(payment(1, T0_US, device_id="d"))
    before = store.read_states(refs)
    for source in ("log", "archive"):
        store.connection.one("DEL", *(store.key(ref) for ref in refs))
        result = run(settings, "replay", "--from", source)
        assert result.exit_code == 0, result.output
        assert "no live history: restored" in result.output
        after = store.read_states(refs)
        assert [[*entity.states] for entity in after] == [[*entity.states] for entity in before]
    assert store.connection.one("KEYS", "*next*") == []
    store.connection.close()


def test_without_an_archive_the_commands_say_how_to_make_one(settings: Settings) -> None:
    result = run(settings, "replay", "--from", "archive")
    assert result.exit_code == 1
    assert "run 'headrace archive' first" in result.output
    result = CliRunner().invoke(main, ["features", "skew", "--home", str(settings.home)])
    assert "run 'headrace archive' first" in result.output


def test_the_skew_command_writes_its_figures(settings: Settings, tmp_path: Path) -> None:
    fold_some(settings, 5)
    archive_some(settings)
    figures = tmp_path / "skew.json"
    words = ["features", "skew", "--share", "1", "--home", str(settings.home), "--json", str(figures)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert json.loads(figures.read_text())[0]["compared"] == 0
    assert "0 of 0 decisions compared" in result.output
