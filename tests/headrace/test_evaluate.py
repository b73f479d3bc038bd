"""`headrace evaluate` and `headrace drift`: what they read, write, publish and say by their status."""

from __future__ import annotations

import csv
from contextlib import closing
from datetime import timedelta
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families
from sklearn.ensemble import HistGradientBoostingClassifier

from features.fraud import FRAUD
from headrace.cli import main
from models.onnx_export import export, to_float32
from models.profile import Profile
from models.registry import Registry
from scoring.quality_metrics import QualityFeed
from stream.records import Decision, Label, MemberScore, from_micros
from stream.simulator import Simulator
from tests.training.contest import MANIFEST, frame
from tests.training.test_evaluation import archived, truth
from tests.training.worlds import LATER, START, world
from training.frame import TrainingFrame
from training.metrics import DAY_US, Scores

HOSTILE = '"><script>alert(1)</script>'


def decided(rows: TrainingFrame, scores: Scores, version: str = "v1") -> list[Decision]:
    assert rows.records is not None
    return [
        Decision(
            event_id=record.event_id,
            event_timestamp=record.event_timestamp,
            scored_at=record.event_timestamp,
            use_case="fraud",
            outcome="approve",
            score=score,
            scores={"batch": MemberScore(version, score)},
            vector=[None if np.isnan(value) else value for value in x],
            definition_hash=rows.definition_hash,
            policy_version="1",
            record=record,
            expected_cost={"approve": 115.0 * score},
        )
        for record, x, score in zip(rows.records, rows.X.tolist(), scores.tolist(), strict=True)
    ]


def labelled(rows: TrainingFrame, after: timedelta) -> list[Label]:
    assert rows.records is not None
    return [
        Label(event_id=record.event_id, label="fraud" if y else "legit", labelled_at=record.event_timestamp + after)
        for record, y in zip(rows.records, rows.y.tolist(), strict=True)
    ]


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "action"}]


def test_evaluate_writes_a_page_of_its_own_figures_and_publishes(tmp_path: Path, redis_db: str) -> None:
    rows = frame()
    archived(tmp_path / "archive", *decided(rows, truth().scores["all"], HOSTILE), *labelled(rows, timedelta(days=2)))
    words = ["evaluate", "--home", str(tmp_path), "--label-delay", "3d", "--draws", "20", "--redis", redis_db]
    page, figures = tmp_path / "page.html", tmp_path / "figures.json"
    with closing(QualityFeed(redis_db, ["fraud"])) as feed:
        assert 'headrace_evaluation_report{use_case="fraud"} 0.0' in feed.text()
        result = run(*words, "--html", str(page), "--json", str(figures))
        assert result.exit_code == 0, result.output
        samples = {
            (sample.name.removeprefix("headrace_evaluation_"), *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(feed.text())
            for sample in family.samples
        }
    told = msgspec.json.decode(figures.read_bytes())
    assert told["mature"] + told["immature"] == told["decisions"] == len(rows.y)
    assert told["immature"] > 0
    whole = told["members"]["all"]
    assert samples["figure", "all", "auc", "fraud", "value"] == whole["auc"]["value"]
    assert samples["cost", "fraud", "low", "realised"] == told["costs"]["realised"]["low"]
    assert samples["events", "fraud", "immature"] == told["immature"]
    assert 0.0 <= samples["age_seconds", "fraud"] < 3600.0
    text = page.read_text()
    made = Page(text)
    assert made.links == []
    assert not {"script", "link", "img", "iframe"} & set(made.tags)
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert made.tags.count("svg") == made.tags.count("desc") == 6
    assert made.tags.count("table") >= 6
    assert "prefers-color-scheme:dark" in text
    assert HOSTILE not in text
    assert f"{told['immature']:,} too young" in " ".join(result.output.split())


def test_evaluate_of_nothing_that_matured_says_what_there_is(tmp_path: Path) -> None:
    rows = frame().where(np.arange(len(frame().y)) < 50)
    archived(tmp_path / "archive", *decided(rows, np.full(50, 0.1)))
    result = run("evaluate", "--home", str(tmp_path))
    assert result.exit_code == 1
    assert "50 are younger than 7 days" in result.output
    assert "headrace archive" in run("evaluate", "--home", str(tmp_path / "empty")).output


@cache
def by_amount() -> bytes:
    """A model of our features that goes by the amount alone, whatever is null."""
    rng = np.random.default_rng(0)
    rows = rng.random((400, len(FRAUD.names)))
    rows[:, FRAUD.names.index("amount")] = 1000.0 * rows[:, 0]
    rows[rng.random(rows.shape) < 0.1] = np.nan
    fitted = HistGradientBoostingClassifier(max_iter=3).fit(rows, np.nan_to_num(rows[:, 0]) > 0.5)
    return export(fitted, to_float32(rows)).content


def home_of(path: Path, profile: Profile | None, **changes: object) -> Path:
    registry = Registry(path / "models")
    manifest = msgspec.structs.replace(
        MANIFEST,
        feature_names=FRAUD.names,
        definition_hash=FRAUD.definition_hash,
        window_start=START,
        window_end=START,
        label_cutoff=START,
        profile=profile,
    )
    version = registry.register(by_amount(), msgspec.structs.replace(manifest, **changes))
    registry.alias("fraud", "champion", version)
    return path


def test_a_file_is_judged_as_if_it_had_been_lived_through(tmp_path: Path) -> None:
    played = Simulator(
        4, start=START, end=START + timedelta(days=16), customers=40, merchants=20, chargeback_window=timedelta(days=3)
    ).play()
    data = tmp_path / "payments.csv"
    with data.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["event_id", "event_timestamp", "card_id", "merchant_id", "amount", "fraud"])
        for one in played:
            record = one.transaction
            who = (record.event_id, record.event_timestamp.isoformat(), record.card_id, record.merchant_id)
            writer.writerow([*who, record.amount, int(bool(one.fraud))])
    home = home_of(tmp_path, None, version="flat", label_cutoff=START + timedelta(days=3))
    figures = tmp_path / "figures.json"
    words = ["--data", str(data), "--from", "2026-01-03", "--draws", "20", "--json", str(figures)]
    result = run("evaluate", "--home", str(home), *words)
    assert result.exit_code == 0, result.output
    told = msgspec.json.decode(figures.read_bytes())
    assert told["mature"] + told["immature"] == told["decisions"]
    assert told["immature"] > 0
    assert told["members"]["batch"]["rows"] == told["members"]["all"]["rows"] == told["mature"]
    assert told["versions"]["batch"] == {"flat": told["mature"]}
    assert any("it has seen" in note for note in told["notes"])


