"""What is true now of the models, the rules and the policy that score, read when the counts are told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from scoring.live_models import LiveModels
from scoring.observed import Observed, base_version
from scoring.rules import RuleSet
from scoring.tally import Counts


class Feed(Protocol):
    """Something that is renewed in the background."""

    @property
    def failures(self) -> int:
        """How often it could not be renewed."""

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong with it now, by part."""


class Readings:
    """The counts of one process: what its scorer's observer has counted, and the present state of what it scores with.

    It also makes the observer forget the versions and rules that are there no longer.
    """

    def __init__(
        self,
        observed: Observed,
        models: Callable[[], LiveModels],
        rules: Callable[[], RuleSet],
        policy_version: str,
        feeds: Mapping[str, Feed],
    ) -> None:
        self._observed = observed
        self._models = models
        self._rules = rules
        self._policy_version = policy_version
        self._feeds = feeds

    def __call__(self) -> Counts:
        """The counts now."""
        models, rules, use_case = self._models(), self._rules(), self._observed.use_case
        versions = versions_of(models)
        self._observed.keep_only(versions, rule_names(rules))
        counts = self._observed.counts()
        counts.gauges = {
            "headrace_model": {(use_case, *labels): 1.0 for labels in versions},
            "headrace_policy": {(use_case, self._policy_version): 1.0},
            "headrace_rules_version": {(use_case,): float(rules.version)},
            "headrace_feed_problems": {(name,): float(len(feed.problems)) for name, feed in self._feeds.items()},
        }
        if math.isfinite(models.online_at_s):
            counts.gauges["headrace_online_age_seconds"] = {(): time.monotonic() - models.online_at_s}
        if math.isfinite(models.feedback_at_s):
            counts.gauges["headrace_feedback_age_seconds"] = {(): time.time() - models.feedback_at_s}
        counts.counters["headrace_feed_failures_total"] = {
            (name,): float(feed.failures) for name, feed in self._feeds.items()
        }
        return counts


def versions_of(models: LiveModels) -> set[tuple[str, ...]]:
    """Member and version of each model that scores now."""
    found = [("batch", models.batch), ("feedback", models.feedback), ("online", models.online)]
    if models.canary is not None:
        found.append(("batch", models.canary.batch))
    return {(name, base_version(name, model.version)) for name, model in found if model is not None}


def rule_names(rules: RuleSet) -> Collection[str]:
    """The names of all rules that are asked."""
    return {rule.name for rule in (*rules.rules, *rules.shadow)}


def only_live_versions(counts: Counts) -> Counts:
    """The counts of all processes without the versions that none of them scores with now."""
    live = counts.gauges.get("headrace_model", {})
    scored = counts.counters.get("headrace_member_scores_total", {})
    counts.counters["headrace_member_scores_total"] = {
        labels: count for labels, count in scored.items() if labels in live
    }
    return counts
