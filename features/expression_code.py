"""The back ends of the expression language: from a checked tree to Python source, to functions, and to SQL (DuckDB's).

A named list (`card_id in deny`) is a template that the caller gives for each back end: `{0}` is the text that is looked
up. It must be true or false, and false for null.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

from features.expression_functions import FUNCTIONS, NAN, divide, equal, not_in, unequal
from stream.records import micros


class ListRef(NamedTuple):
    """Where a named list is asked: the list's name, and the field whose value is looked up."""

    list: str
    field: str


Lists = Mapping[ListRef, str]

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "=",
    ast.NotEq: "<>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_ENVIRONMENT: dict[str, Any] = {
    "_divide": divide,
    "_equal": equal,
    "_unequal": unequal,
    "_not_in": not_in,
    "nan": NAN,
    "micros": micros,
    "Exception": Exception,
    "__builtins__": {},
} | {f"_f_{name}": function.python for name, function in FUNCTIONS.items()}


def function(parameters: str, body: str) -> Callable[..., Any]:
    """Compile Python source made of `python_of` pieces into one function of these parameters."""
    return _defined(f"def evaluate({parameters}):\n    return {body}\n", {})


def which(
    parameters: str,
    conditions: Mapping[int, str],
    names: Iterable[tuple[str, str]] = (),
    given: Mapping[str, Any] = {},
) -> Callable[..., list[int]]:
    """One function for many conditions: which of them hold, by their numbers, in order.

    Its parameters are these and, last, a list to which it appends the number of each condition that raised: one that
    raises harms no other. `names` are variables that the conditions read, each with the source of its value, which
    must not raise; `given` is what the conditions may read besides.
    """
    lines = [f"def evaluate({parameters}, broken):", "    held = []"]
    lines += [f"    {name} = {source}" for name, source in names]
    for number, condition in conditions.items():
        lines.append("    try:")
        lines.append(f"        if {condition}: held.append({number})")
        lines.append(f"    except Exception: broken.append({number})")
    return _defined("\n".join([*lines, "    return held", ""]), given)


def _defined(source: str, given: Mapping[str, Any]) -> Callable[..., Any]:
    environment = _ENVIRONMENT | dict(given)
    exec(_compiled(source), environment)
    evaluate: Callable[..., Any] = environment["evaluate"]
    return evaluate


@lru_cache(maxsize=64)
def _compiled(source: str) -> CodeType:
    # Cached, since a list that changes leaves the source of fifty rules as it is.
    return compile(source, "<expression>", "exec")


def python_of(node: ast.expr, sources: Mapping[str, str], lists: Lists) -> str:
    """Python source. `sources` gives that of each name: a number as a float with NaN for null, a text with None."""
    match node:
        case ast.Constant(value=value):
            return repr(float(value)) if isinstance(value, int) and not isinstance(value, bool) else repr(value)
        case ast.Name(id=name):
            return sources[name]
        case ast.UnaryOp(op=op, operand=operand):
            return f"({'-' if isinstance(op, ast.USub) else 'not '}{python_of(operand, sources, lists)})"
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            return f"_divide({python_of(left, sources, lists)}, {python_of(right, sources, lists)})"
        case ast.BinOp(op=op, left=left, right=right):
            return f"({python_of(left, sources, lists)} {ARITHMETIC[type(op)]} {python_of(right, sources, lists)})"
        case ast.BoolOp(op=op, values=values):
            word = " and " if isinstance(op, ast.And) else " or "
            return f"({word.join(python_of(value, sources, lists) for value in values)})"
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            pairs = zip([left, *comparators[:-1]], ops, comparators, strict=True)
            return f"({' and '.join(_python_pair(a, op, b, sources, lists) for a, op, b in pairs)})"
        case ast.Call(func=ast.Name(id=name), args=args):
            return f"_f_{name}({', '.join(python_of(argument, sources, lists) for argument in args)})"
    raise AssertionError(ast.dump(node))  # pragma: no cover - the checker lets nothing else through


