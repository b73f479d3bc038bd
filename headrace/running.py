"""What `headrace up` runs in a home, for the commands of a second terminal that were told of no address."""

from __future__ import annotations

from pathlib import Path

from headrace.settings import Settings
from stream.embedded_redis import running_in

REDIS_FOLDER = "redis"
SERVICE_FILE = "service.url"


def with_redis_of_home(settings: Settings) -> Settings:
    """The same settings, with the Redis that runs in the home where none was named and one does."""
    found = "" if settings.redis else running_in(settings.home / REDIS_FOLDER)
    return settings.but(redis=found) if found else settings


def none_named(settings: Settings, what: str) -> str:
    """What to say where there is no Redis: `what` is what it would be for, such as "the keys are in Redis"."""
    return f"{what}: no 'headrace up' runs in {settings.home}, so give --redis redis://host:port/0, or HEADRACE_REDIS"


def say_service(home: Path, url: str) -> None:
    """Note where the home's service answers; with "" that it has ended."""
    if url:
        (home / SERVICE_FILE).write_text(url)
    else:
        (home / SERVICE_FILE).unlink(missing_ok=True)


def service_of_home(home: Path) -> str:
    """Where the home's service answers, "" where none is known of. One that was killed is still noted."""
    try:
        return (home / SERVICE_FILE).read_text()
    except OSError:
        return ""
