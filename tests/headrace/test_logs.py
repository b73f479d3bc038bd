"""The lines that processes log: JSON where it is asked for, and nothing that an exception may quote."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from headrace.logs import JsonLines, TextLines, take_over

NOISY = """
import logging, warnings
from headrace.logs import configure_logs
configure_logs("json", "info")
logging.getLogger("stream.relay").info("moved %d\\nlines", 3)
logging.getLogger("scoring.x").debug("too little")
warnings.warn("old thing")
try:
    raise ValueError("card-7")
except ValueError:
    logging.getLogger("features.x").exception("it failed")
raise LookupError("card-7")
"""


def test_every_line_of_a_process_is_json_and_an_exception_is_not_quoted() -> None:
    ran = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=False, timeout=240)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [(one["level"], one["logger"], one["room"]) for one in lines] == [
        ("info", "stream.relay", "stream"),
        ("warning", "py.warnings", "py"),
        ("error", "features.x", "features"),
        ("critical", "headrace", "headrace"),
    ]
    assert lines[0]["message"] == "moved 3\nlines"
    assert [one["exception"]["type"] for one in lines[2:]] == ["ValueError", "LookupError"]
    assert "card-7" not in ran.stderr and ran.returncode == 1


def record(error: Exception | None = None, **fields: Any) -> logging.LogRecord:
    raised = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("scoring.api", logging.WARNING, __file__, 1, "it took %d ms", (7,), raised)
    made.fields = fields
    return made


def test_fields_stand_beside_the_message() -> None:
    line = json.loads(JsonLines().format(record(outcome="approve", odd={1, 2}.__class__)))
    assert (line["message"], line["outcome"], line["level"]) == ("it took 7 ms", "approve", "warning")
    assert line["time"].endswith("+00:00")


def test_text_has_the_class_of_an_exception_and_not_its_words() -> None:
    line = TextLines().format(record(ValueError("card-7")))
    assert "it took 7 ms" in line and "ValueError" in line and "card-7" not in line


@pytest.mark.parametrize(("log_format", "name"), [("json", "JsonLines"), ("text", "TextLines")])
def test_a_servers_own_logs_take_our_form_now_and_when_it_configures_them_again(log_format: str, name: str) -> None:
    written = logging.StreamHandler()
    logging.getLogger("a.server").addHandler(written)
    config: dict[str, Any] = {"formatters": {"own": {"format": "%(own)s", "datefmt": "%H"}}}
    before = {room: logging.getLogger(room).level for room in ("scoring", "stream")}
    hook = sys.excepthook
    try:
        take_over(log_format, "warning", config, ("a.server",))
        assert type(written.formatter).__name__ == name
        assert config["formatters"] == {"own": {"()": f"headrace.logs.{name}"}}
        assert config["loggers"]["scoring"] == {"level": "WARNING"}
        assert logging.getLogger("scoring").level == logging.WARNING
    finally:
        sys.excepthook = hook
        logging.captureWarnings(False)
        for room in ("bench", "features", "headrace", "models", "review", "scoring", "stream", "training"):
            logging.getLogger(room).setLevel(before.get(room, logging.NOTSET))
