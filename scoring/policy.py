"""The policy: from a probability and an amount to the outcome with the least expected cost."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from features.expression import InvalidExpression, function, parse
from features.view import field_kinds, field_sources
from stream.records import Outcome

Money = Annotated[float, Meta(ge=0.0, le=1e12)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class InvalidPolicy(ValueError):
    """The policy file cannot be used. It names the file, the setting and the remedy."""


class Costs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What outcomes cost, in units of the transaction's currency; see `policy.toml` for each number."""

    chargeback_fee: Money
    lost_margin: Share
    goodwill: Money
    review_cost: Money
    review_recall: Share
    review_floor: Share


class PolicyChoice(NamedTuple):
    """The outcome, what each outcome was expected to cost, and the segment whose numbers were used."""

    outcome: Outcome
    expected_cost: dict[str, float]
    segment: str


class Policy:
    """A versioned table of costs, by segment."""

    def __init__(self, version: str, default: Costs, segments: list[tuple[str, Callable[[Any], bool], Costs]]) -> None:
        self.version = version
        self.default = default
        self.segments = segments

    def choose(self, record: Any, probability: float) -> PolicyChoice:
        """The cheapest outcome for a record with an `amount`, given its calibrated probability of fraud in [0, 1]."""
        name, costs = "default", self.default
        for segment, applies, own in self.segments:
            if applies(record):
                name, costs = segment, own
                break
        loss = record.amount + costs.chargeback_fee
        expected = {
            "approve": probability * loss,
            "review": costs.review_cost + probability * (1.0 - costs.review_recall) * loss,
            "decline": (1.0 - probability) * (record.amount * costs.lost_margin + costs.goodwill),
        }
        outcome: Outcome = "approve"
        if probability >= costs.review_floor:
            if expected["review"] < expected[outcome]:
                outcome = "review"
            if expected["decline"] < expected[outcome]:
                outcome = "decline"
        return PolicyChoice(outcome, expected, name)


def load_policy(path: Path, source: type[Any]) -> Policy:
    """Read a policy for one type of record. Raises `InvalidPolicy`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidPolicy(f"policy {path} cannot be read: {error}") from None
    known = {"version", "default", "segments"}
    if unknown := sorted(set(content) - known):
        raise InvalidPolicy(f"policy {path} has {unknown[0]!r}; it may have {', '.join(sorted(known))}")
    if not isinstance(content.get("version"), str) or not isinstance(content.get("default"), dict):
        raise InvalidPolicy(f"policy {path} needs a text 'version' and a table [default]")
    default = _costs(path, "default", content["default"])
    kinds, sources = field_kinds(source), field_sources(source, "r")
    tables = content.get("segments", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InvalidPolicy(f"policy {path} has 'segments' that are no tables; write each as [[segments]]")
    segments = []
    for table in tables:
        own = {key: value for key, value in table.items() if key not in ("name", "when")}
        name = str(table.get("name", "(unnamed)"))
        try:
            condition = parse(str(table.get("when", "")), kinds, "boolean").python(sources)
        except InvalidExpression as error:
            raise InvalidPolicy(f"policy {path}, {name!r}, 'when': {error}") from None
        segments.append((name, function("r", condition), _costs(path, name, content["default"] | own)))
    return Policy(content["version"], default, segments)


def _costs(path: Path, segment: str, content: dict[str, Any]) -> Costs:
    try:
        return msgspec.convert(content, Costs)
    except msgspec.ValidationError as error:
        known = ", ".join(Costs.__struct_fields__)
        raise InvalidPolicy(f"policy {path}, {segment!r}: {error}; the settings are {known}") from None
