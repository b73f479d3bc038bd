"""Chromium for the tests of pages: where it is, and `python -m tests.review.chromium` for a machine without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first draws pages without a window, and takes a fifth of the time of a processor that the others do."""
APT = ("apt-get", "-qq", "-y")
"""Debian's and its relatives' way, for root alone."""
PLAYWRIGHTS = (sys.executable, "-m", "playwright", "install")
STARTS = ("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "about:blank")
START_LIMIT_S = 300
ADVICE = (
    "no Chromium was installed: as root on Debian run 'apt-get install chromium', elsewhere install Chromium or Chrome "
    f"as your system does, so that one of {', '.join(NAMES)} is on the PATH; tests that need a browser are skipped "
    "until then"
)


class Way(NamedTuple):
    """How one may be had: commands in order, each needing the one before."""

    name: str
    commands: Sequence[Sequence[str]]


def machines_own() -> str | None:
    """The program that the machine has; None where Playwright may have one of its own."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def playwrights_own() -> str | None:
    """The program that Playwright has fetched; None where it has none, or is itself not installed."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def why_it_does_not_start(program: str) -> str | None:
    """What a program says that is there and does not start, such as which library it misses; None where it does."""
    try:
        said = subprocess.run([program, *STARTS], capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = said.stderr.strip().splitlines()
    return None if said.returncode == 0 else (lines[-1] if lines else f"it ended with {said.returncode}")


def ways_to_get_one(is_root: bool, has_apt: bool) -> list[Way]:
    """The ways, the first that works being enough: the system's brings libraries and fonts, Playwright's a program.

    >>> [way.name for way in ways_to_get_one(is_root=True, has_apt=True)]
    ["the system's package", "Playwright's"]
    >>> [way.name for way in ways_to_get_one(is_root=False, has_apt=True)]
    ["Playwright's"]
    """
    packages = Way("the system's package", [[*APT, "update"], [*APT, "install", "--no-install-recommends", "chromium"]])
    may_install = is_root and has_apt
    fetched = Way("Playwright's", [[*PLAYWRIGHTS, *(["--with-deps"] if may_install else []), "chromium"]])
    return [packages, fetched] if may_install else [fetched]


def main() -> int:
    """Install one where there is none. A failure is told: the tests are then skipped, or fail where it is required."""
    if (found := machines_own() or playwrights_own()) and why_it_does_not_start(found) is None:
        print(f"Chromium is here: {found}")
        return 0
    asks_nothing = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for way in ways_to_get_one(os.geteuid() == 0, shutil.which(APT[0]) is not None):
        for command in way.commands:
            code = subprocess.run(command, env=asks_nothing, check=False).returncode
            if code:
                print(f"{way.name} cannot be had: {' '.join(command)} failed with {code}", file=sys.stderr)
                break
        # A package may be a mere pointer to another store, and a program may miss libraries: only a start is a proof.
        found = machines_own() or playwrights_own()
        why = why_it_does_not_start(found) if found else None
        if found and why is None:
            print(f"Chromium is here: {found}")
            return 0
        if why:
            print(f"{found} does not start: {why}", file=sys.stderr)
    print(ADVICE, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
