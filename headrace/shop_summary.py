"""What shoppers did with slates, in figures and for people."""

from __future__ import annotations

import msgspec
from rich.table import Table

from headrace.latencies import in_ms, percentile_ms
from headrace.shop_arms import ArmFigures, Share
from headrace.shop_play import ShopView


class ShopSummary(msgspec.Struct, kw_only=True):
    """The shoppers of one demo. Latencies are those of `POST /recommend`, milliseconds as the client saw them."""

    shop: str
    arms: dict[str, ArmFigures]
    requests: int
    actions_sent: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    items_appeared: int
    items_appeared_shown: int
    items_deleted: int
    deleted_shown: dict[str, int]
    short_slates: int
    sources: dict[str, int]
    versions: dict[str, str]
    degraded: dict[str, int]
    errors: dict[str, int]
    sent_again: dict[str, int]

    @property
    def is_good(self) -> bool:
        """Whether every request was answered, and no deleted item was shown."""
        return not self.errors and not self.deleted_shown


def summarize_shop(shop: str, seen: ShopView) -> ShopSummary:
    """The summary of what the player saw."""
    return ShopSummary(
        shop=shop,
        arms={name: arm.figures() for name, arm in seen.arms.items()},
        requests=seen.requests,
        actions_sent=seen.actions_sent,
        latency_p50_ms=percentile_ms(seen.latency_ms, 50),
        latency_p99_ms=percentile_ms(seen.latency_ms, 99),
        items_appeared=len(seen.appeared),
        items_appeared_shown=len(seen.appeared_shown),
        items_deleted=len(seen.gone),
        deleted_shown=dict(seen.deleted_shown),
        short_slates=seen.short_slates,
        sources=dict(seen.sources),
        versions=dict(seen.versions),
        degraded=dict(seen.degraded),
        errors=dict(seen.errors),
        sent_again=dict(seen.sent_again),
    )


def shop_table(summary: ShopSummary) -> Table:
    """The summary as a table."""
    table = Table(title=f"Shoppers: {summary.shop}", show_header=False, title_justify="left")
    table.add_column()
    table.add_column()
    buys = any(arm.purchases for arm in summary.arms.values())
    for name, arm in summary.arms.items():
        bought = f"; purchases {_share(arm.purchase_rate)}" if buys else ""
        known = "" if arm.known is None else f", as the world knows it {arm.known:.2%}"
        table.add_row(
            f"click-through, {name}",
            f"{_share(arm.click_through)}{known}{bought}; {arm.shown:,} shown to {arm.visitors:,} visitors",
        )
    table.add_row("recommending, client", f"p50 {in_ms(summary.latency_p50_ms)}, p99 {in_ms(summary.latency_p99_ms)}")
    table.add_row("requests", f"{summary.requests:,} for slates and trending, {summary.actions_sent:,} actions sent")
    table.add_row("new items", f"{summary.items_appeared:,} appeared, {summary.items_appeared_shown:,} of them shown")
    shown = sum(summary.deleted_shown.values())
    table.add_row("deleted items", f"{summary.items_deleted:,} deleted, shown after that {shown:,} times")
    if summary.sources:
        total = sum(summary.sources.values())
        by_share = sorted(summary.sources.items(), key=lambda pair: -pair[1])
        table.add_row("places by source", ", ".join(f"{name} {count / total:.0%}" for name, count in by_share))
    if summary.versions:
        table.add_row("versions", ", ".join(f"{kind} {version}" for kind, version in sorted(summary.versions.items())))
    if summary.short_slates:
        table.add_row("slates with fewer places", f"{summary.short_slates:,}")
    for title, counts in (
        ("degraded", summary.degraded),
        ("sent again", summary.sent_again),
        ("errors", summary.errors),
    ):
        if counts:
            table.add_row(title, ", ".join(f"{name} x {count:,}" for name, count in counts.items()))
    return table


def shop_line(seen: ShopView) -> str:
    """A few words for the live display."""
    through = ", ".join(
        f"{name} {arm.clicks / arm.shown:.1%}" if arm.shown else f"{name} -" for name, arm in seen.arms.items()
    )
    return f"click-through {through}"


def _share(share: Share | None) -> str:
    if share is None:
        return "-"
    if share.low is None or share.high is None:
        return f"{share.share:.2%}"
    return f"{share.share:.2%} ({share.low:.2%} to {share.high:.2%})"
