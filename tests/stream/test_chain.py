"""The audit chain: whatever is done to its files shows; whatever crashes, each decision is in it once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import msgspec
import pytest

from stream.chain import Anchor, Chain, ChainBroken, segments
from stream.chain_check import ChainCheck, Erasure, Verdict
from stream.chain_entry import NOTHING, Draft, InvalidLine, parse
from stream.decision_keeper import GROUP, keep, subject_of
from stream.log import Entry, Partition, lag
from stream.records import Decision, encode
from stream.redis_log import RedisLog
from tests.stream.keeping import SEGMENT_BYTES, decided, draft, filled, message
from tests.until import LIMIT_S

ROOT = Path(__file__).parents[2]
FLIPS = 200
DEATHS = 5


def erase(chain: Chain, *numbers: int) -> None:
    """As `forget` does: say so, then overwrite."""
    erasure = Erasure(entity="card_id", mark="m", by="ann", at="2026-01-31", entries=list(numbers))
    chain.append([Draft("erasure", NOTHING, NOTHING, msgspec.json.encode(erasure))])
    chain.overwrite([spot for spot, entry in chain.entries() if entry.number in numbers])


def check(directory: Path, key: str = "", **anchors: str) -> Verdict:
    return ChainCheck(directory, key, {int(number[1:]): own for number, own in anchors.items()}).run()


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def path_of(directory: Path, nth: int) -> Path:
    return directory / f"{segments(directory)[nth]:012d}.chain"


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Forty decisions in several segments; of two the payload was erased."""
    chain = filled(tmp_path / "audit")
    erase(chain, 4, 20)
    return chain


def test_a_chain_that_nobody_touched_is_good(chain: Chain) -> None:
    found = check(chain.directory)
    assert found.is_good
    assert found.by_kind == {"opened": 1, "decision": 40, "erasure": 1}
    assert (found.entries, found.erased, found.segments) == (42, 2, len(segments(chain.directory)))
    assert found.segments > 4
    assert found.head == str(chain.head())


@pytest.mark.parametrize("key", ["", "a secret"])
def test_a_flipped_bit_anywhere_is_found_and_its_segment_named(tmp_path: Path, key: str) -> None:
    chain = filled(tmp_path / "audit", key=key)
    erase(chain, 4, 20)
    chosen = random.Random(7)
    for _ in range(FLIPS):
        path = path_of(chain.directory, chosen.randrange(len(segments(chain.directory))))
        content = bytearray(path.read_bytes())
        at, bit = chosen.randrange(len(content)), 1 << chosen.randrange(8)
        content[at] ^= bit
        path.write_bytes(content)
        found = check(chain.directory, key)
        assert not found.is_good, f"byte {at} of {path.name}, bit {bit}"
        assert found.segment == path.name
        content[at] ^= bit
        path.write_bytes(content)
    assert check(chain.directory, key).is_good


def test_what_is_wrong_is_said_of_the_first_broken_entry(chain: Chain) -> None:
    path = path_of(chain.directory, 2)
    first, second, third, *rest = lines_of(path)
    number = parse(first.rstrip(b"\n")).number
    forms: dict[str, tuple[list[bytes], int]] = {
        "payload is not the one": ([first, second.replace(b'"amount":', b'"amount":9'), third, *rest], number + 1),
        "they were removed": ([first, third, *rest], number + 1),
        "another order": ([first, third, second, *rest], number + 1),
        "a second entry has the number": ([first, second, second, third, *rest], number + 1),
        "the entry was changed": (
            [first, second.replace(b"log/decisions", b"log/Decisions"), third, *rest],
            number + 1,
        ),
        "the line is no entry": ([first, b"something else\n", third, *rest], number + 1),
    }
    for says, (lines, entry) in forms.items():
        path.write_bytes(b"".join(lines))
        found = check(chain.directory)
        assert says in found.problem
        assert (found.segment, found.entry) == (path.name, entry)
    path.write_bytes(b"".join([first, second, third, *rest]))
    assert check(chain.directory).is_good


