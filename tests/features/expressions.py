"""Expressions of any form, and what each back end makes of them."""

from __future__ import annotations

import math
from typing import Any

import duckdb
from hypothesis import strategies as st

from features.expression import FUNCTIONS, Kind, function, parse

NAMES: dict[str, Kind] = {"a": "number", "b": "number", "amount": "number", "t": "text", "u": "text"}
COLUMNS = {name: f'"{name}"' for name in NAMES}
SOURCES = {name: f"v[{i}]" for i, name in enumerate(NAMES)}
Row = tuple[float | None, float | None, float | None, str | None, str | None]


def python(text: str, row: Row) -> Any:
    values = [math.nan if value is None and i < 3 else value for i, value in enumerate(row)]
    result = function("v", parse(text, NAMES).python(SOURCES))(values)
    return None if isinstance(result, float) and math.isnan(result) else result


def in_sql(connection: duckdb.DuckDBPyConnection, text: str, rows: list[Row]) -> list[Any]:
    cells = ", ".join(["(?::DOUBLE, ?::DOUBLE, ?::DOUBLE, ?::VARCHAR, ?::VARCHAR)"] * len(rows))
    query = f"SELECT {parse(text, NAMES).sql(COLUMNS)} FROM (VALUES {cells}) AS rows({', '.join(NAMES)})"
    found = connection.execute(query, [value for row in rows for value in row]).fetchall()
    return [value for (value,) in found]


def same(one: Any, other: Any) -> bool:
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-300)


NUMBERS = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.1, 90.0, 1e-20, 1e15, 1e300, 1.7e15]),
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.floats(-1e300, 1e300, allow_subnormal=False),
)
TEXTS = st.sampled_from(["x", "y", "it's", "", "é"])


def called(name: str, inner: st.SearchStrategy[str], arguments: int) -> st.SearchStrategy[str]:
    return st.tuples(*[inner] * arguments).map(lambda texts: f"{name}({', '.join(texts)})")


def number_texts(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    calls = [called(name, inner, len(known.takes)) for name, known in FUNCTIONS.items() if known.gives == "number"]
    sums = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({' '.join(parts)})")
    return st.one_of(sums, *calls, inner.map(lambda text: f"-{text}"))


def literal(number: float) -> str:
    return repr(abs(number))


LEAVES = st.one_of(st.sampled_from(["a", "b", "amount"]), NUMBERS.map(literal))
NUMBER = st.recursive(LEAVES, number_texts, max_leaves=6)
SIGNED = NUMBERS.map(repr)


def listed(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(items, min_size=1, max_size=3).map(lambda texts: f"({', '.join(texts)},)")


COMPARISONS = st.one_of(
    st.tuples(NUMBER, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), NUMBER).map(" ".join),
    st.tuples(NUMBER, st.just("<"), NUMBER, st.just("!="), NUMBER).map(" ".join),
    st.tuples(NUMBER, st.sampled_from(["in", "not in"]), listed(SIGNED)).map(" ".join),
    st.tuples(st.sampled_from("tu"), st.sampled_from(["in", "not in"]), listed(TEXTS.map(repr))).map(" ".join),
    st.tuples(st.sampled_from("tu"), st.sampled_from(["==", "!="]), st.one_of(st.just("u"), TEXTS.map(repr))).map(
        " ".join
    ),
    NUMBER.map(lambda text: f"is_null({text})"),
    st.sampled_from(["True", "False"]),
)


def boolean_texts(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, st.sampled_from(["and", "or", "==", "!="]), inner)
    return st.one_of(
        pair.map(lambda parts: f"(({parts[0]}) {parts[1]} ({parts[2]}))"),
        inner.map(lambda text: f"(not ({text}))"),
        inner.map(lambda text: f"(({text}) not in (True,))"),
    )


BOOLEAN = st.recursive(COMPARISONS, boolean_texts, max_leaves=4)
NULLABLE = st.one_of(st.none(), NUMBERS)
ROWS = st.lists(st.tuples(NULLABLE, NULLABLE, NULLABLE, st.none() | TEXTS, st.none() | TEXTS), min_size=1, max_size=6)
