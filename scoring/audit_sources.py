"""What the audit chain has of a decision and of all it cites, read back to recompute it."""

from __future__ import annotations

import msgspec

from models.snapshot import OnlineSnapshot, OnlineWeights
from scoring.audit_artefacts import Code, Steps, decompressed, policy_subject, weights_prefix
from scoring.rule_book import Book
from scoring.rule_steps import decode_step
from scoring.rules import Rule
from scoring.step_log import follow
from stream.chain import Chain
from stream.chain_entry import ChainEntry, event_mark


class NotKept(LookupError):
    """The chain does not have it, or not any more: the message says what and why."""


class Sources:
    """Reads a chain. Hashes are not checked here: run `headrace audit verify` too."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._codes = chain.find("code:")
        self._books: dict[str, list[ChainEntry]] = {}
        self._snapshots: dict[str, list[OnlineSnapshot]] = {}
        self._policies: dict[str, str] = {}

    def decisions(self, event_id: str) -> list[ChainEntry]:
        """Every answer to an event, oldest first. Raises `NotKept`."""
        found = self._chain.find(f"{event_mark(event_id)}@")
        if not found:
            raise NotKept(f"the audit chain has no decision on event {event_id!r}")
        return found

    def code(self, name: str, number: int) -> Code:
        """What of the code decided when the entry of this number was kept."""
        own = [entry for entry in self._codes if entry.subject.startswith(f"code:{name}:")]
        before = [entry for entry in own if entry.number < number] or own[:1]
        if not before:
            raise NotKept("which code decided was not kept")
        return Code.from_json(before[-1].payload)

    def snapshots(self, name: str, version: str) -> list[OnlineSnapshot]:
        """The online model at every state that bore this version: most often one. Raises `NotKept`."""
        prefix = weights_prefix(name, version)
        if prefix not in self._snapshots:
            kept = [OnlineWeights.from_json(decompressed(entry.payload)) for entry in self._chain.find(prefix)]
            self._snapshots[prefix] = [OnlineSnapshot(weights) for weights in kept]
        if not self._snapshots[prefix]:
            raise NotKept(f"the online weights {version} were not kept")
        return self._snapshots[prefix]

    def policy(self, name: str, version: str) -> str:
        """The text of a policy. Raises `NotKept`."""
        subject = policy_subject(name, version)
        if subject not in self._policies:
            found = [entry for entry in self._chain.find(subject) if entry.subject == subject]
            if not found:
                raise NotKept(f"the text of policy {version} was not kept")
            self._policies[subject] = msgspec.json.decode(found[0].payload, type=str)
        return self._policies[subject]

    def book(self, name: str, version: int, number: int, shipped: list[Rule]) -> Book:
        """The rule book at a version, as it was before the entry of this number. Raises `NotKept`."""
        if not version:
            return Book.shipped(shipped)
        if name not in self._books:
            self._books[name] = self._chain.find(f"rules:{name}:")
        begun: list[list[str] | None] = []
        chosen: list[str] | None = None
        for entry in self._books[name]:
            if entry.is_erased:
                begun.append(None)
                continue
            kept = msgspec.json.decode(entry.payload, type=Steps)
            if kept.first == 1:
                begun.append(list(kept.steps))
            elif begun and (present := begun[-1]) is not None and kept.first <= len(present) + 1:
                present[kept.first - 1 :] = kept.steps
            else:
                begun.append(None)
            steps = begun[-1]
            if steps is not None and len(steps) >= version and (entry.number < number or chosen is None):
                chosen = steps[:version]
        if chosen is None:
            raise NotKept(f"the steps of the rule book up to version {version} were not kept")
        book = Book.shipped(shipped)
        for content in chosen:
            follow(book, content.encode(), decode_step)
        return book
