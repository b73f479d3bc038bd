"""One Apache Kafka node of our own: broker and controller in one (KRaft), for demonstrations and tests.

Its jars come through Maven, from whichever registry Maven is set up with, once for each version. Not for production:
one node keeps one copy.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64encode
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from stream.child import Child, ChildError, free_port
from stream.kafka_client import answers

# The newest release all of whose jars the registry has (4.4.0 lacks kafka-tools-api).
KAFKA_VERSION = "4.3.1"
SLF4J_VERSION = "1.7.36"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"
JAVA_MIN_VERSION = 17
FETCH_TIMEOUT_S = 600.0
START_TIMEOUT_S = 180.0
STOP_GRACE_S = 20.0

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>headrace</groupId><artifactId>kafka-node</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>{SLF4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""

# Broker and controller each have a port of their own; everything replicated has one copy. With a session shorter than
# Kafka's own 9 s a killed broker would be back sooner, but one on a machine that stalls would be taken for gone.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={directory}/log
auto.create.topics.enable=false
num.partitions=8
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.segment.bytes=16777216
log.cleaner.dedupe.buffer.size=4194304
controlled.shutdown.enable=false
broker.session.timeout.ms=9000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=2
"""


class KafkaNode:
    """One node on 127.0.0.1 whose records lie in `directory`; they and the address stay over a `restart`.

    `more_properties` is added to its configuration, in which the last line of a name counts, with the same places to
    fill as `PROPERTIES`.
    """

    def __init__(self, directory: Path | str, port: int | None = None, more_properties: str = "") -> None:
        self.directory = Path(directory).absolute()
        self.port = port or free_port()
        self._properties = PROPERTIES + more_properties
        self._controller_port = free_port()
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> KafkaNode:
        """Fetch the jars if need be, start and wait until it answers; no effect when it runs.

        Takes some seconds, the first time on a machine up to minutes. Raises `ChildError` with the reason or
        with the node's last words.
        """
        if self._child is not None and self._child.running:
            return self
        jars = fetch_jars()
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = self.directory / "server.properties"
        settings.write_text(
            self._properties.format(port=self.port, controller_port=self._controller_port, directory=self.directory)
        )
        if not (self.directory / "log" / "meta.properties").exists():
            # Its first letter from zero bits: one that began with a dash would be taken for an option.
            cluster_id = urlsafe_b64encode(b"\0" + uuid4().bytes[1:]).decode().rstrip("=")
            self._run(jars, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings))
        self._child = Child(self._java(jars, "kafka.Kafka", str(settings)), self.directory / "kafka.log")
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._child.running and time.monotonic() < deadline:
            if answers(self.bootstrap):
                return self
            time.sleep(0.1)
        last_words = self._child.log_tail()
        self.kill()
        raise ChildError(f"Kafka did not start at {self.bootstrap}; the end of its log:\n{last_words}")

    def stop(self) -> None:
        """End it in order."""
        if self._child is not None:
            self._child.stop(STOP_GRACE_S)
            self._child = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL). `start` or `restart` brings it back."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> KafkaNode:
        """End it in order and start it again, at the same address."""
        self.stop()
        return self.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it ends by itself; False if it still runs after `timeout_s`."""
        return self._child is None or self._child.wait(timeout_s)

    def __enter__(self) -> KafkaNode:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def _java(self, jars: Path, *arguments: str) -> list[str]:
        java = shutil.which("java")
        assert java is not None
        return [
            java,
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            f"{jars}/*",
            *arguments,
        ]

    def _run(self, jars: Path, *arguments: str) -> None:
        result = subprocess.run(
            self._java(jars, *arguments), capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
        )
        if result.returncode:
            said = (result.stdout + result.stderr).strip()
            raise ChildError(f"Kafka's storage in {self.directory} could not be formatted:\n{said}")


def kafka_available() -> str | None:
    """Why a node cannot be had here, in plain words, or None where it can. Fetches the jars if need be."""
    try:
        fetch_jars()
    except ChildError as error:
        return str(error)
    return None


def fetch_jars() -> Path:
    """The directory with the jars, shared by runs: `$HEADRACE_KAFKA_JARS`, else under `.kafka` here.

    Safe when several runs fetch at once. Raises `ChildError` with the reason.
    """
    _check_java()
    jars = Path(os.environ.get("HEADRACE_KAFKA_JARS") or f".kafka/jars-{KAFKA_VERSION}").absolute()
    if (jars / f"kafka_2.13-{KAFKA_VERSION}.jar").exists():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise ChildError("Kafka needs Maven (mvn) to fetch its jars; install it, or set HEADRACE_KAFKA_JARS")
    jars.parent.mkdir(parents=True, exist_ok=True)
    # One at a time: what they fetch goes by way of Maven's own store, which two at once can spoil for each other.
    with jars.with_name(f"{jars.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.exists():
            _fetch(jars, maven)
    if not (jars / f"kafka_2.13-{KAFKA_VERSION}.jar").exists():
        raise ChildError(f"{jars} does not hold Kafka {KAFKA_VERSION}; delete it, it will be fetched anew")
    return jars


def _fetch(jars: Path, maven: str) -> None:
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetch-") as work:
        pom = Path(work) / "pom.xml"
        pom.write_text(POM)
        fetched = Path(work) / "jars"
        command = [maven, "-B", "-q", "-f", str(pom), DEPENDENCY_PLUGIN]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise ChildError(f"Maven's registry did not give Kafka's jars in {FETCH_TIMEOUT_S:g} s") from None
        if result.returncode:
            said = next((line for line in result.stdout.splitlines() if "ERROR" in line), result.stderr[-500:])
            raise ChildError(f"Maven could not fetch Kafka's jars; see its settings and the network: {said}")
        # 1. Fetch beside.  2. Rename.  A directory that exists is complete, and the first of two runs wins.
        with suppress(FileExistsError, OSError):
            fetched.rename(jars)


def run_node(directory: Path | str, port: int | None = None) -> None:
    """Run a node until Ctrl-C or SIGTERM, having printed its address. Call it from the main thread."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with KafkaNode(directory, port) as node:
        print(f"Kafka {KAFKA_VERSION} at {node.bootstrap}; Ctrl-C ends it", flush=True)
        while not ended.wait(0.5):
            if node.wait(0):
                sys.exit(f"Kafka has ended by itself; see {node.directory / 'kafka.log'}")


@cache
def _version_said_by(java: str) -> str:
    return subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr


def _check_java() -> None:
    java = shutil.which("java")
    if java is None:
        raise ChildError(f"Kafka needs Java {JAVA_MIN_VERSION} or newer, and there is no java; install it")
    said = _version_said_by(java)
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < JAVA_MIN_VERSION:
        version = said.splitlines()[0] if said else "an unknown version"
        raise ChildError(f"Kafka needs Java {JAVA_MIN_VERSION} or newer, and this is {version}; install it")
