"""An evaluation as one HTML file: plots, and the tables that say the same. No network, no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from headrace.evaluation_style import CSS
from headrace.svg_axis import Axis, day_number, days, linear, logarithmic
from headrace.svg_plot import InOrder, Series, interval_plot, plot
from models.manifest import Interval
from training.evaluation_report import Evaluation, MemberFigures
from training.judged_rows import ALL

RECALLS = (0.1, 0.25, 0.5, 0.75, 0.9)
LEAST_SCORE = 1e-5
DIGITS_OF_COST = 100.0


def page(found: Evaluation) -> str:
    """The whole file. Whatever names it holds are escaped."""
    ids = InOrder()
    title = f"Evaluation of {found.use_case}"
    sections = [
        _head(found, title),
        _tiles(found),
        _notes(found),
        _counted(found),
        _members(found),
        _calibration(found, ids),
        _ranking(found, ids),
        _by_day(found, ids),
        _parts(found, ids),
        _made_by(found),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )


def share(value: float) -> str:
    """A share as per cent, with as many digits as it needs.

    >>> share(0.25), share(0.0042), share(0.0)
    ('25%', '0.42%', '0%')
    """
    return f"{100.0 * value:.3g}%"


def money(value: float) -> str:
    """A cost: cents where it is small.

    >>> money(3.14159), money(1234.5)
    ('3.14', '1,234')
    """
    return f"{value:,.2f}" if 0.0 < abs(value) < DIGITS_OF_COST else f"{value:,.0f}"


def _head(found: Evaluation, title: str) -> str:
    span = f"{found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    return (
        f"<header><h1>{escape(title)}</h1><p class=lead>{escape(found.source)}, events of {span} (UTC), "
        f"looked back at from {found.as_of:%Y-%m-%d %H:%M}. Scores as they were given, labels as they arrived."
        "</p></header>"
    )


def _tiles(found: Evaluation) -> str:
    whole = found.members.get(ALL) or next(iter(found.members.values()), None)
    tiles = [
        ("realised cost", found.costs.realised, money, "per 1,000 events"),
        ("saved against approving all", found.costs.saved, money, "per 1,000 events"),
    ]
    if whole is not None:
        tiles.append((f"card precision at {found.cards_a_day}", whole.card_precision, share, _limit(whole)))
        if whole.average_precision is not None:
            tiles.append(("average precision", whole.average_precision, _three, "of all members"))
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd><b>{text(value.value)}</b>"
        f"<span>{text(value.low)} to {text(value.high)}</span><small>{escape(note)}</small></dd></div>"
        for name, value, text, note in tiles
    )
    return f"<dl class=tiles>{shown}</dl>"


def _limit(member: MemberFigures) -> str:
    return f"a perfect score: {share(member.card_precision_limit)}"


def _notes(found: Evaluation) -> str:
    return "<ul class=notes>" + "".join(f"<li>{escape(note)}</li>" for note in found.notes) + "</ul>"


def _counted(found: Evaluation) -> str:
    delay = "" if found.label_delay_s is None else f" (older than {found.label_delay_s / 86_400:g} days)"
    rows = [
        [f"mature{delay}: these count", f"{found.mature:,}"],
        ["of them fraud", f"{found.frauds:,}"],
        ["of them without a label, counted as legit", f"{found.assumed:,}"],
        ["too young: their labels are not final", f"{found.immature:,}"],
        ["old enough, without a verdict: left out", f"{found.unlabelled:,}"],
        ["all", f"{found.decisions:,}"],
    ]
    return _section("What is counted", "", f"<div class=narrow>{_table(['events', 'number'], rows)}</div>")


def _members(found: Evaluation) -> str:
    headings = [
        *("member", "events", "frauds", "AUC", "average precision", f"card precision at {found.cards_a_day}"),
        *("calibration error (chance)", "cost by it alone"),
    ]
    rows = [
        [
            name,
            f"{one.rows:,}",
            f"{one.frauds:,}",
            _spread(one.auc, _three),
            _spread(one.average_precision, _three),
            _spread(one.card_precision, share),
            f"{share(one.calibration_error)} ({share(one.chance_error)})",
            _spread(one.policy_cost, money),
        ]
        for name, one in found.members.items()
    ]
    text = (
        "Each on the events to which it said something. AUC and average precision are exact. In brackets, where the "
        "figure would lie in 95 of 100 samples of as many cards. Calibration error: how far what was said lies from "
        "what came, and how far chance alone would take it. Card precision: of the "
        f"{found.cards_a_day} cards with the highest scores of a day, those that were compromised. Cost: per 1,000 "
        "events, if the policy had listened to this member alone."
    )
    return _section("Members", text, _table(headings, rows))


def _calibration(found: Evaluation, ids: InOrder) -> str:
    said = [one.mean_score for curve in found.calibration.values() for one in curve]
    rates = [one.fraud_rate.value for curve in found.calibration.values() for one in curve]
    floor = max(LEAST_SCORE, min((value for value in [*said, *rates] if value > 0.0), default=LEAST_SCORE) / 2)
    x = logarithmic("mean score of the bin (log)", [*said, *rates], share, floor)
    y = Axis("share of fraud (log)", x.low, x.high, share, "log")
    series = [Series("exact", [(x.low, x.low), (x.high, x.high)], None, "line", dashed=True)]
    for number, (name, curve) in enumerate(found.calibration.items()):
        spans = [(one.fraud_rate.low, one.fraud_rate.high) for one in curve]
        points = [(one.mean_score, one.fraud_rate.value) for one in curve]
        series.append(Series(name, points, number, "both", spans=spans))
    description = "Share of fraud against the mean score, over bins of equal mass; on the dashed line a score is exact."
    drawing = plot(ids, "Calibration", description, x, y, series)
    rows = [
        [name, f"{one.rows:,}", f"{one.frauds:,}", share(one.mean_score), _spread(one.fraud_rate, share)]
        for name, curve in found.calibration.items()
        for one in curve
    ]
    table = _folded("Bins", _table(["member", "events", "frauds", "mean score", "share of fraud"], rows))
    text = "Events in bins of equal mass by their score. Above the dashed line there was more fraud than was said; "
    text += "a bin without a fraud lies on the lower edge. The vertical lines are intervals."
    return _section("Calibration", text, _figure(drawing), table)


def _ranking(found: Evaluation, ids: InOrder) -> str:
    x = Axis("recall: share of the frauds above the threshold", 0.0, 1.0, share)
    y = Axis("precision", 0.0, 1.0, share)
    series = [
        Series(name, [(one.recall, one.precision) for one in curve], number)
        for number, (name, curve) in enumerate(found.curves.items())
    ]
    description = "Precision against recall for each member, over all thresholds."
    rows = [
        [name, *(share(max((one.precision for one in curve if one.recall >= least), default=0.0)) for least in RECALLS)]
        for name, curve in found.curves.items()
    ]
    table = _table(["precision at a recall of", *(share(recall) for recall in RECALLS)], rows)
    drawing = _figure(plot(ids, "Precision and recall", description, x, y, series))
    return _section("Precision and recall", "By event, over all thresholds.", drawing, table)


def _by_day(found: Evaluation, ids: InOrder) -> str:
    at = [day_number(one.day) for one in found.days]
    x = days("day (UTC)", [one.day for one in found.days])

    def drawn(
        title: str, unit: str, text: Callable[[float], str], *every: tuple[str, Sequence[float | None], bool]
    ) -> str:
        shown = [value for _, values, _ in every for value in values if value is not None]
        series = [
            Series(
                name,
                [(day, value) for day, value in zip(at, values, strict=True) if value is not None],
                None if plain else number,
                "line" if plain else "both",
                dashed=plain,
            )
            for number, (name, values, plain) in enumerate(every)
        ]
        description = f"{title} by day: {', '.join(name for name, _, _ in every)}."
        return _figure(plot(ids, title, description, x, linear(unit, shown, text), series), title)

    rates = [one.frauds / one.rows for one in found.days]
    drawings = [
        drawn(
            "Fraud and score",
            "share of events",
            share,
            ("share of fraud", rates, False),
            ("mean score", [one.mean_score for one in found.days], False),
        ),
        drawn(
            f"Card precision at {found.cards_a_day}",
            "share of the cards checked",
            share,
            ("card precision", [one.card_precision for one in found.days], False),
            ("a perfect score", [one.card_precision_limit for one in found.days], True),
        ),
        drawn(
            "Cost",
            "per 1,000 events",
            money,
            ("realised", [one.realised_cost for one in found.days], False),
            ("expected", [one.expected_cost for one in found.days], False),
        ),
    ]
    headings = [
        *("day", "events", "frauds", "mean score", "AUC", f"card precision at {found.cards_a_day}", "perfect"),
        *("expected cost", "realised cost", "approved", "reviewed", "declined"),
    ]
    rows = [
        [
            one.day,
            f"{one.rows:,}",
            f"{one.frauds:,}",
            share(one.mean_score),
            "–" if one.auc is None else _three(one.auc),
            share(one.card_precision),
            share(one.card_precision_limit),
            "–" if one.expected_cost is None else money(one.expected_cost),
            money(one.realised_cost),
            *(f"{count:,}" for count in (one.approved, one.reviewed, one.declined)),
        ]
        for one in found.days
    ]
    expected = found.costs.expected
    text = (
        f"All days together: realised {_spread(found.costs.realised, money)} per 1,000 events"
        + (f", expected when decided {_spread(expected, money)}" if expected is not None else "")
        + f"; approving everything would have cost {_spread(found.costs.approve_all, money)}. Reviews are "
        "taken to find what the policy says that reviews find."
    )
    return _section("By day", text, *drawings, _folded("Days", _table(headings, rows)))


def _parts(found: Evaluation, ids: InOrder) -> str:
    if not found.parts:
        return ""
    known = [(name, one.average_precision) for name, one in found.parts.items() if one.average_precision is not None]
    shown = [(name, (one.value, one.low, one.high)) for name, one in known]
    axis = Axis("average precision, with its interval", 0.0, 1.0, "{:g}".format)
    description = "Average precision of each part of the events, with its interval by card."
    drawing = _figure(interval_plot(ids, "Average precision by part", description, axis, shown)) if shown else ""
    rows = [
        [
            name,
            f"{one.rows:,}",
            f"{one.frauds:,}",
            share(one.mean_score),
            _spread(one.fraud_rate, share),
            _spread(one.average_precision, _three),
            _spread(one.realised_cost, money),
        ]
        for name, one in found.parts.items()
    ]
    headings = ["part", "events", "frauds", "mean score", "share of fraud", "average precision", "realised cost"]
    return _section("By part", "By the score of all members.", drawing, _table(headings, rows))


def _made_by(found: Evaluation) -> str:
    rows = [
        [member, version, f"{count:,}"] for member, each in found.versions.items() for version, count in each.items()
    ]
    rows += [["policy", version, f"{count:,}"] for version, count in found.policies.items()]
    made = f"Made {found.made_at:%Y-%m-%d %H:%M} UTC. Costs by {found.costed_by}."
    text = f"{made} Intervals from {found.draws} samples of {found.cards:,} cards."
    return _section("Made by", text, _table(["member", "version", "events"], rows, words=2))


def _section(title: str, text: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{f'<p>{escape(text)}</p>' if text else ''}{''.join(parts)}</section>"


def _figure(drawing: str, caption: str = "") -> str:
    return f"<figure>{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}{drawing}</figure>"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """The first `words` columns are words, the others numbers."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if place < words else ' class=n'}>{escape(cell)}</{tag}>" for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{cells(headings, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"


def _folded(title: str, table: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{table}</details>"


def _spread(found: Interval | None, text: Callable[[float], str]) -> str:
    return "–" if found is None else f"{text(found.value)} ({text(found.low)} to {text(found.high)})"


def _three(value: float) -> str:
    return f"{value:.3f}"
