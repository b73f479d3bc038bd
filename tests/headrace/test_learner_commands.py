"""What a person says to the learner on the command line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from models.online import OnlineLearner
from models.snapshot import OnlineSettings
from tests.training.conftest import _decision
from tests.training.test_learner_guard import SMALL, Stream, usual
from training.learner import DelayedLearner
from training.learner_store import LearnerStore

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With a learner that has learned 130 labels, and a snapshot after each fifty."""
    with closing(LearnerStore(tmp_path / "learner.sqlite")) as store:
        model = OnlineLearner(("amount", "count"), definition_hash="h", settings=OnlineSettings(warm_up=10))
        Stream(DelayedLearner(store, model, guards=SMALL), _decision).give(usual(130))
    return tmp_path


@pytest.fixture
def run(home: Path) -> Run:
    def call(*words: str) -> Result:
        return CliRunner().invoke(main, ["learner", *words, "--home", str(home)], catch_exceptions=False)

    return call


def test_show_names_version_labels_twin_and_why_it_stands_still(run: Run) -> None:
    said = run("show").output
    assert "1.130, which has not learned enough" in said
    assert "130 learned" in said
    assert "frozen      no" in said
    run("freeze", "--by", "ana", "--why", "a wrong feed")
    said = run("show").output
    assert "person, since" in said
    assert "by ana: a wrong feed" in said


def test_freeze_thaw_and_restore_are_done_and_stand_in_the_history(run: Run) -> None:
    assert "stands still at version 1.130" in run("freeze", "--by", "ana", "--why", "a wrong feed").output
    restored = run("restore", "1.50", "--by", "ben", "--why", "before the feed").output
    assert "the weights of 1.50 are version 1r1.50 now; it still stands still (person)" in restored
    assert "it stood still for: person" in run("thaw", "--by", "ben", "--why", "repaired").output
    shown = msgspec.json.decode(run("show", "--json").output)
    assert (shown["version"], shown["frozen"]) == ("1r1.50", [])
    acts = [(act["act"], act["by"], act["why"], act["version"]) for act in shown["acts"]]
    assert acts == [
        ("freeze", "ana", "a wrong feed", ""),
        ("restore", "ben", "before the feed", "1.50"),
        ("thaw", "ben", "repaired", ""),
    ]


def test_snapshots_are_listed_the_newest_first_with_their_figures(run: Run) -> None:
    found = msgspec.json.decode(run("snapshots", "--json").output)
    assert [one["version"] for one in found] == ["1.100", "1.50"]
    assert 0.5 < found[0]["quality"][2] <= 1.0
    assert "1.100" in run("snapshots").output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("thaw", "--by", "ana", "--why", "x"), "nothing to thaw"),
        (("restore", "7.7", "--by", "ana", "--why", "x"), "no snapshot '7.7' is kept; there are: 1.50, 1.100"),
        (("freeze", "--by", " ", "--why", "x"), "give --by NAME"),
        (("freeze", "--by", "ana"), "--why"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_remedy(run: Run, words: tuple[str, ...], says: str) -> None:
    refused = run(*words)
    assert refused.exit_code != 0
    assert says in refused.output


def test_where_no_learner_ran_it_says_so(tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["learner", "show", "--home", str(tmp_path)])
    assert said.exit_code == 1
    assert "run this where 'headrace learn' runs" in said.output
    assert not (tmp_path / "learner.sqlite").exists()
