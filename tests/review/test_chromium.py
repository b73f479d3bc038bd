"""`make browser` on machines of every kind: what is there is used, what cannot be had is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.review import chromium

BROKEN = "#!/bin/sh\necho 'error while loading shared libraries: libnss3.so' >&2\nexit 127\n"
WORKS = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's only directory of programs; Playwright has fetched none, and cannot."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(chromium, "playwrights_own", lambda: None)
    monkeypatch.setattr(chromium, "PLAYWRIGHTS", ("/bin/false",))
    return tmp_path


def program(path: Path, name: str, text: str) -> None:
    (path / name).write_text(text)
    (path / name).chmod(0o755)


def test_one_that_is_there_and_starts_is_used(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(path, "chromium", WORKS)
    assert chromium.main() == 0
    assert capsys.readouterr().out == f"Chromium is here: {path}/chromium\n"


def test_root_gets_the_systems_package(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    installs = f"[ $3 = update ] || {{ echo '{WORKS}' > {path}/chromium; /bin/chmod 755 {path}/chromium; }}"
    program(path, "apt-get", f'#!/bin/sh\necho "$@" $DEBIAN_FRONTEND >> {path}/asked\n{installs}\n')
    assert chromium.main() == 0
    asked = (path / "asked").read_text().splitlines()
    assert asked == [
        "-qq -y update noninteractive",
        "-qq -y install --no-install-recommends chromium noninteractive",
    ]
    assert "Chromium is here" in capsys.readouterr().out


@pytest.mark.parametrize("apt", [None, "#!/bin/sh\nexit 100\n", WORKS], ids=["none", "refuses", "installs nothing"])
@pytest.mark.parametrize("user", [0, 1000])
def test_where_none_can_be_had_it_says_what_to_do(
    apt: str | None, user: int, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    if apt is not None:
        program(path, "apt-get", apt)
    assert chromium.main() == 1
    said = capsys.readouterr().err
    assert "Playwright's cannot be had" in said and said.endswith("skipped until then\n")
    assert ("the system's package cannot be had: apt-get" in said) == (user == 0 and apt is not None and "100" in apt)


def test_one_that_lacks_a_library_is_not_taken_for_one(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(path, "google-chrome", BROKEN)
    assert chromium.main() == 1
    assert "google-chrome does not start: error while loading shared libraries: libnss3.so" in capsys.readouterr().err


def test_without_any_the_tests_that_need_one_are_skipped_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api")
    asks = "from playwright.sync_api import sync_playwright as s\nfrom tests.review.browsing import launched\n"
    asks += "import pytest\nwith s() as playwright:\n    try: launched(playwright)\n"
    asks += "    except pytest.skip.Exception as error: print('skipped:', error)\n"
    root = str(Path(chromium.__file__).parents[2])
    bare = {name: str(tmp_path) for name in ("PATH", "HOME", "PLAYWRIGHT_BROWSERS_PATH")} | {"PYTHONPATH": root}
    command = [sys.executable, "-c", asks]
    said = subprocess.run(command, env=bare, cwd=root, capture_output=True, text=True, check=True)
    assert said.stdout == "skipped: there is no Chromium; run 'make browser'\n"
