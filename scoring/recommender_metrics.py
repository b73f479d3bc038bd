"""What /metrics says of the learner of recommending: how far it is, and what was done with what was shown."""

from __future__ import annotations

from collections.abc import Iterable

from scoring.metric_table import OF_RECOMMENDER
from scoring.metric_text import counts_text
from scoring.published import Published, ReportFeed
from scoring.recommender_report import REPORT_KEY, RecommenderReport
from scoring.tally import Counts, Labels


class RecommenderReportFeed(ReportFeed):
    """The learner's newest report. There is one learner, whatever the use cases are."""

    def __init__(
        self, redis_url: str, names: Iterable[str] = ("recommendation",), published: Published | None = None
    ) -> None:
        super().__init__(redis_url, names, published)

    def text(self) -> str:
        """The metrics as they are now. Never raises: without a report there are none."""
        found = self.there(lambda _: REPORT_KEY, RecommenderReport)
        return "".join(recommender_text(report) for report in list(found.values())[:1])


def recommender_text(report: RecommenderReport) -> str:
    """The report in Prometheus's text format."""
    clicks: dict[Labels, float] = {}
    for by, groups in (("source", report.by_source), ("place", report.by_place), ("scenario", report.by_scenario)):
        for name, one in groups.items():
            clicks |= {(by, name, "shown"): float(one.shown), (by, name, "acted"): float(one.clicked)}
    gauges: dict[str, dict[Labels, float]] = {
        "headrace_recommender_entries": {(effect,): float(count) for effect, count in report.entries.items()},
        "headrace_recommender_learner_behind_entries": {(): float(report.behind)},
        "headrace_recommender_items": {(): float(report.items)},
        "headrace_recommender_visitors": {(): float(report.visitors)},
        "headrace_recommender_shown": clicks,
        "headrace_recommender_problems": {(): float(bool(report.problem))},
    }
    if report.hit_rate is not None:
        gauges["headrace_recommender_hit_ratio"] = {(): report.hit_rate}
    return counts_text(Counts(gauges=gauges), OF_RECOMMENDER)
