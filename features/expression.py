"""A small typed expression language: conditions of features, request-time features, and rules.

One text becomes one checked tree, and the tree has two back ends: a Python function and SQL (DuckDB's). They agree
because null has one meaning in both: arithmetic with a null is null, a comparison with a null is false, a division by
zero is null, and so is what is not a number (infinity minus infinity). The language has comparisons, `and`, `or`,
`not`, `in`, arithmetic and the functions in `FUNCTIONS`; no calls to anything else, no attributes, no powers, no
comprehensions, nothing that can grow or wait. A text is held to the language's own words and signs before Python's
parser sees it. After `in` comes a written list, `('EUR', 'USD')`, or the name of a kept one: `card_id in deny`.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from features.expression_code import (
    ARITHMETIC,
    COMPARISONS,
    ListRef,
    function,
    items_of,
    list_ref,
    python_of,
    sql_of,
    weight_of,
    which,
)
from features.expression_functions import FUNCTIONS, Function, Kind

__all__ = [
    "FUNCTIONS",
    "MAX_DEPTH",
    "MAX_LENGTH",
    "Expression",
    "Function",
    "InvalidExpression",
    "Kind",
    "ListRef",
    "function",
    "parse",
    "which",
]

MAX_LENGTH = 2000
MAX_DEPTH = 40
MAX_WEIGHT = 10_000
"""How many leaves the back ends may write for one text: some write an argument twice, and nesting multiplies."""
LONGEST_NAME = 64
"""A longer name is near to none that there is."""
WORDS = frozenset({"and", "or", "not", "in", "is", "True", "False"})
# Possessive throughout (`++`): nothing is tried twice.
_TOKEN = re.compile(
    r"""(?P<space>\ +)
    | (?P<number>(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+)(?!\w)
    | (?P<name>[^\W\d]\w*+)(?!["'])
    | (?P<text>'[^'\\]*'|"[^"\\]*")
    | (?P<open>[(\[{]) | (?P<close>[)\]}])
    | (?P<sign>[<>=!]=|[-+*/<>,])""",
    re.VERBOSE,
)


class InvalidExpression(ValueError):
    """The text is not an expression of this language. `column` is the character at fault, counted from 0."""

    def __init__(self, text: str, column: int, message: str) -> None:
        self.text = text
        self.column = column
        super().__init__(f"{message}\n  {text}\n  {' ' * column}^")


@dataclass(frozen=True)
class Expression:
    """A checked expression: its text, what it gives, the names it reads, the kept lists it asks, and its tree."""

    text: str
    kind: Kind
    names: frozenset[str]
    lists: frozenset[ListRef]
    tree: ast.expr

    @property
    def weight(self) -> int:
        """About how many names, numbers and calls an answer takes: 10 to 70 ns each."""
        return weight_of(self.tree)

    def sql(self, columns: Mapping[str, str], lists: Mapping[ListRef, str] = {}) -> str:
        """The expression as SQL; `columns` gives the SQL of each name: a number must come as DOUBLE, never NaN.

        `lists` gives a template for each of `self.lists`, see `features.expression_code`.
        """
        return sql_of(self.tree, columns, lists)

    def python(self, sources: Mapping[str, str], lists: Mapping[ListRef, str] = {}) -> str:
        """The expression as Python source for `function`; `sources` gives the Python source of each name.

        A number must come as a float with NaN for null, a text with None for null. `lists` as for `sql`.
        """
        return python_of(self.tree, sources, lists)


def parse(text: str, names: Mapping[str, Kind], expect: Kind | None = None, lists: Collection[str] = ()) -> Expression:
    """Check a text against the names and lists it may read. Raises `InvalidExpression` that points at the character.

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
    _check_words(stripped)
    try:
        tree = ast.parse(stripped, mode="eval").body
    except SyntaxError as error:
        # Python gives no offset where the text ends too early.
        column = error.offset - 1 if error.offset else len(stripped)
        raise InvalidExpression(stripped, column, f"not understood: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise InvalidExpression(stripped[:60], 0, f"not understood: {error}") from None
    checker = _Checker(stripped, names, lists)
    kind = checker.kind(tree, 0)
    if expect is not None and kind != expect:
        raise InvalidExpression(stripped, 0, f"this gives a {kind}; a {expect} is needed here")
    if weight_of(tree) > MAX_WEIGHT:
        raise InvalidExpression(stripped, 0, "this grows too large when it is compiled; nest less, or split it in two")
    return Expression(stripped, kind, frozenset(checker.found), frozenset(checker.asked), tree)


def _check_words(text: str) -> None:
    at = depth = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            hint = "; write ==" if text[at] == "=" else ""
            raise InvalidExpression(text, at, f"{_shown(text, at)} is not part of the language{hint}")
        word = token[0]
        if keyword.iskeyword(word) and word not in WORDS:
            raise InvalidExpression(text, at, f"{word!r} is not part of the language")
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if depth > MAX_DEPTH:
            raise InvalidExpression(text, at, f"nested deeper than {MAX_DEPTH}")
        at = token.end()


def _shown(text: str, at: int) -> str:
    """What stands there, for a message: a whole word or one sign."""
    word = re.compile(r"\w+").match(text, at)
    return repr(text[at] if word is None else word[0][:LONGEST_NAME])


class _Checker:
    def __init__(self, text: str, names: Mapping[str, Kind], lists: Collection[str]) -> None:
        self.text = text
        self.names = names
        self.lists = lists
        self.found: set[str] = set()
        self.asked: set[ListRef] = set()

    def fail(self, node: ast.expr, message: str) -> InvalidExpression:
        # ast counts bytes of UTF-8; people count characters.
        column = len(self.text.encode()[: node.col_offset].decode(errors="ignore"))
        return InvalidExpression(self.text, column, message)

    def fail_after(self, node: ast.expr) -> InvalidExpression:
        """The sign between two operands is at fault, not the first of them, where Python says that the two begin."""
        written = self.text.encode()
        ahead = len(written[: node.end_col_offset].decode(errors="ignore"))
        sign = re.compile(r"[\s)]*([^\w\s()]*)").match(self.text, ahead)
        assert sign is not None
        return InvalidExpression(self.text, sign.start(1), f"{sign[1]!r} is not part of the language")

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
            case ast.BinOp(op=op, left=left, right=right) if type(op) in ARITHMETIC:
                self.need(left, "number", depth)
                self.need(right, "number", depth)
                return "number"
            case ast.BinOp(left=left):
                raise self.fail_after(left)
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
            near = _near(name, [*self.names, *FUNCTIONS])
            hint = f"; did you mean {near!r}?" if near else ""
            raise self.fail(node, f"there is no {name[:LONGEST_NAME]!r}{hint}")
        self.found.add(name)
        return self.names[name]

    def comparison(self, node: ast.Compare, depth: int) -> Kind:
        kind = self.kind(node.left, depth)
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn) and len(node.ops) > 1:
                raise self.fail(node, "'in' stands alone: join comparisons with 'and'")
            if isinstance(op, ast.In | ast.NotIn):
                self.membership(node.left, kind, right, depth)
                continue
            if type(op) not in COMPARISONS:
                raise self.fail(node, "compare with ==, !=, <, <=, >, >= or in")
            self.need(right, kind, depth)
            if kind != "number" and not isinstance(op, ast.Eq | ast.NotEq):
                raise self.fail(node, f"a {kind} is compared with == or != only")
        return "boolean"

    def membership(self, left: ast.expr, kind: Kind, right: ast.expr, depth: int) -> None:
        if isinstance(right, ast.Name) and self.lists:
            if right.id not in self.lists:
                near = _near(right.id, self.lists)
                hint = f"; did you mean {near!r}?" if near else f"; there is {', '.join(sorted(self.lists))}"
                raise self.fail(right, f"there is no list {right.id[:LONGEST_NAME]!r}{hint}")
            if not isinstance(left, ast.Name) or kind != "text":
                raise self.fail(left, f"only a text field is looked up in a list, such as card_id in {right.id}")
            self.asked.add(list_ref(left, right))
            return
        if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
            raise self.fail(right, "after 'in' comes a list, such as ('EUR', 'USD')")
        for item in items_of(right):
            if not isinstance(_unsigned(item), ast.Constant):
                raise self.fail(item, "a list holds numbers or texts")
            self.need(item, kind, depth)

    def call(self, node: ast.expr, name: str, args: list[ast.expr], depth: int) -> Kind:
        known = FUNCTIONS.get(name)
        if known is None:
            near = _near(name, FUNCTIONS)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(FUNCTIONS)}"
            raise self.fail(node, f"there is no function {name[:LONGEST_NAME]!r}; {hint}")
        if len(args) != len(known.takes):
            raise self.fail(node, f"{name} takes {len(known.takes)} arguments, not {len(args)}")
        for argument, kind in zip(args, known.takes, strict=True):
            self.need(argument, kind, depth)
        return known.gives


def _unsigned(node: ast.expr) -> ast.expr:
    return node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node


def _near(name: str, known: Collection[str]) -> str | None:
    found = difflib.get_close_matches(name, known, n=1) if len(name) <= LONGEST_NAME else []
    return found[0] if found else None
