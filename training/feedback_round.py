"""One round of the feedback member: hold out the newest verdicts, fit, judge, register, and let it serve.

Registered is only what passed: a round that is refused, has nothing new or ends in the middle leaves all as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.onnx import InvalidArtifact, OnnxModel
from models.registry import ModelNotFound, Registry
from stream.records import from_micros, micros
from training.feedback import FEWEST, background_of, train_feedback
from training.feedback_gates import Contest, judge_feedback
from training.feedback_rows import FeedbackRows, JudgedRows
from training.gates import PromotionRefused, Verdict, failed

HELD_OUT = 15
"""Frauds, at least, among the newest verdicts that judge and do not teach."""
BY = "headrace"


class NothingNew(LookupError):
    """There are no verdicts that the present model has not learned, or too few. A retry helps once there are more."""


class Taught(NamedTuple):
    """The version that serves now, and what the gates said of it."""

    version: str
    verdicts: list[Verdict]
    why: str


def teach(
    rows: FeedbackRows,
    registry: Registry,
    name: str,
    serving_hash: str,
    *,
    created_at: datetime,
    git_revision: str | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Taught:
    """Make a feedback model of these rows and let it be the champion of `name`, in this order.

    1. Fit and judge.  2. Register.  3. Move the alias, if it still means the model that was judged against.
    A crash between 2 and 3 leaves a version that nobody uses; reversed, scorers would look for one that is not there.

    Raises
    ------
    NothingNew, NotEnoughToLearn
        When there are too few verdicts, or mature decisions.
    ExportMismatch, PromotionRefused
        When the model is not fit to serve.
    AliasMoved
        When another process was faster.
    """
    champion = registry.aliases(name).get("champion")
    present = _present(registry, name, champion, serving_hash)
    cutoff_us = None if present is None else micros(present.manifest.label_cutoff)
    judges = held_out(rows.verdicts, cutoff_us)
    taught = rows.verdicts.where(~judges)
    others = rows.population.where(~np.isin(rows.population.event_id, rows.verdicts.event_id[judges]))
    beside = background_of(others.frame)
    # 1.
    on_stage(f"fit on {len(taught.told_us):,} verdicts and a part of {len(others.told_us):,} mature decisions")
    trained = train_feedback(
        taught.frame, others.frame, created_at=created_at, name=name, beside=beside, git_revision=git_revision
    )
    on_stage(f"judge by {int(judges.sum()):,} verdicts")
    judging, fitted = judging_rows(others, beside, taught)
    verdicts = judge_feedback(
        Contest(
            candidate=OnnxModel(trained.onnx_bytes, trained.manifest),
            present=present,
            serving_hash=serving_hash,
            verdicts=rows.verdicts.where(judges).frame,
            population=others.frame.where(judging),
            fitted=fitted[judging],
            covered=rows.covered,
        )
    )
    if failed(verdicts):
        raise PromotionRefused(name, "of this round", verdicts)
    # 2.
    on_stage("register")
    version = registry.register(trained.onnx_bytes, trained.manifest)
    # 3.
    why = f"{len(taught.told_us):,} verdicts until {trained.manifest.label_cutoff:%Y-%m-%d %H:%M}"
    said = {verdict.gate: str(verdict) for verdict in verdicts}
    registry.alias(name, "champion", version, champion, by=BY, why=why, gates=said)
    return Taught(version, verdicts, why)


def held_out(verdicts: JudgedRows, cutoff_us: int | None) -> NDArray[np.bool_]:
    """Which verdicts judge, shape (n_rows,): the newest, as few as will do, all later than `cutoff_us`.

    None of them where there is no present model to compare with. Labels of one moment stay together. Raises
    `NothingNew` where those after the cutoff are too few, or none of them is left to teach.
    """
    frame, told_us = verdicts.frame, verdicts.told_us
    if cutoff_us is None:
        return np.zeros(len(told_us), dtype=bool)
    newest_first = np.argsort(-told_us, kind="stable")
    enough = np.flatnonzero(np.cumsum(frame.y[newest_first] != 0) >= HELD_OUT)
    since = f"since {from_micros(cutoff_us):%Y-%m-%d %H:%M}"
    first_us = int(told_us[newest_first[enough[0]]]) if len(enough) else cutoff_us
    if first_us <= cutoff_us:
        new = told_us > cutoff_us
        count, fraud = int(new.sum()), int(np.count_nonzero(frame.y[new]))
        raise NothingNew(
            f"of {count} verdicts {since}, which the present model has not learned, {fraud} are fraud; to judge by, "
            f"{HELD_OUT} are needed"
        )
    judges: NDArray[np.bool_] = told_us >= first_us
    if not (told_us[~judges] > cutoff_us).any():
        raise NothingNew(f"all verdicts {since} are needed to judge by; wait for more to learn from")
    return judges


def judging_rows(
    population: JudgedRows, beside: NDArray[np.intp], taught: JudgedRows
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows of the population judge, and which were fitted, both of shape (n_rows,).

    Those at the places `beside` do not judge, unless too few of a class are left without them. Those that analysts saw
    do, though they taught: without them, where most frauds are among them, it is no sample of all traffic.
    """
    is_beside = np.zeros(len(population.told_us), dtype=np.bool_)
    is_beside[beside] = True
    left = population.frame.y[~is_beside]
    frauds = int(np.count_nonzero(left))
    judging = ~is_beside if min(frauds, len(left) - frauds) >= FEWEST else np.ones_like(is_beside)
    return judging, is_beside | np.isin(population.event_id, taught.event_id)


def _present(registry: Registry, name: str, version: str | None, serving_hash: str) -> OnnxModel | None:
    """The champion, where scorers can take it: one of other features, or that cannot be read, serves nobody."""
    if version is None:
        return None
    try:
        model = registry.load(name, version)
    except (ModelNotFound, InvalidArtifact, OSError, ValueError):
        return None
    return model if model.manifest.definition_hash == serving_hash else None
