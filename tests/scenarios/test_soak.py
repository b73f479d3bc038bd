"""A short soak: a real stack under load, with three of its faults, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.soak import measure
from bench.soak_faults import BY_NAME, FAULTS, in_order
from tests.until import LIMIT_S

pytestmark = pytest.mark.slow

COUNTED = (
    "given up",
    "refused for good",
    "lost",
    "doubled",
    "decisions other than answered",
    "in the log, never sent",
    "states that differ from a clean fold",
    "differences of the archive",
    "differences of the audit chain",
    "processes that ended by themselves",
    "faults not answered as promised",
)


def test_nothing_is_lost_while_redis_is_killed_a_worker_is_killed_and_a_corrupt_model_comes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.soak_faults.SEEN_WITHIN_S", LIMIT_S)
    faults = [BY_NAME[name] for name in ("Redis killed", "worker killed", "corrupt champion")]
    figures = measure(minutes=0.25, faults=faults, home=home, peak_s=2.0)
    assert {name: (figures[name].value, figures[name].note) for name in COUNTED if figures[name].value} == {}
    assert figures["answered"].value > 100
    assert figures["accepted"].value > 10
    assert sum(name.startswith("fault: ") for name in figures) == len(faults)


def test_every_fault_comes_once_and_those_that_kill_come_first() -> None:
    order = in_order(seed=1)
    assert sorted(fault.name for fault in order) == sorted(fault.name for fault in FAULTS)
    assert [fault.kills for fault in order] == sorted((fault.kills for fault in order), reverse=True)
    assert in_order(seed=1) == order