def _python_pair(a: ast.expr, op: ast.cmpop, b: ast.expr, sources: Mapping[str, str], lists: Lists) -> str:
    left = python_of(a, sources, lists)
    if isinstance(op, ast.In | ast.NotIn) and isinstance(b, ast.Name):
        listed = lists[list_ref(a, b)].format(left)
        return listed if isinstance(op, ast.In) else f"({left} is not None and not {listed})"
    if isinstance(op, ast.In | ast.NotIn):
        items = ", ".join(python_of(item, sources, lists) for item in items_of(b))
        return f"{left} in ({items},)" if isinstance(op, ast.In) else f"_not_in({left}, ({items},))"
    right = python_of(b, sources, lists)
    match op:
        case ast.NotEq():
            return f"_unequal({left}, {right})"
        case ast.Eq() if isinstance(a, ast.Constant) or isinstance(b, ast.Constant):
            return f"{left} == {right}"
        case ast.Eq():
            return f"_equal({left}, {right})"
    return f"{left} {COMPARISONS[type(op)]} {right}"


def sql_of(node: ast.expr, columns: Mapping[str, str], lists: Lists) -> str:
    """SQL. `columns` gives that of each name: a number must come as DOUBLE, never NaN."""
    match node:
        case ast.Constant(value=bool() as flag):
            return "TRUE" if flag else "FALSE"
        case ast.Constant(value=str() as text):
            return "'" + text.replace("'", "''") + "'"
        case ast.Constant(value=value):
            return f"CAST({float(value)!r} AS DOUBLE)"  # type: ignore[arg-type]
        case ast.Name(id=name):
            return columns[name]
        case ast.UnaryOp(op=op, operand=operand):
            return f"({'-' if isinstance(op, ast.USub) else 'NOT '}{sql_of(operand, columns, lists)})"
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            return _number_sql(f"{sql_of(left, columns, lists)} / nullif({sql_of(right, columns, lists)}, 0)")
        case ast.BinOp(op=op, left=left, right=right):
            word = ARITHMETIC[type(op)]
            return _number_sql(f"{sql_of(left, columns, lists)} {word} {sql_of(right, columns, lists)}")
        case ast.BoolOp(op=op, values=values):
            word = " AND " if isinstance(op, ast.And) else " OR "
            return f"({word.join(sql_of(value, columns, lists) for value in values)})"
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            pairs = zip([left, *comparators[:-1]], ops, comparators, strict=True)
            return f"({' AND '.join(_sql_pair(a, op, b, columns, lists) for a, op, b in pairs)})"
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name].sql.format(*(sql_of(argument, columns, lists) for argument in args))
    raise AssertionError(ast.dump(node))  # pragma: no cover - the checker lets nothing else through


def _sql_pair(a: ast.expr, op: ast.cmpop, b: ast.expr, columns: Mapping[str, str], lists: Lists) -> str:
    left = sql_of(a, columns, lists)
    if isinstance(op, ast.In | ast.NotIn) and isinstance(b, ast.Name):
        listed = lists[list_ref(a, b)].format(left)
        return listed if isinstance(op, ast.In) else f"({left} IS NOT NULL AND NOT {listed})"
    if isinstance(op, ast.In | ast.NotIn):
        items = ", ".join(sql_of(item, columns, lists) for item in items_of(b))
        word = "IN" if isinstance(op, ast.In) else "NOT IN"
        return f"coalesce({left} {word} ({items}), FALSE)"
    return f"coalesce({left} {COMPARISONS[type(op)]} {sql_of(b, columns, lists)}, FALSE)"


def _number_sql(arithmetic: str) -> str:
    return f"nullif({arithmetic}, 'nan'::DOUBLE)"


def list_ref(a: ast.expr, b: ast.Name) -> ListRef:
    """What `field in list` asks, of a tree that was checked."""
    assert isinstance(a, ast.Name)
    return ListRef(b.id, a.id)


def items_of(node: ast.expr) -> list[ast.expr]:
    """The items of a written list, `('EUR', 'USD')`."""
    assert isinstance(node, ast.Tuple | ast.List | ast.Set)
    return node.elts


def weight_of(node: ast.expr) -> int:
    """How many leaves and calls the larger of both back ends writes, at most: what a text costs when it is asked."""
    match node:
        case ast.UnaryOp(operand=operand):
            return 1 + weight_of(operand)
        case ast.BinOp(left=left, right=right):
            return weight_of(left) + weight_of(right)
        case ast.BoolOp(values=values):
            return sum(map(weight_of, values))
        case ast.Compare(left=left, comparators=comparators):
            return weight_of(left) + 2 * sum(map(weight_of, comparators))
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            return len(items)
        case ast.Call(func=ast.Name(id=name), args=args):
            sql = FUNCTIONS[name].sql
            return 1 + sum(sql.count(f"{{{i}}}") * weight_of(argument) for i, argument in enumerate(args))
    return 1
