"""`headrace doctor`: examines a deployment from where it runs, and says in plain words what is wrong."""

from __future__ import annotations

import difflib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import httpx
from prometheus_client.parser import text_string_to_metric_families

from headrace.cards import judge_cards, judge_secret_files
from headrace.client_key import bearer, key_of
from headrace.doctor_cases import examine_cases
from headrace.doctor_home import examine_home
from headrace.doctor_keys import examine_keys, judge_auth
from headrace.doctor_log import READERS, Reader, examine_log, judge_learner, judge_learner_frozen
from headrace.doctor_redis import examine_redis
from headrace.finding import Finding, Level, graded
from headrace.running import service_of_home
from headrace.secret_file import SUFFIX
from headrace.settings import BY_NAME, SETTINGS, InvalidSetting, Settings
from scoring.policy_file import load_policy
from scoring.use_case import FRAUD
from stream.connection import RedisConnection, RedisError, RedisUnavailable
from stream.log import LogUnavailable

if TYPE_CHECKING:
    from stream.kafka_client import GroupStanding

COLOURS: dict[Level, str] = {"OK": "green", "WARN": "yellow", "FAIL": "red"}
OTHERS_PREFIXES = ("FEAST_", "BENCH_", "FIRE_", "HOT_")
OTHERS = {
    *("HEADRACE_API_KEY", "HEADRACE_API_KEY_FILE"),
    *("HEADRACE_REDIS_SERVER", "HEADRACE_KAFKA_JARS", "HEADRACE_REQUIRE_KAFKA"),
}
HTTP_TIMEOUT_S = 5.0
DEGRADED_WARN, DEGRADED_FAIL = 0.01, 0.5
BEHIND_WARN = 10_000


def run_doctor(settings: Settings, url: str | None) -> int:
    """Print a line for each finding. The exit status: 1 where anything failed."""
    counted: Counter[Level] = Counter()
    for finding in examine(settings, url, os.environ):
        counted[finding.level] += 1
        click.echo(click.style(finding.line()[:6], fg=COLOURS[finding.level]) + finding.line()[6:])
    click.echo(f"{counted['FAIL']} failed, {counted['WARN']} to look at, {counted['OK']} well")
    return 1 if counted["FAIL"] else 0


