"""What a server starts ends with the server, also when the server was gone before it could ask for that."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stream import child
from stream.child import SERVER_PID, Child, free_port, server_ports
from tests.stream.ended import gone
from tests.until import until

LATE = """
import os, sys, time
from pathlib import Path
from stream.child import die_with_parent
server = os.getppid()
Path(sys.argv[1]).write_text(str(os.getpid()))
while os.getppid() == server:
    time.sleep(0.01)
die_with_parent()
Path(sys.argv[2]).write_text("lives on")
"""


def test_a_server_tells_what_it_starts_who_it_is(tmp_path: Path) -> None:
    said = tmp_path / "said"
    code = f"import os, time; open({str(said)!r}, 'w').write(os.environ[{SERVER_PID!r}]); time.sleep(600)"
    server = Child([sys.executable, "-c", code], tmp_path / "log")
    try:
        until(lambda: said.exists() and said.read_text() != "")
        assert int(said.read_text()) == server.pid
    finally:
        server.stop(grace_s=30)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG and /proc are Linux's")
def test_who_asks_too_late_ends(tmp_path: Path) -> None:
    began, lived = tmp_path / "began", tmp_path / "lived"
    # The server starts its worker and is gone before the worker asks.
    server = (
        "import os, subprocess, sys, time\n"
        f"os.environ[{SERVER_PID!r}] = str(os.getpid())\n"
        "subprocess.Popen([sys.executable, '-c', *sys.argv[1:]])\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
    )
    subprocess.run([sys.executable, "-c", server, LATE, str(began), str(lived)], check=True, timeout=120)
    until(lambda: began.read_text() != "")  # the file is there before its content is
    worker = int(began.read_text())
    until(lambda: gone(worker))
    assert not lived.exists()


def test_no_connection_takes_the_port_of_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ports = tmp_path / "ip_local_port_range"
    monkeypatch.setattr(child, "GIVEN_PORTS", ports)
    for first, stop in ((32_768, 30_000), (25_000, 25_000)):
        ports.write_text(f"{first}\t60999\n")
        assert server_ports() == range(20_000, stop)
        assert all(free_port() in server_ports() for _ in range(20))
    for gives_all in ("1024\t65535\n", ""):
        ports.write_text(gives_all)
        assert not server_ports()
        assert free_port() > 0


def test_a_port_that_is_taken_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(child, "server_ports", lambda: range(port, port + 1))
        assert free_port() != port


def test_without_a_launcher_nothing_is_known_and_nothing_ends() -> None:
    environment = {name: value for name, value in os.environ.items() if name != SERVER_PID}
    code = "from stream.child import die_with_parent; die_with_parent(); print('lives')"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "lives\n"
