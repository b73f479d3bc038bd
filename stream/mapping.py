"""A column mapping: which column of a file is which field of a transaction, written in TOML.

```toml
ignore = ["fraud_scenario"]           # optional: columns that must never be mapped

[event_timestamp]                     # a date and time; without an offset it is in `zone`
column = "booked_at"
zone = "Europe/Berlin"                # default UTC
# unit = "s"                          # or numbers: "ms", "s", "m", "h" or "d" since `origin` (default 1970)
# origin = 2018-04-01T00:00:00Z

[event_id]                            # left out: "row-1", "row-2" ...
column = "id"

[card_id]                             # several columns joined, with a prefix: "card-4711-EU"
columns = ["number", "region"]
separator = "-"
prefix = "card-"

[merchant_id]                         # also customer_id, device_id: both optional
constant = "webshop"                  # or `row = true`: the row's number

[amount]                              # also latitude, longitude: both optional
column = "cents"
scale = 0.01

[currency]                            # default EUR
constant = "USD"

[label]                               # optional
column = "chargeback"
fraud = ["yes", 1]                    # every other value is legit; an empty cell is unknown
unknown = ["pending"]
delay = "7d"                          # d, h, m or s
```
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec

from stream.mapping_sources import (
    ColumnName,
    LabelSource,
    NumberSource,
    Source,
    TextSource,
    TimeSource,
    Unit,
    parse_duration,
)


class MappingError(ValueError):
    """A mapping was refused: it names the key, the value it has and the remedy. A retry cannot help."""

    def __init__(self, key: str, value: object, remedy: str) -> None:
        self.key = key
        self.value = value
        self.remedy = remedy
        super().__init__(f"mapping key {key!r} has {value!r}: {remedy}")


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which column is which field. A field left out is absent, except `event_id`: then the row's number names it."""

    event_timestamp: TimeSource
    card_id: TextSource
    merchant_id: TextSource
    amount: NumberSource
    event_id: TextSource | None = None
    currency: TextSource | None = None
    customer_id: TextSource | None = None
    device_id: TextSource | None = None
    latitude: NumberSource | None = None
    longitude: NumberSource | None = None
    label: LabelSource | None = None
    ignore: list[ColumnName] = []

    @property
    def label_delay(self) -> timedelta:
        """How long after an event its label is known; zero where the file has no label."""
        return parse_duration(self.label.delay) if self.label else timedelta()

    def named_columns(self) -> Iterator[tuple[str, str]]:
        """Each column that is read, with the key that names it: `("card_id.column", "CUSTOMER_ID")`."""
        for field in self.__struct_fields__:
            source = getattr(self, field)
            if isinstance(source, Source):
                yield from ((f"{field}.{key}", column) for key, column in source.named_columns)

    def check_columns(self, existing: Iterable[str], file_name: str) -> None:
        """Raise `MappingError` for the first mapped column that the file lacks, with those that it has."""
        existing = list(existing)
        for key, column in self.named_columns():
            if column not in existing:
                remedy = f"{file_name} has no such column{nearest(column, existing)}; it has {', '.join(existing)}"
                raise MappingError(key, column, remedy)


_TABLES: dict[str, type[Source]] = {
    "event_timestamp": TimeSource,
    **dict.fromkeys(("event_id", "card_id", "merchant_id", "currency", "customer_id", "device_id"), TextSource),
    **dict.fromkeys(("amount", "latitude", "longitude"), NumberSource),
    "label": LabelSource,
}


def load_mapping(path: Path | str) -> Mapping:
    """Read a mapping file, strictly. Raises `MappingError` with the key, its value and the remedy."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError("(file)", str(path), f"this is not TOML: {error}") from None
    return mapping_from(content)


def mapping_from(content: dict[str, Any]) -> Mapping:
    """A mapping from the tables of a TOML file, held to the same rules as `load_mapping`."""
    try:
        mapping = msgspec.convert(content, Mapping)
    except msgspec.ValidationError as error:
        raise _explain(str(error), content) from None
    for key, column in mapping.named_columns():
        if column in mapping.ignore:
            raise MappingError(key, column, "this column is in 'ignore' too; map another, or stop ignoring it")
    if mapping.event_id is not None and mapping.event_id.constant is not None:
        remedy = "ids must differ; name a column, or leave event_id out to number the rows"
        raise MappingError("event_id.constant", mapping.event_id.constant, remedy)
    return mapping


def _explain(message: str, content: dict[str, Any]) -> MappingError:
    text, _, path = message.partition(" - at `$")
    key = path.removesuffix("`").lstrip(".")
    unknown = re.search(r"unknown field `([^`]+)`", text)
    missing = re.search(r"missing required field `([^`]+)`", text)
    if field := unknown or missing:
        key = f"{key}.{field[1]}" if key else field[1]
    if missing:
        return MappingError(key, "(missing)", "this key is required; add it")
    if unknown:
        remedy = f"there is no such key{nearest(unknown[1], _known_keys(key))}"
        return MappingError(key, _value_at(content, key), remedy)
    if text.startswith("Invalid enum value"):  # the only one that there is
        return MappingError(key, _value_at(content, key), f"give one of {', '.join(get_args(Unit))}")
    return MappingError(key, _value_at(content, key), text[0].lower() + text[1:].replace("`", ""))


def _known_keys(key: str) -> list[str]:
    table, dot, _ = key.partition(".")
    return list((_TABLES[table] if dot else Mapping).__struct_fields__)


def _value_at(content: Any, key: str) -> Any:
    for part in re.findall(r"[^.\[\]]+", key):
        if isinstance(content, list):
            content = content[int(part)] if part.isdigit() and int(part) < len(content) else content
        elif isinstance(content, dict) and part in content:
            content = content[part]
    return content


def nearest(name: str, existing: Iterable[str]) -> str:
    """The end of an error's sentence: ", did you mean 'amount'?", or nothing where no name is near."""
    by_lower = {each.lower(): each for each in existing}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f", did you mean {by_lower[near[0]]!r}?" if near else ""
