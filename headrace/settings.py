"""Every setting: its name, its default and what it does, in one table that feeds the help and the docs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.duration import duration_us
from headrace.logs import FORMATS, LEVELS
from headrace.secret_file import SUFFIX, secret_of
from review.person import roles_of
from stream.card_guard import TREATMENTS
from stream.card_key import LEAST_CHARACTERS
from stream.kafka_security import MECHANISMS, PROTOCOLS, KafkaSecurity
from stream.tls import TlsFiles, with_files, without_password

USE_CASES = ("fraud", "recommendation")


class InvalidSetting(ValueError):
    """A setting has a value that cannot be used."""


@dataclass(frozen=True)
class Setting:
    """One setting, read from the environment variable `HEADRACE_<NAME>`.

    A secret may come from the file that `HEADRACE_<NAME>_FILE` names, is never quoted, and is no option of a command:
    a machine's users see each other's command lines. (A Redis URL is one, without its password.) A path that is
    relative is so to where the command was given.
    """

    name: str
    default: str
    help: str
    read: Callable[[str], Any] = str
    secret: bool = False
    is_path: bool = False

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"HEADRACE_{self.name.upper()}"

    @property
    def is_option(self) -> bool:
        """Whether commands take it."""
        return not self.secret or self.name == "redis"

    def shown(self, text: str) -> str:
        """A value as it may be printed."""
        if not self.secret:
            return text
        return without_password(text) if self.name == "redis" else "***" if text else ""


def milliseconds(text: str) -> int:
    """A duration as milliseconds."""
    return duration_us(text) // 1000


def switch(text: str) -> bool:
    """`on` or `off`."""
    if text not in ("on", "off"):
        raise ValueError(f"{text!r} is neither 'on' nor 'off'")
    return text == "on"


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{text!r} is not from 0 to 1")
    return value


def port_number(text: str) -> int:
    """A port, or 0."""
    value = int(text)
    if not 0 <= value < 65536:
        raise ValueError(f"{text!r} is no port")
    return value


def positive(text: str) -> int:
    """A whole number above 0."""
    value = int(text)
    if value < 1:
        raise ValueError(f"{text!r} is not above 0")
    return value


def one_of(*allowed: str) -> Callable[[str], str]:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return read


def use_cases(text: str) -> frozenset[str]:
    """Some of `USE_CASES`, separated by commas; at least one."""
    names = frozenset(name.strip() for name in text.split(","))
    if unknown := sorted(names - set(USE_CASES)):
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(USE_CASES)}")
    return names


def database_url(text: str) -> str:
    """Nothing, or a URL: a word alone would be a file, another one in each process's directory."""
    if text and "://" not in text:
        raise ValueError("it is no URL; give postgresql://user:password@host/database")
    return text


def card_key(text: str) -> str:
    """Nothing, or a text that cannot be guessed: of card numbers, and of widgets."""
    if text and len(text) < LEAST_CHARACTERS:
        raise ValueError(f"{len(text)} characters can be guessed; give at least {LEAST_CHARACTERS}")
    return text


