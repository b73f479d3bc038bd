"""`headrace doctor` on a healthy deployment, and on one fault after the other."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from features.declared import FEATURE_SETS
from features.store_plan import PLAN_FILE, StorePlan
from headrace.cli import main
from headrace.doctor import examine, examine_kafka, judge_kafka_reader, judge_metrics, judge_settings, run_doctor
from headrace.doctor_home import examine_home, judge_disk
from headrace.doctor_log import READERS, examine_log, judge_reader
from headrace.doctor_redis import judge_clock, judge_durability, judge_latency, judge_memory, judge_role, judge_version
from headrace.finding import Finding
from headrace.settings import Settings
from models.onnx_export import export, to_float32
from models.snapshot import ALIVE_EXPIRY_MS, alive_key, report_key
from scoring.live_models import registry_of
from scoring.use_case import FRAUD
from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from stream.kafka_client import GroupStanding, standings
from stream.kafka_log import KafkaLog
from stream.kafka_node import KafkaNode
from stream.log import Entry, Message, Partition
from stream.records import TOPICS
from stream.redis_log import RedisLog
from stream.standing import Standing
from tests.manifests import made_up
from tests.until import LIMIT_S

T0 = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
HASH = FRAUD.features.definition_hash
METRICS = 'headrace_skew_report{use_case="fraud"} 1.0\nheadrace_outcomes_total{outcome="approve"} 1000.0\n'

Serve = Callable[[int, str], str]


def register(home: Path, definition_hash: str = HASH) -> None:
    names = FRAUD.features.names
    X = to_float32(np.random.default_rng(0).random((60, len(names))))
    artifact = export(LogisticRegression().fit(X, np.arange(60) % 2), X).content
    manifest = made_up("fraud", names, definition_hash, version=f"v-{definition_hash}")
    registry = registry_of(home)
    registry.alias("fraud", "champion", registry.register(artifact, manifest))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    declared = ",".join(feature_set.definition_hash for feature_set in FEATURE_SETS.values())
    StorePlan("headrace", declared, {}, {}).save(tmp_path / PLAN_FILE)
    (tmp_path / "registry.db").touch()
    register(tmp_path)
    return tmp_path


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A service that answers /readyz with a status and /metrics with a text; its URL."""
    with ExitStack() as running:

        def start(status: int, metrics: str) -> str:
            class Answers(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.send_response(200 if self.path == "/metrics" else status)
                    self.end_headers()
                    self.wfile.write(metrics.encode() if self.path == "/metrics" else b"")

                def log_message(self, format: str, *args: object) -> None:
                    pass

            server = running.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Answers))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            running.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture
def readers(redis_db: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisLog]:
    """The log with a member of each group that has polled once, and a learner that lives."""
    monkeypatch.setattr("stream.standing.LEASE_MS", int(1000 * LIMIT_S))  # a busy machine may look much later
    log = RedisLog(redis_db, partitions=2)
    with ExitStack() as joined:
        joined.callback(log.close)
        for reader in READERS:
            member = log.consumer(reader.group, TOPICS)
            joined.callback(member.close)
            member.poll(1, 0)
        with RedisConnection(redis_db) as connection:
            connection.one("SET", alive_key("fraud"), "now", "PX", ALIVE_EXPIRY_MS)
        yield log