def examine(settings: Settings, url: str | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Everything, in an order in which the first failure is most likely the cause of the others."""
    yield from judge_settings(settings, environ)
    yield judge_auth(settings.auth, settings.host)
    yield from judge_secret_files(environ)
    yield from judge_cards(settings)
    yield from examine_home(settings.home, FRAUD)
    yield examine_cases(settings)
    yield from examine_store(settings)
    if settings.kafka:
        yield from examine_kafka(settings.kafka, settings)
    yield from examine_service(url or service_of_home(settings.home) or None)


def judge_settings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the settings are ones, and the policy can be used. Values were checked when they were read."""
    mistaken = False
    for variable in sorted(environ):
        if variable.startswith("HEADRACE_") and not _is_known(variable):
            mistaken = True
            near = difflib.get_close_matches(variable, [setting.variable for setting in SETTINGS], n=1)
            remedy = f"did you mean {near[0]}?" if near else "unset it, or see 'headrace settings'"
            yield Finding("WARN", "settings", f"{variable} is no setting and does nothing", remedy)
    if not mistaken:
        yield Finding("OK", "settings", f"{sum(one.variable in environ for one in SETTINGS)} from the environment")
    path = Path(settings.policy) if settings.policy else FRAUD.policy
    try:
        yield Finding("OK", "policy", load_policy(path, FRAUD.source, settings.let_through_key).version)
    except (ValueError, OSError) as error:
        yield Finding("FAIL", "policy", f"{path} cannot be used: {error}", "correct it, or unset HEADRACE_POLICY")


def _is_known(variable: str) -> bool:
    name = variable.removeprefix("HEADRACE_")
    of_file = BY_NAME.get(name.removesuffix(SUFFIX).lower())
    if name.endswith(SUFFIX) and of_file is not None and of_file.secret:
        return True
    return name.lower() in BY_NAME or variable in OTHERS or name.startswith(OTHERS_PREFIXES)


def examine_store(settings: Settings) -> Iterator[Finding]:
    """Redis, and the log in it. Where it does not answer, nothing else about it is asked."""
    if not settings.redis:
        words = f"no Redis is given, and no 'headrace up' runs in {settings.home}: there is none to look at"
        yield Finding("FAIL", "redis", words, "set HEADRACE_REDIS=redis://host:port/0 as the processes have it")
        return
    try:
        connection = RedisConnection(settings.redis)
    except ValueError as error:
        yield Finding("FAIL", "redis", f"HEADRACE_REDIS cannot be used: {error}", "write it as redis://host:port/0")
        return
    place = place_of(settings.redis)
    with closing(connection):
        try:
            connection.one("PING")
            yield Finding("OK", "redis", f"answers at {place}")
            yield from examine_redis(connection, settings.deadline, settings.clock_skew)
            yield from examine_log(connection, settings.partitions, settings.outbox_limit, bool(settings.kafka))
            yield judge_learner(connection, FRAUD.name)
            yield judge_learner_frozen(connection, FRAUD.name)
            if settings.auth == "keys":
                yield from examine_keys(connection)
        except RedisUnavailable as error:
            remedy = f"start it, or correct HEADRACE_REDIS; 'redis-cli -u redis://{place} ping' must say PONG"
            yield Finding("FAIL", "redis", str(error), remedy)
        except RedisError as error:
            yield Finding("FAIL", "redis", f"Redis at {place} refuses: {error}", remedy_of(str(error)))


def place_of(url: str) -> str:
    """Host and port of a URL, without the password.

    >>> place_of("rediss://user:secret@store/1")
    'store:6379'
    """
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


def remedy_of(refusal: str) -> str:
    """What to do about an error of Redis's own."""
    remedies = {
        "NOAUTH": "put the password into HEADRACE_REDIS: redis://:PASSWORD@host:port/0",
        "WRONGPASS": "correct the user and the password in HEADRACE_REDIS",
        "LOADING": "it is loading its file: wait, then ask again",
        "NOPERM": "allow this user all commands on all keys (ACL SETUSER)",
        "OOM": "it is full: raise its maxmemory",
        "MISCONF": "it cannot write to its disk: make room there",
    }
    return next((text for start, text in remedies.items() if refusal.startswith(start)), "see the log of the server")


def examine_kafka(bootstrap: str, settings: Settings) -> Iterator[Finding]:
    """Whether a broker answers, and the groups that read there."""
    from stream.kafka_client import answers, contact, standings
    from stream.tls import remedy_of as remedy_of_tls

    remedy = "start it, or correct HEADRACE_KAFKA; meanwhile the outbox in Redis keeps what is answered"
    try:
        security = settings.kafka_options
        contact(bootstrap, security.get("ssl_context"))
    except InvalidSetting as error:
        yield Finding("FAIL", "kafka", str(error), "correct the settings of Kafka")
        return
    except (OSError, ValueError) as error:
        tls = remedy_of_tls(error, "HEADRACE_KAFKA")
        words = f"no TLS with {bootstrap}: {error}" if tls else f"nobody listens at {bootstrap}: {error}"
        yield Finding("FAIL", "kafka", words, tls or remedy)
        return
    if not answers(bootstrap, security):
        words = f"something listens at {bootstrap}, but no broker answers as one"
        remedy = "see the broker's log; what it advertises must be reachable from here and fit HEADRACE_KAFKA_SECURITY"
        yield Finding("FAIL", "kafka", words, remedy)
        return
    yield Finding("OK", "kafka", f"answers at {bootstrap}")
    try:
        found = standings(bootstrap, [reader.group for reader in READERS], security)
    except LogUnavailable as error:
        yield Finding("WARN", "kafka", f"the broker does not tell who reads: {error}", "see the broker's log")
        return
    for reader in READERS:
        yield judge_kafka_reader(reader, found[reader.group])


def judge_kafka_reader(reader: Reader, found: GroupStanding) -> Finding:
    """Whether a group on Kafka has members and keeps up."""
    start = f"start one: {reader.command}"
    if not found.members:
        words = f"none is running: {reader.loss}"
        return Finding(reader.without, reader.group, f"{words}; {found.behind:,} records behind", start)
    words = f"{found.members} running, {found.behind:,} records behind"
    remedy = f"see its log for errors, or {start.replace('one', 'another')}"
    return graded(found.behind, BEHIND_WARN, float("inf"), reader.group, words, remedy)


def examine_service(url: str | None) -> Iterator[Finding]:
    """Whether the service is ready, and what one scrape of its metrics says."""
    if url is None:
        yield Finding("WARN", "service", "not looked at", "give its address: --url http://host:3000")
        return
    base = url.rstrip("/")
    try:
        with httpx.Client(timeout=HTTP_TIMEOUT_S, headers=bearer(key_of(None))) as client:
            ready = client.get(f"{base}/readyz").status_code
            scraped = client.get(f"{base}/metrics")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        words = f"{base} did not answer: {error}"
        yield Finding("FAIL", "service", words, "start it (headrace serve), or correct --url and what stands between")
        return
    if ready != 200:
        words = f"{base} runs but is not ready (/readyz says {ready})"
        remedy = "it needs a Redis that answers and a champion: see the lines above, then the log of the service"
        yield Finding("FAIL", "service", words, remedy)
    else:
        yield Finding("OK", "service", f"ready at {base}")
    if scraped.status_code in (401, 403):
        words = f"{base}/metrics asks for a key with the scope metrics:read"
        yield Finding("WARN", "metrics", words, "give one: HEADRACE_API_KEY")
        return
    if scraped.status_code != 200:
        yield Finding("WARN", "metrics", f"{base}/metrics says {scraped.status_code}", "see the log of the service")
        return
    yield from judge_metrics(scraped.text)


def judge_metrics(text: str) -> Iterator[Finding]:
    """What the service's own counts say, since it started."""
    sums: defaultdict[str, float] = defaultdict(float)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] += sample.value
    except ValueError as error:
        yield Finding("WARN", "metrics", f"they cannot be read: {error}", "is --url the service of Headrace?")
        return
    if "headrace_skew_report" not in sums:
        yield Finding("WARN", "metrics", "there are none of Headrace's", "is --url the service of Headrace?")
        return
    decided, degraded = sums["headrace_outcomes_total"], sums["headrace_degraded_total"]
    words = f"{decided:,.0f} decisions since the start, {degraded:,.0f} times something was missing"
    remedy = "see headrace_degraded_total by what was missing"
    yield graded(degraded / max(decided, 1), DEGRADED_WARN, DEGRADED_FAIL, "decisions", words, remedy)
    if sums["headrace_skew_values_defect"]:
        words = f"{sums['headrace_skew_values_defect']:,.0f} served values differ from the same recomputed"
        yield Finding("WARN", "skew", words, "run 'headrace features skew': it names the features and the events")
    elif not sums["headrace_skew_report"]:
        yield Finding("WARN", "skew", "never checked", "run 'headrace features skew --every 1d' beside the archiver")
    elif not sums["headrace_skew_decisions_compared"]:
        yield Finding("OK", "skew", "the newest check had no decision to compare")
    else:
        yield Finding("OK", "skew", "what is served is what training computes")
