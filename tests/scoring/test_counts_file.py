"""A file of counts is whole at any moment, or is what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoring.counts_file import LEAST_PLACE, CountsFile, read, write_once
from scoring.tally import Counts


def counted(number: float, labels: int = 1) -> Counts:
    return Counts({"headrace_tags_total": {(f"tag {one}",): number for one in range(labels)}})


def test_the_newest_counts_are_read(tmp_path: Path) -> None:
    file = CountsFile(tmp_path / "one")
    for number in range(5):
        file.write(counted(number))
        assert read(tmp_path / "one") == counted(number)
    file.close()
    assert read(tmp_path / "one") == counted(4)


def test_a_write_that_is_cut_short_anywhere_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "one"
    file = CountsFile(path)
    for number in range(2):
        file.write(counted(number))
    before = path.read_bytes()
    file.write(counted(2))
    after = path.read_bytes()
    places = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    for cut in places:
        path.write_bytes(after[:cut] + before[cut:])
        assert read(path) == counted(1)
    path.write_bytes(after)
    assert read(path) == counted(2)


def test_counts_that_outgrow_their_place_get_a_larger_one(tmp_path: Path) -> None:
    file = CountsFile(tmp_path / "one")
    file.write(counted(1))
    assert (tmp_path / "one").stat().st_size == 2 * LEAST_PLACE
    for number in range(3):
        file.write(counted(number, labels=LEAST_PLACE // 10))
        assert read(tmp_path / "one") == counted(number, labels=LEAST_PLACE // 10)
    file.write(counted(9))
    assert read(tmp_path / "one") == counted(9)


def test_a_writer_that_begins_again_replaces_what_it_wrote(tmp_path: Path) -> None:
    file = CountsFile(tmp_path / "one")
    file.write(counted(1))
    file.close()
    file.write(counted(2))
    assert read(tmp_path / "one") == counted(2)


def test_counts_that_are_written_once_are_read_as_well(tmp_path: Path) -> None:
    write_once(tmp_path / "gone", counted(3))
    write_once(tmp_path / "gone", counted(4, labels=5000))
    assert read(tmp_path / "gone") == counted(4, labels=5000)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"x" * 40, bytes(2 * LEAST_PLACE)], ids=["empty", "short", "x", "zeros"]
)
def test_what_is_no_file_of_counts_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one").write_bytes(content)
    assert read(tmp_path / "one") == read(tmp_path / "none") == Counts()
