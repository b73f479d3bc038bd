"""`headrace demo` and `headrace up`: everything on one machine, from nothing, and gone again afterwards."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live

from headrace.assembly import open_log, open_online_store
from headrace.bootstrap import Stretch, fit_stretch, register_champion, warm
from headrace.cards import open_guard
from headrace.keys import passing_key
from headrace.play import Player
from headrace.review import settled_cases
from headrace.run import apply_features
from headrace.settings import BY_NAME, Settings
from headrace.shop_demo import SCOPES, ShopDemo
from headrace.shop_summary import shop_line
from headrace.source import FileSource, SimulatedSource, Source
from headrace.stack import Stack
from headrace.summary import progress_line, render, settled_labels, summarize
from headrace.users import pages_said
from scoring.live_models import registry_of
from scoring.sequenced import NAME as RECOMMENDATION
from scoring.use_case import FRAUD
from stream.connection import RedisConnection
from stream.kafka_node import KafkaNode
from stream.tls import without_password
from training.batch import SplitDays
from training.publisher import metrics_key
from training.replay import Replay

BOOTSTRAP_DAYS = 42
SIMULATED_BOOTSTRAP_DAYS = 75
TRAINING_ROWS = 30_000
SCORED_A_DAY = 950
"""A file with more transactions a day has a share of its cards scored, so that labels of later days come in time."""
SETTLE_S = 10.0
SKEW_DAYS = "2"
"""What a scheduled skew check compares: yesterday's decisions are whole by then, today's are the newest."""
SPLIT = SplitDays(gap=0, stop=3, calibrate=4)


@dataclass(frozen=True)
class DemoOptions:
    """What a demo plays."""

    seconds: float = 60.0
    rate: float = 200.0
    events: int | None = None
    data: Path | None = None
    mapping: Path | None = None
    share: float | None = None
    seed: int = 7
    summary: Path | None = None
    shoppers: Path | None = None
    no_shoppers: bool = False
    slates: float = 20.0


def run_demo(settings: Settings, options: DemoOptions) -> int:
    """Bootstrap, start, play, sum up. The exit status: 0 when every request was answered, and no deleted item shown."""
    console = Console(stderr=False)
    own_home = str(settings.home) == BY_NAME["home"].default
    home = Path(tempfile.mkdtemp(prefix="headrace-demo-")) if own_home else settings.home
    settings = settings.but(home=home)
    # A SIGTERM must clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kafka: KafkaNode | None = None
    try:
        with Stack(settings) as stack:
            try:
                if settings.kafka == "embedded":
                    console.print("starting Apache Kafka …")
                    kafka = KafkaNode(home / "kafka")
                    kafka.start()
                    stack.use_kafka(kafka.bootstrap)
                return _demo(stack, options, console)
            except KeyboardInterrupt:
                console.print("stopped before the play began")
                return 130
    finally:
        if kafka is not None:
            kafka.stop()
        if own_home:
            shutil.rmtree(home, ignore_errors=True)


def _demo(stack: Stack, options: DemoOptions, console: Console) -> int:
    shop = None
    if RECOMMENDATION in stack.settings.use_cases and not options.no_shoppers:
        shop = ShopDemo.of(options.shoppers, options.slates, options.seed)
    stack.start_redis()
    applying = apply_features(stack.settings)
    source: Source = (
        SimulatedSource(options.seed, SIMULATED_BOOTSTRAP_DAYS)
        if options.data is None
        else FileSource.open(options.data, options.mapping, open_guard(stack.settings))
    )
    first, last = source.span()
    cut = last if options.data is None else first + min(timedelta(days=BOOTSTRAP_DAYS), (last - first) * 0.6)
    replay = _bootstrap(stack, source, first, cut, console)
    _, errors = applying.communicate()
    if applying.returncode:
        console.print(f"headrace features apply failed:\n{errors.decode()}")
        return 1
    entities = warm(replay, open_online_store(stack.settings))
    console.print(f"warmed the online store: {entities:,} entities")
    if shop is not None:
        shop.load(stack.settings, console)
    stack.start_workers()
    if shop is not None:
        shop.learn(stack)
    stack.start("learner", "learn")
    stack.start("review", "review", "keep")
    if stack.settings.review_pages:
        # Backtests and the SQL console read the archive.
        stack.start("archiver", "archive")
    url = stack.start_service()
    if stack.settings.review_pages:
        _say(console, pages_said(stack.settings, url))
    if shop is not None:
        shop.trained(console)
    shown = ["fraud/score", *(() if shop is None else ("recommend", "trending")), "docs.json", "metrics", "readyz"]
    urls = [f"{url}/{path}" for path in shown]
    console.print(f"playing {source.name} from {cut:%Y-%m-%d %H:%M} at {options.rate:g}/s; look at {url}/ meanwhile")
    share = options.share or min(1.0, SCORED_A_DAY / max(1, _per_day(source, cut)))
    if share < 1:
        console.print(f"scoring {share:.0%} of the cards; the other transactions enter at the log, unscored")
    scopes = ("fraud:score", "labels:write", *(() if shop is None else SCOPES))
    with passing_key(stack.settings, "headrace demo", scopes) as api_key:
        player = Player(url, FRAUD.name, open_log(stack.settings), share, api_key=api_key)
        if shop is not None:
            shop.start(url, api_key, options.seconds)
        interrupted = _play(player, source, cut, replay, options, stack, console, shop)
        shopping = None if shop is None else shop.finish()
    report = _settled_report(stack, player)
    cases_open = settled_cases(stack.settings, SETTLE_S)
    facts = summarize(player.seen, report, urls, options.rate, interrupted, cases_open, shopping)
    render(console, facts)
    if options.summary is not None:
        options.summary.write_bytes(msgspec.json.format(msgspec.json.encode(facts)))
    for failure in stack.failed():
        console.print(f"[red]ended early:[/] {failure}")
    shopped = shopping is None or shopping.is_good
    return 1 if player.seen.errors or stack.failed() or not player.seen.scored or not shopped else 0


def _bootstrap(stack: Stack, source: Source, first: datetime, cut: datetime, console: Console) -> Replay:
    collect_from = first + (cut - first) / 2
    rows_expected = _per_day(source, collect_from) * (cut - collect_from).days
    share = min(1.0, TRAINING_ROWS / max(1, rows_expected))
    stretch = Stretch(first, collect_from, cut, share, SPLIT)
    with console.status("replaying history") as status:
        replay, trained = fit_stretch(
            FRAUD, source.between(first, cut), stretch, "hist_gradient_boosting", status.update
        )
    manifest = register_champion(registry_of(stack.home), trained, "bootstrap of the demo", source.is_made_up)
    auc = manifest.metrics.get("auc")
    console.print(
        f"trained {manifest.name} {manifest.version} on {first:%Y-%m-%d} to {cut:%Y-%m-%d}: "
        f"validation AUC {auc or float('nan'):.3f}, ONNX differs by at most {manifest.max_onnx_difference or 0.0:.1e}"
    )
    return replay


def _play(
    player: Player,
    source: Source,
    cut: datetime,
    replay: Replay,
    options: DemoOptions,
    stack: Stack,
    console: Console,
    shop: ShopDemo | None,
) -> bool:
    """Play in a thread of its own, showing progress; True if a person stopped it. The shoppers leave with the last."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            player.play(source.between(cut, None), options.rate, options.seconds, options.events, replay.feed)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="player")
    thread.start()
    metrics = RedisConnection(stack.settings.redis)
    started = time.monotonic()
    interrupted = False
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        said = 0.0
        while thread.is_alive():
            try:
                line = progress_line(player.seen, _report(metrics), time.monotonic() - started, options)
                if shop is not None and shop.player is not None:
                    line += f"   {shop_line(shop.player.seen)}"
                live.update(line)
                if not sys.stdout.isatty() and time.monotonic() - said > 5:
                    said = time.monotonic()
                    console.print(line)
                thread.join(timeout=0.25)
            except KeyboardInterrupt:
                interrupted = True
                player.stop()
    if shop is not None:
        shop.stop()
    if failure:
        raise failure[0]
    return interrupted


