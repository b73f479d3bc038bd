"""What is counted of decisions, and how the counts of several processes become one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scoring.metric_table import EVERY, OF_SCORING
from scoring.metric_text import counts_text
from scoring.observed import REMARK_INTERVAL_S, Observed
from scoring.observed_shared import GONE, SharedCounts
from scoring.readings import only_live_versions
from scoring.tally import LABEL_LIMIT, Counts, count_bounded
from stream.records import Decision, MemberScore, decode, encode
from tests.scoring.conftest import T0, payment
from tests.until import LIMIT_S

STAGES = {"read": 200, "features": 150, "models": 100, "rules": 50}
DIE = """
from pathlib import Path
from scoring.observed_shared import SharedCounts
from scoring.tally import Counts
import os, sys
counts = Counts({"headrace_tags_total": {("mule",): 2.0}}, {}, {"headrace_online_age_seconds": {(): 99.0}})
SharedCounts(lambda: counts, Path(sys.argv[1])).publish()
os._exit(9)
"""


def decided(**fields: Any) -> Decision:
    usual: dict[str, Any] = {
        "event_id": "event-7",
        "event_timestamp": T0,
        "scored_at": T0,
        "use_case": "fraud",
        "outcome": "approve",
        "score": 0.01,
        "scores": {"batch": MemberScore("20260131.1", 0.01), "online": MemberScore("1.2034", 0.02)},
        "vector": [1.0, None, 3.0, None],
        "definition_hash": "h",
        "policy_version": "p",
        "record": payment("event-7", card_id="card-7"),
        "latency_us": STAGES,
    }
    return Decision(**{**usual, **fields})


def samples(counts: Counts) -> dict[str, float]:
    """What Prometheus reads, as `name label label`."""
    found = {}
    for family in text_string_to_metric_families(counts_text(counts, OF_SCORING)):
        for sample in family.samples:
            found[" ".join([sample.name.removeprefix("headrace_"), *sample.labels.values()])] = sample.value
    return found


def test_a_decision_is_counted_by_all_that_is_asked_of_it() -> None:
    observed = Observed("fraud")
    observed.score(decided(outcome="review", rules=["night"], shadow_rules=["day"], tags=["mule"]), 0.0008)
    observed.score(decided(approximate=["a"], snoozed_rules=["night"], degraded=["online model"]), 0.004)
    observed.batch(7)
    found = samples(observed.counts())
    assert (found["outcomes_total review fraud"], found["outcomes_total approve fraud"]) == (1, 1)
    assert (found["score_seconds_bucket 0.001 fraud"], found["score_seconds_bucket 0.005 fraud"]) == (1, 2)
    assert found["stage_seconds_count features"] == 2
    assert found["stage_seconds_sum record"] == pytest.approx(0.0008 + 0.004 - 2 * 500e-6)
    assert (found["member_score_count batch fraud"], found["member_score_count all fraud"]) == (2, 2)
    assert found["member_scores_total batch fraud 20260131.1"] == 2
    assert found["member_scores_total online fraud 1"] == 2
    assert [found[f"rules_fired_total {one}"] for one in ("live night", "shadow day", "snoozed night")] == [1, 1, 1]
    assert (found["tags_total mule"], found["degraded_total online model"]) == (1, 1)
    assert found["feature_values_total fraud"] == 8
    assert (found["feature_values_null_total fraud"], found["feature_values_approximate_total fraud"]) == (4, 1)
    assert (found["batch_size_sum"], found["batch_size_bucket 10.0"]) == (7, 1)


def test_a_decision_that_was_found_again_does_not_repeat_its_stages() -> None:
    observed = Observed("fraud")
    observed.score(decided(), 0.0008)
    observed.score(decided(), 0.0003, is_new=False)
    observed.score(decided(), 0.004, is_new=False)
    found = samples(observed.counts())
    assert (found["score_seconds_count fraud"], found["stage_seconds_count read"]) == (3, 1)


def test_the_online_models_labels_do_not_make_a_series_each() -> None:
    observed = Observed("fraud")
    for labels in range(1000):
        observed.score(decided(scores={"online": MemberScore(f"1.{labels}", 0.5)}), 0.001)
    versions = observed.counts().counters["headrace_member_scores_total"]
    assert versions == {("fraud", "online", "1"): 1000}


def test_versions_and_rules_that_went_are_forgotten() -> None:
    observed = Observed("fraud")
    for version in ("v1", "v2"):
        observed.score(decided(scores={"batch": MemberScore(version, 0.5)}, rules=[f"rule of {version}"]), 0.001)
    observed.keep_only({("batch", "v2")}, {"rule of v2"})
    counters = observed.counts().counters
    assert counters["headrace_member_scores_total"] == {("fraud", "batch", "v2"): 1}
    assert counters["headrace_rules_fired_total"] == {("rule of v2", "live"): 1}


def test_no_metric_grows_without_end() -> None:
    counted: dict[tuple[str, ...], int] = {}
    for number in range(LABEL_LIMIT + 50):
        count_bounded(counted, (f"rule {number}", "live"))
    assert len(counted) == LABEL_LIMIT + 1
    assert counted["other", "other"] == 50


def test_slow_and_degraded_answers_have_one_line_in_a_while_without_ids(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 100.0
    observed = Observed("fraud", clock=lambda: now_s)
    with caplog.at_level(logging.WARNING):
        observed.score(decided(), 0.001)
        assert caplog.records == []
        for _ in range(5):
            observed.score(decided(degraded=["online store"]), 0.001)
        assert len(caplog.records) == 1
        now_s += REMARK_INTERVAL_S
        observed.score(decided(), 0.06, deadline_s=0.05)
    slow = caplog.records[-1]
    assert len(caplog.records) == 2
    assert (slow.fields["more"], slow.fields["took_ms"]) == (4, 60.0)  # type: ignore[attr-defined]
    assert "event-7" not in caplog.text and "card-7" not in caplog.text
    assert "7" not in str([record.fields for record in caplog.records])  # type: ignore[attr-defined]


def test_processes_are_added_up_and_one_that_died_still_counts(tmp_path: Path) -> None:
    own = Counts({"headrace_tags_total": {("mule",): 1.0}}, {}, {"headrace_online_age_seconds": {(): 5.0}})
    subprocess.run([sys.executable, "-c", DIE, str(tmp_path)], check=False, timeout=LIMIT_S)
    shared = SharedCounts(lambda: own, tmp_path)
    shared.start()
    for _ in range(2):
        whole = shared.whole()
        assert whole.counters["headrace_tags_total"] == {("mule",): 3.0}
        # What it knew of the present died with it.
        assert whole.gauges["headrace_online_age_seconds"] == {(): 5.0}
    shared.stop()
    assert len(list(tmp_path.glob("*.counts"))) == 2
    assert (tmp_path / GONE).exists()


def test_a_process_that_was_just_asked_is_not_behind_what_it_said_when_another_is(tmp_path: Path) -> None:
    counted = Counts({"headrace_tags_total": {("mule",): 1.0}})
    one = SharedCounts(lambda: counted, tmp_path)
    other = SharedCounts(Counts, tmp_path)
    one.start()
    other.start()
    counted.counters["headrace_tags_total"]["mule",] = 10.0
    assert one.whole().counters["headrace_tags_total"]["mule",] == 10.0
    assert other.whole().counters["headrace_tags_total"]["mule",] == 10.0
    one.stop()
    other.stop()


def test_a_file_that_a_process_did_not_finish_takes_nothing_away(tmp_path: Path) -> None:
    own = Counts({"headrace_tags_total": {("mule",): 1.0}})
    shared = SharedCounts(lambda: own, tmp_path)
    shared.start()
    write = os.pwrite

    def killed(file: int, content: bytes, at: int) -> int:
        write(file, content[: len(content) // 2], at)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "pwrite", killed)
        shared.whole()
    other = SharedCounts(Counts, tmp_path)
    assert other.whole().counters == own.counters
    shared.stop()


def test_without_a_folder_or_with_a_lost_one_a_process_tells_its_own(tmp_path: Path) -> None:
    own = Counts({"headrace_tags_total": {("mule",): 1.0}})
    assert SharedCounts(lambda: own, None).whole() == own
    assert SharedCounts(lambda: own, tmp_path / "gone").whole() == own


def test_versions_that_no_process_has_any_more_are_not_told() -> None:
    told = only_live_versions(
        Counts(
            {"headrace_member_scores_total": {("fraud", "batch", "v1"): 5.0, ("fraud", "batch", "v2"): 1.0}},
            {},
            {"headrace_model": {("fraud", "batch", "v2"): 1.0}},
        )
    )
    assert told.counters["headrace_member_scores_total"] == {("fraud", "batch", "v2"): 1.0}


def test_counting_is_a_small_part_of_a_score() -> None:
    observed, decision = Observed("fraud"), decided(vector=[1.0] * 60)
    turns = [
        (timed(lambda: observed.score(decision, 0.001)), timed(lambda: decode(encode(decision), Decision)))
        for _ in range(20)
    ]
    counting_s, writing_s = map(min, zip(*turns, strict=True))
    # About half of what it takes to write a decision down and read it, itself a hundredth of a score.
    assert counting_s < 5 * writing_s


def timed(does: Callable[[], object]) -> float:
    """The processor's time of this thread, in which others have no part."""
    began_s = time.thread_time()
    for _ in range(500):
        does()
    return time.thread_time() - began_s


def test_every_metric_of_the_table_has_its_own_name_and_help() -> None:
    assert all(name.startswith("headrace_") and metric.help.endswith(".") for name, metric in EVERY.items())
    assert all((metric.kind == "counter") == name.endswith("_total") for name, metric in EVERY.items())
    assert timedelta(seconds=REMARK_INTERVAL_S) < timedelta(minutes=1)
