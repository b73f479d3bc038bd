"""An evaluation on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.evaluation_page import money, share
from models.manifest import Interval
from training.evaluation_report import Evaluation


def print_evaluation(console: Console, found: Evaluation) -> None:
    """The headline figures: what is counted, the members, costs, and what to know."""
    span = f"{found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    console.print(f"{found.use_case}: {escape(found.source)}, events of {span}, as of {found.as_of:%Y-%m-%d %H:%M}")
    console.print(
        f"{found.mature:,} of {found.decisions:,} events are mature ({found.frauds:,} frauds, "
        f"{found.assumed:,} assumed legit), {found.immature:,} too young, {found.unlabelled:,} without a verdict"
    )
    table = Table(caption="in brackets: 95% of samples of as many cards")
    for heading in ("member", "events", "AUC", "average precision", f"card precision@{found.cards_a_day}"):
        table.add_column(heading, overflow="fold")
    table.add_column("calibration error (by chance)")
    for name, one in found.members.items():
        precision = f"{_text(one.card_precision)}, of {one.card_precision_limit:.3g}"
        error = f"{share(one.calibration_error)} ({share(one.chance_error)})"
        cells = (f"{one.rows:,}", _text(one.auc), _text(one.average_precision), precision, error)
        table.add_row(escape(name), *cells)
    console.print(table)
    costs = found.costs
    expected = "" if costs.expected is None else f", expected {money(costs.expected.value)}"
    saved = f"{money(costs.saved.value)} ({money(costs.saved.low)} to {money(costs.saved.high)})"
    console.print(
        f"cost per 1,000 events: realised {money(costs.realised.value)}{expected}, approving everything "
        f"{money(costs.approve_all.value)}: saved {saved}"
    )
    for note in found.notes:
        console.print(f"note: {escape(note)}")


def _text(one: Interval | None) -> str:
    return "-" if one is None else f"{one.value:.3g} ({one.low:.3g} to {one.high:.3g})"
