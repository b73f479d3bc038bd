"""The online store: each entity's states and pending events, read whole, written only if nobody else wrote.

Two implementations pass one contract suite (`tests/contracts/test_online_store.py`): Redis, in Feast's layout, and a
twin in memory for unit tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from features.feature_set import EntityRef
from features.history import HEAD_BYTES
from features.store_plan import PENDING_PREFIX, StorePlan, state_prefix, timestamp_value, unwrap_state, wrap_state
from stream.connection import Command, RedisConnection, RedisError, Reply, Template


@dataclass(slots=True)
class StoredEntity:
    """One entity as stored: the state of each view (absent: none yet), and the records that no worker folded yet."""

    states: dict[str, bytes] = field(default_factory=dict)
    pending: dict[str, bytes] = field(default_factory=dict)


class Replacement(NamedTuple):
    """New states for one entity, to be written only if the views' states are still `expected`.

    `folded` names (by `Record.identity`) the records that the new states contain: they are no longer pending.
    """

    ref: EntityRef
    expected: Mapping[str, bytes | None]
    states: Mapping[str, bytes]
    newest_us: int
    folded: Sequence[str] = ()


class OnlineStore(Protocol):
    """What the worker and the scorer need of a store."""

    def read(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        """Each entity whole, in the order asked. An unknown one is empty."""

    def read_states(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        """As `read`, without the pending records."""

    def add_pending(self, refs: Sequence[EntityRef], identity: str, record: bytes) -> None:
        """Let readers see an event before a worker folds it. The same event twice is one."""

    def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
        """Compare and set, each entity for itself. False where another writer came first: read again and retry."""


class RedisOnlineStore:
    """The store that Feast reads too. All calls raise `RedisUnavailable` when Redis does not answer."""

    # The head of a state (revision and checksum) stands for the whole: comparing it is comparing the state.
    # What Feast writes for a null or an empty state (at most two bytes) counts as none, as it does when it is read.
    _REPLACE = """
    local views = tonumber(ARGV[1])
    for v = 0, views - 1 do
        local at = 3 + v * 3
        local old = redis.call('HGET', KEYS[1], ARGV[at]) or ''
        if string.sub(old, 1, #ARGV[at + 1]) ~= ARGV[at + 1] or (#ARGV[at + 1] == 0 and #old > 2) then
            return 0
        end
    end
    local values = {}
    for v = 0, views - 1 do
        values[#values + 1] = ARGV[3 + v * 3]
        values[#values + 1] = ARGV[5 + v * 3]
    end
    local rest = 3 + views * 3
    local stamps = tonumber(ARGV[rest])
    for i = rest + 1, rest + stamps * 2 do values[#values + 1] = ARGV[i] end
    if #values > 0 then redis.call('HSET', KEYS[1], unpack(values)) end
    for i = rest + stamps * 2 + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return 1
    """

    def __init__(self, connection: RedisConnection, plan: StorePlan, ttl_ms: int | Mapping[str, int]) -> None:
        """Keys outlive their last event by `ttl_ms`, one for all or by entity."""
        self.connection = connection
        self.plan = plan
        self._ttl_ms = {entity: ttl_ms if isinstance(ttl_ms, int) else ttl_ms[entity] for entity in plan.key_prefixes}
        self._replace = connection.script(self._REPLACE)
        self._state_field = {name: bytes.fromhex(fields.state) for name, fields in plan.views.items()}
        self._time_field = {name: fields.timestamp.encode() for name, fields in plan.views.items()}
        self._views_of = {entity: plan.views_of(entity) for entity in plan.key_prefixes}
        self._prefix = {entity: bytes.fromhex(prefix) for entity, prefix in plan.key_prefixes.items()}
        self._suffix = plan.project.encode()
        self._get = {
            entity: Template("HMGET", None, *(self._state_field[view] for view in views))
            for entity, views in self._views_of.items()
        }
        self._set: dict[tuple[str, ...], Template] = {}

    def ttl_ms(self, entity: str) -> int:
        """How long the hashes of an entity outlive their last event."""
        return self._ttl_ms[entity]

    def key(self, ref: EntityRef) -> bytes:
        """The key of an entity's hash."""
        value = ref.value.encode()
        return self._prefix[ref.entity] + len(value).to_bytes(4, "little") + value + self._suffix

    def read_commands(self, refs: Sequence[EntityRef]) -> list[Command]:
        """The commands of `read`, for a caller that has more to ask in the same round trip."""
        return [("HGETALL", self.key(ref)) for ref in refs]

    def parse(self, ref: EntityRef, reply: Reply) -> StoredEntity:
        """What one reply to `read_commands` says."""
        if isinstance(reply, RedisError):
            raise reply
        fields = dict(zip(reply[::2], reply[1::2], strict=True))
        stored = StoredEntity()
        for view in self._views_of[ref.entity]:
            state = unwrap_state(fields.get(self._state_field[view]))
            if state:
                stored.states[view] = state
        if len(fields) > 2 * len(stored.states):
            stored.pending = {
                name[len(PENDING_PREFIX) :].decode(): value
                for name, value in fields.items()
                if name.startswith(PENDING_PREFIX)
            }
        return stored

    def read(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        """One HGETALL for each entity: a consistent whole."""
        replies = self.connection.call(self.read_commands(refs))
        return [self.parse(ref, reply) for ref, reply in zip(refs, replies, strict=True)]

    def read_states(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        """The states alone: a worker has no use for the pending records, and there may be many."""
        entities = []
        commands = [self._get[ref.entity].pack(self.key(ref)) for ref in refs]
        for ref, reply in zip(refs, self.connection.call(commands), strict=True):
            if isinstance(reply, RedisError):
                raise reply
            states = {}
            for view, value in zip(self._views_of[ref.entity], reply, strict=True):
                if state := unwrap_state(value):
                    states[view] = state
            entities.append(StoredEntity(states, {}))
        return entities

    def add_pending(self, refs: Sequence[EntityRef], identity: str, record: bytes) -> None:
        """For tests and tools; the scorer does the same inside its commit."""
        for reply in self.connection.call([("HSET", self.key(ref), f"p:{identity}", record) for ref in refs]):
            if isinstance(reply, RedisError):
                raise reply

    def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
        """All in one round trip; a script compares and sets each entity on its own key."""
        replies = self.connection.call([self._replace_command(replacement) for replacement in replacements])
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return [reply == 1 for reply in replies]

    def _replace_command(self, replacement: Replacement) -> bytes:
        kind = (replacement.ref.entity, *replacement.states)
        template = self._set.get(kind)
        if template is None:
            template = self._set[kind] = self._replace_template(*kind)
        filled = [self.key(replacement.ref)]
        for view, state in replacement.states.items():
            old = replacement.expected.get(view)
            filled += (b"" if old is None else state_prefix(len(old)) + old[:HEAD_BYTES], wrap_state(state))
        filled += [timestamp_value(replacement.newest_us)] * len(replacement.states)
        filled += [PENDING_PREFIX + identity.encode() for identity in replacement.folded]
        return template.pack(*filled)

    def _replace_template(self, entity: str, *views: str) -> Template:
        ttl_ms = self._ttl_ms[entity]
        parts: list[str | bytes | int | None] = ["EVALSHA", self._replace.digest, 1, None, len(views), ttl_ms]
        for view in views:
            parts += [self._state_field[view], None, None]
        parts.append(len(views))
        for view in views:
            parts += [self._time_field[view], None]
        return Template(*parts)


class MemoryOnlineStore:
    """The twin in memory: one process, no durability, the same answers."""

    def __init__(self) -> None:
        self._entities: dict[EntityRef, StoredEntity] = {}

    def read(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        """Copies, so that a reader sees one moment."""
        found = [self._entities.get(ref, StoredEntity()) for ref in refs]
        return [StoredEntity(dict(entity.states), dict(entity.pending)) for entity in found]

    def read_states(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        """The states alone."""
        return [StoredEntity(dict(self._entities.get(ref, StoredEntity()).states)) for ref in refs]

    def add_pending(self, refs: Sequence[EntityRef], identity: str, record: bytes) -> None:
        """Let readers see an event before it is folded."""
        for ref in refs:
            self._entities.setdefault(ref, StoredEntity()).pending[identity] = record

    def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
        """Compare and set."""
        return [self._replace(replacement) for replacement in replacements]

    def _replace(self, replacement: Replacement) -> bool:
        entity = self._entities.setdefault(replacement.ref, StoredEntity())
        if any(entity.states.get(view) != replacement.expected.get(view) for view in replacement.states):
            return False
        entity.states.update(replacement.states)
        for identity in replacement.folded:
            entity.pending.pop(identity, None)
        return True
