"""The notebook of the first hour runs from top to bottom and does what it says; the page names what exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import nbformat
import pytest

from headrace.cli import main
from models.registry import Registry
from training.gates import GATES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
NOTEBOOK = ROOT / "docs" / "first_hour.ipynb"
PAGE = ROOT / "docs" / "first-hour.md"
LIMIT_S = 600
EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def executed(notebook: Any, folder: Path) -> Any:
    """Run in a process of its own: a kernel's sockets and loops are not the tests'."""
    given, done = folder / "given.ipynb", folder / "done.ipynb"
    nbformat.write(notebook, given)
    places = {"TMPDIR": str(folder), "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_CONFIG_DIR": str(folder)}
    subprocess.run(
        [sys.executable, "-c", EXECUTE, str(given), str(done)],
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=ROOT,
        env=os.environ | places | {"JUPYTER_PLATFORM_DIRS": "1"},
    )
    return nbformat.read(done, as_version=4)


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: Any, kind: str) -> list[str]:
    every = [output for cell in code_of(notebook) for output in cell.outputs]
    return ["".join(one["data"][kind]) for one in every if kind in one.get("data", {})]


def printed(notebook: Any) -> str:
    return "".join(one["text"] for cell in code_of(notebook) for one in cell.outputs if one["output_type"] == "stream")


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def run(notebook: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("first-hour")
    whole = nbformat.from_dict(notebook)
    # The last cell removes the home, which is looked at here.
    whole.cells = [cell for cell in whole.cells if "cleanup" not in cell.metadata.get("tags", [])]
    assert len(whole.cells) == len(notebook.cells) - 1
    done = executed(whole, folder)
    (home,) = folder.glob("headrace-first-hour-*")
    return done, home


def test_the_notebook_is_kept_without_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    for cell in code_of(notebook):
        assert (cell.outputs, cell.execution_count) == ([], None)
        assert len(cell.source.splitlines()) <= 40


def test_every_cell_runs_and_the_alias_history_has_promotions_and_a_rollback(run: tuple[Any, Path]) -> None:
    _, home = run
    registry = Registry(home / "models")
    assert len(registry.versions("fraud")) == 3
    moves = [one for one in registry.history("fraud") if one.alias == "champion"]
    tried, better, back = moves
    assert tried.version == back.version != better.version
    assert (tried.rollback, better.rollback, back.rollback) == (False, False, True)
    # Both went through every gate, and past none.
    for one in (tried, better):
        assert set(one.gates) == {gate.name for gate in GATES}
        assert one.forced == []
    assert better.gates["better"].startswith("passed")
    assert tried.gates["better"].startswith("not judged")
    assert registry.resolve("fraud") == tried.version


def test_the_worse_model_is_refused_in_words(run: tuple[Any, Path]) -> None:
    done, home = run
    text = printed(done)
    tried = Registry(home / "models").resolve("fraud")
    assert f"model fraud {tried} is not promoted. " in text
    assert "better: it saves -" in text
    verdicts = [one for one in shown(done, "text/html") if "what it found" in one]
    assert [("FAILED" in one) for one in verdicts] == [False, False, True]


def test_plots_are_whole_svgs_and_tables_have_rows(run: tuple[Any, Path]) -> None:
    done, _ = run
    drawings = shown(done, "image/svg+xml")
    assert len(drawings) == 4
    for one in drawings:
        assert ElementTree.fromstring(one).tag == "{http://www.w3.org/2000/svg}svg"
    for one in shown(done, "text/html"):
        assert one.count("<tr>") >= 2
    catalogue = shown(done, "text/html")[0]
    assert catalogue.count("<tr>") == 61
    reasons = next(one for one in shown(done, "text/html") if "<th style='text-align:left'>why</th></tr>" in one)
    assert "than usual" in reasons or "is usual" in reasons or "unknown" in reasons


def test_a_cell_that_raises_fails_the_run(tmp_path: Path) -> None:
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(subprocess.CalledProcessError) as raised:
        executed(broken, tmp_path)
    assert "ZeroDivisionError" in raised.value.stderr


def test_every_command_of_the_page_exists_with_its_options() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("headrace ")]
    assert len(lines) >= 8
    for line in lines:
        words = re.findall(r'"[^"]*"|\S+', line)[1:]
        command: click.Command = main
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        # Parsed, not run: the files of the page are the reader's.
        given = [word for word in words if not word.endswith((".csv", ".toml"))]
        known = {option for one in command.params for option in one.opts}
        assert {word for word in given if word.startswith("--")} <= known, line


def test_every_file_that_the_page_names_exists() -> None:
    named = re.findall(
        r"`((?:stream|scoring|headrace|training|models|features)/[a-z_]+\.(?:py|toml))`", PAGE.read_text()
    )
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
