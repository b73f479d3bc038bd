"""What lies in deploy/ parses, and names only commands, settings and metrics that exist."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

import scoring
from headrace.cli import main
from headrace.settings import SETTINGS, Settings
from review import alert_prometheus
from review.alert_file import load_alerts
from scoring.feedback_metrics import FeedbackRound, feedback_text
from scoring.metric_table import EVERY, LATENCY_BUCKETS_S
from scoring.quality_metrics import Quality, quality_text
from scoring.quality_report import DriftHeadline, EvaluationHeadline, Spread
from scoring.schedule_metrics import schedules_text
from scoring.schedule_report import ScheduleReport
from scoring.skew_metrics import metrics_text
from scoring.skew_report import FeatureSkew, SkewReport
from scoring.watch_metrics import watch_text
from tests.scoring.test_watch_metrics import REPORT as WATCH_REPORT

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
RULES = DEPLOY / "prometheus" / "rules.yaml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
IMAGE_USER = 1034
"""BentoML's, in the images that it makes."""
SOURCES = "/home/bentoml/bento/src"
PODS = {"Deployment", "StatefulSet", "Job", "CronJob"}

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The quick one: every process of the tests reads all of it, to know which tests there are."""

Document = dict[str, Any]


def documents() -> list[Document]:
    return [document for path in MANIFESTS for document in yaml.load_all(path.read_text(), LOADER)]


def pods() -> list[tuple[str, Document]]:
    found = []
    for document in documents():
        if document["kind"] in PODS:
            spec = document["spec"]
            spec = spec["jobTemplate"]["spec"] if document["kind"] == "CronJob" else spec
            found.append((document["metadata"]["name"], spec["template"]["spec"]))
    return found


def containers() -> list[tuple[str, Document]]:
    return [(f"{name}/{one['name']}", one) for name, pod in pods() for one in pod["containers"]]


def named(kind: str, name: str) -> Document:
    return next(one for one in documents() if (one["kind"], one["metadata"]["name"]) == (kind, name))


def compose() -> dict[str, Document]:
    services: dict[str, Document] = yaml.load((DEPLOY / "compose.yaml").read_text(), LOADER)["services"]
    return services


def of_headrace(container: Document) -> bool:
    return bool(container["image"] == "headrace")


def commands() -> list[tuple[str, list[str]]]:
    """What every container of our image runs."""
    composed = [(name, one["command"]) for name, one in compose().items() if of_headrace(one) and name != "owner"]
    return composed + [(name, one["args"]) for name, one in containers() if of_headrace(one)]


def alerts() -> list[Document]:
    return [rule for group in yaml.load(RULES.read_text(), LOADER)["groups"] for rule in group["rules"]]


def panels() -> list[Document]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    written = [alert_prometheus.expression(condition) for condition in load_alerts().alerts]
    return [rule["expr"] for rule in alerts()] + shown + written


def quality(now: datetime) -> Quality:
    one = Spread(1.0, 0.0, 2.0)
    evaluation = EvaluationHeadline(
        use_case="fraud",
        made_at=now,
        as_of=now,
        mature=1,
        immature=0,
        unlabelled=0,
        frauds=1,
        figures={"auc": {"all": one}},
        realised_cost=one,
        expected_cost=one,
        approve_all_cost=one,
    )
    return Quality(evaluation, drift(now))


def drift(now: datetime) -> DriftHeadline:
    measures, alarms = {"psi": {"amount": 1.0}}, {"psi": 1}
    return DriftHeadline(use_case="fraud", version="1", made_at=now, rows=1, measures=measures, alarms=alarms)


def existing_metrics() -> set[str]:
    """Every name of a sample in /metrics: registered ones, those of the table, and those of reports."""
    for module in pkgutil.iter_modules(scoring.__path__):
        if module.name != "service":  # it is a server
            importlib.import_module(f"scoring.{module.name}")
    of_table = {
        name
        for metric in EVERY.values()
        for name in (
            [f"{metric.name}{end}" for end in ("_bucket", "_count", "_sum")]
            if metric.kind == "histogram"
            else [metric.name]
        )
    }
    now = datetime(2026, 1, 31, tzinfo=UTC)
    report = SkewReport("fraud", "h", 1.0, 2, 1, {"why": 1}, {"amount": FeatureSkew(1)}, [], now)
    round_ = ScheduleReport(name="skew", ended_at=now, every_s=60.0, failures=0, said="done")
    text = metrics_text({"fraud": report}, now.timestamp())
    text += quality_text({"fraud": quality(now)}, now.timestamp()) + schedules_text({"skew": round_}, now.timestamp())
    text += watch_text({"fraud": WATCH_REPORT}, now.timestamp())
    judged = FeedbackRound(
        use_case="fraud", ended_at=now, version=None, rows={"v": 1}, frauds={"v": 1}, gates={"g": True}
    )
    text += feedback_text({"fraud": judged})
    of_reports = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    return of_table | of_reports | {name for name in REGISTRY._names_to_collectors if name.startswith("headrace_")}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_manifest_has_a_kind_and_a_name(path: Path) -> None:
    for document in yaml.load_all(path.read_text(), LOADER):
        assert document["apiVersion"] and document["kind"] and document["metadata"]["name"]


@pytest.mark.parametrize(("name", "words"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_exists_with_its_options(name: str, words: list[str]) -> None:
    assert words[:3] == ["python", "-m", "headrace.cli"]
    command: click.Command = main
    rest = words[3:]
    while isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    command.make_context(name, [str(word) for word in rest])


def test_every_process_of_the_stack_has_its_place_in_both() -> None:
    wanted = [
        "serve",
        "worker",
        "score",
        "relay",
        "learn",
        "archive",
        "review keep",
        "review serve",
        "features apply",
        "features skew",
        "evaluate --every",
        "drift --every",
        "doctor",
    ]
    composed = {" ".join(one["command"][3:]) for one in compose().values() if of_headrace(one)}
    in_cluster = {" ".join(one["args"][3:]) for _, one in containers() if of_headrace(one)}
    for place in (composed, in_cluster):
        assert [one for one in wanted if not any(found.startswith(one) for found in place)] == []


def test_every_setting_that_is_named_exists() -> None:
    known = {setting.variable for setting in SETTINGS}
    known |= {f"{setting.variable}_FILE" for setting in SETTINGS if setting.secret}
    for path in (path for path in DEPLOY.rglob("*") if path.is_file()):
        # Comments may name a variable in order to warn of it; they exist too.
        assert set(re.findall(r"\bHEADRACE_[A-Z_]+\b", path.read_text())) <= known, path


def test_the_settings_can_be_read_and_keep_the_log_in_kafka() -> None:
    config = next(one for one in documents() if one["kind"] == "ConfigMap")["data"]
    for environ in (config, *(one["environment"] for one in compose().values() if of_headrace(one))):
        found = Settings({}, environ)
        assert (str(found.home), found.redis, found.kafka) == ("/headrace", "redis://redis:6379/0", "kafka:9092")


def test_the_image_has_the_versions_that_were_tested_and_the_driver_of_postgresql() -> None:
    image, tested = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: tested.get(name) for name in image} == image
    assert {"psycopg", "psycopg-binary"} <= set(image)
    assert "pytest" not in image


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", (ROOT / lock).read_text(), re.M))


def test_no_container_of_ours_needs_root_or_writes_to_its_image() -> None:
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        # HEADRACE_PORT would be that of a Service called headrace.
        assert pod["enableServiceLinks"] is False, name
    for name, one in containers():
        security = one["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        if of_headrace(one):
            assert security["readOnlyRootFilesystem"] is True, name
            assert one["workingDir"] == SOURCES, name
    assert {pod["securityContext"]["runAsUser"] for _, pod in pods() if of_headrace(pod["containers"][0])} == {
        IMAGE_USER
    }
    for name, one in compose().items():
        if of_headrace(one):
            assert one["read_only"] and one["working_dir"] == SOURCES and one["cap_drop"] == ["ALL"], name
            assert one["user"] == "1034:1034" or name == "owner"


def test_every_container_has_limits() -> None:
    for name, one in containers():
        resources = one["resources"]
        assert set(resources["limits"]) == set(resources["requests"]) == {"cpu", "memory"}, name
    assert all("mem_limit" in one for one in compose().values())


def test_every_volume_that_is_mounted_exists() -> None:
    claims = {one["metadata"]["name"] for one in documents() if one["kind"] == "PersistentVolumeClaim"}
    for name, pod in pods():
        there = {volume["name"] for volume in pod["volumes"]} | {"data"}
        assert {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]} <= there, name
        asked = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert asked <= claims, name


def test_the_service_starts_when_it_is_ready_and_stays_while_it_lives() -> None:
    one = next(one for name, one in containers() if name == "headrace-scoring/scoring")
    paths = [one[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert paths == ["/readyz", "/livez", "/livez"]


def test_the_pages_of_the_stack_know_the_service_and_are_watched_at_their_own_port() -> None:
    stack = compose()
    pages = Settings({}, stack["pages"]["environment"] | {"HEADRACE_REVIEW_URL": ""})
    service = Settings({}, stack["service"]["environment"])
    assert pages.review_service == f"http://service:{service.port}" and pages.home == service.home
    assert f"'127.0.0.1', {pages.review_port}" in " ".join(stack["pages"]["healthcheck"]["test"])
    assert stack["pages"]["ports"] == [f"127.0.0.1:{pages.review_port}:{pages.review_port}"]


def test_every_process_without_http_is_scraped_and_watched_at_its_metrics_port() -> None:
    config = next(one for one in documents() if one["kind"] == "ConfigMap")["data"]
    port = Settings({}, config).metrics_port
    waiting = {"worker", "score", "relay", "learn", "archive", "review"}
    pods_by_name = {
        one["metadata"]["name"]: one["spec"]["template"] for one in documents() if one["kind"] in PODS - {"CronJob"}
    }
    seen = set()
    for name, template in pods_by_name.items():
        for one in template["spec"]["containers"]:
            if of_headrace(one) and one["args"][3] in waiting and name != "headrace-pages":
                seen.add(one["args"][3])
                annotations = template["metadata"]["annotations"]
                assert annotations["prometheus.io/scrape"] == "true", name
                assert int(annotations["prometheus.io/port"]) == port == one["ports"][0]["containerPort"], name
                # A connection: were it /metrics, an outage of Redis could start every process again.
                assert one["livenessProbe"]["tcpSocket"] == one["startupProbe"]["tcpSocket"] == {"port": "metrics"}, (
                    name
                )
    assert seen == waiting
    for name, one in compose().items():
        if of_headrace(one) and one["command"][3:4] and one["command"][3] in waiting and name != "pages":
            assert str(Settings({}, one["environment"]).metrics_port) in " ".join(one["healthcheck"]["test"]), name


def test_what_has_several_replicas_has_a_disruption_budget_of_the_same_pods() -> None:
    budgets = [one["spec"]["selector"] for one in documents() if one["kind"] == "PodDisruptionBudget"]
    several = [
        one["spec"]["selector"] for one in documents() if one["kind"] == "Deployment" and one["spec"]["replicas"] > 1
    ]
    assert len(budgets) == 4
    assert budgets == several


def test_redis_appends_and_refuses_when_it_is_full() -> None:
    in_cluster = next(one["args"] for name, one in containers() if name == "redis/redis")
    for words in (compose()["redis"]["command"], in_cluster):
        given = dict(zip(words[1::2], words[2::2], strict=True))
        assert (given["--appendonly"], given["--maxmemory-policy"]) == ("yes", "noeviction")


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_that_is_named_exists(expression: str) -> None:
    recorded = {rule["record"] for rule in alerts() if "record" in rule}
    named = set(re.findall(r"\bheadrace[a-z0-9_:]*", expression))
    assert named
    assert named <= existing_metrics() | recorded
    assert expression.count("(") == expression.count(")")
    buckets = {float(bound) for bound in re.findall(r'le="([0-9.]+)"', expression)}
    assert buckets <= set(LATENCY_BUCKETS_S)


def test_what_rules_say_is_missing_is_what_decisions_say_is_missing() -> None:
    said = "".join(path.read_text() for path in (ROOT / "scoring").glob("*.py"))
    for missing in missing_in(expressions()):
        assert f'"{missing}"' in said


def test_every_metric_is_in_the_table_of_what_to_watch_and_no_other() -> None:
    section = (ROOT / "docs" / "operations.md").read_text().partition("## What to watch")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`(headrace_[a-z_]+)", section))
    ends = ("_bucket", "_count", "_sum", "_created")
    existing = {
        next((name.removesuffix(end) for end in ends if name.endswith(end)), name)
        for name in existing_metrics()
        if not name.startswith(("headrace_skew_", "headrace_evaluation_", "headrace_drift_"))
    }
    existing = {name for name in existing if f"{name}_total" not in existing}
    assert (documented - existing, existing - documented) == (set(), set())


def missing_in(every: list[str]) -> Iterator[str]:
    for expression in every:
        for alternatives in re.findall(r'missing=~?"([^"]+)"', expression):
            yield from alternatives.split("|")


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in alerts():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert rule["annotations"]["summary"] and rule["annotations"]["remedy"]
    names = [rule.get("alert") or rule["record"] for rule in alerts()]
    assert len(names) == len(set(names))


def test_every_panel_has_a_number_a_place_and_words() -> None:
    found = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found]
    assert len(set(places)) == len(found)
    assert all(panel["description"] and panel["targets"] for panel in panels())
