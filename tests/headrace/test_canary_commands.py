"""The commands of canary, drop and compare."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.watch import watch_file
from models.registry import Registry
from scoring.watch_report import WatchReport
from tests.headrace.test_model_commands import run
from tests.training.conftest import START
from tests.training.served import GOOD, HALF, OF_FRAUD
from tests.training.watching import TWIN, decisions, registry_of, send, watcher_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    registry = registry_of(home / "models", {"half": HALF, "good": GOOD, "twin": TWIN}, "half", START)
    wrong = {
        "elsewhere": msgspec.structs.replace(OF_FRAUD, version="elsewhere", definition_hash="other"),
        "differs": msgspec.structs.replace(OF_FRAUD, version="differs", max_onnx_difference=1e-3),
    }
    for manifest in wrong.values():
        registry.register(GOOD, manifest)
    return home


def canary(home: Path) -> tuple[str, int] | None:
    found = Registry(home / "models").canary("fraud")
    return None if found is None else (found.version, found.share)


def test_a_canary_begins_grows_and_ends_and_the_history_says_who_and_why(home: Path) -> None:
    status, text = run(home, "canary", "fraud", "good", "--share", "1", "--by", "bob", "--why", "merchants")
    assert (status, canary(home)) == (0, ("good", 1)), text
    for words in ("gate definition", "gate parity", "gate latency", "it answers 1% of the entities"):
        assert words in text
    status, text = run(home, "canary", "fraud", "--share", "25", "--by", "bob")
    assert (status, canary(home)) == (0, ("good", 25)), text
    assert "gate" not in text, "it has passed them"
    status, text = run(home, "canary", "fraud", "--share", "0", "--by", "carl", "--why", "seen enough")
    assert (status, canary(home)) == (0, None), text
    status, text = run(home, "show", "fraud", "good")
    for words in ("1% of the entities; merchants", "25% of the entities", "seen enough", "carl"):
        assert words in text


def test_the_challenger_is_the_canary_when_no_version_is_named_and_an_alias_may_name_one(home: Path) -> None:
    run(home, "alias", "fraud", "challenger", "twin", "--by", "bob")
    assert run(home, "canary", "fraud", "--share", "5", "--by", "bob")[0] == 0
    assert canary(home) == ("twin", 5)
    run(home, "alias", "fraud", "shadow", "good", "--by", "bob")
    assert run(home, "canary", "fraud", "shadow", "--share", "5", "--by", "bob")[0] == 0
    assert canary(home) == ("good", 5)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("good", "--share", "10"), "--share 10 is none of 1, 5, 25"),
        (("half", "--share", "5"), "is the champion already"),
        (("elsewhere", "--share", "5"), "definition: it was made for definition other"),
        (("differs", "--share", "5"), "parity: ONNX differs from the native model by 1.0e-03, more than 1e-05"),
        (("nobody", "--share", "5"), "has no version 'nobody'"),
    ],
)
def test_what_cannot_be_a_canary_is_refused_with_the_reason(home: Path, words: tuple[str, ...], complaint: str) -> None:
    status, text = run(home, "canary", "fraud", *words, "--by", "bob")
    assert status != 0
    assert complaint in text
    assert canary(home) is None


def test_nobody_begins_or_ends_one_without_a_name(home: Path) -> None:
    for words in (("canary", "fraud", "good", "--share", "5"), ("drop", "fraud")):
        status, text = run(home, *words)
        assert status == 2
        assert "--by NAME" in text


def test_one_command_drops_all_that_is_beside_the_champion(home: Path) -> None:
    for alias, version in (("challenger", "good"), ("shadow", "twin")):
        run(home, "alias", "fraud", alias, version, "--by", "bob")
    run(home, "canary", "fraud", "--share", "5", "--by", "bob")
    status, text = run(home, "drop", "fraud", "--by", "carl", "--why", "worse")
    assert status == 0, text
    assert text.splitlines() == [
        "fraud good is the canary no longer",
        "fraud good is the challenger no longer",
        "fraud twin is the shadow no longer",
    ]
    registry = Registry(home / "models")
    assert registry.aliases("fraud") == {"champion": "half"}
    assert [(one.by, one.why) for one in registry.history("fraud")[-3:]] == [("carl", "worse")] * 3
    assert run(home, "drop", "fraud", "--by", "carl")[1] == "fraud has no canary or challenger or shadow\n"


def test_without_a_watcher_there_is_nothing_to_compare(home: Path) -> None:
    status, text = run(home, "compare", "fraud")
    assert status == 1
    assert "run 'headrace models watch fraud'" in text


def test_who_asks_with_other_settings_changes_nothing_that_the_watcher_keeps(home: Path) -> None:
    registry, at = Registry(home / "models"), START + timedelta(days=5)
    registry.alias("fraud", "champion", "twin", by="bob", at=at)
    path = watch_file(home, "fraud")
    path.parent.mkdir()
    watcher = watcher_of(registry, path)
    models = {"half": HALF, "twin": TWIN}
    send(watcher, decisions(models, lambda card, when: "twin" if when >= at else "half"))
    (kept,) = watcher.look(datetime.now(UTC)).watched

    def rows() -> list[str]:
        with closing(sqlite3.connect(path)) as db:
            return list(db.iterdump())

    before = rows()
    assert any('INTO "promotions"' in line for line in before)
    other = {"HEADRACE_PROMOTION_WATCH": "5d", "HEADRACE_LABEL_DELAY": "1d"}
    asked = CliRunner().invoke(main, ["models", "compare", "fraud", "--json", "--home", str(home)], env=other)
    assert asked.exit_code == 0, asked.output
    (told,) = msgspec.json.decode(asked.output, type=WatchReport).watched
    assert told.others.events > kept.others.events, "it looks further back"
    assert rows() == before
