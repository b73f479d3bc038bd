"""The running stack: every process of Headrace as a child of this one, started in order, stopped in reverse."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from headrace.running import REDIS_FOLDER, say_service
from headrace.settings import Settings
from stream.child import Child, ChildError, free_port
from stream.embedded_redis import EmbeddedRedis

READY_TIMEOUT_S = 300.0
STOP_GRACE_S = 8.0
PORT_TRIES = 3


class Stack:
    """Redis (unless one is given), the workers, the relay (with Kafka), the learner, review and the service.

    Use as a context manager: leaving it stops every process and frees every port, also after an error or Ctrl-C.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home: Path = settings.home.absolute()
        self.redis: EmbeddedRedis | None = None
        self.children: dict[str, Child] = {}

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def start_redis(self) -> str:
        """Start the embedded Redis if no other is given; the URL of whichever it is."""
        if not self.settings.redis:
            self.redis = EmbeddedRedis(self.home / REDIS_FOLDER, appendfsync=self.settings.appendfsync)
            self.redis.start()
            self.settings = self.settings.but(redis=self.redis.url)
        return str(self.settings.redis)

    def use_kafka(self, bootstrap: str) -> None:
        """From now on processes use this broker."""
        self.settings = self.settings.but(kafka=bootstrap)

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start `headrace <arguments>` with these settings, its output in the home's `logs`."""
        logs = self.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "headrace.cli", *arguments]
        given = dict(environment or self.settings.environment())
        if self.settings.metrics_port:
            given["HEADRACE_METRICS_PORT"] = str(self.settings.metrics_port + len(self.children))
        child = Child(command, (logs / f"{name}.log").resolve(), environment=given)
        self.children[name] = child
        return child

    def start_workers(self, count: int = 1) -> None:
        """Start workers, and the relay where there is a Kafka."""
        if self.settings.kafka:
            self.start("relay", "relay")
        for number in range(count):
            self.start(f"worker-{number}", "worker")

    def start_service(self) -> str:
        """Start the BentoML service and wait until it is ready; its URL. Raises `ChildError` with the log's end."""
        for _ in range(PORT_TRIES):
            port = self.settings.port or free_port()
            environment = self.settings.environment() | {"HEADRACE_PORT": str(port)}
            child = self.start("service", "serve", environment=environment)
            url = f"http://{self.settings.host}:{port}"
            if wait_ready(url, child):
                say_service(self.home, url)
                return url
            if child.running or self.settings.port:
                break
            # It ended: most likely another process took the port between our look and its bind. Choose again.
        tail = child.log_tail()
        child.kill()
        raise ChildError(f"the service did not become ready at {url}:\n{tail}")

    def stop(self) -> None:
        """Stop everything, clients first. Safe to call twice."""
        if "service" in self.children:
            say_service(self.home, "")
        for child in reversed(list(self.children.values())):
            child.stop(STOP_GRACE_S)
        self.children.clear()
        if self.redis is not None:
            self.redis.stop()
            self.redis = None

    def failed(self) -> list[str]:
        """Children that have ended though nobody stopped them, each with the end of its log."""
        return [f"{name}: {child.log_tail()[-500:]}" for name, child in self.children.items() if not child.running]


def wait_ready(url: str, child: Child) -> bool:
    """Whether the service at this URL says that it is ready, before it ends and within `READY_TIMEOUT_S`."""
    until = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until and child.running:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False
