"""What Headrace logs, and how: lines of text or of JSON, without personal data.

A message names parts, servers, rules and files, never a card, a customer, a device, an event or a body. Whatever an
exception says may quote one of these: of a traceback only the class and the places are written.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import msgspec

ROOMS = ("bench", "features", "headrace", "models", "review", "scoring", "stream", "training")
FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
QUIET = ("apprise", "httpx", "urllib3")
"""They say each address that they ask, which may hold a secret: no less than a warning of theirs is logged."""
PLACES_LIMIT = 20

Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class TextLines(logging.Formatter):
    """A line a record: time, level, message; of an exception its class and places, a line each."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatException(self, ei: Raised) -> str:  # noqa: N802
        """The class and the places."""
        found = raised(ei)
        return "\n  ".join([found["type"], *found["at"]])


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `room`, `logger`, `message`, and what the record has in `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "room": record.name.partition(".")[0],
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = raised(record.exc_info)
        return msgspec.json.encode(line, enc_hook=repr).decode()


def raised(exception: Raised) -> dict[str, Any]:
    """The class of an exception and where it was, innermost last; not what it says."""
    kind, _, places = exception
    at = [f"{place.filename}:{place.lineno} {place.name}" for place in traceback.extract_tb(places)[-PLACES_LIMIT:]]
    return {"type": "" if kind is None else kind.__name__, "at": at}


def formatter_of(log_format: str) -> logging.Formatter:
    """The formatter of a format."""
    return JsonLines() if log_format == "json" else TextLines()


def configure_logs(log_format: str, level: str) -> None:
    """Let this process log to stderr, in JSON also what nobody catches and Python's warnings.

    Where somebody else has taken over the root logger (a server, a test), it stays theirs.
    """
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    root = logging.getLogger()
    for present in list(root.handlers):
        if type(present) is logging.StreamHandler:
            root.removeHandler(present)
    if root.handlers:
        return
    written = logging.StreamHandler(sys.stderr)
    written.setFormatter(formatter_of(log_format))
    root.addHandler(written)
    root.setLevel(level.upper())
    if log_format == "json":
        log_all_else()


def log_all_else() -> None:
    """What would go to stderr by itself goes through the log: warnings, and an exception that ends the process."""
    logging.captureWarnings(True)
    log = logging.getLogger("headrace")

    def uncaught(kind: type[BaseException], error: BaseException, places: TracebackType | None) -> None:
        log.critical("this process ends: %s", kind.__name__, exc_info=(kind, error, places))

    sys.excepthook = uncaught


def take_over(log_format: str, level: str, server_logging: dict[str, Any], loggers: tuple[str, ...]) -> None:
    """Give a server's own logs our format.

    Parameters
    ----------
    server_logging
        The dictionary with which the server configures logging, perhaps again later: it is changed in place.
    loggers
        Those that have handlers by now.
    """
    for formatter in server_logging.get("formatters", {}).values():
        formatter.clear()
        formatter["()"] = f"headrace.logs.{'JsonLines' if log_format == 'json' else 'TextLines'}"
    for name in ("", *loggers):
        for written in logging.getLogger(name).handlers:
            written.setFormatter(formatter_of(log_format))
    for room in ROOMS:
        server_logging.setdefault("loggers", {})[room] = {"level": level.upper()}
        logging.getLogger(room).setLevel(level.upper())
    if log_format == "json":
        log_all_else()
