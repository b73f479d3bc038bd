"""Our service with one setting turned back to what BentoML does by itself, to show what each costs.

`HEADRACE_BENCH_VARIANT` names one of `VARIANTS`; `bentoml serve bench.service_variants:Fraud` serves it.
"""

from __future__ import annotations

import gc
import os
from typing import Any

import bentoml

from bench.scoring_peers import VARIANT
from scoring.front_door import ScoringService
from scoring.service import SETTINGS, TransactionBody
from scoring.service import Fraud as AsServed


class _Plain(AsServed.inner):  # type: ignore[name-defined,misc]
    """The endpoints without the front door."""

    front_door = False


class _Synchronous(_Plain):
    """The endpoint as a plain function."""

    @bentoml.api(route="/fraud/score")  # type: ignore[untyped-decorator]
    def score(self, transaction: TransactionBody, /) -> dict[str, Any]:  # type: ignore[valid-type]
        """Score one transaction."""
        found: dict[str, Any] = self._answer("/fraud/score", transaction)
        return found


class _Unfrozen(AsServed.inner):  # type: ignore[name-defined,misc]
    """The front door, and a collector that walks everything."""

    def __init__(self) -> None:
        super().__init__()
        gc.unfreeze()


def _variant(name: str) -> Any:
    settings: dict[str, Any] = {
        "name": "headrace_fraud",
        "service_class": ScoringService,
        "traffic": {"timeout": 1},
        "tracing": {"excluded_urls": ".*"},
        "logging": {"access": {"enabled": False}},
        "http": {"host": SETTINGS.host, "port": SETTINGS.port or 3000},
    }
    inner = _Plain
    if name == "with access log":
        settings["logging"] = {"access": {"enabled": True}}
    elif name == "with tracing":
        settings["tracing"] = {"exporter_type": "in_memory", "sample_rate": 1.0}
    elif name == "with a thread hop":
        inner = _Synchronous
    elif name == "with a timeout of 60 s":
        settings["traffic"] = {"timeout": 60}
    elif name == "collector not frozen":
        inner = _Unfrozen
    return bentoml.service(**settings)(inner)


Fraud = _variant(os.environ.get(VARIANT, ""))
