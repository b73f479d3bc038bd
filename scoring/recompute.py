"""Recompute a logged decision from its record, its vector and what the audit chain kept; compare bit for bit.

What is given, and not recomputed: the record, the vector and which of its features were approximate (the histories of
that moment are gone), the time, which parts were missing or late, whether the budgets had anything left, and the
latency. Everything that follows from these is recomputed by the code that serves. Where something needed is missing,
what depends on it is not checked, and the result says so; what lies behind it is checked on the logged value.

The same bits need the same code (release, revision), and onnxruntime and numpy that add in the same order: on another
kind of processor the last bit of a model's score can differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from models.ensemble import BATCH, Opinion, combine, registered_name
from models.onnx import InvalidArtifact, OnnxModel
from models.registry import ModelNotFound, Registry
from models.shap import ShapModel
from scoring.audit_artefacts import Code
from scoring.audit_sources import NotKept, Sources
from scoring.policy import PolicyChoice
from scoring.policy_file import InvalidPolicy, read_policy
from scoring.reasons import Explainer, with_rules
from scoring.recomputed import Field, Recomputed
from scoring.rule_feed import UNREAD, compile_book
from scoring.rules import Fired, Rule, RuleSet, check_rule
from scoring.use_case import UseCase
from stream.chain_entry import ChainEntry
from stream.records import Decision, MemberScore, Reason, decode

GIVEN = "online store"
NO_KEY = "without HEADRACE_LET_THROUGH_KEY nobody can say who was let through"


class RecordedBudget:
    """What the budget said then (`Budget`); False where it was not asked then."""

    def __init__(self, review_free: bool | None, draw_free: bool | None) -> None:
        self._review_free = review_free
        self._draw_free = draw_free

    def take_review(self, minutes: float, worth: float) -> bool:
        """As it was."""
        return bool(self._review_free)

    def charge_review(self, minutes: float) -> None:
        """Nothing is charged twice."""

    @property
    def may_let_through(self) -> bool:
        """As it was."""
        return bool(self._draw_free)

    def charge_let_through(self) -> None:
        """Nothing is charged twice."""


class Recomputer:
    """Recomputes decisions of one use case. `key` is the one of the policy's draws."""

    def __init__(self, use_case: UseCase, sources: Sources, registry: Registry, key: str = "") -> None:
        self._use_case = use_case
        self._sources = sources
        self._registry = registry
        self._key = key
        self._explainer = Explainer(use_case.features)
        self._models: dict[tuple[str, str], tuple[OnnxModel, ShapModel | None]] = {}

    def run(self, entry: ChainEntry) -> Recomputed:
        """One decision anew. Raises `NotKept` where its payload was erased."""
        if entry.is_erased:
            raise NotKept(f"entry {entry.number} was erased: its decision cannot be recomputed")
        return _Replay(self, entry).run()

    def model(self, member: str, version: str) -> tuple[OnnxModel, ShapModel | None]:
        """A version of a member from the registry, and as it finds reasons. Raises `NotKept`."""
        name = registered_name(self._use_case.name, member)
        if (name, version) not in self._models:
            try:
                model = self._registry.load(name, version)
            except (ModelNotFound, InvalidArtifact, OSError, ValueError) as error:
                raise NotKept(f"model {name} {version} cannot be loaded from the registry: {error}") from None
            try:
                read: ShapModel | None = self._registry.read(name, version)
            except (ModelNotFound, OSError, ValueError):
                read = None
            self._models[name, version] = (model, read)
        return self._models[name, version]


