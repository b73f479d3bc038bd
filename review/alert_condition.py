"""Conditions: what a series has to do for somebody to be told."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from review.alert_series import MEANINGS

LIMIT = 200
LONGEST_S = 8 * 86400.0
"""Series are kept for some days: what looks back further would never see it all."""

Severity = Literal["page", "ticket"]
Kind = Literal["above", "below", "burn", "jump", "silent"]
KINDS: tuple[Kind, ...] = ("above", "below", "burn", "jump", "silent")
Positive = Annotated[float, Meta(gt=0.0)]
Span = Annotated[float, Meta(gt=0.0, le=LONGEST_S)]
Wait = Annotated[float, Meta(ge=0.0, le=LONGEST_S)]
Text = Annotated[str, Meta(min_length=1, max_length=300)]


class Burn(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"long_s": "long", "short_s": "short"}
):
    """An error budget: which share of `of` may be bad, and how much faster than evenly it may be used up."""

    of: str
    budget: Annotated[float, Meta(gt=0.0, lt=1.0)]
    factor: Positive
    long_s: Span
    short_s: Span


class Jump(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"window_s": "window", "before_s": "before"},
):
    """How many times the mean of `before_s` ago, and how much above it at least."""

    ratio: Annotated[float, Meta(gt=1.0)]
    least: Annotated[float, Meta(ge=0.0)] = 0.0
    window_s: Span = 900.0
    before_s: Span = 86400.0


class Condition(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"for_s": "for", "clear_for_s": "clear_for", "window_s": "window", "silent_s": "silent"},
):
    """One alert of the file. Exactly one of its five kinds is given."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]
    title: Annotated[str, Meta(min_length=1, max_length=100)]
    series: str
    severity: Severity
    link: Annotated[str, Meta(pattern=r"^/(?![/\\])[!-\[\]-~]*$", max_length=300)]
    remedy: Text
    above: float | None = None
    below: float | None = None
    burn: Burn | None = None
    jump: Jump | None = None
    silent_s: Span | None = None
    window_s: Span | None = None
    for_s: Wait = 0.0
    clear: float | None = None
    clear_for_s: Wait = 60.0

    @property
    def kind(self) -> Kind:
        """Which of the five it is."""
        fields: dict[Kind, object] = {
            "above": self.above,
            "below": self.below,
            "burn": self.burn,
            "jump": self.jump,
            "silent": self.silent_s,
        }
        return next(kind for kind in KINDS if fields[kind] is not None)

    @property
    def level(self) -> float:
        """What the measured value is held against."""
        if self.burn:
            return self.burn.factor
        if self.jump:
            return self.jump.ratio
        return next(level for level in (self.above, self.below, self.silent_s) if level is not None)

    @property
    def clear_level(self) -> float:
        """Where it ends."""
        return self.level if self.clear is None else self.clear

    def is_passed(self, value: float) -> bool:
        """Whether a value is beyond the level."""
        return value < self.level if self.kind == "below" else value > self.level

    def is_clear(self, value: float) -> bool:
        """Whether a value is back where it ends."""
        return value >= self.clear_level if self.kind == "below" else value <= self.clear_level

    def fault(self) -> tuple[str, object, str] | None:
        """A field, its value and what to do about it, where the whole makes no sense."""
        given = [kind for kind in KINDS if (self.silent_s if kind == "silent" else getattr(self, kind)) is not None]
        if len(given) != 1:
            return "above", given, f"give exactly one of {', '.join(KINDS)}"
        for field, name in (("series", self.series), ("burn.of", self.burn.of if self.burn else self.series)):
            if name not in MEANINGS:
                return field, name, f"no such series; choose one of {', '.join(MEANINGS)}"
        if self.burn and self.burn.short_s >= self.burn.long_s:
            return "burn.short", self.burn.short_s, f"give less than long, which is {self.burn.long_s:g} s"
        if self.jump and self.jump.window_s > self.jump.before_s:
            return "jump.window", self.jump.window_s, f"give at most before, which is {self.jump.before_s:g} s"
        if self.window_s is not None and self.kind not in ("above", "below"):
            return "window", self.window_s, "leave it out: only above and below are of a mean"
        if self.clear is not None and self.kind == "silent":
            return "clear", self.clear, "leave it out: a word ends a silence"
        if self.is_passed(self.clear_level):
            side = "least" if self.kind == "below" else "most"
            return "clear", self.clear, f"give at {side} the level, {self.level:g}"
        return None


class Alerts(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"every_s": "every", "stale_s": "stale", "repeat_s": "repeat"},
):
    """All conditions, how often they are looked at, and how often somebody is told again."""

    alerts: Annotated[tuple[Condition, ...], Meta(max_length=LIMIT)] = ()
    every_s: Annotated[float, Meta(ge=1.0, le=600.0)] = 10.0
    stale_s: Annotated[float, Meta(ge=5.0, le=86400.0)] = 60.0
    repeat_s: Annotated[float, Meta(ge=60.0, le=LONGEST_S)] = 4 * 3600.0

    def named(self, name: str) -> Condition | None:
        """The condition of this name."""
        return next((one for one in self.alerts if one.name == name), None)
