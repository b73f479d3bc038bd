"""What decisions cite and nobody keeps for ever, kept beside them in the audit chain: so that they can be recomputed.

- `weights:<use case>:<version>:<digest>`: the online model's weights, compressed JSON in base64; from Redis, where the
  learner keeps each version for an hour.
- `policy:<use case>:<version>`: the policy file's text, as JSON; from Redis, where each scorer puts its own, or else
  from the keeper's file.
- `rules:<use case>:<first>-<last>:<nonce>`: steps of the rule book, from Redis; where `first` is 1, the book anew.
- `code:<use case>:<digest>:<nonce>`: shipped rules, the ensemble's weights, the release; the keeper's own.

The ONNX files of the registry are not kept again.
"""

from __future__ import annotations

import json
import logging
import secrets
import subprocess
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote

import msgspec

from models.ensemble import EnsembleWeights
from models.snapshot import kept_weights_key
from scoring.deciding import PRIOR_SCORE
from scoring.policy_file import InvalidPolicy, read_policy
from scoring.rule_log import CHUNK_STEPS, book_key
from scoring.rules import Rule, read_rules
from scoring.step_log import contents
from scoring.use_case import UseCase
from stream.chain import Chain
from stream.chain_entry import NOTHING, Draft
from stream.connection import RedisConnection, RedisError, RedisUnavailable
from stream.records import Decision

ONLINE = "online"
DIGEST_DIGITS = 16

_log = logging.getLogger(__name__)


class Steps(msgspec.Struct, frozen=True):
    """Steps of a rule book as they stand in Redis, from the version `first` on."""

    first: int
    steps: list[str]


