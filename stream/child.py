"""A server run as a child: it dies with its parent, and a Ctrl-C in the terminal does not reach it.

The Linux kernel kills the child when the thread that started it ends, even by SIGKILL. Two traps follow.
The request is made by a small launcher that then becomes the server, since running Python between fork and
exec may deadlock; and one thread that lives as long as the parent starts every child, since a shorter-lived
one would take its children along.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue

LAUNCHER = """\
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent has gone")
os.environ["HEADRACE_SERVER_PID"] = str(os.getpid())  # SERVER_PID below
os.execv(sys.argv[2], sys.argv[2:])
"""
TAIL_BYTES = 4000
PR_SET_PDEATHSIG = 1
GIVEN_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
SERVER_PORTS = range(20_000, 30_000)
PORT_DRAWS = 50
SERVER_PID = "HEADRACE_SERVER_PID"
"""Says to what a server starts which process the server is."""


class ChildError(RuntimeError):
    """A server did not come up. The text ends with the last lines of its log."""


class Child:
    """One running server, its output appended to a file. Whoever made it stops it.

    Elsewhere than on Linux the child outlives a parent that is killed by SIGKILL.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log_path: Path,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log_path = log_path
        arguments = [str(part) for part in command]

        def start() -> subprocess.Popen[bytes]:
            launch = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), *arguments]
            with log_path.open("ab") as output:
                return subprocess.Popen(
                    launch,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=log_path.parent,
                    start_new_session=True,
                    pass_fds=tuple(pass_fds),
                    env=os.environ | dict(environment or {}),
                )

        outcome: Future[subprocess.Popen[bytes]] = Future()
        _orders(os.getpid()).put((start, outcome))
        self._popen = outcome.result()

    @property
    def pid(self) -> int:
        """The server's own number, not a launcher's."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it ends; False if it still runs after `timeout_s`."""
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_s: float) -> None:
        """Ask it to end; kill it if it has not after `grace_s`. No effect on one that has ended."""
        if self.running:
            self._popen.send_signal(signal.SIGTERM)
            if self.wait(grace_s):
                return
        self.kill()

    def kill(self) -> None:
        """SIGKILL to it and whatever it started; returns when it is gone."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        with self.log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            return log.read().decode(errors="replace").strip()


def free_port() -> int:
    """A port that nobody listened on a moment ago; another may take it first, so be ready to choose again.

    Drawn from `server_ports` where there are some, so that no connection of anybody's takes it while its server starts,
    or is away and shall come back.
    """
    drawn = random.SystemRandom().sample(ports := server_ports(), min(PORT_DRAWS, len(ports)))
    for port in (*drawn, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("this machine has no free port; see what listens on so many")


def server_ports() -> range:
    """Ports that Linux gives to no outgoing connection and to nobody who asks for any port."""
    try:
        first = int(GIVEN_PORTS.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return range(0)
    return range(SERVER_PORTS.start, min(first, SERVER_PORTS.stop))


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends: for what a third party's server starts. Linux only.

    A parent that ended before this was asked for, while imports took their seconds, is known by the server's own id,
    which it has from its launcher: then this process ends by itself.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        server_pid = os.environ.get(SERVER_PID)
        if server_pid is not None and os.getppid() != int(server_pid):
            sys.exit("the parent has gone")


Order = tuple[Callable[[], "subprocess.Popen[bytes]"], "Future[subprocess.Popen[bytes]]"]


@lru_cache(maxsize=1)
def _orders(pid: int) -> SimpleQueue[Order]:
    # By process: a fork of the parent has this cache but not the thread.
    orders: SimpleQueue[Order] = SimpleQueue()

    def carry_out() -> None:
        while True:
            start, outcome = orders.get()
            try:
                outcome.set_result(start())
            except BaseException as error:
                outcome.set_exception(error)

    threading.Thread(target=carry_out, name=f"children-of-{pid}", daemon=True).start()
    return orders
