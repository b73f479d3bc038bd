"""`headrace bench features` in small: every figure is there, positive and says what it is; the arithmetic is right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench import peers
from bench.feature_load import payments
from bench.features import Sizes, measure
from bench.figures import Figures, medians, show, write
from bench.freshness import fresh_ms
from bench.peers import NAMES, Peer, PeerMissing, check, side_by_side
from bench.run import BENCHES
from bench.worker_process import Commit
from headrace.settings import Settings
from stream.log import Partition

SMALL = Sizes(
    runs=1,
    worker_events=2500,
    rounds=50,
    filled_events=500,
    reads=5,
    written_rows=10,
    rate=200.0,
    seconds=1.0,
    with_peers=False,
    with_batch=False,
)
BUDGETS = {
    "worker, a core": 10_000,
    "read 1 row, Feast's SDK over ours": 10,
    "answered to folded, p99": 100,
}
PAYMENTS = Partition("transactions", 0)


@pytest.mark.slow
def test_every_figure_is_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert BENCHES["features"] is measure
    figures = measure(SMALL)
    assert {name: figure.budget for name, figure in figures.items() if figure.budget is not None} == BUDGETS
    assert len(figures) == 4 + 6 + 3 + 2 + 4
    for name, figure in figures.items():
        assert 0 < figure.value < math.inf, name
        assert len(figure.note) > 20, name
    show("small", figures)
    assert "MISSED" in (printed := capsys.readouterr().out) or "within" in printed
    write(tmp_path / "figures.json", "features", figures)
    assert (tmp_path / "figures.json").stat().st_size > 1000


def test_freshness_is_the_first_commit_beyond_an_events_offset() -> None:
    commits = [Commit(5_000_000, *PAYMENTS, 11), Commit(9_000_000, *PAYMENTS, 13)]
    entries = {PAYMENTS: [(9, "not ours"), (10, "a"), (11, "b"), (12, "c")]}
    answered_ns = {"a": 1_000_000, "b": 2_000_000, "c": 8_500_000}
    assert fresh_ms(answered_ns, entries, commits) == [4.0, 7.0, 0.5]


def test_without_a_broker_the_peers_say_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "kafka_available", lambda: "there is no java")
    figures: Figures = side_by_side(Settings({}, environ={}), tmp_path, 10, 1)
    assert len(figures) == 2 * len(NAMES) + 1
    assert medians([figures, figures]).keys() == figures.keys()
    for figure in figures.values():
        assert math.isnan(figure.value)
        assert figure.note == "not measured: there is no java"
        assert figure.meets_budget is None
    show("without", figures)


def test_the_peers_answers_are_checked() -> None:
    records = payments(100, cards=3)
    own = [record.amount for record in records if record.card_id == "c1"]
    right = {"count": len(own), "sum": sum(own), "max": max(own), "mean": sum(own) / len(own)}
    check(Peer(100, 500, 1.0, 1.0, "c1", {"1h": right}), records)
    with pytest.raises(PeerMissing, match="instead of"):
        check(Peer(100, 500, 1.0, 1.0, "c1", {"1h": right | {"count": 1}}), records)


def test_the_lock_of_the_peer_is_complete_and_names_no_address() -> None:
    lock = peers.LOCK.read_text()
    assert "quixstreams==" in lock
    assert "://" not in lock
    assert lock.count("==") <= lock.count("--hash=sha256:")
