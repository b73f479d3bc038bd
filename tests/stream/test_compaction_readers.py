"""Who reads while small files become large ones finds every record once, or is told that a file has gone."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from threading import Event, Thread

import duckdb
import pytest

from stream.archive import Archive, entries
from stream.compaction import BESIDE, exchange
from tests.stream.merging import by_archive, by_duckdb, fill, merge
from tests.until import LIMIT_S


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    fill(tmp_path / "archive")
    return tmp_path / "archive"


@pytest.mark.parametrize("left", ["nothing", "half", "all"])
def test_rubbish_beside_the_topics_is_never_read_and_goes(directory: Path, left: str) -> None:
    queried, read = by_duckdb(directory), by_archive(directory)
    merge(directory)
    rubbish = sorted((directory / BESIDE).rglob("*.parquet"))
    assert len(rubbish) == 20
    for path in {"nothing": rubbish, "half": rubbish[::2], "all": []}[left]:
        path.unlink()
    assert (by_duckdb(directory), by_archive(directory)) == (queried, read)
    merge(directory)
    assert not (directory / BESIDE).exists()


@pytest.mark.parametrize("taken", [0, 30, *(pytest.param(some, marks=pytest.mark.thorough) for some in (1, 10))])
def test_a_reader_that_listed_the_files_before_reads_on(directory: Path, taken: int) -> None:
    read = by_archive(directory)
    for key, files in Archive(directory).sources().items():
        again = Path(shutil.copytree(directory, directory.with_name(f"again-{key[1].number}")))
        moved = [file._replace(path=again / file.path.relative_to(directory)) for file in files]
        reading = entries(moved)
        found = [next(reading) for _ in range(taken)]
        merge(again)
        fill(again, flushes=1, days=1, first=700)
        assert merge(again, surplus=0) >= 0
        assert found + list(reading) == read[key]


def test_a_reader_that_listed_the_files_before_learns_the_name_of_its_log(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = by_archive(directory)
    listed = {topic: Archive(directory).files(topic) for topic in ("transactions", "labels")}
    merge(directory)
    archive = Archive(directory)
    monkeypatch.setattr(archive, "files", lambda topic: listed[topic])
    assert {key: list(entries(files)) for key, files in archive.sources(list(listed)).items()} == read
    shutil.rmtree(directory / "transactions")
    assert archive.sources(list(listed)) == {}


def both_ways(directory: Path, stop: Event, rounds: list[int], begun: list[int]) -> None:
    """Merge, and put the small files back, again and again: the contents stay the same all the time.

    A folder is removed as a round would: later, when nobody can be listing it any more. `begun` are the queries.
    """

    def let_begin(count: int) -> None:
        end = len(begun) + count
        while len(begun) < end and not stop.is_set():
            time.sleep(0.001)

    day, small = directory / "transactions/date=2026-01-01", directory / "small"
    while not stop.is_set():
        shutil.copytree(day, small, copy_function=os.link)
        merge(directory)
        exchange(day, small)
        let_begin(1)
        shutil.rmtree(small)
        let_begin(1)
        rounds.append(len(rounds))


@pytest.mark.slow
def test_duckdb_finds_every_record_once_or_says_that_a_file_has_gone(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    fill(directory, flushes=10, days=2)
    queried = by_duckdb(directory)
    days = [directory / "transactions/date=2026-01-01", directory / "transactions/date=2026-01-02"]
    assert sorted((directory / "transactions").iterdir()) == days
    stop, right, gone = Event(), 0, 0
    rounds: list[int] = []
    begun: list[int] = []
    thread = Thread(target=both_ways, args=(directory, stop, rounds, begun))
    thread.start()
    try:
        until = time.monotonic() + LIMIT_S
        while (right <= 20 or len(rounds) <= 20) and time.monotonic() < until:
            begun.append(len(begun))
            try:
                # Listed by us: DuckDB's globs look at each name again, and pass over what has gone by then.
                assert by_duckdb(directory, [path for day in days for path in day.iterdir()]) == queried
                right += 1
            except duckdb.IOException as error:
                assert "No such file" in str(error) or "No files found" in str(error), str(error)
                gone += 1
    finally:
        stop.set()
        thread.join()
    assert right > 20
    assert len(rounds) > 20
    print(f"{right} right, {gone} gone, {len(rounds)} rounds")
