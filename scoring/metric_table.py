"""The metrics that are counted in plain numbers, in one table, and how they become Prometheus's families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Literal, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from scoring.tally import Counts

LATENCY_BUCKETS_S = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
STAGE_BUCKETS_S = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1)
SCORE_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
BATCH_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
WORK_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metric(NamedTuple):
    """One metric: its name as a query has it (without `_bucket` and the like), what it is, its labels and bounds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


OF_SCORING = (
    Metric(
        "headrace_score_seconds",
        "histogram",
        "From the parsed request to the answer.",
        ("use_case",),
        LATENCY_BUCKETS_S,
    ),
    Metric("headrace_stage_seconds", "histogram", "Time of one stage of a score.", ("stage",), STAGE_BUCKETS_S),
    Metric("headrace_outcomes_total", "counter", "Decisions.", ("use_case", "outcome")),
    Metric(
        "headrace_amount_total",
        "counter",
        "Money that decisions were about, an answer that was found again left out.",
        ("use_case", "outcome", "currency"),
    ),
    Metric("headrace_degraded_total", "counter", "Decisions that lacked something, by what was missing.", ("missing",)),
    Metric(
        "headrace_member_score",
        "histogram",
        "Scores of each model, and of all together (`all`).",
        ("use_case", "member"),
        SCORE_BUCKETS,
    ),
    Metric(
        "headrace_member_scores_total",
        "counter",
        "Scores by the version of the model, of the versions that score now.",
        ("use_case", "member", "version"),
    ),
    Metric(
        "headrace_model",
        "gauge",
        "1 for each version that scores now; of the online model the version it began with.",
        ("use_case", "member", "version"),
    ),
    Metric("headrace_rules_fired_total", "counter", "Rules that fired: live, shadow or snoozed.", ("rule", "mode")),
    Metric("headrace_tags_total", "counter", "Tags that rules attached to decisions.", ("tag",)),
    Metric("headrace_feature_values_total", "counter", "Values in scored vectors.", ("use_case",)),
    Metric("headrace_feature_values_null_total", "counter", "Those of them that were unknown.", ("use_case",)),
    Metric("headrace_feature_values_approximate_total", "counter", "Those of them that were not exact.", ("use_case",)),
    Metric("headrace_batch_size", "histogram", "Records in one batch.", (), BATCH_BUCKETS),
    Metric("headrace_online_age_seconds", "gauge", "How long ago the learner gave a sign of life."),
    Metric("headrace_feedback_age_seconds", "gauge", "How long ago the feedback model was trained."),
    Metric("headrace_policy", "gauge", "1 for the policy that decides now.", ("use_case", "version")),
    Metric("headrace_rules_version", "gauge", "The version of the rule book that is asked.", ("use_case",)),
    Metric("headrace_feed_failures_total", "counter", "Times that a feed could not be renewed.", ("feed",)),
    Metric("headrace_feed_problems", "gauge", "What is wrong with a feed now: 0 where nothing is.", ("feed",)),
)
OF_PROCESSES = (
    Metric("headrace_log_read_total", "counter", "Records read from the log.", ("group", "topic")),
    Metric("headrace_log_appended_total", "counter", "Records appended to the log.", ("topic",)),
    Metric(
        "headrace_log_work_seconds", "histogram", "From a batch's arrival to its commit.", ("group",), WORK_BUCKETS_S
    ),
    Metric("headrace_log_commit_seconds", "histogram", "Time of one commit of offsets.", ("group",), WORK_BUCKETS_S),
    Metric("headrace_log_failures_total", "counter", "Calls of the log that failed.", ("call",)),
    Metric(
        "headrace_lag_records",
        "gauge",
        "Offsets between what a group has committed and the end of a Kafka partition.",
        ("group", "topic", "partition"),
    ),
)
OF_LOG = (
    Metric(
        "headrace_lag_seconds",
        "gauge",
        "How long the oldest unread record of a topic in Redis waits for a group.",
        ("group", "topic"),
    ),
    Metric("headrace_outbox_records", "gauge", "Records of a topic in Redis, read or not.", ("topic",)),
    Metric("headrace_outbox_fullest_ratio", "gauge", "The fullest partition of the outbox, of its limit."),
    Metric("headrace_group_members", "gauge", "Running members of a group on the log in Redis.", ("group",)),
)
OF_LEARNER = (
    Metric("headrace_learner_frozen", "gauge", "1 where the learner stands still, by reason.", ("use_case", "why")),
    Metric("headrace_learner_labels", "gauge", "What became of labels, by the learner's file.", ("use_case", "fate")),
    Metric(
        "headrace_learner_log_loss",
        "gauge",
        "Mean log loss of the learner and of its twin, which does not learn, on the same labels.",
        ("use_case", "weights"),
    ),
)
OF_RECOMMENDING = (
    Metric("headrace_recommend_seconds", "histogram", "From the parsed request to the slate.", (), LATENCY_BUCKETS_S),
    Metric(
        "headrace_recommend_stage_seconds", "histogram", "Time of one stage of a slate.", ("stage",), STAGE_BUCKETS_S
    ),
    Metric("headrace_slates_total", "counter", "Slates, by what ranked them.", ("scenario", "ranker")),
    Metric(
        "headrace_slate_items_total",
        "counter",
        "Items in slates, by the source that lifted them, ranked or explored.",
        ("source", "place"),
    ),
    Metric("headrace_slates_degraded_total", "counter", "Slates that lacked something, by what.", ("missing",)),
    Metric("headrace_slate_feedback_total", "counter", "Actions that answer a slate, by action.", ("action",)),
    Metric(
        "headrace_recommender_behind_entries",
        "gauge",
        "Entries of the sequence that the state of recommending has not taken in yet.",
    ),
)
OF_RECOMMENDER = (
    Metric(
        "headrace_recommender_entries",
        "gauge",
        "Entries of the sequence that the learner of recommending took in, by what they did.",
        ("effect",),
    ),
    Metric(
        "headrace_recommender_learner_behind_entries", "gauge", "Entries of the sequence that it has not taken in yet."
    ),
    Metric("headrace_recommender_items", "gauge", "Items that it knows."),
    Metric("headrace_recommender_visitors", "gauge", "Visitors that it knows."),
    Metric(
        "headrace_recommender_shown",
        "gauge",
        "Recommended items since it started, and those of them acted on: by source, place and scenario.",
        ("by", "name", "what"),
    ),
    Metric(
        "headrace_recommender_hit_ratio",
        "gauge",
        "How often the next item was among the ten that it would have proposed.",
    ),
    Metric("headrace_recommender_problems", "gauge", "1 where its state is not the whole sequence's."),
)
EVERY = {
    metric.name: metric
    for metric in (*OF_SCORING, *OF_RECOMMENDING, *OF_PROCESSES, *OF_LOG, *OF_LEARNER, *OF_RECOMMENDER)
}


def families(counts: Counts, table: Iterable[Metric]) -> Iterator[Family]:
    """Prometheus's families of the metrics of the table that have a value."""
    for metric in table:
        if metric.kind == "histogram":
            if tallies := counts.histograms.get(metric.name):
                yield _histogram(metric, tallies)
        elif values := (counts.counters if metric.kind == "counter" else counts.gauges).get(metric.name):
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in sorted(values.items()):
                family.add_metric(labels, value)
            yield family


def _histogram(metric: Metric, tallies: dict[tuple[str, ...], list[float]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    names = [*(str(bound) for bound in metric.bounds), "+Inf"]
    for labels, (*counts, total) in sorted(tallies.items()):
        family.add_metric(labels, list(zip(names, accumulate(counts), strict=True)), total)
    return family
