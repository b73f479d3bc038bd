"""What a demo saw, in figures and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from headrace.latencies import in_ms, percentile_ms
from headrace.shop_summary import ShopSummary, shop_table

if TYPE_CHECKING:
    from headrace.demo import DemoOptions
    from headrace.play import ClientView

SETTLED = (
    *("learned", "confirmed", "outdated", "duplicate", "unknown", "skipped_definition", "refused", "reversed"),
    *("frozen", "broken"),
)


class Quality(msgspec.Struct):
    """How good logged scores were against labels that came as late as they really do; None: a class is missing."""

    labelled: int
    auc: float | None
    average_precision: float | None


class Summary(msgspec.Struct, kw_only=True):
    """The figures of one demo. Latencies are milliseconds from sending a request to having read its answer."""

    events_scored: int
    events_unscored: int
    rate_asked: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    outcomes: dict[str, int]
    degraded: dict[str, int]
    errors: dict[str, int]
    sent_again: dict[str, int]
    labels_sent: int
    labels_learned: int
    cases_open: int
    frauds_learned_share: float | None
    quality: dict[str, Quality]
    urls: list[str]
    interrupted: bool
    shoppers: ShopSummary | None = None


def settled_labels(report: dict[str, Any]) -> int:
    """How many labels the learner has dealt with, in whichever way."""
    counters = report.get("counters", {})
    return sum(counters.get(name, 0) for name in SETTLED)


def summarize(
    seen: ClientView,
    report: dict[str, Any],
    urls: list[str],
    rate: float,
    interrupted: bool,
    cases_open: int,
    shoppers: ShopSummary | None = None,
) -> Summary:
    """The summary of what the client saw, what the learner reports and how many cases wait for an analyst."""
    return Summary(
        events_scored=seen.scored,
        events_unscored=seen.unscored,
        rate_asked=rate,
        latency_p50_ms=percentile_ms(seen.latency_ms, 50),
        latency_p99_ms=percentile_ms(seen.latency_ms, 99),
        outcomes=dict(seen.outcomes),
        degraded=dict(seen.degraded),
        errors=dict(seen.errors),
        sent_again=dict(seen.sent_again),
        labels_sent=seen.labels_sent,
        labels_learned=report.get("counters", {}).get("learned", 0),
        cases_open=cases_open,
        frauds_learned_share=report.get("fraud_rate"),
        quality={
            name: Quality(found["labelled"], found["auc"], found["average_precision"])
            for name, found in report.get("metrics", {}).items()
        },
        urls=urls,
        interrupted=interrupted,
        shoppers=shoppers,
    )


def progress_line(seen: ClientView, report: dict[str, Any], elapsed_s: float, options: DemoOptions) -> str:
    """One line for the live display."""
    recent = seen.latency_ms[-500:]
    p50 = f"{np.percentile(recent, 50):.2f}" if recent else "-"
    p99 = f"{np.percentile(recent, 99):.2f}" if recent else "-"
    quality = report.get("metrics", {}).get("ensemble", {})
    auc = quality.get("auc")
    return (
        f"{elapsed_s:5.0f} s of {options.seconds:.0f}   scored {seen.scored:,}   "
        f"p50 {p50} ms   p99 {p99} ms   "
        f"review {seen.outcomes['review']:,}   decline {seen.outcomes['decline']:,}   "
        f"labels learned {report.get('counters', {}).get('learned', 0):,}   "
        f"AUC {'-' if auc is None else f'{auc:.3f}'}"
    )


def render(console: Console, summary: Summary) -> None:
    """The summary as a table."""
    table = Table(title="Summary", show_header=False, title_justify="left")
    table.add_column()
    table.add_column()
    table.add_row("events scored", f"{summary.events_scored:,} over HTTP, asked for {summary.rate_asked:g}/s")
    if summary.events_unscored:
        table.add_row("events unscored", f"{summary.events_unscored:,} through the log")
    table.add_row("latency, client", f"p50 {in_ms(summary.latency_p50_ms)}, p99 {in_ms(summary.latency_p99_ms)}")
    table.add_row("outcomes", ", ".join(f"{name} {count:,}" for name, count in sorted(summary.outcomes.items())))
    table.add_row("labels", f"{summary.labels_sent:,} sent as they became known, {summary.labels_learned:,} learned")
    table.add_row("cases to review", f"{summary.cases_open:,} open")
    if summary.frauds_learned_share is not None:
        table.add_row("fraud among labels", f"{summary.frauds_learned_share:.2%}")
    for name, quality in summary.quality.items():
        text = f"AUC {_figure(quality.auc)}, average precision {_figure(quality.average_precision)}"
        table.add_row(f"delayed quality: {name}", f"{text} over {quality.labelled:,} labelled events")
    if summary.degraded:
        table.add_row("degraded", ", ".join(f"{name} {count:,}" for name, count in summary.degraded.items()))
    if summary.sent_again:
        table.add_row("sent again", ", ".join(f"{name} x {count:,}" for name, count in summary.sent_again.items()))
    if summary.errors:
        table.add_row("errors", ", ".join(f"{name} x {count:,}" for name, count in summary.errors.items()))
    table.add_row("looked at while it ran", "\n".join(summary.urls))
    console.print(table)
    if summary.shoppers is not None:
        console.print(shop_table(summary.shoppers))
    if not any(quality.auc is not None for quality in summary.quality.values()):
        console.print("no quality yet: labels of both classes come days after their events; play longer to see it")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
