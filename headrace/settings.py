"""Every setting: its name, its default and what it does, in one table that feeds the help and the docs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.duration import duration_us


class InvalidSetting(ValueError):
    """A setting has a value that cannot be used."""


@dataclass(frozen=True)
class Setting:
    """One setting, read from the environment variable `HEADRACE_<NAME>`."""

    name: str
    default: str
    help: str
    read: Callable[[str], Any] = str

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"HEADRACE_{self.name.upper()}"


def milliseconds(text: str) -> int:
    """A duration as milliseconds."""
    return duration_us(text) // 1000


def switch(text: str) -> bool:
    """`on` or `off`."""
    if text not in ("on", "off"):
        raise ValueError(f"{text!r} is neither 'on' nor 'off'")
    return text == "on"


def positive(text: str) -> int:
    """A whole number above 0."""
    value = int(text)
    if value < 1:
        raise ValueError(f"{text!r} is not above 0")
    return value


SETTINGS = (
    Setting("home", ".headrace", "directory of models, plan, registry, learner and the embedded Redis", Path),
    Setting("redis", "", "redis://host:port/db of the online store and outbox; empty: the stack starts its own"),
    Setting("kafka", "", "host:port of a Kafka broker; empty: the log stays in Redis Streams"),
    Setting("host", "127.0.0.1", "address the service listens on"),
    Setting("port", "0", "port the service listens on; 0: a free one", int),
    Setting("workers", "1", "worker processes of the service", positive),
    Setting("partitions", "8", "partitions of each topic; fixed once the log has records", positive),
    Setting("deadline", "50ms", "how long a scoring answer may take where the request does not say", milliseconds),
    Setting("clock_skew", "60s", "how far in the future an event's time may lie", milliseconds),
    Setting("answer_retention", "7d", "how long a decision answers retries and GET /decisions", milliseconds),
    Setting("log_retention", "7d", "hot: how long Redis Streams keep records that everybody has read", milliseconds),
    Setting("archive_retention", "400d", "cold: how long the Parquet archive keeps a day of records", milliseconds),
    Setting("label_delay", "7d", "how old a decision is when its label counts as final, in backtests", milliseconds),
    Setting("skew_every", "1d", "how often `up` compares served features with the archive; 0s: never", milliseconds),
    Setting("outbox_limit", "1000000", "records in one outbox partition before new ones are refused", positive),
    Setting("pending_limit", "1000", "answered but unfolded records that one entity shows to readers", positive),
    Setting(
        "appendfsync",
        "everysec",
        "embedded Redis: everysec can lose a second when it or the machine crashes, always cannot",
    ),
    Setting("policy", "", "policy file, such as a copy of scoring/policy.toml; empty: that one"),
    Setting("let_through_key", "", "secret text that draws which would-be declines the policy lets through"),
    Setting("body_limit", "65536", "bytes in one request body", positive),
    Setting("batch_limit", "500", "records in one batch", positive),
    Setting("batch_body_limit", "1048576", "bytes in one batch's body", positive),
    Setting("batch_deadline", "5s", "how long a whole batch may take where the request does not say", milliseconds),
    Setting("front_door", "on", "serve the hot routes before BentoML's middleware; off: as BentoML endpoints", switch),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


class Settings:
    """The settings of one run: what the command line gave, else the environment, else the default.

    Raises `InvalidSetting` naming the variable and the value.
    """

    def __init__(self, given: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._text = {setting.name: environ.get(setting.variable, setting.default) for setting in SETTINGS}
        self._text |= {name: str(value) for name, value in (given or {}).items() if value is not None}
        self._values = {}
        for name, text in self._text.items():
            setting = BY_NAME[name]
            try:
                self._values[name] = setting.read(text)
            except ValueError as error:
                raise InvalidSetting(f"{setting.variable}={text!r}: {error}; it is the {setting.help}") from None

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"there is no setting {name!r}") from None

    def but(self, **changes: Any) -> Settings:
        """The same settings with some changed."""
        return Settings(self._text | changes, environ={})

    def environment(self) -> dict[str, str]:
        """The same settings for a child process."""
        return {BY_NAME[name].variable: text for name, text in self._text.items()}
