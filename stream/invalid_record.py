"""Why a record was refused: the field, the value that it has, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec

from stream.card_numbers import mask


class InvalidRecord(ValueError):
    """A record was refused. A retry with the same bytes cannot help. What it quotes has no card number."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field = mask(field)
        self.value = _shorten(value)
        self.remedy = mask(remedy)
        super().__init__(f"field {self.field!r} has {self.value}: {self.remedy}")


def explain(message: str, content: object, kinds: Iterable[str], classes: Iterable[type] = ()) -> InvalidRecord:
    """What msgspec says of a record, as a refusal that names field, value and remedy.

    `content` is what was sent, as far as it can be read; `kinds` are the types of records that there may be here,
    `classes` their classes.
    """
    text, _, path = message.partition(" - at `$")
    path = path.removesuffix("`").lstrip(".")
    if path and text.startswith("Invalid enum value") and (words := _words_of(classes, path)):
        return InvalidRecord(path, _value_at(content, path), f"send one of {', '.join(words)}")
    if path:
        return InvalidRecord(path, _value_at(content, path), _remedy(path, text, kinds))
    if "unknown field `" in text:
        name = text.split("`")[-2]
        return InvalidRecord(name, _value_at(content, name), "this field is not part of the record; leave it out")
    if "missing required field `" in text:
        name = text.split("`")[-2]
        return InvalidRecord(name, "(missing)", "this field is required; send it")
    if text.startswith("`"):
        name = text.split("`")[1]
        return InvalidRecord(name, _value_at(content, name), text.split("` ", 1)[-1])
    return InvalidRecord("(body)", content, f"send one JSON object; {text[0].lower()}{text[1:].replace('`', '')}")


def _remedy(field: str, text: str, kinds: Iterable[str]) -> str:
    if field == "type":
        return f"send one of {', '.join(kinds)}"
    if "datetime" in text:
        return "send an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"
    if "out of range" in text:
        return "send a finite number"
    return text[0].lower() + text[1:].replace("`", "")


def _words_of(classes: Iterable[type], field: str) -> list[str]:
    """The words that a field of one of these may have; none where it is no choice of words."""
    found = [get_type_hints(one).get(field) for one in classes]
    return [str(word) for one in found for word in get_args(one) if get_origin(one) is Literal]


def lenient(payload: bytes | str) -> object:
    """What was sent, read without a schema; as it came where it is no JSON."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload


def _value_at(content: object, path: str) -> object:
    for part in path.replace("[", ".[").split("."):
        if isinstance(content, dict) and part in content:
            content = content[part]
        else:
            return "(missing)" if isinstance(content, dict) else content
    return content


def _shorten(value: object, limit: int = 80) -> str:
    # Masked before it is cut: half a card number would not be known for one.
    text = "(missing)" if value == "(missing)" else mask(repr(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"
