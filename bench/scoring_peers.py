"""What `headrace bench scoring` sets beside our service: the documented one, and ours with settings turned back."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from bench.figures import Figure, Figures, not_measured
from bench.http_load import Load, load
from features.fraud import FRAUD
from headrace.stack import Stack, wait_ready
from stream.child import Child, ChildError, free_port
from stream.records import Transaction, encode
from training.families import FAMILIES
from training.frame import TrainingFrame

HOME = "HEADRACE_BENCH_HOME"
REDIS = "HEADRACE_BENCH_REDIS"
VARIANT = "HEADRACE_BENCH_VARIANT"
MODEL_FILE = "documented.pickle"
VARIANTS = {
    "BentoML's endpoint": "the front door off: the request goes through BentoML's middleware",
    "with access log": "as that, and a line for each request",
    "with tracing": "as that, and a span for each request",
    "with a thread hop": "as that, with a synchronous endpoint, which BentoML runs in a thread",
    "with a timeout of 60 s": "as that, with BentoML's default timeout: a timer for each request lives a minute",
    "collector not frozen": "the front door on, but what lives after warm-up stays in the collector's sight",
}
"""Which settings `bench/service_variants.py` turns back, and what that means."""

WARM_UP = 300
PEER_EVENTS = 150
VARIANT_EVENTS = 1500
MANY_CLIENTS = 16
REFUSED_SHARE = 0.01


def fit_documented(frame: TrainingFrame, home: Path) -> None:
    """The peer's model: the same family on the features that Feast serves, kept as scikit-learn advises."""
    names = [name for view in FRAUD.views for name in view.names]
    columns = [frame.feature_names.index(name) for name in names]
    rows = frame.X[:, columns]
    family = FAMILIES["hist_gradient_boosting"]
    estimator, _ = family.fit((rows, frame.y), (rows, frame.y), {})
    (home / MODEL_FILE).write_bytes(pickle.dumps(estimator))


def variants(stack: Stack, transactions: Iterator[Transaction]) -> Figures:
    """What one client sees of our service with one setting turned back."""
    figures: Figures = {}
    for name, what in VARIANTS.items():
        environment = stack.settings.environment() | {VARIANT: name}
        try:
            with Served(stack, "bench.service_variants:Fraud", environment) as url:
                send(f"{url}/fraud/score", transactions, WARM_UP, 1)
                alone = send(f"{url}/fraud/score", transactions, VARIANT_EVENTS, 1)
        except ChildError as error:
            figures[f"{name}, 1 client, p50"] = not_measured("ms", "lower", error)
            continue
        for p in (50, 99):
            figures[f"{name}, 1 client, p{p}"] = Figure(percentile(alone, p), "ms", None, "lower", what)
    return figures


def documented(stack: Stack, transactions: Iterator[Transaction]) -> Figures:
    """What clients see of the documented service, on the next transactions."""
    environment = stack.settings.environment()
    environment |= {HOME: str(stack.home), REDIS: str(stack.settings.redis)}
    try:
        with Served(stack, "bench.documented_service:Documented", environment) as url:
            wrapped = (b'{"transaction":' + encode(one) + b"}" for one in transactions)
            checked(load(f"{url}/score", list(islice(wrapped, 10)), 1))
            alone = checked(load(f"{url}/score", list(islice(wrapped, PEER_EVENTS)), 1))
            together = checked(load(f"{url}/score", list(islice(wrapped, PEER_EVENTS)), MANY_CLIENTS))
    except (ChildError, RuntimeError) as error:
        return {"documented service, 1 client, p50": not_measured("ms", "lower", error)}
    note = "synchronous @bentoml.api, store.get_online_features, predict_proba; records nothing"
    return {
        "documented service, 1 client, p50": Figure(percentile(alone, 50), "ms", None, "lower", note),
        "documented service, 1 client, p99": Figure(percentile(alone, 99), "ms", None, "lower", note),
        f"documented service, {MANY_CLIENTS} clients": Figure(together.per_second, "requests/s", None, "higher", note),
    }


class Served:
    """A service of the bench under `bentoml serve`, for as long as the context lasts."""

    def __init__(self, stack: Stack, target: str, environment: dict[str, str]) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        root = Path(__file__).parent.parent
        command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--working-dir", str(root), "--timeout-keep-alive", "600"]
        environment = dict(os.environ) | environment | {"BENTOML_DO_NOT_TRACK": "True", "HEADRACE_PORT": str(port)}
        environment["BENTOML_HOME"] = str((stack.home / "bentoml").resolve())
        self.child = Child(command, (stack.home / "logs" / f"{target}.log").resolve(), environment=environment)

    def __enter__(self) -> str:
        if wait_ready(self.url, self.child):
            return self.url
        tail = self.child.log_tail()
        self.child.kill()
        raise ChildError(f"the service did not become ready: {tail}")

    def __exit__(self, *_: object) -> None:
        self.child.stop(8.0)


def send(url: str, transactions: Iterator[Transaction], count: int, clients: int) -> Load:
    """Send the next transactions. Raises `RuntimeError` for answers that say nothing of speed (`checked`)."""
    return checked(load(url, [encode(one) for one in islice(transactions, count)], clients))


def checked(found: Load) -> Load:
    """The load, if every answer was 200 but for a few that a full machine refused in time. Raises `RuntimeError`."""
    if not set(found.statuses) <= {"200", "503"} or refused(found) > REFUSED_SHARE * len(found.latency_ms):
        raise RuntimeError(f"answers other than 200 in a bench: {found.statuses}")
    return found


def refused(found: Load) -> int:
    """How many were told to come again, since they had waited for most of their deadline."""
    return found.statuses.get("503", 0)


def percentile(found: Load, p: int) -> float:
    """Milliseconds."""
    return float(np.percentile(found.latency_ms, p))
