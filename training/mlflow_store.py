"""The one file that knows MLflow, an optional extra: runs go into it, models come out of it by alias.

Nothing that MLflow would load is loaded: of a model version, two files are read, ONNX bytes and a manifest in JSON,
and they are for the caller to check. The scorer never imports this.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from models.bundle import SIZE_LIMITS
from models.manifest import Manifest
from models.registry import ARTIFACT, MANIFEST
from training.extras import MissingExtra
from training.search import Trial

FOLDER = "headrace"
"""Where a run keeps the two files, and so what to register: `runs:/RUN_ID/headrace`."""
TRIALS = "trials.json"
PICKLED = (".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill", ".pt", ".pth")
SCHEMES = ("", "file", "sqlite", "postgresql", "mysql", "http", "https", "databricks")


class NotImportable(ValueError):
    """What the alias means cannot be taken. A retry cannot help; it names what the version has to hold."""


class Fetched(NamedTuple):
    """A version as it was fetched, unchecked."""

    version: str
    onnx_bytes: bytes
    manifest: bytes


def log_run(uri: str, experiment: str, onnx_bytes: bytes, manifest: Manifest, trials: list[Trial] | None = None) -> str:
    """Write down a model that was trained as a finished run: parameters, metrics, manifest and ONNX. The run's id.

    `uri` is a tracking server, or `sqlite:///FILE` for a store without one; the experiment is made where it is not
    there. Raises `MissingExtra`, or `OSError` where MLflow refuses.
    """
    client, refused = _client(uri)
    try:
        found = client.get_experiment_by_name(experiment)
        made = client.create_experiment(experiment, _artefacts(uri)) if found is None else found.experiment_id
        tags = {
            "headrace.name": manifest.name,
            "headrace.version": manifest.version,
            "headrace.definition_hash": manifest.definition_hash,
            "headrace.git_revision": manifest.git_revision or "",
        }
        run = client.create_run(made, tags=tags, run_name=f"{manifest.name} {manifest.family}").info.run_id
        for name, value in {"family": manifest.family, **manifest.parameters}.items():
            client.log_param(run, name, value)
        for name, value in _figures(manifest).items():
            client.log_metric(run, name, value)
        with tempfile.TemporaryDirectory(prefix="headrace-mlflow-") as directory:
            (Path(directory) / ARTIFACT).write_bytes(onnx_bytes)
            (Path(directory) / MANIFEST).write_bytes(manifest.to_json())
            client.log_artifacts(run, directory, FOLDER)
        if trials is not None:
            client.log_text(run, msgspec.json.format(msgspec.json.encode(trials)).decode(), TRIALS)
        client.set_terminated(run)
    except refused as error:
        raise OSError(f"MLflow at {_shown(uri)} refuses the run: {error}") from error
    return str(run)


def fetch(uri: str, model: str, alias: str) -> Fetched:
    """The files of the version that an alias of a registered model means in MLflow.

    Raises `MissingExtra`, `OSError` where MLflow does not answer or has no such alias, and `NotImportable` where the
    version lacks one of the two files, or one is larger than a model is.
    """
    client, refused = _client(uri)
    try:
        version = client.get_model_version_by_alias(model, alias)
        source = str(client.get_model_version_download_uri(model, version.version)).rstrip("/")
        subject = f"version {version.version} of {model!r} (alias {alias!r}) in MLflow"
        sizes = _sizes(uri, source)
        if missing := [part for part in (ARTIFACT, MANIFEST) if part not in sizes]:
            pickled = [name for name in sizes if name.endswith(PICKLED)]
            why = f"; {pickled[0]} would have to be unpickled, which is never done" if pickled else ""
            raise NotImportable(f"{subject} has no {' and no '.join(missing)}{why}; log {ARTIFACT} and {MANIFEST}")
        parts = []
        for part in (ARTIFACT, MANIFEST):
            # Before, where the store states a size, and after: some state none.
            _within(subject, part, sizes[part] or 0)
            with tempfile.TemporaryDirectory(prefix="headrace-mlflow-") as directory:
                path = _downloaded(uri, f"{source}/{part}", directory)
                _within(subject, part, path.stat().st_size)
                parts.append(path.read_bytes())
    except refused as error:
        raise OSError(f"MLflow at {_shown(uri)} has no {alias!r} of {model!r} to give: {error}") from error
    return Fetched(str(version.version), *parts)


def check(uri: str) -> None:
    """Whether a run could be logged there, before hours go into it. Raises `MissingExtra`, or `ValueError` at once."""
    _client(uri)


def _artefacts(uri: str) -> str | None:
    """Where a new experiment keeps its files: beside an SQLite store, and not where somebody happens to be."""
    if not uri.startswith("sqlite:///"):
        return None  # the server knows
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def _figures(manifest: Manifest) -> dict[str, float]:
    """All figures of a manifest that are defined, by name."""
    figures = {
        **manifest.metrics,
        "calibration_error": manifest.calibration_error,
        "max_onnx_difference": manifest.max_onnx_difference,
        "single_row_latency_us": manifest.single_row_latency_us,
        "search_value": None if manifest.search is None else manifest.search.value,
    }
    return {name: float(value) for name, value in figures.items() if value is not None}


def _client(uri: str) -> tuple[Any, type[Exception]]:
    """A client of tracking and registry, and what it raises."""
    if urlsplit(uri).scheme.partition("+")[0] not in SCHEMES:
        raise ValueError(f"{_shown(uri)!r} is no address of MLflow; give http(s)://HOST, or sqlite:///FILE")
    # Read when MLflow is imported: otherwise it reports its use to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's own, of its own parts
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient

            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    except ImportError as error:
        raise MissingExtra("MLflow", "mlflow") from error
    return client, MlflowException


def _sizes(uri: str, source: str) -> dict[str, int | None]:
    from mlflow.artifacts import list_artifacts

    found = list_artifacts(artifact_uri=source, tracking_uri=uri)
    return {entry.path.rpartition("/")[2]: entry.file_size for entry in found if not entry.is_dir}


def _downloaded(uri: str, source: str, directory: str) -> Path:
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(artifact_uri=source, dst_path=directory, tracking_uri=uri))


def _within(subject: str, part: str, size_bytes: int) -> None:
    if size_bytes > SIZE_LIMITS[part]:
        raise NotImportable(f"{subject}: {part} has {size_bytes:,} bytes, allowed are {SIZE_LIMITS[part]:,}")


def _shown(uri: str) -> str:
    """The address without what may be a password."""
    netloc = urlsplit(uri).netloc
    return uri.replace(netloc, netloc.rpartition("@")[2], 1) if "@" in netloc else uri
