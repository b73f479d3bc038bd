"""`headrace train` from served vectors: what teaches, and what was not known then."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
from click.testing import CliRunner, Result

from headrace.cli import main
from models.manifest import Manifest
from models.registry import Registry
from stream.records import Decision, Label
from tests.training.conftest import START
from tests.training.served import archive_of, decisions

DAYS = 32
CUT = START + timedelta(days=28)


def taught(home: Path, records: list[Decision | Label], *words: str) -> Result:
    archive_of(home / "archive", records)
    return train(home, *words)


def train(home: Path, *words: str) -> Result:
    given = ["train", "fraud", "--family", "logistic_regression", "--home", str(home), *words]
    return CliRunner().invoke(main, given, env={"USER": "", "COLUMNS": "200"})


def only(home: Path) -> tuple[Manifest, bytes]:
    registry = Registry(home / "models")
    (version,) = registry.versions("fraud")
    (model,) = home.rglob("*.onnx")
    return registry.manifest("fraud", version), model.read_bytes()


def served() -> tuple[list[Decision], list[Label]]:
    both = decisions(DAYS)
    return [decision for decision, _ in both], [label for _, label in both]


def test_what_becomes_known_later_changes_nothing(tmp_path: Path) -> None:
    made, labels = served()
    until = f"{CUT:%Y-%m-%d}"
    # The home's archive, since nothing else is named.
    result = taught(tmp_path / "plain", [*made, *labels], "--to", until)
    assert result.exit_code == 0, result.output
    turned = [
        msgspec.structs.replace(one, label="legit" if one.label == "fraud" else "fraud")
        if one.labelled_at > CUT
        else one
        for one in labels
    ]
    assert turned != labels
    assert taught(tmp_path / "turned", [*made, *turned], "--to", until).exit_code == 0
    (manifest, model), (other, same) = only(tmp_path / "plain"), only(tmp_path / "turned")
    assert model == same
    assert manifest.metrics == other.metrics
    assert manifest.label_cutoff == CUT
    assert manifest.window_end < CUT - timedelta(days=7)


def test_days_and_cards_are_those_that_were_asked_for(tmp_path: Path) -> None:
    made, labels = served()
    since = START + timedelta(days=3)
    result = taught(
        tmp_path,
        [*made, *labels],
        "--from",
        f"{since:%Y-%m-%d}",
        "--share",
        "0.5",
        "--archive",
        str(tmp_path / "archive"),
    )
    assert result.exit_code == 0, result.output
    manifest, _ = only(tmp_path)
    assert since <= manifest.window_start < since + timedelta(days=1)
    rows = manifest.metrics["fitted_rows"]
    assert rows is not None
    fitted = [one for one in made if manifest.window_start <= one.event_timestamp <= manifest.window_end]
    assert 0.3 * len(fitted) < rows < 0.7 * len(fitted)


def test_a_promotion_is_judged_by_served_vectors_that_did_not_teach(tmp_path: Path) -> None:
    made, labels = served()
    result = taught(tmp_path, [*made, *labels], "--promote", "--by", "ann", "--judge-days", "9")
    manifest, _ = only(tmp_path)
    assert result.exit_code == 0, result.output
    assert Registry(tmp_path / "models").aliases("fraud")["champion"] == manifest.version
    assert manifest.label_cutoff <= START + timedelta(days=DAYS) - timedelta(days=9)


def test_an_archive_of_nothing_says_what_to_do(tmp_path: Path) -> None:
    result = train(tmp_path)
    assert result.exit_code == 1
    assert "give --data FILE" in result.output
    both = train(tmp_path, "--archive", str(tmp_path), "--data", str(Path(__file__)))
    assert both.exit_code == 2
    assert "either --data FILE or --archive" in both.output


def test_served_vectors_and_no_others_teach(tmp_path: Path) -> None:
    made, labels = served()
    nulled = [msgspec.structs.replace(one, vector=[None, *one.vector[1:]]) for one in made]
    assert taught(tmp_path, [*nulled, *labels]).exit_code == 0
    manifest, _ = only(tmp_path)
    assert manifest.profile is not None
    assert np.isclose(manifest.profile.features[manifest.feature_names[0]].null_share, 1.0)
