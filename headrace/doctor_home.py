"""What `headrace doctor` finds in the home directory: the plan, Feast's registry, the champion, room on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from feature_repo.environment import environment
from features.declared import FEATURE_SETS
from features.store_plan import PLAN_FILE, PlanMissing, load_plan
from headrace.finding import Finding, graded
from models.registry import ModelNotFound
from models.shap import NotExplainable
from scoring.live_models import registry_of
from scoring.use_case import UseCase

APPLY = "run 'headrace features apply', then restart the workers and the service"


def examine_home(home: Path, use_case: UseCase) -> Iterator[Finding]:
    """Everything that lies in the home. Never raises: what cannot be read is a finding."""
    if not home.is_dir():
        remedy = "set HEADRACE_HOME to the deployment's directory, or run 'headrace features apply' to make one"
        yield Finding("FAIL", "home", f"there is no directory {home}", remedy)
        return
    yield judge_plan(home)
    yield judge_registry(home)
    yield from judge_champion(home, use_case)
    yield judge_disk(home, *shutil.disk_usage(home))


def judge_plan(home: Path) -> Finding:
    """Whether the plan is there and was compiled from this code's declarations."""
    try:
        plan = load_plan(home / PLAN_FILE)
    except PlanMissing:
        return Finding("FAIL", "plan", f"there is no {home / PLAN_FILE}: no process can find a history", APPLY)
    except (msgspec.MsgspecError, OSError) as error:
        return Finding("FAIL", "plan", f"{home / PLAN_FILE} cannot be read: {error}", APPLY)
    ours = ",".join(feature_set.definition_hash for feature_set in FEATURE_SETS.values())
    if plan.definition_hash != ours:
        words = f"the plan is of definition {plan.definition_hash}, this code has {ours}"
        return Finding("FAIL", "plan", words, APPLY)
    return Finding("OK", "plan", f"definition {ours}, as in this code")


def judge_registry(home: Path) -> Finding:
    """Whether Feast's registry is there; scoring goes on without it, Feast's own commands do not."""
    registry = Path(environment(home, "redis://127.0.0.1:6379")["HEADRACE_FEAST_REGISTRY"])
    if not registry.is_file():
        words = f"there is no Feast registry {registry}: Feast's commands and training frames will not work"
        return Finding("WARN", "feast", words, APPLY)
    return Finding("OK", "feast", f"registry {registry}")


def judge_champion(home: Path, use_case: UseCase) -> Iterator[Finding]:
    """Whether there is a champion, made for these features, that loads and can say what its scores are made of."""
    registry, name = registry_of(home), use_case.name
    train = f"run 'headrace train {name} --data FILE --promote'"
    try:
        version = registry.resolve(name)
        trained_on = registry.manifest(name, version).definition_hash
        if trained_on != use_case.features.definition_hash:
            words = f"champion {version} was trained on definition {trained_on}, the service computes "
            words += f"{use_case.features.definition_hash}: it is not used"
            yield Finding("FAIL", "model", words, train)
            return
        registry.load(name, version)
    except (ModelNotFound, OSError, ValueError) as error:
        yield Finding("FAIL", "model", f"no champion that scores: {error}", train)
        return
    yield Finding("OK", "model", f"champion {version} loads, definition {trained_on}")
    try:
        registry.read(name, version)
    except (NotExplainable, OSError, ValueError) as error:
        yield Finding("WARN", "model", f"reasons are found the slow way: {error}", train)


def judge_disk(home: Path, total: int, used: int, free: int) -> Finding:
    """Whether the home's disk has room.

    >>> judge_disk(Path("/h"), 100 << 30, 99 << 30, 1 << 30).level
    'FAIL'
    """
    words = f"{free / 2**30:,.1f} GiB of {total / 2**30:,.1f} GiB free at {home}"
    remedy = "make room, or shorten HEADRACE_ARCHIVE_RETENTION"
    return graded(free / max(total, 1), 0.1, 0.02, "disk", words, remedy, least=True)
