"""Small files become large ones, and nobody ever finds a record twice or not at all."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from random import Random
from threading import Event
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream import compaction
from stream.archive import Archive
from stream.archiver import tidy
from stream.compaction import BESIDE, compact, exchange
from tests.stream.merging import LATER, NEVER, by_archive, by_duckdb, files_of, fill, merge

DAY1 = date(2026, 1, 1)


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("filled") / "archive"
    fill(directory)
    return directory


@pytest.fixture
def directory(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "archive"))


def test_the_files_of_a_closed_day_become_one_for_each_partition(directory: Path) -> None:
    queried, read = by_duckdb(directory), by_archive(directory)
    assert files_of(directory) == [10, 10, 10]
    assert merge(directory) == 16
    # The newest day is still open.
    assert files_of(directory) == [2, 2, 10]
    assert by_duckdb(directory) == queried
    assert by_archive(directory) == read
    assert merge(directory) == 0


def test_a_day_is_open_until_it_is_over_and_a_later_one_has_begun(directory: Path) -> None:
    assert merge(directory, today=DAY1) == 0
    assert merge(directory, today=DAY1 + timedelta(days=1)) == 8
    assert files_of(directory) == [2, 10, 10]


def test_a_few_files_more_than_needed_stay(directory: Path) -> None:
    assert merge(directory, surplus=9) == 0
    assert merge(directory, surplus=8) == 16


def test_what_comes_late_is_merged_with_what_was_merged_before(directory: Path) -> None:
    merge(directory)
    fill(directory, flushes=2, days=1, first=1000)
    assert files_of(directory) == [6, 2, 10]
    queried, read = by_duckdb(directory), by_archive(directory)
    assert merge(directory) == 4
    assert files_of(directory) == [2, 2, 10]
    assert (by_duckdb(directory), by_archive(directory)) == (queried, read)


def test_a_batch_that_comes_again_is_known_from_the_merged_files(directory: Path) -> None:
    merge(directory)
    queried = by_duckdb(directory)
    fill(directory)
    assert by_duckdb(directory) == queried


def test_large_files_stay_as_they_are(directory: Path) -> None:
    largest = max(path.stat().st_size for path in directory.rglob("*.parquet"))
    before = {path: path.stat().st_ino for path in directory.rglob("*.parquet")}
    queried = by_duckdb(directory)
    assert merge(directory, bytes_limit=largest, surplus=0) == 0
    assert {path: path.stat().st_ino for path in (directory / "transactions").rglob("*.parquet")} == before
    assert merge(directory, bytes_limit=2 * largest) == 8
    assert files_of(directory) == [6, 6, 10]
    assert by_duckdb(directory) == queried


def test_two_logs_are_not_mixed(directory: Path) -> None:
    fill(directory, first=17, log="kafka:other")
    read = by_archive(directory)
    merge(directory)
    assert files_of(directory) == [4, 4, 20]
    assert by_archive(directory) == read


def test_files_of_two_versions_are_not_mixed(directory: Path) -> None:
    path = sorted((directory / "transactions/date=2026-01-01").iterdir())[2]
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.append_column("new", pa.nulls(table.num_rows, pa.string())), path)
    read = by_archive(directory)
    merge(directory)
    # Two before it, it, two after it; and the other partition.
    assert files_of(directory) == [4, 2, 10]
    assert by_archive(directory) == read


def test_a_day_with_a_torn_file_stays_and_the_others_are_merged(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = sorted((directory / "transactions/date=2026-01-01").iterdir())[2]
    path.write_bytes(path.read_bytes()[:100])
    assert merge(directory) == 8
    assert files_of(directory) == [10, 2, 10]
    assert "date=2026-01-01 stay as they are" in caplog.text


def test_where_folders_cannot_be_exchanged_the_small_files_stay(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refusing(one: Path, other: Path) -> None:
        raise OSError("not on this file system")

    monkeypatch.setattr(compaction, "exchange", refusing)
    monkeypatch.setattr(compaction, "SURPLUS", 1)
    queried = by_duckdb(directory)
    with Archive(directory) as archive:
        tidy(archive, timedelta(days=400), LATER, NEVER)
    assert "not on this file system" in caplog.text
    assert not (directory / BESIDE).exists()
    assert by_duckdb(directory) == queried


def test_a_folder_that_is_not_there_cannot_be_exchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        exchange(tmp_path, tmp_path / "nothing")


def test_one_that_is_told_to_stop_leaves_the_rest_for_another_time(directory: Path) -> None:
    stop = Event()
    stop.set()
    with Archive(directory) as archive:
        assert compact(archive, LATER, stop, surplus=1) == 0
    assert files_of(directory) == [10, 10, 10]
    assert merge(directory, round_s=0) == 0


def test_expired_days_go_and_merged_ones_with_them(directory: Path) -> None:
    with Archive(directory) as archive:
        tidy(archive, timedelta(days=1), LATER, NEVER)
        compact(archive, LATER, NEVER, surplus=1)
        assert files_of(directory) == [2, 10]
        tidy(archive, timedelta(days=0), LATER, NEVER)
    assert files_of(directory) == [10]


def on_disk(directory: Path) -> frozenset[tuple[str, bytes]]:
    """Every file with its contents: all that whoever comes after a crash has."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return frozenset((str(path.relative_to(directory)), path.read_bytes()) for path in files)


