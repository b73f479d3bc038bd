"""The places in files that know an entity, apart from the audit chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from review.case_store import CaseStore
from stream.archive import Archive
from stream.archive_erasure import erase_from_archive, rewrite, search_archive
from stream.mention import Mention
from training.learner_store import LearnerStore
from training.watch_store import WatchStore


class ArchivePlace:
    """The Parquet archive. For whoever has entered it."""

    name = "archive"
    is_held = True

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        return sum(search_archive(self._archive, mention).values())

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        return erase_from_archive(self._archive, search_archive(self._archive, mention), mention)


class StatesPlace:
    """The states that `headrace features states` wrote for Feast."""

    name = "batch states"
    is_held = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        columns = (pq.read_table(path, columns=[mention.entity]).column(0) for path in self._files(mention))
        return sum(pc.sum(pc.equal(column, mention.value)).as_py() or 0 for column in columns)

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        own = mention.entity
        return sum(rewrite(path, lambda row: row[own] == mention.value, [own]) for path in self._files(mention))

    def _files(self, mention: Mention) -> Iterator[Path]:
        import pyarrow.parquet as pq

        for path in sorted(self._folder.glob("*.parquet")):
            if mention.entity in pq.read_schema(path).names:
                yield path


class LearnerPlace:
    """The learner's file: decisions that wait for their labels, labels, scores."""

    name = "learner"
    is_held = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(LearnerStore(self._path)) as store:
            return store.erase(mention.events, mention.is_of, dry_run=True)

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(LearnerStore(self._path)) as store:
            return store.erase(mention.events, mention.is_of)


class WatchPlace:
    """The watcher's file: ids of events, and what models said of them."""

    name = "watcher"
    is_held = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(WatchStore(self._path)) as store:
            return store.erase(mention.events, dry_run=True)

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(WatchStore(self._path)) as store:
            return store.erase(mention.events)


class CasePlace:
    """Cases under review, their events and the labels they gave, and what people wrote on any page."""

    name = "cases"
    is_held = False

    def __init__(self, opened: Callable[[], CaseStore], without: Callable[[str], str]) -> None:
        """`without` is what stays of a text that somebody wrote."""
        self._opened = opened
        self._without = without

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(self._opened()) as store:
            found, named = store.flagged(mention.is_of), store.named(self._without)
        for decision in found:
            mention.note(decision)
        return len(found) + named

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(self._opened()) as store:
            return store.erase(mention.is_of, self._without)


class SpoolPlace:
    """Answers on disk that are not recorded yet. They go when they are recorded: only then are they anywhere else."""

    name = "spool"
    is_held = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        return sum(mention.is_in(line) for path in files for line in path.read_bytes().splitlines())

    def erase(self, mention: Mention) -> int:
        """Nothing: what waits here belongs to a scorer that runs."""
        return 0