def _settled_report(stack: Stack, player: Player) -> dict[str, Any]:
    """The learner's report once it has learned every label that was sent, or after `SETTLE_S`."""
    metrics = RedisConnection(stack.settings.redis)
    until = time.monotonic() + SETTLE_S
    while True:
        report = _report(metrics)
        if settled_labels(report) >= player.seen.labels_sent or time.monotonic() > until:
            return report
        time.sleep(0.2)


def _report(connection: RedisConnection) -> dict[str, Any]:
    content = connection.one("GET", metrics_key(FRAUD.name))
    return {} if content is None else msgspec.json.decode(content)


def _per_day(source: Source, day: datetime) -> int:
    return sum(1 for _ in source.between(day, day + timedelta(days=1)))


def _say(console: Console, text: str) -> None:
    """Print as it is: an address that is broken into lines, or whose parts are taken for marks, leads nowhere."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def run_up(settings: Settings) -> None:
    """Run the stack until Ctrl-C; the home keeps everything."""
    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Stack(settings) as stack:
        try:
            console.print("starting …")
            stack.start_redis()
            applying = apply_features(stack.settings)
            _, errors = applying.communicate()
            if applying.returncode:
                raise ChildProcessError(f"headrace features apply failed: {errors.decode()}")
            if not registry_of(stack.home).aliases(FRAUD.name).get("champion"):
                console.print("no model yet: training a first one on simulated transactions")
                source = SimulatedSource(7, SIMULATED_BOOTSTRAP_DAYS)
                first, last = source.span()
                _bootstrap(stack, source, first, last, console)
            stack.start_workers()
            stack.start("learner", "learn")
            if RECOMMENDATION in settings.use_cases:
                stack.start("recommender", "recommend", "learn")
                if settings.recommend_every:
                    every = settings.environment()["HEADRACE_RECOMMEND_EVERY"]
                    stack.start("recommend-train", "recommend", "train", "--every", every)
            stack.start("review", "review", "keep")
            stack.start("archiver", "archive")
            stack.start("audit", "audit", "keep")
            stack.start("watcher", "models", "watch", FRAUD.name)
            if settings.skew_every:
                every = settings.environment()["HEADRACE_SKEW_EVERY"]
                stack.start("skew", "features", "skew", "--every", every, "--days", SKEW_DAYS)
            if settings.report_every:
                every = settings.environment()["HEADRACE_REPORT_EVERY"]
                reports = stack.home / "reports"
                stack.start("evaluate", "evaluate", "--every", every, "--html", str(reports / "evaluation.html"))
                stack.start("drift", "drift", "--every", every, "--json", str(reports / "drift.json"))
            if settings.feedback_every:
                stack.start("feedback", "feedback", "--every", settings.environment()["HEADRACE_FEEDBACK_EVERY"])
            url = stack.start_service()
            redis = without_password(stack.settings.redis)
            _say(console, f"ready at {url}; Redis at {redis}; logs in {stack.home / 'logs'}; Ctrl-C stops")
            if settings.review_pages:
                _say(console, pages_said(stack.settings, url))
            while not stack.failed():
                time.sleep(0.5)
            console.print("\n".join(stack.failed()))
        except KeyboardInterrupt:
            console.print("stopping")
