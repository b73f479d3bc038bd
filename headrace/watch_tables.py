"""The watcher's report as people read it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from headrace.model_tables import number
from scoring.watch_metrics import SIDE_FIGURES
from scoring.watch_report import Comparison, Watched, WatchReport

GROUP_FIGURES = ("events", "entities", "alert_rate", "unanswered_rate", "p99_ms", "alerts_labelled", "precision")


def print_report(report: WatchReport, console: Console) -> None:
    """Every comparison, every watch, and what was skipped."""
    canary = f"the canary {report.canary} answers {report.canary_share}%" if report.canary else "no canary"
    console.print(f"{report.use_case}: {report.decisions:,} decisions, champion {report.champion}, {canary}")
    for comparison in report.comparisons:
        console.print(compared_table(comparison))
        console.print(outcomes_table(comparison))
    if not report.comparisons:
        console.print("nothing was compared: no decision has been scored by a shadow or challenger of this champion")
    for one in report.watched:
        console.print(watched_table(one))
        for finding in one.findings:
            word = {True: "[red]OUT[/]", False: "[green]in[/]", None: "-"}[finding.out]
            console.print(f"{finding.band:<12}{word} {finding.says}")
    for version, reasons in report.skipped.items():
        for why, count in reasons.items():
            console.print(f"{version} skipped {count:,} decisions: {why}")
    if (last := report.last_rollback) is not None:
        console.print(f"rolled back {last.at:%Y-%m-%d %H:%M:%S}: {last.alias} {last.version}: {last.why}")
    if not report.acts:
        console.print("rollback is off: the watcher only says what it would do")


def compared_table(one: Comparison) -> Table:
    """Both sides, figure by figure."""
    table = Table(
        title=f"{one.version} against the champion {one.champion}: {one.rows:,} events, {one.labelled:,} with mature "
        f"labels, {one.frauds:,} of them fraud",
        caption=f"{one.agreement:.2%} of the outcomes agree, PSI of the scores {one.psi:.4f}",
    )
    for heading in ("", one.version, f"champion {one.champion}"):
        table.add_column(heading)
    for name in SIDE_FIGURES:
        table.add_row(name.replace("_", " "), number(getattr(one.its, name)), number(getattr(one.champions, name)))
    for name, value in one.its.quantiles.items():
        table.add_row(f"score {name}", number(value), number(one.champions.quantiles[name]))
    return table


def outcomes_table(one: Comparison) -> Table:
    """How often which outcome of the champion meets which of the other."""
    table = Table(title="outcomes by the policy alone")
    table.add_column("champion")
    for outcome in one.outcomes:
        table.add_column(f"{one.version}: {outcome}")
    for outcome, row in one.outcomes.items():
        table.add_row(outcome, *(f"{count:,}" for count in row.values()))
    return table


def watched_table(one: Watched) -> Table:
    """A version under watch beside what it is held against."""
    table = Table(title=f"{one.alias} {one.version} against {one.against} since {one.since:%Y-%m-%d %H:%M:%S}")
    for heading in ("", one.version, one.against):
        table.add_column(heading)
    for name in GROUP_FIGURES:
        table.add_row(name.replace("_", " "), number(getattr(one.its, name)), number(getattr(one.others, name)))
    return table
