"""Forget one entity everywhere: every place is searched, erased, and searched again until nothing is found.

1. Search: which places know it, and which events are its own.  2. Note those events in a file.  3. Erase, the log
first, so that nobody reads it anew from there.  4. Again, for what a process still had in its hands.  5. Sweep: look
for the bytes of the value in all of Redis and in all files of the home.

A crash anywhere leaves the note: the next time goes on with the events that it names.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

import click
import msgspec

from headrace.assembly import open_online_store
from headrace.audit import AUDIT_FOLDER, open_chain
from headrace.cold import ARCHIVE_FOLDER, open_archive
from headrace.forget_chain import ChainPlace
from headrace.forget_files import ArchivePlace, CasePlace, LearnerPlace, SpoolPlace, StatesPlace, WatchPlace
from headrace.forget_place import Place
from headrace.forget_redis import AnswerPlace, LogPlace, RulePlace, StorePlace
from headrace.review import has_cases, store_of_command
from headrace.settings import Settings
from headrace.watch import FOLDER as WATCH_FOLDER
from review.case_store import CasesUnavailable
from scoring.rule_redaction import Redaction
from stream.archive import ArchiveInUse
from stream.archive_erasure import texts_of
from stream.archive_pause import borrowed
from stream.card_key import make_key
from stream.chain import CUT_FILE, ChainBroken
from stream.chain_check import Erasure
from stream.connection import RedisConnection, RedisError
from stream.mention import Mention
from stream.redis_erasure import rewrite_file, sweep
from training.learner_store import FILE as LEARNER_FILE

MARK_KEY_FILE = "erasure.key"
NOTE_PREFIX = "forgetting-"
SEARCHES = 4
ROUNDS = 4
SETTLE_S = 1.0
CHUNK_BYTES = 1 << 20


class Count(msgspec.Struct):
    """What became of one place."""

    found: int = 0
    erased: int = 0


def forget_entity(settings: Settings, entity: str, value: str, by: str, why: str, dry_run: bool) -> int:
    """Forget it, say what was found and erased where. The exit status: 0 when nothing of it is left."""
    mention = Mention(entity, value)
    redaction = Redaction(mention)
    mark = mark_of(settings.home / AUDIT_FOLDER, entity, value)
    now = datetime.now(UTC).isoformat()
    said = Erasure(entity=entity, mark=mark, by=by, at=now, entries=[], why=why.replace(value, redaction.word))
    note = settings.home / AUDIT_FOLDER / f"{NOTE_PREFIX}{mark[:16]}.json"
    with ExitStack() as opened:
        connection = opened.enter_context(RedisConnection(settings.redis))
        chain = opened.enter_context(closing(open_chain(settings)))
        recorded = ChainPlace(chain, redaction, said)
        try:
            places = _places(settings, connection, recorded, redaction, opened, dry_run)
            if note.exists():
                mention.events |= msgspec.json.decode(note.read_bytes(), type=dict[str, dict[str, str]])
            counts = _search(places, mention)
            left: list[str] = []
            if not dry_run:
                _write_note(note, mention)
                _erase(places, mention, counts)
                if any(count.erased for count in counts.values()) and not counts[recorded.name].erased:
                    recorded.say([[]])
                left = _finish(settings, connection, mention)
                if not left:
                    note.unlink()
        except ArchiveInUse as error:
            raise click.ClickException(
                f"{error}; it does not lend the archive: stop it, and run the same again"
            ) from error
        except (ChainBroken, TimeoutError, RedisError, sqlite3.OperationalError, CasesUnavailable) as error:
            raise click.ClickException(str(error)) from error
    return _report(settings, counts, left, dry_run)


def mark_of(folder: Path, entity: str, value: str) -> str:
    """A keyed hash of an entity: whoever has the key can see whether it was forgotten, nobody else."""
    path = folder / MARK_KEY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_key(path)
    return hmac.new(bytes.fromhex(path.read_text()), f"{entity} {value}".encode(), sha256).hexdigest()


def _places(
    settings: Settings,
    connection: RedisConnection,
    recorded: ChainPlace,
    redaction: Redaction,
    opened: ExitStack,
    dry_run: bool,
) -> list[Place]:
    """Those that there are, in the order of erasing."""
    home: Path = settings.home
    store = open_online_store(settings, connection=connection)
    places: list[Place] = [LogPlace(connection, settings.partitions), AnswerPlace(connection), StorePlace(store)]
    if (home / ARCHIVE_FOLDER).is_dir():
        archive = open_archive(settings)
        if not dry_run:
            opened.enter_context(borrowed(archive))
        places.append(ArchivePlace(archive))
    places.append(StatesPlace(home / "states"))
    if (home / LEARNER_FILE).exists():
        places.append(LearnerPlace(home / LEARNER_FILE))
    places += [WatchPlace(path) for path in sorted((home / WATCH_FOLDER).glob("*.sqlite"))]
    if has_cases(settings):
        places.append(CasePlace(partial(store_of_command, settings), redaction.without))
    return [*places, RulePlace(connection, redaction), recorded, SpoolPlace(home / "spool")]


def _search(places: Sequence[Place], mention: Mention) -> dict[str, Count]:
    """Until no more events of it are found: what one place knows tells another which labels are its own."""
    counts: dict[str, Count] = {}
    known: dict[str, int] = {}
    for _ in range(SEARCHES):
        for place in places:
            if known.get(place.name) != len(mention.events):
                counts[place.name] = Count(place.search(mention))
                known[place.name] = len(mention.events)
    return counts


def _erase(places: Sequence[Place], mention: Mention, counts: dict[str, Count]) -> None:
    known: dict[str, int] = {}
    for _ in range(ROUNDS):
        erased = 0
        for place in places:
            if place.is_held and known.get(place.name) == len(mention.events):
                continue
            known[place.name] = len(mention.events)
            own = place.erase(mention)
            counts[place.name].erased += own
            counts[place.name].found = max(counts[place.name].found, counts[place.name].erased)
            erased += own
        if not erased:
            return
        time.sleep(SETTLE_S)  # as long as a batch that somebody has read already may take


def _write_note(note: Path, mention: Mention) -> None:
    events = {
        event_id: {entity: value for entity, value in members.items() if entity != mention.entity}
        for event_id, members in mention.events.items()
    }
    new = note.with_name(f"{note.name}.new")
    new.touch(mode=0o600)
    with new.open("wb") as output:
        output.write(msgspec.json.encode(events))
        output.flush()
        os.fsync(output.fileno())
    new.replace(note)


def _finish(settings: Settings, connection: RedisConnection, mention: Mention) -> list[str]:
    """Have Redis write its file anew, then look for the value's bytes everywhere; where they still are."""
    (settings.home / AUDIT_FOLDER / CUT_FILE).unlink(missing_ok=True)
    left = []
    try:
        connection.one("SLOWLOG", "RESET")
        rewrite_file(connection)
    except (RedisError, TimeoutError) as error:
        left.append(f"Redis's file on disk, which was not written anew: {error}")
    swept = [(f"Redis key {key}", is_word) for key, is_word in sweep(connection, mention)]
    swept += [(f"file {path}", is_word) for path, is_word in sweep_files(settings.home, mention)]
    for place, is_word in swept:
        if not is_word:
            click.echo(f"perhaps in {place}: its characters are there within a longer word")
    return left + [place for place, is_word in swept if is_word]


