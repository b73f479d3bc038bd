"""What a server starts ends with the server, also when the server was gone before it could ask for that."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream.child import SERVER_PID, Child

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
    child = Child([sys.executable, "-c", code], tmp_path / "log")
    try:
        until = time.monotonic() + 60
        while not (said.exists() and said.read_text()):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert int(said.read_text()) == child.pid
    finally:
        child.stop(grace_s=30)


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
    worker = int(began.read_text())
    until = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split(")")[1]:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not lived.exists()


def test_without_a_launcher_nothing_is_known_and_nothing_ends() -> None:
    environment = {name: value for name, value in os.environ.items() if name != SERVER_PID}
    code = "from stream.child import die_with_parent; die_with_parent(); print('lives')"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "lives\n"