SETTINGS = (
    Setting(
        "home", ".headrace", "directory of models, plan, registry, learner and the embedded Redis", Path, is_path=True
    ),
    Setting(
        "redis",
        "",
        "redis[s]://host:port/db of the online store and outbox; empty: that of `up` in this home, which starts it",
        secret=True,
    ),
    Setting("redis_ca", "", "PEM file of the authorities of Redis's certificate; empty: the system's", is_path=True),
    Setting("redis_cert", "", "PEM file of our certificate, for a Redis that asks for one", is_path=True),
    Setting("redis_key", "", "PEM file of that certificate's key", is_path=True),
    Setting("kafka", "", "host:port of a Kafka broker; empty: the log stays in Redis Streams"),
    Setting("kafka_security", "plaintext", f"how to talk to Kafka: {', '.join(PROTOCOLS)}", one_of(*PROTOCOLS)),
    Setting("kafka_ca", "", "PEM file of the authorities of Kafka's certificates; empty: the system's", is_path=True),
    Setting("kafka_cert", "", "PEM file of our certificate, for a Kafka that asks for one", is_path=True),
    Setting("kafka_key", "", "PEM file of that certificate's key", is_path=True),
    Setting("kafka_user", "", "user name at Kafka, with sasl"),
    Setting("kafka_password", "", "password of that user", secret=True),
    Setting("kafka_mechanism", "SCRAM-SHA-512", f"how it is sent: {', '.join(MECHANISMS)}", one_of(*MECHANISMS)),
    Setting("host", "127.0.0.1", "address the service listens on"),
    Setting("port", "0", "port the service listens on; 0: a free one", int),
    Setting("workers", "1", "worker processes of the service", positive),
    Setting("partitions", "8", "partitions of each topic; fixed once the log has records", positive),
    Setting("use_cases", "fraud,recommendation", "what the service answers: fraud, recommendation or both", use_cases),
    Setting("slate_retention", "1d", "how long feedback to a slate is taken", milliseconds),
    Setting(
        "slate_policy", "", "slate policy file, such as a copy of scoring/slate.toml; empty: that one", is_path=True
    ),
    Setting("deadline", "50ms", "how long a scoring answer may take where the request does not say", milliseconds),
    Setting("clock_skew", "60s", "how far in the future an event's time may lie", milliseconds),
    Setting("answer_retention", "7d", "how long a decision answers retries and GET /decisions", milliseconds),
    Setting("log_retention", "7d", "hot: how long Redis Streams keep records that everybody has read", milliseconds),
    Setting("archive_retention", "400d", "cold: how long the Parquet archive keeps a day of records", milliseconds),
    Setting("label_delay", "7d", "how old a decision is when its label counts as final, in backtests", milliseconds),
    Setting("rollback", "on", "roll back a canary or new champion that leaves its bands; off: only say so", switch),
    Setting("promotion_watch", "3d", "how long a new champion is held against the one before it", milliseconds),
    Setting("skew_every", "1d", "how often `up` compares served features with the archive; 0s: never", milliseconds),
    Setting("report_every", "1d", "how often `up` evaluates and looks for drift; 0s: never", milliseconds),
    Setting("feedback_every", "6h", "how often `up` trains the feedback model anew; 0s: never", milliseconds),
    Setting("recommend_every", "6h", "how often `up` fits recommendations anew; 0s: never", milliseconds),
    Setting("feedback_window", "30d", "how far back the verdicts lie that teach the feedback model", milliseconds),
    Setting("outbox_limit", "1000000", "records in one outbox partition before new ones are refused", positive),
    Setting("sequence_limit", "200000", "entries of the sequence of recommending kept for late readers", positive),
    Setting("pending_limit", "1000", "answered but unfolded records that one entity shows to readers", positive),
    Setting(
        "appendfsync",
        "everysec",
        "embedded Redis: everysec can lose a second when it or the machine crashes, always cannot",
    ),
    Setting("spool_limit", "67108864", "bytes on disk for one process's answers that are not recorded yet", positive),
    Setting("policy", "", "policy file, such as a copy of scoring/policy.toml; empty: that one", is_path=True),
    Setting(
        "let_through_key", "", "secret text that draws which would-be declines the policy lets through", secret=True
    ),
    Setting(
        "cases",
        "",
        "postgresql://user:password@host/database of the cases; empty: review.sqlite in the home",
        database_url,
        secret=True,
    ),
    Setting("review_url", "", "https address of the analysts' pages; empty: they answer on this machine alone"),
    Setting(
        "review_service",
        "",
        "address of the service whose /metrics the live dashboard shows, or several with spaces between; empty: none",
    ),
    Setting("review_pages", "off", "serve the analysts' pages beside the API, at its port: on or off", switch),
    Setting("review_port", "3100", "port the analysts' pages listen on", port_number),
    Setting("oidc_issuer", "", "OpenID Connect provider that people sign in with, as it calls itself; empty: none"),
    Setting("oidc_client_id", "", "who the pages are at that provider"),
    Setting("oidc_client_secret", "", "their secret there; empty: a public client", secret=True),
    Setting("oidc_role_claim", "groups", "claim of the provider's ID token that gives roles; dots go into it"),
    Setting("oidc_roles", "", "its values' roles, such as fraud-team=analyst,…; empty: by name", roles_of),
    Setting("oidc_name_claim", "preferred_username", "claim of the ID token that is the person's name"),
    Setting(
        "alerts",
        "",
        "file of the conditions for alerts, such as a copy of review/alerts.toml; empty: that one",
        is_path=True,
    ),
    Setting("alert_urls", "", "where alerts go: Apprise's URLs of mail and chat, with spaces between", secret=True),
    Setting("alert_webhooks", "", "https addresses that get alerts as signed JSON, with spaces between", secret=True),
    Setting(
        "alert_key", "", "secret text that signs those webhooks; two, with a space between, to change it", secret=True
    ),
    Setting("sql_time", "10s", "how long a query of the SQL console may take", milliseconds),
    Setting("sql_memory", "536870912", "bytes of memory that a query of the SQL console may take", positive),
    Setting("backtest_time", "2m", "how long a backtest of a rule may take on a page", milliseconds),
    Setting("backtest_memory", "1073741824", "bytes of memory that a backtest on a page may take", positive),
    Setting("backtests", "2", "backtests that run at a time on the pages; the others wait", positive),
    Setting(
        "widget_key",
        "",
        "secret text that widgets' keys follow from; empty: <home>/widget.key",
        card_key,
        secret=True,
    ),
    Setting(
        "review_policy", "", "review policy file, such as a copy of review/review.toml; empty: that one", is_path=True
    ),
    Setting(
        "card_numbers", "tokenise", f"what is done about card numbers: {' or '.join(TREATMENTS)}", one_of(*TREATMENTS)
    ),
    Setting(
        "card_key", "", "secret text that makes tokens of card numbers; empty: <home>/card.key", card_key, secret=True
    ),
    Setting("audit_key", "", "secret text that makes the audit chain's hashes HMACs; empty: plain hashes", secret=True),
    Setting("auth", "off", "keys: all but health needs an API key; off: nothing does", one_of("off", "keys")),
    Setting("body_limit", "65536", "bytes in one request body", positive),
    Setting("batch_limit", "500", "records in one batch", positive),
    Setting("batch_body_limit", "1048576", "bytes in one batch's body", positive),
    Setting("batch_deadline", "5s", "how long a whole batch may take where the request does not say", milliseconds),
    Setting("metrics_port", "0", "port on which a process without HTTP tells its metrics; 0: none", port_number),
    Setting("trace_share", "0", "share of the decisions that are traced where their caller does not say", share),
    Setting("trace_endpoint", "", "URL that takes traces by OTLP/HTTP, such as http://127.0.0.1:4318/v1/traces"),
    Setting("log_format", "text", "form of the log's lines: text or json", one_of(*FORMATS)),
    Setting("log_level", "info", "least level that is logged: debug, info, warning or error", one_of(*LEVELS)),
    Setting("front_door", "on", "serve the hot routes before BentoML's middleware; off: as BentoML endpoints", switch),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


class Settings:
    """The settings of one run: what the command line gave, else the environment, else the default.

    A secret may come from a file in the environment's place. Raises `InvalidSetting` naming the variable and the value,
    unless it is a secret.
    """

    def __init__(self, given: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ) -> None:
        try:
            self._text = {
                one.name: (secret_of(one.variable, environ) if one.secret else None)
                or environ.get(one.variable, one.default)
                for one in SETTINGS
            }
        except ValueError as error:
            raise InvalidSetting(str(error)) from None
        self._text |= {name: str(value) for name, value in (given or {}).items() if value is not None}
        self._values = {}
        for name, text in self._text.items():
            setting = BY_NAME[name]
            try:
                self._values[name] = setting.read(text)
            except ValueError as error:
                shown = setting.shown(text)
                raise InvalidSetting(f"{setting.variable}={shown!r}: {error}; it is the {setting.help}") from None
        try:
            self._values["redis"] = with_files(self.redis, self._files("redis")) if self.redis else ""
        except ValueError as error:
            raise InvalidSetting(f"HEADRACE_REDIS={without_password(self.redis)!r}: {error}") from None
        if self.review_pages and self.workers > 1:
            # Streams, alerts and rates would be right, as each process has its own or the database's. A rule's backtest
            # is one process's, and the next look at it could reach another.
            raise InvalidSetting(
                f"HEADRACE_REVIEW_PAGES='on' needs one worker, and HEADRACE_WORKERS={self.workers}; "
                "serve the pages alone with 'headrace review serve'"
            )

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"there is no setting {name!r}") from None

    @property
    def kafka_options(self) -> dict[str, Any]:
        """How clients of Kafka are secured, as kafka-python takes it. Raises `InvalidSetting`."""
        user, password, mechanism = self.kafka_user, self.kafka_password, self.kafka_mechanism
        try:
            return KafkaSecurity(self.kafka_security, self._files("kafka"), user, password, mechanism).options()
        except ValueError as error:
            raise InvalidSetting(f"HEADRACE_KAFKA_SECURITY={self.kafka_security!r}: {error}") from None

    def _files(self, server: str) -> TlsFiles:
        return TlsFiles(*(getattr(self, f"{server}_{name}") for name in TlsFiles._fields))

    def but(self, **changes: Any) -> Settings:
        """The same settings with some changed."""
        return Settings(self._text | changes, environ={})

    def environment(self) -> dict[str, str]:
        """The same settings for a child process, wherever it runs; it need not read the files of secrets again."""
        files = {setting.variable + SUFFIX: "" for setting in SETTINGS if setting.secret}
        paths = {
            name: str(Path(text).absolute()) for name, text in self._text.items() if text and BY_NAME[name].is_path
        }
        return files | {BY_NAME[name].variable: text for name, text in (self._text | paths).items()}