class _Replay:
    """One decision on its way through the stages of `Decider.decide`."""

    def __init__(self, recomputer: Recomputer, entry: ChainEntry) -> None:
        self._by = recomputer
        self._entry = entry
        self._logged: Decision = decode(entry.payload, Decision)
        self._has_budget = b'"review_free":' in entry.payload
        self._values = np.array(self._logged.vector, dtype=np.float64)  # None becomes NaN
        self._fields: list[Field] = []
        self._notes: list[str] = []
        self._degraded: list[str] = []

    def run(self) -> Recomputed:
        logged = self._logged
        self._same("event_id", logged.record.event_id)
        self._same("event_timestamp", logged.record.event_timestamp)
        self._same("definition_hash", self._by._use_case.features.definition_hash)
        code = self._code()
        models_score = self._scores(code)
        fired = self._fire(code)
        self._policy_and_reasons(models_score, fired)
        self._compare_degraded(fired)
        return Recomputed(event_id=logged.event_id, entry=self._entry.number, fields=self._fields, notes=self._notes)

    def _code(self) -> Code:
        present = Code.of(self._by._use_case)
        try:
            then = self._by._sources.code(self._logged.use_case, self._entry.number)
        except NotKept as error:
            self._notes.append(f"{error}: taken to be this one, {present.release} {present.revision}".rstrip())
            return present
        if (then.release, then.revision) != (present.release, present.revision):
            self._notes.append(
                f"kept by release {then.release} {then.revision}, recomputed by {present.release} {present.revision}"
            )
        return then

    def _scores(self, code: Code) -> float | None:
        """The score that the models come to; None where it cannot be said."""
        opinions: dict[str, Opinion] = {}
        unknown = ""
        for name, member in self._logged.scores.items():
            ready = True
            try:
                said, ready = self._member(name, member)
                self._compare(f"scores.{name}", member, MemberScore(member.version, said))
            except NotKept as error:
                self._skip(f"scores.{name}", member, str(error))
                said = member.score
                unknown = str(error) if name == "online" else unknown
            stale = f"{name} model" in self._logged.degraded
            opinions[name] = Opinion(said, ready, math.inf if stale else 0.0)
            if stale:
                self._degraded.append(f"{name} model")
        combined = combine(opinions, code.weights)
        if combined.score is None:
            self._degraded.append("models")
        if unknown:
            # Whether these weights had learned enough to be heard is in the weights.
            self._notes.append(f"whether the online model was heard is not known: {unknown}")
            return None
        return code.prior_score if combined.score is None else combined.score

    def _member(self, name: str, member: MemberScore) -> tuple[float, bool]:
        if name != "online":
            return self._by.model(name, member.version)[0].score_one(self._values), True
        found = self._by._sources.snapshots(self._logged.use_case, member.version)
        says = [(snapshot.score_one(self._values), snapshot.ready) for snapshot in found]
        same = [said for said in says if said[0].hex() == member.score.hex()]
        return (same or says)[0]

    def _fire(self, code: Code) -> Fired | None:
        logged = self._logged
        names = ("rules", "shadow_rules", "snoozed_rules", "tags", "rules_version")
        if logged.definition_hash != self._by._use_case.features.definition_hash:
            why = "its features have another definition than this code's; use the code that made it"
            self._skip_all(names, why)
            return None
        if "rules" in logged.degraded:
            self._degraded.append("rules")
            return self._compare_rules(Fired())
        try:
            if "rule book" in logged.degraded:
                return self._compare_rules(self._ask(lambda at: _shipped(code.rules, self._by._use_case, at)))
            book = self._by._sources.book(logged.use_case, logged.rules_version, self._entry.number, code.rules)
        except NotKept as error:
            self._skip_all(names, str(error))
            return None
        features = self._by._use_case.features
        return self._compare_rules(self._ask(lambda at: compile_book(book, features, lambda: at)[0]))

    def _ask(self, rules_at: Callable[[float], RuleSet]) -> Fired:
        """As of when it was scored; where a time ran out within the score itself, as of its beginning.

        Decisions of an older release say when their reasons had been found: then these are a part of that time, too.
        """
        logged = self._logged
        ended_s = logged.scored_at.timestamp()
        whole_s = sum(logged.latency_us.values()) / 1e6
        fired = Fired()
        for at_s in (ended_s, ended_s - whole_s + logged.latency_us.get("reasons", 0) / 1e6, ended_s - whole_s):
            fired = rules_at(at_s).fired(logged.record, self._values.tolist())
            if (fired.names, list(fired.shadow), list(fired.snoozed)) == (
                logged.rules,
                logged.shadow_rules,
                logged.snoozed_rules,
            ):
                return fired
        return fired

    def _compare_rules(self, fired: Fired) -> Fired:
        self._same("rules", fired.names)
        self._same("shadow_rules", list(fired.shadow))
        self._same("snoozed_rules", list(fired.snoozed))
        self._same("tags", fired.tags)
        self._same("rules_version", fired.version)
        self._degraded += [f"rule {name}" for name in fired.broken]
        return fired

    def _policy_and_reasons(self, models_score: float | None, fired: Fired | None) -> None:
        by_policy = (
            *("policy_version", "outcome", "propensity", "segment", "expected_cost", "review_free", "draw_free"),
            "reasons",
        )
        if fired is None:
            self._skip_all(("score", "score_added", *by_policy), "which rules fired is not known")
            return
        score = self._logged.score
        if models_score is None:
            self._skip_all(("score", "score_added"), "the online model's weights are not there")
        else:
            score = fired.added_to(models_score)
            self._same("score", score)
            self._same("score_added", score - models_score)
        try:
            choice = self._choose(score, fired.deciding)
        except NotKept as error:
            self._skip_all(by_policy, str(error))
            return
        self._same("segment", choice.segment)
        self._same("expected_cost", choice.expected_cost)
        asked = choice.review_free is not None or choice.draw_free is not None
        if asked and not self._has_budget:
            rest = ("outcome", "propensity", "review_free", "draw_free", "reasons")
            self._skip_all(rest, "what the budget said was not logged by that release")
            return
        self._same("review_free", choice.review_free)
        self._same("draw_free", choice.draw_free)
        if choice.draw_free and not self._by._key:
            self._skip_all(("outcome", "propensity", "reasons"), NO_KEY)
            return
        self._same("outcome", choice.outcome)
        self._same("propensity", choice.propensity)
        self._reasons(choice, fired, score)

    def _choose(self, score: float, deciding: list[Rule]) -> PolicyChoice:
        logged = self._logged
        text = self._by._sources.policy(logged.use_case, logged.policy_version)
        try:
            policy = read_policy(text, self._by._use_case.source, self._by._key or "unknown")
        except InvalidPolicy as error:
            raise NotKept(f"this code does not understand the kept policy: {error}") from None
        self._same("policy_version", policy.version)
        policy.budget = RecordedBudget(logged.review_free, logged.draw_free)
        return policy.choose(logged.record, score, deciding)

    def _reasons(self, choice: PolicyChoice, fired: Fired, score: float) -> None:
        logged = self._logged
        if choice.outcome == "approve":
            self._same("reasons", [])
            return
        found: list[Reason] = []
        if "reasons" in logged.degraded:
            self._degraded.append("reasons")
        elif choice.cheapest != "approve" and "batch" in logged.scores:
            try:
                model, read = self._by.model(BATCH, logged.scores[BATCH].version)
            except NotKept as error:
                self._skip("reasons", logged.reasons, str(error))
                return
            found = self._by._explainer.explain(model, self._values, logged.record, read)
        self._same("reasons", with_rules(found, choice.outcome, fired.rules, score))

    def _compare_degraded(self, fired: Fired | None) -> None:
        # What was missing is given where it cannot follow from anything else: a store or a model that did not answer.
        heard = {f"{name} model" for name in self._logged.scores}
        given = {one for one in self._logged.degraded if one == GIVEN or (one.endswith(" model") and one not in heard)}
        if fired is None:
            self._skip("degraded", self._logged.degraded, "which rules fired is not known")
        else:
            self._compare("degraded", sorted(self._logged.degraded), sorted([*given, *self._degraded]))

    def _same(self, name: str, recomputed: Any) -> None:
        self._compare(name, getattr(self._logged, name), recomputed)

    def _compare(self, name: str, logged: Any, recomputed: Any) -> None:
        self._fields.append(Field(name=name, logged=logged, recomputed=recomputed))

    def _skip(self, name: str, logged: Any, why: str) -> None:
        self._fields.append(Field(name=name, logged=logged, unchecked=why))

    def _skip_all(self, names: tuple[str, ...], why: str) -> None:
        known = {field.name for field in self._fields}
        for name in names:
            if name not in known:
                self._skip(name, getattr(self._logged, name), why)


def _shipped(rules: list[Rule], use_case: UseCase, at_s: float) -> RuleSet:
    """What answers before the book was read for the first time."""
    for rule in rules:
        check_rule(rule, use_case.features)
    return RuleSet(rules, use_case.features, broken=UNREAD, clock=lambda: at_s)
