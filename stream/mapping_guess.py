"""The mapping of a file that came without one."""

from __future__ import annotations

from pathlib import Path

from stream.mapping import Mapping, MappingError, load_mapping
from stream.mapping_sources import LabelSource, NumberSource, TextSource, TimeSource
from stream.records import Transaction
from stream.table import Table

REQUIRED = ("event_id", "event_timestamp", "card_id", "merchant_id", "amount")
NUMBERS = ("amount", "latitude", "longitude")
LABELS = ("label", "fraud")

# Words that columns of each field often carry; only the skeleton in the error uses them.
_OFTEN = {
    "event_timestamp": ("time", "date", "datetime", "timestamp"),
    "card_id": ("card", "cc_num", "account", "customer"),
    "merchant_id": ("merchant", "terminal", "shop"),
    "amount": ("amount", "amt", "value"),
    "event_id": ("transaction_id", "trans_num", "id"),
    "label": ("fraud", "is_fraud", "class", "label"),
}


class NoMapping(MappingError):
    """No mapping fits a file; the message holds a skeleton to fill in. A retry cannot help."""

    def __init__(self, file_name: str, remedy: str) -> None:
        super().__init__("(file)", file_name, remedy)
        self.args = (f"no mapping for {file_name}: {remedy}",)


def shipped_mappings() -> dict[str, Mapping]:
    """The mappings that come with Headrace, by name."""
    files = sorted(Path(__file__).parent.glob("mapping_*.toml"))
    return {file.stem.removeprefix("mapping_"): load_mapping(file) for file in files}


def guess_mapping(path: Path | str) -> Mapping:
    """The mapping that a file's columns fit: a shipped one, or Headrace's own field names.

    Raises `NoMapping` with a skeleton to fill in where neither fits.
    """
    table = Table(path)
    columns = list(table.columns)
    for mapping in shipped_mappings().values():
        if all(column in columns for _, column in mapping.named_columns()):
            return mapping
    if all(field in columns for field in REQUIRED):
        return _identity(columns)
    remedy = (
        f"its columns fit no shipped mapping and are not Headrace's own names "
        f"({', '.join(REQUIRED)}); save this as mapping.toml, fill it in, and add --mapping mapping.toml:\n\n"
        f"{mapping_skeleton(columns)}"
    )
    raise NoMapping(table.path.name, remedy)


def mapping_skeleton(columns: list[str]) -> str:
    """A mapping to fill in, as TOML: the required fields, each with the column whose name is nearest."""
    lines = [f"# The columns are: {', '.join(columns)}"]
    for field, words in _OFTEN.items():
        column = next((found for word in words if (found := _containing(word, columns))), "")
        ending = '\nfraud = [1]\ndelay = "7d"' if field == "label" else ""
        note = "" if field in REQUIRED[1:] else "  # optional: leave the table out if there is none"
        lines.append(f'\n[{field}]{note}\ncolumn = "{_escaped(column)}"{ending}')
    return "\n".join(lines) + "\n"


def _identity(columns: list[str]) -> Mapping:
    named = [field for field in Transaction.__struct_fields__ if field in columns and field != "event_timestamp"]
    sources = {field: NumberSource(column=field) if field in NUMBERS else TextSource(column=field) for field in named}
    label = next((column for column in LABELS if column in columns), None)
    truth = LabelSource(column=label, fraud=["fraud", True, 1], unknown=["unknown"]) if label else None
    return Mapping(event_timestamp=TimeSource(column="event_timestamp"), label=truth, **sources)  # type: ignore[arg-type]


def _containing(word: str, columns: list[str]) -> str | None:
    return next((column for column in columns if word in column.lower()), None)


def _escaped(column: str) -> str:
    return column.replace("\\", "\\\\").replace('"', '\\"')