def sweep_files(home: Path, mention: Mention) -> Iterator[tuple[Path, bool]]:
    """Every file under a directory that has the value's bytes, and whether as a word of its own.

    Of Parquet files every value is looked at, of all others the bytes as they are.
    """
    for path in sorted(home.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.name.startswith(NOTE_PREFIX):
            continue
        parts = _values(path) if path.suffix == ".parquet" else _chunks(path, mention.longest)
        found = [mention.is_in(part) for part in parts if mention.may_be_part_of(part)]
        if found:
            yield path, any(found)


def _values(path: Path) -> Iterator[bytes]:
    return (one.encode() if isinstance(one, str) else one for one in texts_of(path))


def _chunks(path: Path, overlap: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        held = b""
        while chunk := file.read(CHUNK_BYTES):
            held += chunk
            yield held
            held = held[-overlap - 1 :]


def _report(settings: Settings, counts: dict[str, Count], left: list[str], dry_run: bool) -> int:
    for name, count in counts.items():
        click.echo(f"{name:<14}{count.found:>9,} found{'' if dry_run else f'{count.erased:>9,} erased'}")
    if dry_run:
        click.echo("nothing was changed")
        return 0
    waiting = counts[SpoolPlace.name].found
    if waiting:
        left = [*left, f"{waiting} answers in the spool: they can be forgotten once a scorer has recorded them"]
    if settings.kafka:
        left = [
            *left,
            "Kafka, where no single record can be deleted: what it has goes with the topics' own retention.ms; until "
            "then whoever reads a topic from before brings it back. Run the same again after that",
        ]
    for place in left:
        click.echo(f"still in {place}")
    click.echo("NOT complete" if left else "complete: the value is nowhere in Redis and in no file of the home")
    return 1 if left else 0
