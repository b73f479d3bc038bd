"""The `models` commands on a home with an archive of what was served, and a scorer's feed that follows them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from headrace.cli import main
from models.registry import Registry
from scoring.live_models import ModelFeed
from scoring.use_case import FRAUD
from stream.simulator import Simulator
from tests.training.conftest import START
from tests.training.served import GOOD, HALF, OF_FRAUD, archive_until_the_end
from tests.until import until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    registry = Registry(home / "models")
    for version, content in {"half": HALF, "good": GOOD, "same": HALF}.items():
        registry.register(content, msgspec.structs.replace(OF_FRAUD, version=version))
    registry.alias("fraud", "champion", "half", by="ann", why="the first")
    archive_until_the_end(home / "archive")
    return home


def run(home: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["models", *words, "--home", str(home)], env={"USER": "", "COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def aliases(home: Path) -> dict[str, str]:
    return {str(alias): version for alias, version in Registry(home / "models").aliases("fraud").items()}


def test_a_better_version_is_promoted_by_what_the_archive_holds_and_rolled_back(home: Path) -> None:
    status, text = run(home, "promote", "fraud", "good", "--dry-run", "--by", "")
    assert (status, aliases(home)) == (0, {"champion": "half"}), text
    report = home / "report.json"
    status, text = run(home, "promote", "fraud", "good", "--by", "bob", "--why", "merchants", "--json", str(report))
    assert status == 0, text
    assert "fraud good is the champion" in text
    assert aliases(home) == {"champion": "good", "previous": "half"}
    found = json.loads(report.read_text())
    assert (found["promoted"], found["failed"], found["champion"]) == (True, [], "half")
    status, text = run(home, "rollback", "fraud", "--by", "carl", "--why", "refunds")
    assert (status, aliases(home)["champion"]) == (0, "half"), text
    status, text = run(home, "show", "fraud", "good")
    assert status == 0
    for words in ("merchants", "bob", "rollback; refunds", "carl", "gate better", "passed: it saves"):
        assert words in text


@pytest.mark.parametrize("simulated", [True, False])
def test_a_champion_of_made_up_payments_is_judged_by_rows_of_any_day(home: Path, simulated: bool) -> None:
    registry = Registry(home / "models")
    late = datetime(2100, 1, 1, tzinfo=UTC)
    first = msgspec.structs.replace(OF_FRAUD, version="first", window_end=late, label_cutoff=late, simulated=simulated)
    registry.register(HALF, first)
    registry.alias("fraud", "champion", "first", by="bootstrap", why="of up")
    status, text = run(home, "promote", "fraud", "good", "--by", "bob")
    assert status == (0 if simulated else 1), text
    assert aliases(home)["champion"] == ("good" if simulated else "first")


def test_a_version_that_is_not_better_is_refused_with_status_1_and_forced_with_a_reason(home: Path) -> None:
    status, text = run(home, "promote", "fraud", "same", "--by", "bob")
    assert status == 1
    assert "is not promoted. better: it saves 0 (0 to 0) per 1,000 events" in text
    assert aliases(home) == {"champion": "half"}
    status, text = run(home, "promote", "fraud", "same", "--by", "bob", "--force")
    assert status == 2
    assert "--force needs --why" in text
    status, text = run(home, "promote", "fraud", "same", "--by", "bob", "--force", "--why", "half is broken")
    assert status == 0
    assert "forced past: better" in text
    status, text = run(home, "show", "fraud", "same")
    assert "FORCED past better; half is broken" in text


def test_nobody_promotes_without_a_name(home: Path) -> None:
    for command in (("promote", "fraud", "good"), ("rollback", "fraud"), ("alias", "fraud", "shadow", "good")):
        status, text = run(home, *command)
        assert status == 2
        assert "--by NAME" in text


def test_without_an_archive_nothing_is_promoted(home: Path) -> None:
    shutil.rmtree(home / "archive")
    status, text = run(home, "promote", "fraud", "good", "--by", "bob")
    assert status == 1
    assert "window: " in text
    assert "give rows of later days" in text
    assert aliases(home) == {"champion": "half"}


def test_a_file_judges_as_an_archive_does(home: Path, tmp_path: Path) -> None:
    # The replayed vectors are others than the models were made for: what counts is that the file's rows are asked.
    lines = ["event_id,event_timestamp,card_id,merchant_id,amount,label"]
    for number in range(2000):
        at = START + timedelta(minutes=10 * number)
        lines.append(
            f"e{number},{at.isoformat()},c{number % 50},m{number % 9},12.5,{'fraud' if number % 9 == 0 else 'legit'}"
        )
    data = tmp_path / "payments.csv"
    data.write_text("\n".join(lines))
    report = tmp_path / "report.json"
    words = ("--data", str(data), "--dry-run", "--by", "bob", "--json", str(report), "--from", "2026-01-03")
    status, text = run(home, "promote", "fraud", "good", *words)
    assert status == 1, text
    found = json.loads(report.read_text())
    assert found["rows"] == 704  # until seven days before the last
    assert found["span"].startswith("2026-01-03 00:00")
    status, text = run(home, "promote", "fraud", "good", *words, "--archive", str(home / "archive"))
    assert "give either --data FILE or --archive DIRECTORY" in text


def test_aliases_are_read_and_moved_but_never_the_champion(home: Path) -> None:
    assert run(home, "alias", "fraud", "shadow") == (0, "shadow means nothing\n")
    assert run(home, "alias", "fraud", "shadow", "good", "--by", "ann")[0] == 0
    assert run(home, "alias", "fraud", "shadow") == (0, "good\n")
    assert run(home, "alias", "fraud", "shadow", "--none", "--by", "ann")[0] == 0
    assert aliases(home) == {"champion": "half"}
    status, text = run(home, "alias", "fraud", "champion", "good", "--by", "ann")
    assert status == 2
    assert "'headrace models promote'" in text
    status, text = run(home, "alias", "fraud", "shadow", "nine", "--by", "ann")
    assert status == 1
    assert "no version 'nine'" in text


def test_the_challenger_is_what_is_promoted_when_no_version_is_named(home: Path) -> None:
    run(home, "alias", "fraud", "challenger", "good", "--by", "ann")
    assert run(home, "promote", "fraud", "--by", "ann")[0] == 0
    assert aliases(home) == {"champion": "good", "previous": "half"}


def test_the_difference_of_two_versions_is_named_by_part(home: Path) -> None:
    registry = Registry(home / "models")
    other = msgspec.structs.replace(
        OF_FRAUD,
        version="other",
        parameters={"C": 2.0},
        metrics={"auc": 0.8},
        window_end=OF_FRAUD.window_end - timedelta(days=1),
        max_onnx_difference=2e-7,
    )
    registry.register(HALF, other)
    status, text = run(home, "diff", "fraud", "champion", "other", "--json")
    assert status == 0
    found = {(line["part"], line["what"]): (line["one"], line["other"]) for line in json.loads(text)}
    assert found == {
        ("data", "last event"): ("2025-12-25 00:00", "2025-12-24 00:00"),
        ("parameters", "C"): ("not there", "2.0"),
        ("metrics", "auc"): ("undefined", "0.8"),
        ("conversion", "ONNX difference"): ("1e-07", "2e-07"),
    }
    assert "last event" in run(home, "diff", "fraud", "half", "other")[1]


def test_a_model_goes_to_another_machine_and_says_the_same_there(home: Path, tmp_path: Path) -> None:
    file, there = tmp_path / "good.zip", tmp_path / "there"
    status, text = run(home, "export", "fraud", "good", str(file))
    assert status == 0
    digest = text.split()[-1]
    assert run(there, "import", str(file), "--sha256", "0" * 64)[0] == 1
    assert run(there, "import", str(file), "--sha256", digest)[0] == 0
    rows = np.random.default_rng(0).normal(size=(20, len(FRAUD.features.names)))
    said = [Registry(one / "models").load("fraud", "good").score_many(rows).tolist() for one in (home, there)]
    assert said[0] == said[1]
    file.write_bytes(file.read_bytes()[:-40])
    status, text = run(there, "import", str(file))
    assert status == 1
    assert f"bundle {file} cannot be read" in text


def test_a_file_made_elsewhere_is_registered_with_its_manifest(home: Path, tmp_path: Path) -> None:
    file, beside = tmp_path / "model.onnx", tmp_path / "manifest.json"
    file.write_bytes(GOOD)
    beside.write_bytes(OF_FRAUD.to_json())
    status, text = run(home, "register", str(file), "--manifest", str(beside))
    assert status == 1
    assert "lacks git_revision" in text
    assert "parameters (what it was fitted with)" in text
    whole = msgspec.structs.replace(
        OF_FRAUD, git_revision="abc", parameters={"a": 1}, metrics={"auc": 0.9}, definition_hash="theirs"
    )
    beside.write_bytes(whole.to_json())
    status, text = run(home, "register", str(file), "--manifest", str(beside))
    assert status == 0
    assert "no alias means it yet" in text
    assert "it cannot be promoted: it is of definition theirs" in text
    version = text.split("registered fraud ")[1].split(";")[0]
    status, text = run(home, "promote", "fraud", version, "--by", "ann")
    assert status == 1
    assert "definition: it was made for definition theirs" in text


def test_training_registers_and_promotes_only_through_the_gates(tmp_path: Path) -> None:
    world = Simulator(3, start=START, end=START + timedelta(days=40), customers=200, merchants=50)
    fields = ("event_id", "event_timestamp", "card_id", "merchant_id", "amount", "device_id")
    lines = [",".join((*fields, "label"))]
    for one in world.play():
        values = [getattr(one.transaction, field) for field in fields]
        shown = (
            value.isoformat() if isinstance(value, datetime) else "" if value is None else value for value in values
        )
        lines.append(",".join(map(str, (*shown, "fraud" if one.fraud else "legit"))))
    data, home = tmp_path / "payments.csv", tmp_path / "home"
    data.write_text("\n".join(lines))
    words = ["train", "fraud", "--data", str(data), "--family", "logistic_regression", "--history-days", "3"]
    words += ["--judge-days", "10", "--home", str(home), "--promote"]
    environment = {"USER": "", "COLUMNS": "200"}
    refused = CliRunner().invoke(main, words, env=environment)
    assert refused.exit_code == 2
    assert "--by NAME" in refused.output
    judged = CliRunner().invoke(main, [*words, "--by", "ann"], env=environment)
    assert judged.exit_code == 1, judged.output
    registry = Registry(home / "models")
    assert registry.versions("fraud"), judged.output
    (version,) = registry.versions("fraud")
    manifest = registry.manifest("fraud", version)
    assert f"model fraud {version} is not promoted. window: " in judged.output  # three days judge: too few
    assert aliases(home) == {}
    assert manifest.label_cutoff <= START + timedelta(days=30)
    assert manifest.segments["all"].rows == manifest.metrics["measured_rows"]


@pytest.fixture
def feed(home: Path, redis_db: str) -> Iterator[ModelFeed]:
    running = ModelFeed("fraud", FRAUD.features.definition_hash, Registry(home / "models"), redis_db)
    running.start()
    yield running
    running.stop()


def test_a_running_scorer_follows_a_promotion_and_a_rollback(home: Path, feed: ModelFeed) -> None:
    x = np.zeros(len(FRAUD.features.names))
    x[1:3] = 2.0

    def serves(version: str) -> bool:
        return feed.current.batch is not None and feed.current.batch.version == version

    until(lambda: serves("half"))
    assert feed.current.batch is not None
    before = feed.current.batch.score_one(x)
    assert run(home, "promote", "fraud", "good", "--by", "ann")[0] == 0
    until(lambda: serves("good"))
    assert feed.current.batch.score_one(x) != before
    assert run(home, "rollback", "fraud", "--by", "ann")[0] == 0
    until(lambda: serves("half"))
    assert feed.current.batch.score_one(x) == before


def test_a_rollback_to_other_features_is_refused_since_no_scorer_would_take_it(home: Path) -> None:
    registry = Registry(home / "models")
    registry.register(HALF, msgspec.structs.replace(OF_FRAUD, version="old", definition_hash="g"))
    registry.alias("fraud", "champion", "old")
    registry.alias("fraud", "champion", "good")
    status, text = run(home, "rollback", "fraud", "--by", "ann")
    assert status == 1
    assert "no scorer would take it" in text
    assert aliases(home)["champion"] == "good"
    assert run(home, "rollback", "fraud", "--by", "ann", "--force")[0] == 0
