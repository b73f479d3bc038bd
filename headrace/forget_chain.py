"""The audit chain as a place that knows an entity."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable

import msgspec

from scoring.audit_artefacts import Steps, steps_artefact
from scoring.rule_redaction import Redaction
from scoring.use_case import USE_CASES
from stream.chain import Chain
from stream.chain_check import Erasure
from stream.chain_entry import NOTHING, ChainEntry, Draft
from stream.chain_index import Spot
from stream.mention import Mention
from stream.records import Decision

NAMED_AT_ONCE = 10_000


class ChainPlace:
    """The audit chain: payloads go, entries stay, and an entry of its own says what was erased."""

    name = "audit chain"
    is_held = False

    def __init__(self, chain: Chain, redaction: Redaction, said: Erasure) -> None:
        self._chain = chain
        self._redaction = redaction
        self._said = said

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        return len(self._doomed(mention)[0])

    def erase(self, mention: Mention) -> int:
        """In this order: 1. Rule books are kept anew without the value.  2. Say which payloads go.  3. They go.

        A crash between 2 and 3 leaves payloads that should be gone: `audit verify` says so, and the next time they go.
        """
        doomed, late = self._doomed(mention)
        # 1.
        self._chain.append([anew for name in USE_CASES if (anew := self._restated(name, doomed)) is not None])
        # 2.
        numbers = [spot.number for spot in doomed]
        self.say([numbers[at : at + NAMED_AT_ONCE] for at in range(0, len(numbers), NAMED_AT_ONCE)])
        # 3.
        return self._chain.overwrite([*doomed, *late])

    def say(self, parts: Iterable[list[int]]) -> None:
        """Append an erasure of these entries for each part."""
        erasures = (msgspec.structs.replace(self._said, entries=part) for part in parts)
        self._chain.append([Draft("erasure", NOTHING, NOTHING, msgspec.json.encode(one)) for one in erasures])

    def _doomed(self, mention: Mention) -> tuple[list[Spot], list[Spot]]:
        """What is to be erased; and what an earlier time said it would erase and did not."""
        doomed: list[Spot] = []
        kept: dict[int, Spot] = {}
        said: set[int] = set()
        for _, entry in self._chain.entries():
            if entry.kind == "erasure":
                said |= set(msgspec.json.decode(entry.payload, type=Erasure).entries)
        for spot, entry in self._chain.entries():
            if spot.number in said:
                if not entry.is_erased:
                    kept[spot.number] = spot
            elif not entry.is_erased and self._is_of(entry, mention):
                doomed.append(spot)
        return doomed, list(kept.values())

    def _is_of(self, entry: ChainEntry, mention: Mention) -> bool:
        if entry.kind == "decision":
            return mention.find(Decision.topic, entry.payload)
        if entry.kind == "unreadable":
            return mention.is_in(b64decode(entry.payload))
        if entry.subject.startswith("rules:"):
            steps = msgspec.json.decode(entry.payload, type=Steps).steps
            return any(self._redaction.of(step.encode()) is not None for step in steps)
        return False

    def _restated(self, name: str, doomed: list[Spot]) -> Draft | None:
        """The newest book in the chain, from its first step, with the value redacted; None where it stays as it is."""
        gone = {spot.number for spot in doomed}
        book: list[str] = []
        touched = False
        for entry in self._chain.find(f"rules:{name}:"):
            if entry.is_erased:
                continue
            part = msgspec.json.decode(entry.payload, type=Steps)
            if part.first == 1:
                touched = False
            touched |= entry.number in gone
            book[part.first - 1 :] = part.steps
        if not touched:
            return None
        redacted = [(self._redaction.of(step.encode()) or step.encode()).decode() for step in book]
        return steps_artefact(name, 1, redacted)
