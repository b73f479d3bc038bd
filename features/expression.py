"""A small typed expression language: conditions of features, request-time features, and rules.

One text becomes one checked tree, and the tree has two back ends: a Python function and SQL (DuckDB's). They agree
because null has one meaning in both: arithmetic with a null is null, a comparison with a null is false, a division by
zero is null, and so is what is not a number (infinity minus infinity). The language has comparisons, `and`, `or`,
`not`, `in`, arithmetic and the functions in `FUNCTIONS`; no calls to anything else, no attributes, no powers, no
comprehensions, nothing that can grow or wait.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stream.records import micros

Kind = Literal["number", "text", "boolean"]
NAN = math.nan
MAX_LENGTH = 2000
MAX_DEPTH = 40
MAX_WEIGHT = 10_000
"""How many leaves the back ends may write for one text: some write an argument twice, and nesting multiplies."""
EARTH_RADIUS_KM = 6371.0088
HOUR_US = 3_600_000_000


class InvalidExpression(ValueError):
    """The text is not an expression of this language. `column` is the character at fault, counted from 0."""

    def __init__(self, text: str, column: int, message: str) -> None:
        self.text = text
        self.column = column
        super().__init__(f"{message}\n  {text}\n  {' ' * column}^")


@dataclass(frozen=True)
class Function:
    """A pure function of the language: its argument kinds, its result, and both its back ends."""

    takes: tuple[Kind, ...]
    gives: Kind
    python: Callable[..., Any]
    sql: str
    """A template with {0}, {1} … for the arguments."""


def _divide(a: float, b: float) -> float:
    return a / b if b else NAN


def _equal(a: object, b: object) -> bool:
    return a is not None and a == b


def _unequal(a: object, b: object) -> bool:
    return a is not None and b is not None and a == a and b == b and a != b  # noqa: PLR0124  NaN is not itself


def _not_in(a: object, items: tuple[object, ...]) -> bool:
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

_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "=",
    ast.NotEq: "<>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_ENVIRONMENT: dict[str, Any] = {
    "_divide": _divide,
    "_equal": _equal,
    "_unequal": _unequal,
    "_not_in": _not_in,
    "nan": NAN,
    "micros": micros,
    "__builtins__": {},
} | {f"_f_{name}": function.python for name, function in FUNCTIONS.items()}


@dataclass(frozen=True)
class Expression:
    """A checked expression: its text, what it gives, the names it reads, and its tree."""

    text: str
    kind: Kind
    names: frozenset[str]
    tree: ast.expr

    def sql(self, columns: Mapping[str, str]) -> str:
        """The expression as SQL; `columns` gives the SQL of each name: a number must come as DOUBLE, never NaN."""
        return _sql(self.tree, columns)

    def python(self, sources: Mapping[str, str]) -> str:
        """The expression as Python source for `function`; `sources` gives the Python source of each name.

        A number must come as a float with NaN for null, a text with None for null.
        """
        return _python(self.tree, sources)


def parse(text: str, names: Mapping[str, Kind], expect: Kind | None = None) -> Expression:
    """Check a text against the names it may read. Raises `InvalidExpression` that points at the character.

    >>> parse("amount > 3 * mean", {"amount": "number", "mean": "number"}).kind
    'boolean'
    >>> parse("amont > 3", {"amount": "number"})
    Traceback (most recent call last):
    ...
    features.expression.InvalidExpression: there is no 'amont'; did you mean 'amount'?
      amont > 3
      ^
    """
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(text[:60] + "…", 0, f"an expression has at most {MAX_LENGTH} characters")
    if not text.isprintable():
        column = next(i for i, character in enumerate(text) if not character.isprintable())
        raise InvalidExpression(text.replace("\n", " "), column, "an expression is one line of printable characters")
    stripped = text.strip()
    try:
        tree = ast.parse(stripped, mode="eval").body
    except SyntaxError as error:
        # Python gives no offset where the text ends too early.
        column = error.offset - 1 if error.offset else len(stripped)
        raise InvalidExpression(stripped, column, f"not understood: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise InvalidExpression(stripped[:60], 0, f"not understood: {error}") from None
    found: set[str] = set()
    kind = _Checker(stripped, names, found).kind(tree, 0)
    if expect is not None and kind != expect:
        raise InvalidExpression(stripped, 0, f"this gives a {kind}; a {expect} is needed here")
    if _weight(tree) > MAX_WEIGHT:
        raise InvalidExpression(stripped, 0, "this grows too large when it is compiled; nest less, or split it in two")
    return Expression(stripped, kind, frozenset(found), tree)


def function(parameters: str, body: str) -> Callable[..., Any]:
    """Compile Python source made of `Expression.python` pieces into one function of these parameters."""
    environment = dict(_ENVIRONMENT)
    exec(compile(f"def evaluate({parameters}):\n    return {body}\n", "<expression>", "exec"), environment)
    evaluate: Callable[..., Any] = environment["evaluate"]
    return evaluate


class _Checker:
    def __init__(self, text: str, names: Mapping[str, Kind], found: set[str]) -> None:
        self.text = text
        self.names = names
        self.found = found

    def fail(self, node: ast.expr, message: str) -> InvalidExpression:
        # ast counts bytes of UTF-8; people count characters.
        column = len(self.text.encode()[: node.col_offset].decode(errors="ignore"))
        return InvalidExpression(self.text, column, message)

    def need(self, node: ast.expr, kind: Kind, depth: int) -> None:
        given = self.kind(node, depth)
        if given != kind:
            raise self.fail(node, f"this is a {given}; a {kind} is needed here")

    def kind(self, node: ast.expr, depth: int) -> Kind:
        if depth > MAX_DEPTH:
            raise self.fail(node, f"nested deeper than {MAX_DEPTH}")
        depth += 1
        match node:
            case ast.Constant(value=bool()):
                return "boolean"
            case ast.Constant(value=int() | float() as number) if abs(number) <= 1e300:
                return "number"
            case ast.Constant(value=str()):
                return "text"
            case ast.Name(id=name):
                return self.name(node, name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                self.need(operand, "number", depth)
                return "number"
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.need(operand, "boolean", depth)
                return "boolean"
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                self.need(left, "number", depth)
                self.need(right, "number", depth)
                return "number"
            case ast.BoolOp(values=values):
                for value in values:
                    self.need(value, "boolean", depth)
                return "boolean"
            case ast.Compare():
                return self.comparison(node, depth)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self.call(node, name, args, depth)
        raise self.fail(node, "this is not part of the language")

    def name(self, node: ast.expr, name: str) -> Kind:
        if name not in self.names:
            if name in FUNCTIONS:
                raise self.fail(node, f"{name!r} is a function; write {name}(…)")
            near = difflib.get_close_matches(name, [*self.names, *FUNCTIONS], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise self.fail(node, f"there is no {name!r}{hint}")
        self.found.add(name)
        return self.names[name]

    def comparison(self, node: ast.Compare, depth: int) -> Kind:
        kind = self.kind(node.left, depth)
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn) and len(node.ops) > 1:
                raise self.fail(node, "'in' stands alone: join comparisons with 'and'")
            if isinstance(op, ast.In | ast.NotIn):
                if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
                    raise self.fail(right, "after 'in' comes a list, such as ('EUR', 'USD')")
                for item in right.elts:
                    if not isinstance(_unsigned(item), ast.Constant):
                        raise self.fail(item, "a list holds numbers or texts")
                    self.need(item, kind, depth)
                continue
            if type(op) not in _COMPARE:
                raise self.fail(node, "compare with ==, !=, <, <=, >, >= or in")
            self.need(right, kind, depth)
            if kind != "number" and not isinstance(op, ast.Eq | ast.NotEq):
                raise self.fail(node, f"a {kind} is compared with == or != only")
        return "boolean"

    def call(self, node: ast.expr, name: str, args: list[ast.expr], depth: int) -> Kind:
        known = FUNCTIONS.get(name)
        if known is None:
            near = difflib.get_close_matches(name, FUNCTIONS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FUNCTIONS)}"
            raise self.fail(node, f"there is no function {name!r}; {hint}")
        if len(args) != len(known.takes):
            raise self.fail(node, f"{name} takes {len(known.takes)} arguments, not {len(args)}")
        for argument, kind in zip(args, known.takes, strict=True):
            self.need(argument, kind, depth)
        return known.gives


def _python(node: ast.expr, sources: Mapping[str, str]) -> str:
    match node:
        case ast.Constant(value=value):
            return repr(float(value)) if isinstance(value, int) and not isinstance(value, bool) else repr(value)
        case ast.Name(id=name):
            return sources[name]
        case ast.UnaryOp(op=op, operand=operand):
            return f"({'-' if isinstance(op, ast.USub) else 'not '}{_python(operand, sources)})"
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            return f"_divide({_python(left, sources)}, {_python(right, sources)})"
        case ast.BinOp(op=op, left=left, right=right):
            return f"({_python(left, sources)} {_ARITHMETIC[type(op)]} {_python(right, sources)})"
        case ast.BoolOp(op=op, values=values):
            word = " and " if isinstance(op, ast.And) else " or "
            return f"({word.join(_python(value, sources) for value in values)})"
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            pairs = zip([left, *comparators[:-1]], ops, comparators, strict=True)
            return f"({' and '.join(_python_pair(a, op, b, sources) for a, op, b in pairs)})"
        case ast.Call(func=ast.Name(id=name), args=args):
            return f"_f_{name}({', '.join(_python(argument, sources) for argument in args)})"
    raise AssertionError(ast.dump(node))  # pragma: no cover - the checker lets nothing else through


def _python_pair(a: ast.expr, op: ast.cmpop, b: ast.expr, sources: Mapping[str, str]) -> str:
    left = _python(a, sources)
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(b, ast.Tuple | ast.List | ast.Set)
        items = ", ".join(_python(item, sources) for item in b.elts)
        return f"{left} in ({items},)" if isinstance(op, ast.In) else f"_not_in({left}, ({items},))"
    right = _python(b, sources)
    match op:
        case ast.NotEq():
            return f"_unequal({left}, {right})"
        case ast.Eq() if isinstance(a, ast.Constant) or isinstance(b, ast.Constant):
            return f"{left} == {right}"
        case ast.Eq():
            return f"_equal({left}, {right})"
    return f"{left} {_COMPARE[type(op)]} {right}"


def _sql(node: ast.expr, columns: Mapping[str, str]) -> str:
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
            return f"({'-' if isinstance(op, ast.USub) else 'NOT '}{_sql(operand, columns)})"
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            return _number_sql(f"{_sql(left, columns)} / nullif({_sql(right, columns)}, 0)")
        case ast.BinOp(op=op, left=left, right=right):
            return _number_sql(f"{_sql(left, columns)} {_ARITHMETIC[type(op)]} {_sql(right, columns)}")
        case ast.BoolOp(op=op, values=values):
            word = " AND " if isinstance(op, ast.And) else " OR "
            return f"({word.join(_sql(value, columns) for value in values)})"
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            pairs = zip([left, *comparators[:-1]], ops, comparators, strict=True)
            return f"({' AND '.join(_sql_pair(a, op, b, columns) for a, op, b in pairs)})"
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name].sql.format(*(_sql(argument, columns) for argument in args))
    raise AssertionError(ast.dump(node))  # pragma: no cover - the checker lets nothing else through


def _number_sql(arithmetic: str) -> str:
    return f"nullif({arithmetic}, 'nan'::DOUBLE)"


def _unsigned(node: ast.expr) -> ast.expr:
    return node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node


def _weight(node: ast.expr) -> int:
    """How many leaves the larger of both back ends writes, at most."""
    match node:
        case ast.UnaryOp(operand=operand):
            return _weight(operand)
        case ast.BinOp(left=left, right=right):
            return _weight(left) + _weight(right)
        case ast.BoolOp(values=values):
            return sum(map(_weight, values))
        case ast.Compare(left=left, comparators=comparators):
            return _weight(left) + 2 * sum(map(_weight, comparators))
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            return len(items)
        case ast.Call(func=ast.Name(id=name), args=args):
            sql = FUNCTIONS[name].sql
            return sum(sql.count(f"{{{i}}}") * _weight(argument) for i, argument in enumerate(args))
    return 1


def _sql_pair(a: ast.expr, op: ast.cmpop, b: ast.expr, columns: Mapping[str, str]) -> str:
    left = _sql(a, columns)
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(b, ast.Tuple | ast.List | ast.Set)
        items = ", ".join(_sql(item, columns) for item in b.elts)
        word = "IN" if isinstance(op, ast.In) else "NOT IN"
        return f"coalesce({left} {word} ({items}), FALSE)"
    return f"coalesce({left} {_COMPARE[type(op)]} {_sql(b, columns)}, FALSE)"