def test_a_payload_that_is_gone_without_an_erasure_is_found(chain: Chain) -> None:
    chain.overwrite([spot for spot, entry in chain.entries() if entry.number == 11])
    found = check(chain.directory)
    assert "no erasure in the chain says so" in found.problem
    assert found.entry == 11


def test_an_erasure_that_was_not_carried_out_is_found(chain: Chain) -> None:
    erasure = Erasure(entity="card_id", mark="m", by="ann", at="2026-01-31", entries=[11])
    chain.append([Draft("erasure", NOTHING, NOTHING, msgspec.json.encode(erasure))])
    assert "it was not" in check(chain.directory).problem
    chain.overwrite([spot for spot, entry in chain.entries() if entry.number == 11])
    assert check(chain.directory).is_good


def test_nothing_of_an_erased_payload_is_left_and_all_others_are(chain: Chain) -> None:
    whole = {draft(number).payload for number in range(40)}
    kept = {entry.payload for _, entry in chain.entries() if entry.kind == "decision" and not entry.is_erased}
    content = b"".join(path_of(chain.directory, nth).read_bytes() for nth in range(len(segments(chain.directory))))
    assert len(kept) == 38
    assert kept < whole
    assert not any(gone in content for gone in whole - kept)


def test_a_removed_segment_is_found(chain: Chain) -> None:
    path_of(chain.directory, 2).unlink()
    found = check(chain.directory)
    assert "a segment was removed" in found.problem


def test_a_cut_tail_shows_against_an_anchor_only(chain: Chain) -> None:
    head = chain.head()
    path = path_of(chain.directory, -1)
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    assert "its payload is gone" in check(chain.directory).problem  # the erasure was in the tail
    other = chain.directory.parent / "other"
    filled(other)
    anchored = check(other, **{f"n{head.number}": head.hash})
    assert f"the anchor is of entry {head.number}: its tail was cut off" in anchored.problem
    assert check(other).is_good


def test_a_chain_written_anew_shows_against_an_anchor(tmp_path: Path) -> None:
    anchor = filled(tmp_path / "one").head()
    filled(tmp_path / "two")
    assert check(tmp_path / "one", **{f"n{anchor.number}": anchor.hash}).is_good
    found = check(tmp_path / "two", **{f"n{anchor.number}": anchor.hash})
    assert "written anew" in found.problem


def test_without_the_key_a_chain_neither_verifies_nor_goes_on(tmp_path: Path) -> None:
    chain = filled(tmp_path / "audit", key="right")
    assert check(chain.directory, "right").is_good
    for wrong in ("", "wrong"):
        assert "HEADRACE_AUDIT_KEY" in check(chain.directory, wrong).problem
        with pytest.raises(ChainBroken, match="HEADRACE_AUDIT_KEY"):
            Chain(chain.directory, wrong).append([draft(99)])


def test_what_is_appended_again_is_there_once(chain: Chain) -> None:
    assert chain.append([draft(number) for number in range(40)]) == []
    assert len(chain.append([draft(39), draft(40), draft(40)])) == 1
    assert check(chain.directory).is_good


def test_an_index_that_is_lost_is_made_again(chain: Chain) -> None:
    head = chain.head()
    chain.close()
    for path in chain.directory.glob("index.sqlite*"):
        path.unlink()
    anew = Chain(chain.directory, segment_bytes=SEGMENT_BYTES)
    assert anew.append([draft(number) for number in range(40)]) == []
    assert anew.head() == head
    assert [entry.payload for entry in anew.find(subject_of(decided(7)))] == [draft(7).payload]


def test_a_line_that_a_crash_tore_is_cut_off_and_written_again(chain: Chain) -> None:
    path = path_of(chain.directory, -1)
    for torn in (b"43 decision 0123", b"\0" * 500, b"\0\n43 deci"):
        with path.open("ab") as file:
            file.write(torn)
        assert not check(chain.directory).is_good
        chain.append([])
        assert check(chain.directory).is_good
    assert [entry.number for entry in chain.append([draft(41)])] == [43]