@contextmanager
def dying(line: int) -> Iterator[list[int]]:
    """End at this line executed in the module, counted from 0; the list holds how many were."""
    count = [0]

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != compaction.__file__:
            return None
        if event == "line":
            count[0] += 1
            if count[0] > line:
                raise Crash
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


@pytest.mark.slow
# A process that ended would leave open files to nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_crash_at_any_line_neither_loses_nor_doubles(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    fill(origin, flushes=2, days=2)
    merge(origin)
    fill(origin, flushes=1, days=1, first=500)
    queried, read = by_duckdb(origin), by_archive(origin)
    line = crashes = merged = 0
    checked: set[frozenset[tuple[str, bytes]]] = set()
    while True:
        directory = Path(shutil.copytree(origin, tmp_path / f"crash-{line}"))
        try:
            with dying(line) as count:
                merge(directory)
        except Crash:
            crashes += 1
        merged += files_of(directory) == [2, 4]
        left = on_disk(directory)
        # Most lines change nothing on disk: what was checked once is not checked again.
        if left not in checked:
            checked.add(left)
            assert by_duckdb(directory) == queried, f"after line {line}"
            assert by_archive(directory) == read, f"after line {line}"
            # The next one cleans up and does the rest.
            merge(directory)
            assert files_of(directory) == [2, 4], f"after line {line}"
            assert (by_duckdb(directory), by_archive(directory)) == (queried, read), f"after line {line}"
        shutil.rmtree(directory)
        if count[0] <= line:
            break
        line += 1
    assert crashes > 100
    assert len(checked) > 5
    assert 1 < merged < crashes


KILLED = """
import sys
from datetime import date
from pathlib import Path
from threading import Event
from stream.archive import Archive
from stream.compaction import compact
with Archive(Path(sys.argv[1])) as archive:
    print("begins", flush=True)
    compact(archive, date(2026, 6, 1), Event(), surplus=1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(more, marks=pytest.mark.thorough) for more in (1, 2))])
def test_a_kill_at_any_time_neither_loses_nor_doubles(tmp_path: Path, seed: int) -> None:
    directory, random = tmp_path / "archive", Random(seed)
    fill(directory, flushes=10, days=10)
    queried, read = by_duckdb(directory), by_archive(directory)
    for _ in range(8):
        command = [sys.executable, "-c", KILLED, str(directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as killed:
            assert killed.stdout is not None
            killed.stdout.readline()
            time.sleep(random.random() * 0.1)
            killed.send_signal(signal.SIGKILL)
        assert by_duckdb(directory) == queried
    assert by_archive(directory) == read
    merge(directory)
    assert files_of(directory) == [2] * 9 + [20]
    assert (by_duckdb(directory), by_archive(directory)) == (queried, read)
