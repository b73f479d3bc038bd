"""The slate policy and its file: the shape of slates, where they explore, and the business rules, read strictly.

A scenario of a request (`checkout`, say) may have settings of its own; what it does not name is that of `[default]`.
A scenario that the file does not name is served by `[default]`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from models.slate import Contenders, Exposures, Place, SlateSettings, compose
from scoring.slate_rules import InvalidSlateRule, SlateItem, SlateRule, SlateRules
from stream.invalid_record import InvalidRecord
from stream.records import convert

SHIPPED = Path(__file__).parent / "slate.toml"
TABLES = ("name", "default", "scenarios", "rules")
NAME_LIMIT = 64
SCENARIOS_LIMIT = 100
RULES_LIMIT = 100


class InvalidSlatePolicy(ValueError):
    """The slate policy cannot be used. It names the file, the setting, its value and the remedy."""


class Slate(NamedTuple):
    """A composed slate: its places in order, and the rules that held for a candidate or could not be asked of one."""

    places: list[Place]
    fired: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlatePolicy:
    """How slates are made. The version follows all numbers and conditions, not the comments."""

    version: str
    default: SlateSettings
    scenarios: Mapping[str, SlateSettings]
    rules: SlateRules

    def settings(self, scenario: str = "") -> SlateSettings:
        """The settings for a scenario."""
        return self.scenarios.get(scenario, self.default)

    def compose(
        self,
        contenders: Contenders,
        items: Callable[[], Sequence[SlateItem]],
        k: int | None = None,
        scenario: str = "",
        exposures: Exposures | None = None,
    ) -> Slate:
        """The slate of these candidates under the rules; `k` of None is the scenario's own number of places.

        `items` gives the candidates as rules see them, in their order. It is called only where a rule can hold.
        """
        settings = self.settings(scenario)
        places = settings.k if k is None else k
        if places <= 0 or not len(contenders.items) or not self.rules.may_hold(scenario):
            return Slate(compose(contenders, places, settings, exposures))
        ruled = self.rules.apply(items(), scenario)
        # A boost lifts a score below 0 too.
        scores = np.where(contenders.scores < 0.0, contenders.scores / ruled.boosts, contenders.scores * ruled.boosts)
        allowed = contenders._replace(scores=scores, barred=contenders.barred | ruled.hidden)
        return Slate(compose(allowed, places, settings, exposures), ruled.fired, ruled.broken)


def load_slate_policy(path: Path = SHIPPED) -> SlatePolicy:
    """Read a slate policy. Raises `InvalidSlatePolicy`."""
    try:
        return read_slate_policy(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSlatePolicy(f"slate policy {path} cannot be read: {error}") from None


def read_slate_policy(text: str, path: Path | str = "(kept)") -> SlatePolicy:
    """As `load_slate_policy`, from what the file says. `path` is for messages."""
    try:
        return _File(tomllib.loads(text), path).policy()
    except tomllib.TOMLDecodeError as error:
        raise InvalidSlatePolicy(f"slate policy {path} cannot be read: {error}") from None


class _File:
    def __init__(self, content: dict[str, Any], path: Path | str) -> None:
        self.content = content
        self.path = path

    def policy(self) -> SlatePolicy:
        if unknown := sorted(set(self.content) - set(TABLES)):
            raise self.refusal(f"has {unknown[0]!r}; it may have {', '.join(TABLES)}")
        name = self.content.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT:
            raise self.refusal(f"has the 'name' {name!r}; write a text of 1 to {NAME_LIMIT} characters")
        own = self.content.get("default", {})
        default = self.settings("default", own)
        scenarios = self.scenarios(own)
        rules = self.rules()
        meaning = [default, scenarios, [msgspec.structs.replace(rule, because="") for rule in rules]]
        digest = sha256(msgspec.json.encode(meaning, order="deterministic")).hexdigest()
        try:
            return SlatePolicy(f"{name}-{digest[:8]}", default, scenarios, SlateRules(rules))
        except InvalidSlateRule as error:
            raise self.refusal(f"cannot be used: {error}") from None

    def scenarios(self, own: dict[str, Any]) -> dict[str, SlateSettings]:
        """The settings of each scenario, filled up with those of the default."""
        tables = self.content.get("scenarios", {})
        if not isinstance(tables, dict) or len(tables) > SCENARIOS_LIMIT:
            raise self.refusal(f"has 'scenarios' that cannot be used; write at most {SCENARIOS_LIMIT} [scenarios.NAME]")
        found = {}
        for name, table in tables.items():
            subject = f"scenarios.{name}"
            if not isinstance(table, dict):
                raise self.refusal(f"{subject!r} has {table!r}; write it as a table, [{subject}]")
            exploration = table.get("exploration", {})
            if not isinstance(exploration, dict):
                raise self.refusal(f"{subject!r}: exploration has {exploration!r}; write it as [{subject}.exploration]")
            merged = own | table | {"exploration": own.get("exploration", {}) | exploration}
            found[name] = self.settings(subject, merged)
        return found

    def settings(self, subject: str, table: object) -> SlateSettings:
        if not isinstance(table, dict):
            raise self.refusal(f"has {table!r} for [{subject}]; write it as a table")
        try:
            return convert(table, SlateSettings)
        except InvalidRecord as error:
            raise self.refusal(f"{subject!r}: {error.field} has {error.value}: {error.remedy}") from None

    def rules(self) -> list[SlateRule]:
        tables = self.content.get("rules", [])
        if not isinstance(tables, list) or len(tables) > RULES_LIMIT:
            raise self.refusal(f"has 'rules' that cannot be used; write at most {RULES_LIMIT} [[rules]]")
        rules = []
        for number, table in enumerate(tables, 1):
            name = table.get("name") if isinstance(table, dict) else None
            try:
                rules.append(convert(table, SlateRule))
            except InvalidRecord as error:
                raise self.refusal(
                    f"rule {number} ({name!r}): {error.field} has {error.value}: {error.remedy}"
                ) from None
        return rules

    def refusal(self, says: str) -> InvalidSlatePolicy:
        return InvalidSlatePolicy(
            f"slate policy {self.path}{' ' if says.startswith(('has', 'cannot')) else ', '}{says}"
        )
