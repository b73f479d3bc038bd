"""A canary or new champion that leaves its bands is rolled back by itself, with the reason; one that is well is not."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.registry import Registry
from scoring.canary_split import is_in, place_of
from scoring.watch_report import WatchReport
from tests.training.conftest import START
from tests.training.served import GOOD
from tests.training.watching import (
    DECLINES,
    INVERSE,
    TWIN,
    VersionOf,
    decisions,
    labels,
    registry_of,
    send,
    split,
    watcher_of,
)
from training.watched_groups import BY
from training.watcher import Watcher

MODELS = {"good": GOOD, "twin": TWIN, "declines": DECLINES, "inverse": INVERSE}
SINCE = START + timedelta(days=1)
NOW = datetime(2026, 2, 1, tzinfo=UTC)
DAYS = 8


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("registry")
    registry_of(directory, MODELS, "good", START)
    return directory


@pytest.fixture
def registry(stored: Path) -> Registry:
    (stored / "aliases.jsonl").unlink()
    registry = Registry(stored)
    registry.alias("fraud", "champion", "good", by="ann", why="the first", at=START)
    return registry


def play(
    watcher: Watcher,
    version_of: VersionOf,
    seed: int = 0,
    every: int = 400,
    known: bool = True,
    days: int = DAYS,
    **more: object,
) -> WatchReport:
    """Decisions by the hundred, each label when it is known, and a look after each; the last one's report."""
    made = decisions(MODELS, version_of, days=days, seed=seed, **more)  # type: ignore[arg-type]
    later = labels(days, seed) if known else []
    given = 0
    for start in range(0, len(made), every):
        part = made[start : start + every]
        send(watcher, part, start)
        due = sum(label.labelled_at <= part[-1].event_timestamp for label in later)
        if later[given:due]:
            send(watcher, later[given:due], given)
        given = due
        report = watcher.look(NOW)
    return report