@pytest.mark.parametrize(("odds", "status", "named"), [(1.0, 0, "nothing drifted"), (8.0, 1, "score of batch")])
def test_drift_says_by_its_status_and_its_words(
    tmp_path: Path, redis_db: str, odds: float, status: int, named: str
) -> None:
    here = world(1)
    later = here.before.where(here.before.event_time_us >= here.before.event_time_us.min() + (LATER - 31) * DAY_US)
    week = here.ordinary_week
    raised = odds * (p := here.score(week)) / (1.0 - p + odds * p)
    decisions = [*decided(later, here.score(later)), *decided(week, raised)]
    archived(tmp_path / "archive", *decisions, *labelled(later, timedelta(days=2)), *labelled(week, timedelta(days=2)))
    cutoff = from_micros(int(later.event_time_us.min())) - timedelta(seconds=1)
    home_of(tmp_path, here.profile, version="v1", label_cutoff=cutoff)
    figures, metrics = tmp_path / "drift.json", tmp_path / "drift.prom"
    words = ["--label-delay", "2d", "--json", str(figures), "--metrics", str(metrics), "--redis", redis_db]
    result = run("drift", "--home", str(tmp_path), *words)
    assert result.exit_code == status, result.output
    assert named in result.output
    told = msgspec.json.decode(figures.read_bytes())
    assert any(one["alarm"] for one in told["measured"]) == bool(status)
    with closing(QualityFeed(redis_db, ["fraud"])) as feed:
        published = feed.text()
    assert 'headrace_drift_value{measure="psi",subject="amount",use_case="fraud"}' in published
    assert f'headrace_drift_events{{use_case="fraud",version="v1"}} {told["rows"]:.1f}' in metrics.read_text()


def test_drift_that_cannot_be_told_is_neither_quiet_nor_an_alarm(tmp_path: Path) -> None:
    rows = world(1).before.where(np.arange(len(world(1).before.y)) < 30)
    archived(tmp_path / "archive", *decided(rows, np.full(30, 0.1)))
    old = run("drift", "--home", str(home_of(tmp_path, None, version="old")))
    assert (old.exit_code, "without a profile" in old.output) == (2, True)
    short = run("drift", "--home", str(home_of(tmp_path, world(1).profile, version="new")))
    assert (short.exit_code, "a part of a week" in short.output) == (2, True)
    assert run("drift", "--home", str(tmp_path / "empty")).exit_code == 1


def test_metrics_of_a_redis_that_is_gone_say_that_there_is_no_report() -> None:
    with closing(QualityFeed("redis://127.0.0.1:1/0", ["fraud"])) as feed:
        assert 'headrace_drift_report{use_case="fraud"} 0.0' in feed.text()
