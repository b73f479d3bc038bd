"""What else must agree with the log at the end of a soak: every state, the archive, the audit chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow.parquet as pq

from bench.soak_count import Logged, entries
from features.declared import all_views
from features.feature_set import EntityRef
from features.history import MEMBER_BYTES, History
from features.online_store import MemoryOnlineStore, Replacement
from features.rows import FIXED, PER_COLUMN, SUM, Cells, N, merged_cells, widen
from features.worker import Folder
from headrace.assembly import open_online_store, open_outbox
from headrace.audit import AUDIT_FOLDER, open_chain
from headrace.cold import open_archive
from headrace.settings import Settings
from stream.chain_check import ChainCheck
from stream.chain_entry import event_mark
from stream.log import Partition
from stream.records import Decision, Label, Transaction

READ_LIMIT = 500
FOLD_CHUNK = 2000
NEARLY = 1e-9


class _Clean(MemoryOnlineStore):
    """A store that knows which entities it has."""

    def __init__(self) -> None:
        super().__init__()
        self.refs: dict[EntityRef, None] = {}

    def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
        """Compare and set, and remember the entity."""
        self.refs |= dict.fromkeys(replacement.ref for replacement in replacements)
        return super().replace(replacements)


@dataclass
class States:
    """How the online store differs from one clean pass over the log."""

    entities: int = 0
    beyond: int = 0
    """Views of entities beyond the row budget, whose counts and sums were compared, not their rows."""
    wrong: list[str] = field(default_factory=list)


def compare_states(settings: Settings) -> States:
    """Fold the whole log into an empty store, and set each state of the online store beside it."""
    clean = _Clean()
    with closing(open_outbox(settings)) as log:
        folder = Folder(clean, all_views(), log.name)
        for topic in folder.topics:
            for number in range(log.partitions(topic)):
                partition = Partition(topic, number)
                rest = entries(log, partition)
                while chunk := list(islice(rest, FOLD_CHUNK)):
                    folder.fold({partition: chunk})
    found = States(entities=len(clean.refs))
    live = open_online_store(settings)
    refs = list(clean.refs)
    with closing(live.connection):
        for start in range(0, len(refs), READ_LIMIT):
            some = refs[start : start + READ_LIMIT]
            for ref, is_live, is_clean in zip(some, live.read(some), clean.read(some), strict=True):
                if is_live.pending:
                    found.wrong.append(f"{ref.value} has {len(is_live.pending)} pending records")
                for view in all_views():
                    if view.entity == ref.entity:
                        pair = (History.decode(view, one.states.get(view.name)) for one in (is_live, is_clean))
                        _compare_view(found, ref, *pair)
    return found


def _compare_view(found: States, ref: EntityRef, live: History, clean: History) -> None:
    name = f"{live.view.name} of {ref.value}"
    if round(live.held) != round(clean.held):
        found.wrong.append(f"{name} holds {live.held:g} events, not {clean.held:g}")
    elif not live.merged and not clean.merged:
        size = live.view.row_size
        if _pieces(live.rows, size) != _pieces(clean.rows, size):
            found.wrong.append(f"{name} holds other events")
        elif _pieces(live.members, MEMBER_BYTES) != _pieces(clean.members, MEMBER_BYTES):
            found.wrong.append(f"{name} has seen other members")
    else:
        # Which rows are merged depends on how the log was cut into batches; counts and sums do not.
        found.beyond += 1
        if not np.allclose(_totals(live), _totals(clean), rtol=NEARLY, atol=NEARLY):
            found.wrong.append(f"{name} has other sums")


def _totals(history: History) -> Cells:
    view = history.view
    tables = [merged_cells(view, history.merged)] if history.merged else []
    tables += [widen(view, history.rows)] if history.rows else []
    cells = np.concatenate(tables)
    columns = [FIXED + PER_COLUMN * place + part for place in range(len(view.columns)) for part in (N, SUM)]
    return np.asarray(cells[:, columns].sum(axis=0))


def _pieces(packed: bytes, size: int) -> list[bytes]:
    return sorted(packed[at : at + size] for at in range(0, len(packed), size))


def compare_archive(settings: Settings, logged: Logged) -> list[str]:
    """What the archive lacks or has twice."""
    archive = open_archive(settings)
    wrong = []
    due: dict[str, Mapping[str, int]] = {
        Transaction.topic: logged.events,
        Decision.topic: {key: len(found) for key, found in logged.decisions.items()},
        Label.topic: _by_event(logged.labels),
    }
    for topic, expected in due.items():
        found: Counter[str] = Counter()
        for file in archive.files(topic):
            found.update(pq.read_table(file.path, columns=["event_id"], partitioning=None)["event_id"].to_pylist())
        wrong += _differences(f"archived {topic}", expected, found)
    return wrong


def compare_chain(settings: Settings, logged: Logged) -> list[str]:
    """What is wrong with the audit chain, or what of the decisions it lacks or has twice."""
    verdict = ChainCheck(settings.home / AUDIT_FOLDER, settings.audit_key).run()
    if not verdict.is_good:
        return [f"entry {verdict.entry}: {verdict.problem}"]
    found: Counter[str] = Counter()
    with closing(open_chain(settings)) as chain:
        for _, entry in chain.entries():
            if entry.kind == "decision":
                found[entry.subject.rpartition("@")[0]] += 1
    expected = {event_mark(key): len(of) for key, of in logged.decisions.items()}
    return _differences("decisions in the chain", expected, found)


def _by_event(labels: Counter[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for identity, count in labels.items():
        counts[identity.split("|", 1)[0]] += count
    return counts


def _differences(what: str, expected: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    keys = {*expected, *found}
    wrong = [key for key in sorted(keys) if expected.get(key, 0) != found.get(key, 0)]
    return [f"{what}: {key} {found.get(key, 0)} times, not {expected.get(key, 0)}" for key in wrong]
