"""A Parquet or CSV file as DuckDB sees it: its columns, and the SQL that reads it with numbered rows."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import duckdb

PARQUET = (".parquet", ".pq")
TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".inter", ".item")
PACKED = (".zip", ".7z", ".rar", ".tar", ".tgz")
DELIMITERS = ",;\t|"
HEADER_LIMIT_CHARS = 1_000_000
UNNAMED = "index"
"""What the first column of a CSV file is called where it has no name."""


class UnreadableTable(ValueError):
    """The file is not one that can be read: it names the file and the remedy. A retry cannot help."""


class Table:
    """One file with named columns.

    `columns` maps each name to its DuckDB type; in a CSV file every type is VARCHAR, so that a cell is judged by the
    field it becomes and not by what its neighbours look like. Raises `FileNotFoundError` and `UnreadableTable`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.is_text = self.path.name.lower().endswith(TEXT)
        if not self.path.is_file():
            raise FileNotFoundError(f"no file {str(self.path)!r}; give a Parquet or CSV file of transactions")
        if self.is_text:
            self.delimiter, names = _header(self.path)
            self.columns = dict.fromkeys(names, "VARCHAR")
        elif self.path.name.lower().endswith(PARQUET):
            self.columns = _parquet_columns(self.path)
        else:
            unpack = "unpack it first" if self.path.suffix.lower() in PACKED else f"its name must end in {_endings()}"
            raise UnreadableTable(f"cannot read {self.path.name!r}; {unpack}")

    def select_numbered(self, *, reject_broken_lines: bool = False) -> str:
        """SQL whose rows are the file's, with `_file_row`: 1 is the first row (in CSV, the one after the header).

        With `reject_broken_lines`, CSV lines that have too many or too few cells go to DuckDB's table
        `reject_errors` and take no number; otherwise they end the query with an error.
        """
        path = literal(str(self.path))
        if not self.is_text:
            return f"SELECT *, file_row_number + 1 AS _file_row FROM read_parquet({path}, file_row_number = true)"
        names = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in self.columns)
        rejects = ", ignore_errors = true, store_rejects = true" if reject_broken_lines else ""
        # Nothing is left to DuckDB's sniffer: faced with a broken line it takes a later line for the header.
        return (
            f"SELECT *, row_number() OVER () AS _file_row FROM read_csv({path}, auto_detect = false, header = true, "
            f"delim = {literal(self.delimiter)}, quote = '\"', escape = '\"', columns = {{{names}}}{rejects})"
        )


def literal(text: str) -> str:
    """The text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """The column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _header(path: Path) -> tuple[str, list[str]]:
    try:
        with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rt", encoding="utf-8-sig") as lines:
            line = lines.readline(HEADER_LIMIT_CHARS).rstrip("\r\n")
    except (UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise UnreadableTable(f"cannot read {path.name!r}: {error}; save it as CSV in UTF-8") from None
    delimiter = max(DELIMITERS, key=line.count)
    names = next(csv.reader([line], delimiter=delimiter), [])
    if names and not names[0] and len(names) > 1:
        names[0] = UNNAMED  # what pandas writes for a table's index
    if not names or not all(names) or len({name.lower() for name in names}) < len(names):
        remedy = "its first line must name every column once"
        raise UnreadableTable(f"cannot read {path.name!r}, which starts {line[:80]!r}; {remedy}")
    return delimiter, names


def _parquet_columns(path: Path) -> dict[str, str]:
    try:
        with duckdb.connect(":memory:") as database:
            rows = database.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(str(path))})").fetchall()
    except duckdb.Error as error:
        raise UnreadableTable(f"cannot read {path.name!r} as Parquet: {error}") from None
    return {name: kind for name, kind, *_ in rows}


def _endings() -> str:
    return ", ".join(PARQUET + TEXT)
