"""The canary in the alias log: its share, its beginning, its end; and logs of before there were any."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.aliases import AliasChange, AliasLog, AliasMoved, canary_of

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
OLD = '{"at":"2026-01-31T10:00:00Z","alias":"champion","name":"fraud","version":"a","by":"ann","why":"the first"}\n'


def moved(hour: int, alias: str, version: str | None, share: int = 0) -> AliasChange:
    return AliasChange(
        at=NOON.replace(hour=hour),
        alias=alias,  # type: ignore[arg-type]
        name="fraud",
        version=version,
        by="ann",
        share=share,
    )


@pytest.fixture
def log(tmp_path: Path) -> AliasLog:
    path = tmp_path / "aliases.jsonl"
    path.write_text(OLD)
    return AliasLog(path)


def test_lines_of_before_there_were_canaries_are_read(log: AliasLog) -> None:
    (change,) = log.changes()
    assert (change.version, change.why, change.share) == ("a", "the first", 0)
    assert canary_of(log.changes(), "fraud") is None


def test_a_canary_has_its_share_and_a_larger_share_is_the_same_canary(log: AliasLog) -> None:
    log.move(moved(13, "canary", "b", 1))
    log.move(moved(14, "canary", "b", 25))
    assert canary_of(log.changes(), "fraud") == ("b", 25, NOON.replace(hour=13))
    log.move(moved(15, "canary", "c", 5))
    assert canary_of(log.changes(), "fraud") == ("c", 5, NOON.replace(hour=15))
    assert log.current("fraud") == {"champion": "a", "canary": "c"}


def test_a_canary_that_ended_and_begins_again_is_a_new_one(log: AliasLog) -> None:
    log.move(moved(13, "canary", "b", 1))
    log.move(moved(14, "canary", None))
    assert canary_of(log.changes(), "fraud") is None
    log.move(moved(15, "canary", "b", 1))
    assert canary_of(log.changes(), "fraud") == ("b", 1, NOON.replace(hour=15))


def test_a_canary_that_becomes_champion_is_no_canary_any_more(log: AliasLog) -> None:
    log.move(moved(13, "canary", "b", 5))
    log.move(moved(13, "challenger", "b"))
    log.move(moved(14, "champion", "b"))
    assert log.current("fraud") == {"champion": "b", "previous": "a"}
    assert canary_of(log.changes(), "fraud") is None


def test_another_champion_leaves_the_canary(log: AliasLog) -> None:
    log.move(moved(13, "canary", "b", 5))
    log.move(moved(14, "champion", "c"))
    assert canary_of(log.changes(), "fraud") == ("b", 5, NOON.replace(hour=13))


def test_who_ends_another_canary_than_is_there_is_told(log: AliasLog) -> None:
    log.move(moved(13, "canary", "b", 5))
    with pytest.raises(AliasMoved, match="the canary of 'fraud' is b"):
        log.move(moved(14, "canary", None), "c")


def test_a_version_that_became_champion_meanwhile_cannot_be_its_own_canary(log: AliasLog) -> None:
    log.move(moved(13, "champion", "b"))
    with pytest.raises(AliasMoved, match="version b is the champion of 'fraud' now"):
        log.move(moved(14, "canary", "b", 5), None)
    assert log.current("fraud") == {"champion": "b", "previous": "a"}


def test_a_log_that_another_process_appends_to_is_read_anew_and_otherwise_not(
    log: AliasLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = AliasLog(tmp_path / "aliases.jsonl")
    assert log.changes() == other.changes()
    other.move(moved(13, "canary", "b", 5))
    assert log.changes() == other.changes()
    assert len(log.changes()) == 2
    monkeypatch.setattr("models.aliases._lines", None)
    found = log.changes()
    found.clear()
    assert len(log.changes()) == 2, "what a caller does with its list is its own affair"