def of(findings: Iterator[Finding] | list[Finding], subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


def settings(home: Path, redis: str, **more: str) -> Settings:
    return Settings({"home": home, "redis": redis, "partitions": "2", **more}, {})


def test_a_healthy_deployment_has_nothing_that_fails(home: Path, readers: RedisLog, serve: Serve) -> None:
    found = list(examine(settings(home, readers.url), serve(200, METRICS), {}))
    assert [finding.line() for finding in found if finding.level == "FAIL"] == []
    well = {finding.subject for finding in found if finding.level == "OK"}
    assert {"plan", "feast", "model", "redis", "redis disk", "partitions", "outbox", "learner life"} <= well
    assert {reader.group for reader in READERS} | {"service", "decisions", "skew"} <= well


def test_every_line_that_is_not_well_says_what_to_do(tmp_path: Path, redis_db: str, serve: Serve) -> None:
    found = list(examine(settings(tmp_path, redis_db), serve(503, "up 1\n"), {"HEADRACE_PORTS": "1"}))
    assert len([finding for finding in found if finding.level != "OK"]) > 5
    assert all(finding.remedy for finding in found if finding.level != "OK")


def test_a_redis_that_is_gone_fails_with_its_address_and_without_its_password(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_doctor(settings(home, "redis://:secret@127.0.0.1:1/0"), None) == 1
    said = capsys.readouterr().out
    assert "FAIL  redis         Redis at 127.0.0.1:1 did not answer" in said
    assert "secret" not in said
    assert "1 failed" in said


def test_the_command_ends_with_status_1_and_names_what_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--home", str(tmp_path / "none"), "--redis", ""])
    assert result.exit_code == 1
    assert "no Redis is given" in result.output
    result = CliRunner().invoke(main, ["doctor", "--partitions", "none"])
    assert result.exit_code == 1
    assert "HEADRACE_PARTITIONS='none'" in result.output


def test_a_variable_that_is_no_setting_suggests_the_nearest() -> None:
    found = list(judge_settings(Settings({}, {}), {"HEADRACE_OUTBOX_LIMITS": "1", "HEADRACE_HOME": "x"}))
    assert of(found, "settings").line().endswith("did you mean HEADRACE_OUTBOX_LIMIT?")


def test_a_policy_that_cannot_be_read_fails(tmp_path: Path) -> None:
    assert of(judge_settings(Settings({"policy": str(tmp_path / "none.toml")}, {}), {}), "policy").level == "FAIL"


def test_another_number_of_partitions_fails_with_the_number_to_set(readers: RedisLog) -> None:
    with RedisConnection(readers.url) as connection:
        found = of(examine_log(connection, 4, 1000, kafka=False), "partitions")
    assert (found.level, found.remedy) == ("FAIL", "set HEADRACE_PARTITIONS=2 everywhere")


def test_a_log_without_workers_fails_and_says_how_to_start_one(redis_db: str) -> None:
    with RedisConnection(redis_db) as connection:
        found = list(examine_log(connection, 2, 1000, kafka=False))
        assert of(found, "worker").level == "FAIL"
        assert of(found, "worker").remedy == "start one: headrace worker"
        assert of(found, "archiver").level == "WARN"
        assert of(examine_log(connection, 2, 1000, kafka=True), "relay").level == "FAIL"


def test_a_worker_that_has_left_what_it_had_to_read_is_missed(readers: RedisLog) -> None:
    with RedisConnection(readers.url) as connection:
        # An entry of the year 2001 that nobody has read, and members that polled then.
        connection.one("XADD", "log:transactions:0", "1000000000000-0", "k", "c", "v", "x")
        found = of(examine_log(connection, 2, 1000, kafka=False), "worker")
        assert found.level == "FAIL"
        assert found.words.startswith("1 running, the oldest unread record waits")
        assert of(examine_log(connection, 2, 1000, kafka=False), "archiver").level == "WARN"
        connection.one("ZREMRANGEBYRANK", "group:worker:transactions:members", 0, -1)
        for topic in TOPICS:
            connection.one("DEL", f"group:worker:{topic}:members")
        found = of(examine_log(connection, 2, 1000, kafka=False), "worker")
    assert found.level == "FAIL"
    assert found.words.startswith("none is running")


def test_what_was_read_and_committed_is_not_late(readers: RedisLog) -> None:
    readers.append([Message("transactions", "c", b"x")])
    with RedisConnection(readers.url) as connection:
        assert of(examine_log(connection, 2, 1000, kafka=False), "worker").level == "OK"


def test_an_outbox_warns_before_it_is_full(readers: RedisLog) -> None:
    readers.append([Message("transactions", "c", b"x")] * 8)
    with RedisConnection(readers.url) as connection:
        levels = [of(examine_log(connection, 2, limit, kafka=False), "outbox").level for limit in (100, 10, 8)]
    assert levels == ["OK", "WARN", "FAIL"]


def test_a_learner_that_never_lived_or_has_gone_silent_warns(home: Path, readers: RedisLog) -> None:
    with RedisConnection(readers.url) as connection:
        connection.one("PEXPIRE", alive_key("fraud"), ALIVE_EXPIRY_MS - 60_000)
        found = of(examine(settings(home, readers.url), None, {}), "learner life")
        told = re.fullmatch(r"the last sign was (\d+) s ago", found.words)
        assert found.level == "WARN" and told is not None, found
        assert 60 <= int(told[1]) < 60 + LIMIT_S  # by Redis's clock, which goes on meanwhile
        connection.one("DEL", alive_key("fraud"))
        assert of(examine(settings(home, readers.url), None, {}), "learner life").level == "WARN"


def test_a_learner_that_stands_still_is_named_with_its_reason_and_the_remedy(home: Path, readers: RedisLog) -> None:
    with RedisConnection(readers.url) as connection:
        assert of(examine(settings(home, readers.url), None, {}), "learner guard").words == "it has not reported yet"
        report: dict[str, Any] = {"version": "1.7", "frozen": []}
        connection.one("SET", report_key("fraud"), msgspec.json.encode(report))
        assert of(examine(settings(home, readers.url), None, {}), "learner guard").level == "OK"
        report["frozen"] = [{"why": "null spike", "says": "amount null in 90%, usually 0%", "at_us": 1}]
        connection.one("SET", report_key("fraud"), msgspec.json.encode(report))
        found = of(examine(settings(home, readers.url), None, {}), "learner guard")
    assert found.level == "WARN"
    assert "stands still at version 1.7 (null spike: amount null in 90%, usually 0%)" in found.words
    assert "repair the source" in found.remedy
    assert "headrace learner thaw --by NAME --why TEXT" in found.remedy


def test_a_server_that_evicts_or_does_not_append_fails(home: Path, tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server, RedisConnection(server.url) as connection:
        connection.one("CONFIG", "SET", "appendonly", "no")
        connection.one("CONFIG", "SET", "maxmemory", "200mb")
        connection.one("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        found = list(examine(settings(home, server.url), None, {}))
    assert of(found, "redis disk").level == "FAIL"
    assert "maxmemory-policy noeviction" in of(found, "redis memory").remedy


def test_what_a_server_says_of_itself_is_judged() -> None:
    assert judge_version({"redis_version": "6.0.16"}).level == "FAIL"
    assert judge_version({"redis_version": "7.4.1"}).level == "OK"
    assert [one.level for one in judge_role({"cluster_enabled": "1", "role": "slave"})] == ["FAIL", "FAIL"]
    on = {"aof_enabled": "1"}
    assert [next(judge_durability(on, how)).level for how in ("always", "everysec", "no", None)] == [
        "OK",
        "OK",
        "WARN",
        "WARN",
    ]
    assert next(judge_durability(on | {"aof_last_write_status": "err"}, "always")).level == "FAIL"
    full = [next(judge_memory({"maxmemory": "100", "used_memory": used})).level for used in ("10", "80", "95")]
    assert full == ["OK", "WARN", "FAIL"]


def test_latency_is_judged_against_the_deadline() -> None:
    fast, tail, slow = [0.2] * 100, [0.2] * 98 + [20.0] * 2, [30.0] * 100
    assert [judge_latency(taken, 50.0).level for taken in (fast, tail, slow)] == ["OK", "WARN", "FAIL"]


def test_a_clock_that_is_off_is_told_in_its_direction() -> None:
    assert judge_clock(70_000.0, 60_000.0).words == "this machine is 70,000 ms ahead of Redis"
    assert [judge_clock(ahead, 60_000.0).level for ahead in (5.0, -2000.0, -70_000.0)] == ["OK", "WARN", "FAIL"]


def test_a_plan_of_other_features_fails(home: Path) -> None:
    StorePlan("headrace", "other", {}, {}).save(home / PLAN_FILE)
    found = of(examine_home(home, FRAUD), "plan")
    assert found.level == "FAIL"
    assert "features apply" in found.remedy
    (home / PLAN_FILE).write_text("{")
    assert "cannot be read" in of(examine_home(home, FRAUD), "plan").words


def test_a_champion_that_is_of_other_features_or_does_not_load_fails(home: Path) -> None:
    registry = registry_of(home)
    (registry.path("fraud", registry.resolve("fraud")) / "model.onnx").write_bytes(b"no model")
    assert of(examine_home(home, FRAUD), "model").words.startswith("no champion that scores")
    register(home, "0ld")
    found = of(examine_home(home, FRAUD), "model")
    assert found.level == "FAIL"
    assert "trained on definition 0ld" in found.words


def test_a_home_without_a_champion_says_how_to_train_one(tmp_path: Path) -> None:
    assert "headrace train fraud" in of(examine_home(tmp_path, FRAUD), "model").words


def test_a_full_disk_fails() -> None:
    levels = [judge_disk(Path("/h"), 100, 100 - free, free).level for free in (50, 5, 1)]
    assert levels == ["OK", "WARN", "FAIL"]


def test_a_service_that_is_not_ready_is_told_from_one_that_is_not_there(home: Path, serve: Serve) -> None:
    one = settings(home, "")
    assert "is not ready (/readyz says 503)" in of(examine(one, serve(503, METRICS), {}), "service").words
    assert "did not answer" in of(examine(one, "http://127.0.0.1:1", {}), "service").words
    assert of(examine(one, "http:// no address", {}), "service").level == "FAIL"


def test_metrics_tell_of_degraded_decisions_and_of_skew() -> None:
    bad = METRICS + 'headrace_degraded_total{missing="models"} 30.0\nheadrace_skew_values_defect{feature="a"} 2.0\n'
    assert [of(judge_metrics(bad), subject).level for subject in ("decisions", "skew")] == ["WARN", "WARN"]
    assert "2 served values" in of(judge_metrics(bad), "skew").words
    assert "no decision to compare" in of(judge_metrics(METRICS), "skew").words
    compared = METRICS + 'headrace_skew_decisions_compared{use_case="fraud"} 9.0\n'
    assert "what training computes" in of(judge_metrics(compared), "skew").words


def test_an_archiver_that_stores_by_five_minutes_is_not_late_before_that() -> None:
    archiver, worker = (next(one for one in READERS if one.group == group) for group in ("archiver", "worker"))
    waiting = Standing(1, {"decisions": 290.0})
    assert [judge_reader(one, waiting).level for one in (archiver, worker)] == ["OK", "FAIL"]
    assert judge_reader(archiver, Standing(1, {"decisions": 700.0})).level == "WARN"
    assert "none of Headrace's" in of(judge_metrics("up 1\n"), "metrics").words


def test_a_kafka_that_is_gone_fails(home: Path) -> None:
    found = of(examine(settings(home, "", kafka="127.0.0.1:1"), None, {}), "kafka")
    assert found.level == "FAIL"
    assert "the outbox in Redis keeps what is answered" in found.remedy


@pytest.mark.kafka
def test_the_groups_on_kafka_are_looked_at_and_none_is_made(kafka_node: KafkaNode) -> None:
    topic = f"doctor-{uuid4().hex[:8]}"
    with closing(KafkaLog(kafka_node.bootstrap, partitions=2)) as log:
        log.append([Message(topic, "c", b"%d" % number) for number in range(5)])
        member = log.consumer(topic, [topic])
        try:
            read: dict[Partition, list[Entry]] = {}
            until = time.monotonic() + LIMIT_S
            while not read and time.monotonic() < until:
                read = member.poll(100, 500)
            member.commit({part: entries[0].offset + 1 for part, entries in read.items()})
            unknown = f"none-{topic}"
            found = standings(kafka_node.bootstrap, [topic, unknown])
            (place,) = read
            assert found == {topic: GroupStanding(1, 4, {place: 4}), unknown: GroupStanding(0, 0)}
        finally:
            member.close()
    kafka = list(examine_kafka(kafka_node.bootstrap, Settings({}, {})))
    assert of(kafka, "kafka").level == "OK"
    assert {reader.group for reader in READERS} <= {finding.subject for finding in kafka}


def test_a_group_on_kafka_is_missed_or_late() -> None:
    worker, archiver = READERS[0], READERS[2]
    standing = [(worker, GroupStanding(2, 3)), (worker, GroupStanding(0, 3)), (archiver, GroupStanding(0, 0))]
    assert [judge_kafka_reader(*one).level for one in standing] == ["OK", "FAIL", "WARN"]
    late = judge_kafka_reader(worker, GroupStanding(1, 20_000))
    assert late.line().endswith("20,000 records behind; see its log for errors, or start another: headrace worker")