def test_a_chain_shorter_than_it_was_is_not_gone_on_with(chain: Chain) -> None:
    path = path_of(chain.directory, -1)
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    with pytest.raises(ChainBroken, match="it ends before entry 42"):
        chain.append([draft(41)])


def test_a_payload_of_two_lines_is_refused(chain: Chain) -> None:
    with pytest.raises(InvalidLine):
        chain.append([Draft("artefact", "s", NOTHING, b"one\ntwo")])
    assert check(chain.directory).is_good


def test_duplicates_and_bytes_that_are_no_decision_are_each_kept_once(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "audit")
    part = Partition("decisions", 0)
    twice = encode(decided(1))
    polled = {part: [Entry(5, "k", twice), Entry(6, "k", b"{not\njson"), Entry(9, "k", twice)]}
    for _ in range(2):
        assert keep(chain, "a log/of ours", polled, lambda decisions: []) == {part: 10}
    kept = [(entry.kind, entry.source) for _, entry in chain.entries()]
    log = "a%20log%2Fof%20ours/decisions/0"
    assert kept == [("opened", "-"), ("decision", f"{log}/5"), ("unreadable", f"{log}/6")]
    # Another answer to the same event, later, is another decision.
    again = {part: [Entry(12, "k", encode(decided(1, scored_at=decided(2).scored_at)))]}
    keep(chain, "a log/of ours", again, lambda decisions: [])
    assert chain.head().number == 4
    assert Anchor(1, "ab") != chain.head()


def test_a_keeper_that_is_killed_again_and_again_keeps_each_decision_once(tmp_path: Path, redis_db: str) -> None:
    log = RedisLog(redis_db, partitions=2)
    decisions = [decided(number) for number in range(600)]
    log.append([message(decision) for decision in decisions[:300]])
    log.append([message(decision) for decision in decisions])  # a relay that appends again
    directory = tmp_path / "audit"
    chosen = random.Random(3)
    for death in range(DEATHS + 1):
        before = written(directory)
        # None but the last can keep all, however late it is killed.
        limit = [str(len(decisions) // (2 * DEATHS))] if death < DEATHS else []
        command = [sys.executable, "-m", "tests.stream.keeping", redis_db, str(directory), *limit]
        keeper = subprocess.Popen(command, cwd=ROOT)
        until_s = time.monotonic() + LIMIT_S
        while time.monotonic() < until_s and any(lag(log, GROUP, Decision.topic).values()):
            time.sleep(0.002)
            if death < DEATHS and written(directory) > before:
                time.sleep(chosen.uniform(0.0, 0.03))
                break
        keeper.send_signal(signal.SIGKILL)
        keeper.wait()
        if death == 1:
            assert any(lag(log, GROUP, Decision.topic).values())
    assert not any(lag(log, GROUP, Decision.topic).values())
    chain = Chain(directory, segment_bytes=SEGMENT_BYTES)
    kept = [entry.subject for _, entry in chain.entries() if entry.kind == "decision"]
    assert sorted(kept) == sorted(map(subject_of, decisions))
    assert check(directory).is_good
    log.close()


def written(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.chain"))


def test_a_check_while_others_append_is_good(chain: Chain) -> None:
    stop = Event()

    def go_on() -> None:
        number = 100
        while not stop.is_set():
            chain.append([draft(number), draft(number + 1), draft(number + 2)])
            number += 3

    thread = Thread(target=go_on)
    thread.start()
    found = [check(chain.directory)]
    until_s = time.monotonic() + LIMIT_S
    try:
        # Each append waits for the disk: what is seen to grow is looked for until it has grown.
        while len(found) < 30 or (found[-1].entries == found[0].entries and time.monotonic() < until_s):
            found.append(check(chain.directory))
    finally:
        stop.set()
        thread.join()
    assert all(one.is_good for one in found)
    assert found[-1].entries > found[0].entries
