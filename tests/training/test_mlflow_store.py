"""Runs into a real MLflow store and models out of it by alias: an SQLite file, no server and no network."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from headrace.cli import main
from models.bundle import SIZE_LIMITS
from models.registry import Registry
from tests.training.test_batch import NOON, SPLIT, frame
from training import mlflow_store
from training.batch import Trained, train
from training.mlflow_store import FOLDER, NotImportable, fetch, log_run
from training.search import Budget, Trial, search

pytestmark = pytest.mark.filterwarnings("ignore")


@cache
def made() -> tuple[Trained, list[Trial]]:
    found = search(frame(), "logistic_regression", Budget(trials=2), split=SPLIT)
    trained = train(
        frame(),
        "logistic_regression",
        created_at=NOON,
        split=SPLIT,
        changes=found.best.changes,
        search=found.summary,
        git_revision="abc",
    )
    return trained, found.trials


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def champion(uri: str, model: str, run: str, folder: str = FOLDER) -> None:
    """Register what a run holds, and let the alias mean it, as a person does in MLflow."""
    mlflow = client(uri)
    mlflow.create_registered_model(model)
    version = mlflow.create_model_version(model, f"runs:/{run}/{folder}", run)
    mlflow.set_registered_model_alias(model, "champion", version.version)


def import_model(uri: str, home: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["models", "import-mlflow", "fraud", "--uri", uri, "--home", str(home), *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_run_has_parameters_metrics_trials_and_the_very_bytes_and_comes_back_by_alias(
    uri: str, tmp_path: Path
) -> None:
    trained, trials = made()
    run = log_run(uri, "night", *trained, trials)
    logged = client(uri).get_run(run)
    assert logged.info.status == "FINISHED"
    assert logged.data.params["family"] == "logistic_regression"
    assert float(logged.data.params["C"]) == trained.manifest.parameters["C"]
    assert logged.data.metrics["average_precision"] == pytest.approx(trained.manifest.metrics["average_precision"])
    assert client(uri).get_experiment_by_name("night").experiment_id == logged.info.experiment_id
    assert [file.path for file in client(uri).list_artifacts(run)] == [FOLDER, "trials.json"]
    champion(uri, "fraud", run)
    fetched = fetch(uri, "fraud", "champion")
    assert (fetched.onnx_bytes, fetched.manifest) == (trained.onnx_bytes, trained.manifest.to_json())

    status, text = import_model(uri, tmp_path)
    assert status == 0, text
    registry = Registry(tmp_path / "models")
    (version,) = registry.versions("fraud")
    assert registry.content("fraud", version)[0] == trained.onnx_bytes
    assert registry.manifest("fraud", version).search == trained.manifest.search
    assert registry.aliases("fraud") == {}, "an alias there is none here: the gates decide"
    assert "it cannot be promoted: it is of definition h" in text
    assert import_model(uri, tmp_path)[0] == 0
    assert registry.versions("fraud") == [version]


def run_of(uri: str, files: dict[str, bytes], directory: Path) -> str:
    """A run that somebody else logged with these files."""
    directory.mkdir(exist_ok=True)
    mlflow = client(uri)
    experiment = mlflow.create_experiment(directory.name, artifact_location=(directory / "artefacts").as_uri())
    run: str = mlflow.create_run(experiment).info.run_id
    for name, content in files.items():
        (directory / name).write_bytes(content)
        mlflow.log_artifact(run, str(directory / name), FOLDER)
    return run


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_by_name_and_never_opened(uri: str, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "went off"))
    manifest = made()[0].manifest.to_json()
    files = {"MLmodel": b"flavors: {}", "model.pkl": bomb, "manifest.json": manifest}
    champion(uri, "pickled", run_of(uri, files, tmp_path / "pickled"))
    with pytest.raises(NotImportable, match=r"has no model\.onnx; model\.pkl would have to be unpickled"):
        fetch(uri, "pickled", "champion")
    disguised = run_of(uri, {"model.onnx": bomb, "manifest.json": manifest}, tmp_path / "disguised")
    champion(uri, "disguised", disguised)
    status, text = import_model(uri, tmp_path / "home", "--model", "disguised")
    assert status == 1
    assert "is not an ONNX file that loads" in text
    assert not (tmp_path / "went off").exists()
    assert Registry(tmp_path / "home" / "models").names() == []
    pickle.loads(bomb)
    assert (tmp_path / "went off").exists(), "the bomb is a dud and the test proves nothing"


def test_a_manifest_of_another_model_or_with_gaps_is_refused(uri: str, tmp_path: Path) -> None:
    trained = made()[0]
    other = msgspec.structs.replace(trained.manifest, name="recommendation").to_json()
    files = {"model.onnx": trained.onnx_bytes, "manifest.json": other}
    champion(uri, "other", run_of(uri, files, tmp_path / "other"))
    status, text = import_model(uri, tmp_path / "home", "--model", "other")
    assert (status, "asked for is 'fraud'" in text) == (1, True), text
    gaps = msgspec.structs.replace(trained.manifest, git_revision=None).to_json()
    champion(uri, "gaps", run_of(uri, {**files, "manifest.json": gaps}, tmp_path / "gaps"))
    status, text = import_model(uri, tmp_path / "home", "--model", "gaps")
    assert (status, "lacks git_revision" in text) == (1, True), text


def test_an_alias_or_store_that_is_not_there_says_so(uri: str, tmp_path: Path) -> None:
    status, text = import_model(uri, tmp_path, "--model", "nobody")
    assert status == 1
    assert "has no 'champion' of 'nobody' to give" in text
    status, text = import_model("ftp://somewhere", tmp_path)
    assert status == 1
    assert "'ftp://somewhere' is no address of MLflow" in text


def test_a_file_that_is_larger_than_a_model_is_refused_also_where_the_store_states_no_size(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = made()[0]
    files = {"model.onnx": trained.onnx_bytes, "manifest.json": trained.manifest.to_json()}
    champion(uri, "large", run_of(uri, files, tmp_path / "large"))
    monkeypatch.setitem(SIZE_LIMITS, "manifest.json", 100)
    with pytest.raises(NotImportable, match=r"manifest\.json has [\d,]+ bytes, allowed are 100"):
        fetch(uri, "large", "champion")
    monkeypatch.setattr(mlflow_store, "_sizes", lambda uri, source: dict.fromkeys(files))
    with pytest.raises(NotImportable, match=r"manifest\.json has [\d,]+ bytes, allowed are 100"):
        fetch(uri, "large", "champion")
