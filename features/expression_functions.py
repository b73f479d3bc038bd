"""The functions of the expression language: each pure, each with both its back ends, which mean the same.

A null number is NaN in Python and NULL in SQL; a null text is None and NULL. What is not a number is null.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["number", "text", "boolean"]
NAN = math.nan
EARTH_RADIUS_KM = 6371.0088
HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Function:
    """A pure function of the language: its argument kinds, its result, and both its back ends."""

    takes: tuple[Kind, ...]
    gives: Kind
    python: Callable[..., Any]
    sql: str
    """A template with {0}, {1} … for the arguments."""


def divide(a: float, b: float) -> float:
    """A quotient; null where the divisor is 0."""
    return a / b if b else NAN


def equal(a: object, b: object) -> bool:
    """Whether both are known and the same."""
    return a is not None and a == b


def unequal(a: object, b: object) -> bool:
    """Whether both are known and differ."""
    return a is not None and b is not None and a == a and b == b and a != b  # noqa: PLR0124  NaN is not itself


def not_in(a: object, items: tuple[object, ...]) -> bool:
    """Whether it is known and none of these."""
    return a is not None and a == a and a not in items  # noqa: PLR0124


def _least(a: float, b: float) -> float:
    return NAN if a != a or b != b else min(a, b)  # noqa: PLR0124


def _greatest(a: float, b: float) -> float:
    return NAN if a != a or b != b else max(a, b)  # noqa: PLR0124


def _log1p(a: float) -> float:
    # As SQL has to compute it (Goldberg, 1991): correct near 0, and the same digits in both back ends.
    if not a > -1:
        return NAN
    above = 1.0 + a
    return a if above == 1.0 else math.log(a) if a > 1e15 else math.log(above) * a / (above - 1.0)


def _sqrt(a: float) -> float:
    return math.sqrt(a) if a >= 0 else NAN


def _coalesce(a: float, b: float) -> float:
    return b if a != a else a  # noqa: PLR0124


def _hour(at_us: float) -> float:
    return _modulo(at_us / HOUR_US // 1.0, 24.0)


def _weekday(at_us: float) -> float:
    return _modulo(at_us / (24 * HOUR_US) // 1.0 + 3.0, 7.0)


def _modulo(a: float, b: float) -> float:
    # Step by step as in SQL, where `%` keeps the sign of times before 1970.
    return a - b * (a / b // 1.0)


def _distance_km(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Great-circle distance by the haversine formula (Sinnott, 1984)."""
    if not (abs(lat_a) <= 90 and abs(lat_b) <= 90 and abs(lon_a) <= 360 and abs(lon_b) <= 360):
        return NAN  # Unknown, or no place on Earth.
    phi_a, phi_b = math.radians(lat_a), math.radians(lat_b)
    half = (
        math.sin((phi_b - phi_a) / 2) ** 2
        + math.cos(phi_a) * math.cos(phi_b) * math.sin(math.radians(lon_b - lon_a) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(half if half < 1 else 1.0))


_RADIAN = f"{math.pi / 180!r}::DOUBLE"
_HAVERSINE_SQL = (
    "(CASE WHEN abs({0}) <= 90 AND abs({2}) <= 90 AND abs({1}) <= 360 AND abs({3}) <= 360 THEN "
    f"2 * {EARTH_RADIUS_KM}::DOUBLE * asin(sqrt(least(1.0, "
    f"pow(sin(({{2}} * {_RADIAN} - {{0}} * {_RADIAN}) / 2), 2) + cos({{0}} * {_RADIAN}) * cos({{2}} * {_RADIAN})"
    f" * pow(sin(({{3}} - {{1}}) * {_RADIAN} / 2), 2)))) END)"
)


def _modulo_sql(a: str, b: str) -> str:
    return f"nullif({a} - {b} * floor({a} / {b}), 'nan'::DOUBLE)"


_LOG1P_SQL = (
    "(CASE WHEN 1 + {0} = 1 THEN {0} WHEN {0} > 1e15 THEN ln({0})"
    " WHEN {0} > -1 THEN ln(1 + {0}) * {0} / (1 + {0} - 1) END)"
)

FUNCTIONS: dict[str, Function] = {
    "abs": Function(("number",), "number", abs, "abs({0})"),
    "min": Function(
        ("number", "number"),
        "number",
        _least,
        "(CASE WHEN {0} IS NULL OR {1} IS NULL THEN NULL ELSE least({0}, {1}) END)",
    ),
    "max": Function(
        ("number", "number"),
        "number",
        _greatest,
        "(CASE WHEN {0} IS NULL OR {1} IS NULL THEN NULL ELSE greatest({0}, {1}) END)",
    ),
    "log1p": Function(("number",), "number", _log1p, _LOG1P_SQL),
    "sqrt": Function(("number",), "number", _sqrt, "(CASE WHEN {0} >= 0 THEN sqrt({0}) END)"),
    "coalesce": Function(("number", "number"), "number", _coalesce, "coalesce({0}, {1})"),
    "is_null": Function(("number",), "boolean", lambda a: a != a, "({0} IS NULL)"),  # noqa: PLR0124
    "hour": Function(("number",), "number", _hour, _modulo_sql(f"floor({{0}} / {HOUR_US})", "24")),
    "weekday": Function(("number",), "number", _weekday, _modulo_sql(f"(floor({{0}} / {24 * HOUR_US}) + 3)", "7")),
    "distance_km": Function(("number",) * 4, "number", _distance_km, _HAVERSINE_SQL),
}
