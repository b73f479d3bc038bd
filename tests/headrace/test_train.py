"""`headrace train`: the same model as the function, with parameters that are set or searched for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cards import open_guard
from headrace.cli import main
from headrace.settings import Settings
from headrace.source import FileSource
from headrace.tuning_options import OBJECTIVES
from models.manifest import Manifest
from models.registry import Registry
from scoring.use_case import FRAUD
from stream.simulator import Simulator
from training.batch import train
from training.frame import TrainingFrame
from training.replay import Replay
from training.search import OBJECTIVES as KNOWN

START = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN, END = START + timedelta(days=3), START + timedelta(days=32)
SPAN = ("--from", f"{BEGIN:%Y-%m-%d}", "--to", f"{END:%Y-%m-%d}", "--history-days", "3")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = Simulator(3, start=START, end=START + timedelta(days=34), customers=60, merchants=30, fraud_share=0.04)
    fields = ("event_id", "event_timestamp", "card_id", "merchant_id", "amount", "device_id")
    lines = [",".join((*fields, "label"))]
    for one in world.play():
        values = [getattr(one.transaction, field) for field in fields]
        shown = [
            value.isoformat() if isinstance(value, datetime) else "" if value is None else value for value in values
        ]
        lines.append(",".join(map(str, (*shown, "fraud" if one.fraud else "legit"))))
    file = tmp_path_factory.mktemp("data") / "payments.csv"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="module")
def frame(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingFrame:
    """What a notebook makes of the same file."""
    guard = open_guard(Settings({"home": str(tmp_path_factory.mktemp("notebook"))}))
    source = FileSource.open(data, None, guard)
    collected = Replay(FRAUD.features).advance(
        source.between(BEGIN - timedelta(days=3), END), collect_from=BEGIN, keep_records=True
    )
    assert collected is not None
    return collected


def run(home: Path, data: Path, *words: str) -> tuple[int, str]:
    command = ["train", "fraud", "--data", str(data), *SPAN, "--home", str(home), *words]
    result = CliRunner().invoke(main, command, env={"USER": "", "COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def registered(home: Path) -> tuple[bytes, Manifest]:
    registry = Registry(home / "models")
    (version,) = registry.versions("fraud")
    return registry.content("fraud", version)[0], registry.manifest("fraud", version)


@pytest.mark.parametrize("family", ["logistic_regression", "hist_gradient_boosting", "lightgbm"])
def test_the_command_and_the_function_give_the_same_model_to_the_byte(
    family: str, tmp_path: Path, data: Path, frame: TrainingFrame
) -> None:
    changes = {} if family == "logistic_regression" else {"learning_rate": 0.1}
    words = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    status, text = run(tmp_path, data, "--family", family, *words)
    assert status == 0, text
    onnx_bytes, manifest = registered(tmp_path)
    same = train(frame, family, created_at=datetime.now(UTC), changes=dict(changes))
    assert same.onnx_bytes == onnx_bytes
    for part in ("metrics", "segments", "calibration", "parameters", "reference", "window_start", "window_end"):
        assert getattr(same.manifest, part) == getattr(manifest, part), part


def test_a_search_writes_every_trial_and_the_model_has_the_best_ones_parameters(tmp_path: Path, data: Path) -> None:
    trials_file, store = tmp_path / "trials.json", tmp_path / "mlflow.db"
    words = ["--family", "logistic_regression", "--family", "lightgbm", "--search", "4", "--budget", "10m"]
    words += ["--seed", "3", "--json", str(trials_file), "--mlflow", f"sqlite:///{store}"]
    status, text = run(tmp_path / "home", data, *words)
    assert status == 0, text
    trials = json.loads(trials_file.read_text())
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    _, manifest = registered(tmp_path / "home")
    assert manifest.search is not None
    assert (manifest.search.trials, manifest.search.seed, manifest.search.ended) == (4, 3, "trials")
    (best,) = [trial for trial in trials if trial["value"] == manifest.search.value]
    assert best["family"] == manifest.family
    assert manifest.parameters.items() >= best["changes"].items()
    assert f"{best['number']} (chosen)" in text
    assert "in MLflow; 'runs:/" in text
    assert store.exists()
    assert (tmp_path / "mlartifacts").exists(), "the files lie beside the store, not where the command was run"
    shown = CliRunner().invoke(main, ["models", "show", "fraud", "--home", str(tmp_path / "home")])
    assert "4 trials of logistic_regression, lightgbm with seed 3, ended by trials" in shown.output


def test_options_that_contradict_each_other_are_refused(tmp_path: Path, data: Path) -> None:
    for words, said in {
        ("--family", "lightgbm", "--family", "random_forest"): "one family is trained",
        ("--json", "trials.json"): "--json writes the trials of a search",
        ("--set", "C"): "--set C is no NAME=VALUE",
        ("--set", "leafs=3"): "'leafs'; usual are learning_rate",
        ("--search", "2", "--family", "deep"): "'deep' is unknown",
        (
            "--budget",
            "soon",
        ): "soon",
        ("--mlflow", "ftp://somewhere"): "is no address of MLflow",
    }.items():
        status, text = run(tmp_path, data, *words)
        assert status in (1, 2), words
        assert said in text, text
    assert Registry(tmp_path / "models").names() == []


def test_the_objectives_that_may_be_asked_for_are_those_there_are() -> None:
    assert tuple(KNOWN) == OBJECTIVES
