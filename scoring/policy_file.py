"""Read a policy from its file, strictly: what is misspelt or out of range is refused, named, with its remedy."""

from __future__ import annotations

import re
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from features.expression import InvalidExpression, function, parse
from features.view import field_kinds, field_sources
from scoring.policy import Policy, Segment
from scoring.policy_costs import Analysts, Costs, LetThrough
from stream.invalid_record import InvalidRecord
from stream.records import convert

TABLES = ("name", "default", "segments", "analysts", "let_through", "currency_rates")
NAME_LIMIT = 64
LARGEST_RATE = 1e6
T = TypeVar("T")


class InvalidPolicy(ValueError):
    """The policy file cannot be used. It names the file, the setting, its value and the remedy."""


def load_policy(path: Path, source: type[Any], key: str = "") -> Policy:
    """Read a policy for one type of record. `key` makes the draws of who is let through. Raises `InvalidPolicy`.

    The version is the policy's name and eight digits of a hash of all its numbers and conditions: comments and order
    do not change it, everything that can change an outcome does.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPolicy(f"policy {path} cannot be read: {error}") from None
    return read_policy(text, source, key, path)


def read_policy(text: str, source: type[Any], key: str = "", path: Path | str = "(kept)") -> Policy:
    """As `load_policy`, from what the file says. `path` is for messages."""
    return _File(text, path).policy(source, key)


class _File:
    def __init__(self, text: str, path: Path | str) -> None:
        self.path = path
        try:
            self.content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidPolicy(f"policy {path} cannot be read: {error}") from None

    def policy(self, source: type[Any], key: str) -> Policy:
        content = self.content
        if unknown := sorted(set(content) - set(TABLES)):
            raise self.refusal(f"has {unknown[0]!r}; it may have {', '.join(TABLES)}")
        name = content.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT:
            raise self.refusal(f"has the 'name' {name!r}; write a text of 1 to {NAME_LIMIT} characters")
        default = self.table("default", content.get("default"), Costs)
        analysts = self.table("analysts", content["analysts"], Analysts) if "analysts" in content else None
        let_through = self.table("let_through", content.get("let_through", {}), LetThrough)
        rates = self.rates(content.get("currency_rates", {}))
        if rates and "currency" not in field_kinds(source):
            raise self.refusal(f"has 'currency_rates', and {source.__name__} has no currency; leave the table out")
        segments, conditions = self.segments(source)
        self.check_minutes([("default", default), *((one.name, one.costs) for one in segments)], analysts)
        self.check_let_through(let_through, key)
        numbers = [default, [(one.name, when, one.costs) for one, when in zip(segments, conditions, strict=True)]]
        meaning = msgspec.json.encode([numbers, analysts, let_through, rates], order="deterministic")
        version = f"{name}-{sha256(meaning).hexdigest()[:8]}"
        return Policy(version, default, segments, analysts, let_through, rates, key)

    def rates(self, content: object) -> dict[str, float]:
        """What one unit of each listed currency is worth."""
        if not isinstance(content, dict):
            raise self.refusal("has 'currency_rates' that are no table; write it as [currency_rates], USD = 0.9")
        for code, rate in content.items():
            if not re.fullmatch("[A-Z]{3}", code):
                raise self.refusal(
                    f"'currency_rates': {code!r} is no currency; write three capitals, such as USD = 0.9"
                )
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0.0 < rate <= LARGEST_RATE:
                raise self.refusal(
                    f"'currency_rates': {code} has {rate!r}; write a number above 0, up to {LARGEST_RATE:g}"
                )
        return {code: float(rate) for code, rate in content.items()}

    def segments(self, source: type[Any]) -> tuple[list[Segment], list[str]]:
        """The segments in their order, and the text of each one's condition."""
        tables = self.content.get("segments", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self.refusal("has 'segments' that are no tables; write each as [[segments]]")
        kinds, sources = field_kinds(source), field_sources(source, "r")
        segments: list[Segment] = []
        conditions = []
        for table in tables:
            name, when = table.get("name"), table.get("when")
            if not isinstance(name, str) or not name or name in ("default", *(one.name for one in segments)):
                raise self.refusal(f"has a segment with the 'name' {name!r}; give each a name of its own")
            if not isinstance(when, str):
                raise self.refusal(f"{name!r}: 'when' has {when!r}; write a condition, such as \"amount >= 2000\"")
            own = {setting: value for setting, value in table.items() if setting not in ("name", "when")}
            try:
                condition = parse(when, kinds, "boolean")
            except InvalidExpression as error:
                raise self.refusal(f"{name!r}, 'when': {error}") from None
            applies = function("r", condition.python(sources))
            segments.append(Segment(name, applies, self.table(name, self.content["default"] | own, Costs)))
            conditions.append(condition.text)
        return segments, conditions

    def table(self, name: str, content: object, kind: type[T]) -> T:
        """One table as its type."""
        known = ", ".join(getattr(kind, "__struct_fields__", ()))
        if not isinstance(content, dict):
            raise self.refusal(f"has no table [{name}]; write it, with {known}")
        try:
            return convert(content, kind)
        except InvalidRecord as error:
            raise self.refusal(
                f"{name!r}: {error.field} has {error.value}: {error.remedy}; the settings are {known}"
            ) from None

    def check_minutes(self, costs: list[tuple[str, Costs]], analysts: Analysts | None) -> None:
        for name, own in costs:
            if analysts is not None and own.review_minutes > analysts.backlog_minutes:
                raise self.refusal(
                    f"{name!r}: review_minutes has {own.review_minutes:g}, and [analysts] backlog_minutes only "
                    f"{analysts.backlog_minutes:g}: nothing could be reviewed; raise backlog_minutes"
                )

    def check_let_through(self, settings: LetThrough, key: str) -> None:
        if settings.share == 0.0:
            return
        for setting in ("largest_amount", "daily_limit"):
            if not getattr(settings, setting):
                raise self.refusal(
                    f"'let_through': {setting} has 0 while share has {settings.share:g}: nothing could be let "
                    f"through; write a number above 0, or share = 0"
                )
        if not key:
            raise self.refusal(
                f"'let_through': share has {settings.share:g}, and there is no key for the draws; set "
                "HEADRACE_LET_THROUGH_KEY to a secret text, the same for all processes, or write share = 0"
            )

    def refusal(self, says: str) -> InvalidPolicy:
        return InvalidPolicy(f"policy {self.path} {says}" if says[0] != "'" else f"policy {self.path}, {says}")