def test_a_canary_that_declines_everything_is_rolled_back_with_the_reason(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.alias("fraud", "canary", "declines", by="bob", share=25, at=SINCE)
    with caplog.at_level(logging.WARNING):
        report = play(watcher_of(registry), split("good", "declines", 25, SINCE), every=200)
    assert registry.aliases("fraud") == {"champion": "good"}
    last = registry.history("fraud")[-1]
    assert (last.alias, last.version, last.by) == ("canary", None, BY)
    assert last.why.startswith("alert rate 100.00% of ")
    assert " events against " in last.why
    assert "; band " in last.why
    assert report.rollbacks == {"canary": 1, "champion": 0}
    assert report.last_rollback is not None
    assert (report.last_rollback.version, report.last_rollback.why) == ("declines", last.why)
    assert [one for one in caplog.messages if "the canary declines of fraud ends" in one] != []


@pytest.mark.parametrize(("version", "share", "seed"), [("twin", 25, 0), ("twin", 25, 1), ("twin", 5, 3)])
def test_a_healthy_canary_stays(registry: Registry, version: str, share: int, seed: int) -> None:
    registry.alias("fraud", "canary", version, by="bob", share=share, at=SINCE)
    report = play(watcher_of(registry), split("good", version, share, SINCE), seed)
    assert registry.aliases("fraud")["canary"] == version
    (watched,) = report.watched
    assert (watched.alias, watched.version, watched.against, watched.since) == ("canary", version, "good", SINCE)
    judged = {one.band: one.out for one in watched.findings}
    assert not any(judged.values())
    if share == 25:
        assert judged["alert rate"] is False, "there was enough to judge by"
        assert judged["precision"] is False
        mine = [
            one
            for one in decisions(MODELS, split("good", version, share, SINCE), days=DAYS, seed=seed)
            if one.scores["batch"].version == version
        ]
        assert watched.its.events == len(mine)
        assert watched.its.alert_rate == pytest.approx(sum(one.outcome != "approve" for one in mine) / len(mine))


def test_a_canary_whose_alerts_are_no_frauds_is_rolled_back_once_labels_are_mature(registry: Registry) -> None:
    registry.alias("fraud", "canary", "inverse", by="bob", share=25, at=SINCE)
    version_of = split("good", "inverse", 25, SINCE)
    play(watcher_of(registry), version_of, known=False)
    assert registry.aliases("fraud")["canary"] == "inverse", "without labels nobody can tell"
    play(watcher_of(registry), version_of)
    assert "canary" not in registry.aliases("fraud")
    assert registry.history("fraud")[-1].why.startswith("precision of alerts ")


def test_a_canary_that_is_slow_is_rolled_back_and_one_pause_of_the_machine_is_no_reason(registry: Registry) -> None:
    version_of = split("good", "twin", 25, SINCE)
    registry.alias("fraud", "canary", "twin", by="bob", share=25, at=SINCE)
    paused = play(watcher_of(registry), version_of, latency_us=lambda version, row: 30_000 if 900 < row < 960 else 500)
    assert registry.aliases("fraud")["canary"] == "twin", paused.watched
    play(
        watcher_of(registry),
        version_of,
        latency_us=lambda version, row: 6_000 if version == "twin" and row % 20 == 0 else 500,
    )
    assert registry.history("fraud")[-1].why.startswith("p99 6.00 ms against 0.50 ms; band up to 1.50 ms")


def test_a_canary_that_often_has_no_number_is_rolled_back(registry: Registry) -> None:
    registry.alias("fraud", "canary", "twin", by="bob", share=25, at=SINCE)
    whose = split("good", "twin", 25, SINCE)

    def version_of(card: str, at: datetime) -> str:
        version = whose(card, at)
        return "" if version == "twin" and at.microsecond % 10 < 2 else version

    play(watcher_of(registry), version_of)
    assert "canary" not in registry.aliases("fraud")
    assert "no number for " in registry.history("fraud")[-1].why


def test_a_larger_share_inherits_nothing_of_what_the_champion_left_unanswered(registry: Registry) -> None:
    grows = START + timedelta(days=8)
    registry.alias("fraud", "canary", "twin", by="bob", share=1, at=SINCE)
    registry.alias("fraud", "canary", "twin", by="bob", share=25, at=grows)
    small, large = split("good", "twin", 1, SINCE), split("good", "twin", 25, grows)

    def version_of(card: str, at: datetime) -> str:
        if at >= grows:
            return large(card, at)
        version = small(card, at)
        return "" if version == "good" and at >= SINCE and fails(at) else version

    report = play(watcher_of(registry), version_of, days=12)
    assert registry.aliases("fraud").get("canary") == "twin", registry.history("fraud")[-1].why
    (watched,) = report.watched
    judged = {one.band: one.out for one in watched.findings}
    assert judged["unanswered"] is False, "there was enough to judge by"
    assert watched.its.unanswered_rate == 0.0
    assert watched.others.unanswered_rate is not None
    assert watched.others.unanswered_rate > 0.1


def test_a_smaller_share_leaves_the_champion_nothing_of_what_the_canary_left_unanswered(registry: Registry) -> None:
    shrinks = START + timedelta(days=5)
    registry.alias("fraud", "canary", "twin", by="bob", share=25, at=SINCE)
    registry.alias("fraud", "canary", "twin", by="bob", share=5, at=shrinks)

    def asked(card: str, at: datetime) -> str:
        share = 0 if at < SINCE else 25 if at < shrinks else 5
        return "twin" if is_in(place_of("fraud", card), share) else "good"

    def version_of(card: str, at: datetime) -> str:
        return "" if at < shrinks and asked(card, at) == "twin" and fails(at) else asked(card, at)

    report = play(watcher_of(registry, acts=False), version_of)
    (watched,) = report.watched
    made = [one for one in decisions(MODELS, version_of, days=DAYS) if one.scored_at >= SINCE]
    whose = [asked(one.record.card_id, one.scored_at) for one in made]
    assert (watched.its.events, watched.others.events) == (whose.count("twin"), whose.count("good"))
    assert watched.others.unanswered_rate == 0.0
    assert watched.its.unanswered_rate == pytest.approx(sum(not one.scores for one in made) / whose.count("twin"))
    assert [one.band for one in watched.out] == ["unanswered"]


def test_a_few_events_say_nothing(registry: Registry) -> None:
    registry.alias("fraud", "canary", "declines", by="bob", share=1, at=SINCE)
    version_of = split("good", "declines", 1, SINCE)
    made = decisions(MODELS, version_of, days=DAYS)
    watcher = watcher_of(registry)
    send(watcher, made)
    (watched,) = watcher.look(NOW).watched
    assert watched.its.alert_rate == 1.0
    assert watched.its.events < 300
    assert {one.out for one in watched.findings} == {None}
    assert registry.aliases("fraud")["canary"] == "declines"


def test_with_rollback_off_it_is_said_once_and_nothing_moves(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.alias("fraud", "canary", "declines", by="bob", share=25, at=SINCE)
    with caplog.at_level(logging.WARNING):
        report = play(watcher_of(registry, acts=False), split("good", "declines", 25, SINCE))
    assert registry.aliases("fraud")["canary"] == "declines"
    assert report.watched[0].out != []
    assert sum("since rollback is off" in one for one in caplog.messages) == 1


def fails(at: datetime) -> bool:
    """Three calls in ten, by chance."""
    return at.microsecond % 10 < 3


def promoted(version: str) -> VersionOf:
    """All entities change at once."""
    changed = START + timedelta(days=3)
    return lambda card, at: version if at >= changed else "good"


def test_a_champion_that_declines_everything_is_rolled_back_to_the_one_before(registry: Registry) -> None:
    registry.alias("fraud", "champion", "declines", by="bob", at=START + timedelta(days=3))
    report = play(watcher_of(registry), promoted("declines"))
    assert registry.aliases("fraud")["champion"] == "good"
    last = [change for change in registry.history("fraud") if change.alias == "champion"][-1]
    assert (last.version, last.by, last.rollback) == ("good", BY, True)
    assert last.why.startswith("alert rate 100.00%")
    assert report.rollbacks == {"canary": 0, "champion": 1}


def test_a_champion_as_good_as_the_one_before_stays_and_is_watched_for_its_time_alone(registry: Registry) -> None:
    registry.alias("fraud", "champion", "twin", by="bob", at=START + timedelta(days=3))
    watcher = watcher_of(registry)
    made, known = decisions(MODELS, promoted("twin"), days=DAYS), labels(DAYS)
    seen = []
    for start in range(0, len(made), 500):
        send(watcher, made[start : start + 500], start)
        send(watcher, known[start : start + 500], start)
        watched = watcher.look(NOW).watched
        seen.append((start // 500, bool(watched)))
        if watched:
            assert not watched[0].out
            last = watched[0]
    assert registry.aliases("fraud")["champion"] == "twin"
    assert {one.out for one in last.findings} == {False}, "everything could be judged"
    # Three days of events, and a day until their labels are mature.
    watched_on = {day for day, is_watched in seen if is_watched}
    assert {3, 4, 5} <= watched_on <= {2, 3, 4, 5, 6}


def test_what_an_ended_canary_left_unanswered_does_not_end_a_new_champion(registry: Registry) -> None:
    at, ended = START + timedelta(days=3), START + timedelta(days=5)
    registry.alias("fraud", "champion", "twin", by="bob", at=at)
    registry.alias("fraud", "canary", "inverse", by="bob", share=25, at=at)
    registry.alias("fraud", "canary", None, by="bob", at=ended)

    def version_of(card: str, when: datetime) -> str:
        is_canary = at <= when < ended and is_in(place_of("fraud", card), 25)
        return "" if is_canary and fails(when) else "inverse" if is_canary else promoted("twin")(card, when)

    watcher = watcher_of(registry)
    send(watcher, [one for one in decisions(MODELS, version_of, days=DAYS) if one.scored_at < at + timedelta(days=3)])
    (watched,) = watcher.look(NOW).watched
    assert registry.aliases("fraud")["champion"] == "twin", registry.history("fraud")[-1].why
    judged = {one.band: one.out for one in watched.findings}
    assert judged["unanswered"] is False, "there was enough to judge by"
    assert (watched.alias, watched.its.unanswered_rate) == ("champion", 0.0)


def test_where_the_one_before_cannot_be_read_the_champion_stays_and_the_log_says_why(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.alias("fraud", "champion", "declines", by="bob", at=START + timedelta(days=3))
    damaged = Registry(shutil.copytree(registry.directory, tmp_path / "registry"))
    (damaged.path("fraud", "good") / "manifest.json").write_bytes(b"{}")
    with caplog.at_level(logging.WARNING):
        report = play(watcher_of(damaged), promoted("declines"))
    assert damaged.aliases("fraud")["champion"] == "declines"
    assert report.rollbacks["champion"] == 0
    (said,) = [one for one in caplog.messages if "cannot be rolled back" in one]
    assert "missing required field" in said


def test_what_the_champion_before_showed_is_kept_when_its_decisions_are_gone(
    registry: Registry, tmp_path: Path
) -> None:
    registry.alias("fraud", "champion", "declines", by="bob", at=START + timedelta(days=3))
    file = tmp_path / "watch.sqlite"
    made = decisions(MODELS, promoted("declines"), days=DAYS)
    first = watcher_of(registry, file, acts=False)
    send(first, made[:1700])
    (before,) = first.look(NOW).watched
    first._store.db.execute("DELETE FROM decisions WHERE version = 'good'")
    send(first, made[1700:2900], 1700)
    (after,) = first.look(NOW).watched
    assert after.others == before.others
    assert after.others.events == sum(one.scores["batch"].version == "good" for one in made)
    assert after.out != []


def test_a_champion_that_a_person_promotes_again_is_left_alone(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    at = START + timedelta(days=3)
    registry.alias("fraud", "champion", "declines", by="bob", at=at - timedelta(hours=2))
    registry.rollback("fraud", "declines", by=BY, why="alert rate", at=at - timedelta(hours=1))
    registry.alias("fraud", "champion", "declines", by="bob", why="we want this", forced=("better",), at=at)
    with caplog.at_level(logging.WARNING):
        report = play(watcher_of(registry), promoted("declines"))
    assert registry.aliases("fraud")["champion"] == "declines"
    assert sum("since a person promoted it again" in one for one in caplog.messages) == 1
    assert report.rollbacks["champion"] == 1


def test_whoever_was_faster_is_not_overruled(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.alias("fraud", "canary", "declines", by="bob", share=25, at=SINCE)
    watcher = watcher_of(registry)
    send(watcher, decisions(MODELS, split("good", "declines", 25, SINCE), days=DAYS))
    watched = watcher.watched()
    registry.alias("fraud", "canary", "twin", by="eve", share=5)
    monkeypatch.setattr(watcher, "watched", lambda: watched)
    watcher.look(NOW)
    assert registry.aliases("fraud")["canary"] == "twin"