class Code(msgspec.Struct, frozen=True):
    """What of the code decides besides the models, the policy and the rule book; and which code it was."""

    release: str
    revision: str
    definition_hash: str
    prior_score: float
    weights: EnsembleWeights
    rules: list[Rule]

    @classmethod
    def of(cls, use_case: UseCase) -> Code:
        """This code's."""
        rules = read_rules(use_case.rules)
        return cls(_release(), _revision(), use_case.features.definition_hash, PRIOR_SCORE, use_case.weights, rules)

    def to_json(self) -> bytes:
        """As one line. With Python's own `Infinity`: a member may never be stale."""
        return json.dumps(msgspec.to_builtins(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Code:
        """What `to_json` wrote."""
        return msgspec.convert(json.loads(content), cls)


class Artefacts:
    """Fetches what decisions cite. One thread uses it; raises `RedisUnavailable` or `RedisError`: then come again.

    What cannot be had any more is warned of, and `headrace audit replay` says it is missing.
    """

    def __init__(
        self, connection: RedisConnection, chain: Chain, use_cases: Iterable[UseCase], policy: Path | None
    ) -> None:
        self._connection = connection
        self._chain = chain
        self._use_cases = {use_case.name: use_case for use_case in use_cases}
        self._policy = policy
        self._books: dict[str, tuple[int, str]] = {}
        self._coded: set[str] = set()

    def __call__(self, decisions: Sequence[Decision]) -> list[Draft]:
        """What these decisions need that the chain may not have yet."""
        drafts: list[Draft] = []
        for name, use_case in self._use_cases.items():
            own = [decision for decision in decisions if decision.use_case == name]
            if own:
                drafts += self._code(use_case)
                drafts += self._policies(use_case, {decision.policy_version for decision in own})
                drafts += self._steps(name)
                cited = (decision.scores.get(ONLINE) for decision in own)
                drafts += self._weights(name, {member.version for member in cited if member is not None})
        return drafts

    def _code(self, use_case: UseCase) -> list[Draft]:
        if use_case.name in self._coded:
            return []
        content = Code.of(use_case).to_json()
        prefix = f"code:{use_case.name}:{_digest(content)}"
        last = self._chain.find(f"code:{use_case.name}:")[-1:]
        self._coded.add(use_case.name)
        same = bool(last) and last[0].subject.startswith(prefix)
        return [] if same else [_artefact(f"{prefix}:{secrets.token_hex(4)}", content)]

    def _policies(self, use_case: UseCase, versions: set[str]) -> list[Draft]:
        subjects = {policy_subject(use_case.name, one): one for one in versions}
        known = self._chain.index.known(list(subjects))
        drafts = []
        for subject, wanted in subjects.items():
            if subject not in known:
                text = self._connection.one("GET", policy_key(use_case.name, wanted)) or self._own_policy(
                    use_case, wanted
                )
                if text is None:
                    _log.warning("audit: the text of policy %s is not to be had", wanted)
                else:
                    drafts.append(_artefact(subject, msgspec.json.encode(text.decode())))
        return drafts

    def _own_policy(self, use_case: UseCase, wanted: str) -> bytes | None:
        path = self._policy or use_case.policy
        try:
            text = path.read_bytes()
            found = read_policy(text.decode(), use_case.source, "any", path).version
        except (OSError, UnicodeDecodeError, InvalidPolicy):
            return None
        return text if found == wanted else None

    def _steps(self, name: str) -> list[Draft]:
        if name not in self._books:
            self._books[name] = self._kept_book(name)
        count, last = self._books[name]
        found = self._read_steps(name, max(0, count - 1))
        if count and (not found or found[0] != last):
            count, found = 0, self._read_steps(name, 0)  # Redis has another book than the one that was kept
        fresh = found[1:] if count else found
        if not fresh:
            if not count:
                self._books[name] = (0, "")
            return []
        self._books[name] = (count + len(fresh), fresh[-1])
        return [steps_artefact(name, count + 1, fresh)]

    def _kept_book(self, name: str) -> tuple[int, str]:
        for entry in self._chain.find(f"rules:{name}:")[-1:]:
            if not entry.is_erased:
                kept = msgspec.json.decode(entry.payload, type=Steps)
                return kept.first + len(kept.steps) - 1, kept.steps[-1]
        return 0, ""

    def _read_steps(self, name: str, start: int) -> list[str]:
        return [step.decode() for step in contents(self._connection, book_key(name), CHUNK_STEPS, start)]

    def _weights(self, name: str, versions: set[str]) -> list[Draft]:
        ordered = sorted(versions)
        replies = self._connection.call([("SMEMBERS", kept_weights_key(name, one)) for one in ordered])
        drafts = []
        for cited, reply in zip(ordered, replies, strict=True):
            if isinstance(reply, RedisError):
                raise reply
            for content in reply:
                drafts.append(_artefact(f"{weights_prefix(name, cited)}{_digest(content)}", b64encode(content)))
            if not reply and not self._chain.index.spots(weights_prefix(name, cited)):
                _log.warning("audit: the online weights %s are not to be had any more", cited)
        return drafts


def steps_artefact(name: str, first: int, steps: list[str]) -> Draft:
    """Steps of a rule book, to be kept; from 1 on, they are the whole book anew."""
    subject = f"rules:{name}:{first}-{first + len(steps) - 1}:{secrets.token_hex(4)}"
    return _artefact(subject, msgspec.json.encode(Steps(first, steps)))


def policy_key(name: str, policy_version: str) -> str:
    """Where Redis has the text of a policy that a scorer works with."""
    return f"policy:{name}:{policy_version}"


def policy_subject(name: str, policy_version: str) -> str:
    """What names a policy's text in the chain."""
    return f"policy:{name}:{quote(policy_version, safe='')}"


def weights_prefix(name: str, weights_version: str) -> str:
    """What the subjects of all weights of one version begin with."""
    return f"weights:{name}:{quote(weights_version, safe='')}:"


def publish_policy(connection: RedisConnection, name: str, policy_version: str, path: Path) -> None:
    """Let the keeper of the chain have the text of the policy that decides here. Redis away: it is warned of."""
    try:
        connection.one("SET", policy_key(name, policy_version), path.read_bytes())
    except (RedisUnavailable, RedisError, OSError) as error:
        _log.warning("audit: the text of policy %s is not published: %s", policy_version, error)


def decompressed(payload: bytes) -> bytes:
    """The JSON in a payload of weights."""
    return zlib.decompress(b64decode(payload))


def _artefact(subject: str, payload: bytes) -> Draft:
    return Draft("artefact", subject, NOTHING, payload)


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:DIGEST_DIGITS]


@cache
def _release() -> str:
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "unknown"


@cache
def _revision() -> str:
    """The git revision of the code; empty outside of a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
