"""Short rules that tell frauds from good payments, found in decided cases.

Incremental reduced error pruning (J. Fürnkranz, G. Widmer, 1994; the core of RIPPER, W. Cohen, 1995): a rule is grown
on two thirds of the cases, shortened on the others, and dropped where these do not bear it out; the frauds that it
finds are taken away, and the next is looked for. It grows by a beam of conditions, rated by the m-estimate of their
precision with the m that was found best for many data sets (F. Janssen, J. Fürnkranz, "On the quest for optimal rule
learning heuristics", 2010): few cases make nobody sure. Of few cases none are kept aside, and chance may find rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

M_OF_PRIOR = 22.466
CONDITIONS_LIMIT = 3
RULES_LIMIT = 5
BEAM = 6
CUTS = 20
"""How many thresholds of one number are tried, at most: between quantiles of all cases, and of the frauds."""
LEAST_FRAUDS = 3
LEAST_SHARE = 0.02
"""A rule finds at least so many frauds, and at least this share of those that are still to be found."""
LEAST_GAIN = 0.004
"""What one more condition must add to the rating: shorter rules are understood."""
TEXTS_TRIED = 12
KEPT_ASIDE_FROM = 60
"""Of so many cases a third is kept aside to judge what was grown on the others."""
LEAST_Z = 2.33
"""How many deviations above chance the precision is on those kept aside: one in a hundred by chance."""
ROUNDING = 0.02
"""A threshold may lie among this share of the cases around the place that it stands for, if it is rounder there."""
METHOD = "incremental reduced error pruning (IREP), grown by beam search on two thirds of the cases, judged on the rest"

Numbers = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


class Condition(NamedTuple):
    """One comparison in the language of rules, with the cases for which it holds."""

    text: str
    holds: Flags


class FoundRule(NamedTuple):
    """Conditions that hold together, and of all cases the frauds and others for which they do."""

    conditions: tuple[str, ...]
    fraud: int
    legit: int

    @property
    def when(self) -> str:
        """The rule's text."""
        return " and ".join(self.conditions)


def search_rules(
    numbers: Mapping[str, Numbers],
    texts: Mapping[str, Sequence[str | None]],
    is_fraud: Flags,
    rules_limit: int = RULES_LIMIT,
) -> list[FoundRule]:
    """Up to `rules_limit` rules, the most telling first; none where nothing tells the two apart.

    `numbers` has each number's value for every case, NaN where unknown, for which no condition holds; `texts` likewise.
    """
    conditions = [one for name, values in numbers.items() for one in _thresholds(name, values, is_fraud)]
    conditions += [one for name, words in texts.items() for one in _equalities(name, words, is_fraud)]
    if not conditions or not is_fraud.any() or is_fraud.all():
        return []
    table = np.array([one.holds for one in conditions], np.float32)
    frauds, others = is_fraud.astype(np.float32), (~is_fraud).astype(np.float32)
    grows, judges = _thirds(is_fraud)
    missing = frauds
    found: list[FoundRule] = []
    while len(found) < rules_limit:
        best = _grown(table, missing * grows, others * grows)
        if best and judges.any():
            best = _judged(table, best, missing * judges, others * judges)
        if not best:
            break
        holds = _together(table, best)
        fraud, legit = int(holds @ frauds), int(holds @ others)
        found.append(FoundRule(tuple(sorted(conditions[number].text for number in best)), fraud, legit))
        missing = missing * (1 - holds)
    return found


def _thirds(is_fraud: Flags) -> tuple[Floats, Floats]:
    """Which cases rules grow on and which judge them, 1 or 0 for each: of frauds and others each third judges."""
    judges = np.zeros(len(is_fraud), np.float32)
    if len(is_fraud) >= KEPT_ASIDE_FROM:
        for kind in (is_fraud, ~is_fraud):
            judges[np.flatnonzero(kind)[2::3]] = 1.0
    return 1.0 - judges, judges


def _grown(table: Floats, fraud: Floats, legit: Floats) -> tuple[int, ...]:
    """The conditions, by number, that together are rated highest; none where no condition is better than none."""
    frauds, others = float(fraud.sum()), float(legit.sum())
    least = max(LEAST_FRAUDS, math.ceil(LEAST_SHARE * frauds))
    if frauds < least:
        return ()
    prior = frauds / (frauds + others)
    best: tuple[float, tuple[int, ...]] = (prior, ())
    beam = [best]
    for _ in range(CONDITIONS_LIMIT):
        holds = np.stack([_together(table, chosen) for _, chosen in beam])
        hits, misses = table @ (holds * fraud).T, table @ (holds * legit).T
        rated = np.where(hits >= least, (hits + M_OF_PRIOR * prior) / (hits + misses + M_OF_PRIOR), -1.0)
        longer: dict[tuple[int, ...], float] = {}
        for column, (parent, chosen) in enumerate(beam):
            for number in np.argsort(-rated[:, column], kind="stable")[: BEAM * 2]:
                rating = float(rated[number, column])
                if rating >= parent + LEAST_GAIN and int(number) not in chosen:
                    longer[tuple(sorted((*chosen, int(number))))] = rating
        beam = sorted(((rating, chosen) for chosen, rating in longer.items()), key=lambda one: (-one[0], one[1]))[:BEAM]
        if not beam:
            break
        if beam[0][0] >= best[0] + LEAST_GAIN:
            best = beam[0]
    return best[1]


def _judged(table: Floats, grown: tuple[int, ...], fraud: Floats, legit: Floats) -> tuple[int, ...]:
    """What is best of a rule by cases that it was not grown on; nothing where it could be chance."""
    prior = float(fraud.sum()) / max(float(fraud.sum() + legit.sum()), 1.0)

    def rating(chosen: tuple[int, ...]) -> tuple[float, int]:
        holds = _together(table, chosen)
        hits, misses = float(holds @ fraud), float(holds @ legit)
        return (hits + M_OF_PRIOR * prior) / (hits + misses + M_OF_PRIOR), -len(chosen)

    shorter = [chosen for size in range(1, len(grown) + 1) for chosen in combinations(grown, size)]
    best = max(shorter, key=rating)
    holds = _together(table, best)
    hits, fired = float(holds @ fraud), float(holds @ (fraud + legit))
    chance = math.sqrt(fired * prior * (1.0 - prior))
    return best if chance > 0.0 and (hits - fired * prior) / chance >= LEAST_Z else ()


def _together(table: Floats, chosen: Sequence[int]) -> Floats:
    holds: Floats = np.ones(table.shape[1], np.float32)
    for number in chosen:
        holds = holds * table[number]
    return holds


def _thresholds(name: str, values: Numbers, is_fraud: Flags) -> list[Condition]:
    known = values[np.isfinite(values)]
    distinct = np.unique(known)
    if len(distinct) < 2:
        return []
    shares = np.linspace(0.0, 1.0, CUTS // 2 + 2)[1:-1]
    cuts = set()
    for some in (known, values[np.isfinite(values) & is_fraud]):
        if len(some):
            low = np.quantile(some, np.clip(shares - ROUNDING, 0.0, 1.0), method="inverted_cdf")
            high = np.quantile(some, np.clip(shares + ROUNDING, 0.0, 1.0), method="inverted_cdf")
            places = np.searchsorted(distinct, high)
            # Where many have one value, it and the next above it are what can be told apart.
            above = np.where(low < high, high, distinct[np.minimum(places + 1, len(distinct) - 1)])
            cuts |= {readable(float(one), float(other)) for one, other in zip(low, above, strict=True) if one < other}
            below = distinct[np.maximum(places - 1, 0)]
            cuts |= {readable(float(one), float(two)) for one, two in zip(below, high, strict=True) if one < two}
    cuts |= _widest_apart(values, is_fraud, distinct)
    return [
        Condition(text, holds)
        for cut in sorted(cuts)
        for text, holds in (
            (f"{name} >= {_written(cut)}", values >= cut),
            (f"{name} < {_written(cut)}", values < cut),
        )
    ]


def _widest_apart(values: Numbers, is_fraud: Flags, distinct: Numbers) -> set[float]:
    """The cuts above and below which the shares of frauds and others differ most (Kolmogorov, Smirnov)."""
    known = np.isfinite(values)
    frauds, others = np.sort(values[known & is_fraud]), np.sort(values[known & ~is_fraud])
    if not len(frauds) or not len(others):
        return set()
    below = distinct[:-1]
    apart = np.searchsorted(others, below, "right") / len(others) - np.searchsorted(frauds, below, "right") / len(
        frauds
    )
    places = {int(np.argmax(apart)), int(np.argmin(apart))}
    return {readable(float(distinct[place]), float(distinct[place + 1])) for place in places}


def _equalities(name: str, words: Sequence[str | None], is_fraud: Flags) -> list[Condition]:
    counts: dict[str, int] = {}
    for word, fraud in zip(words, is_fraud, strict=True):
        if fraud and word is not None:
            counts[word] = counts.get(word, 0) + 1
    often = sorted(counts, key=lambda word: (-counts[word], word))[:TEXTS_TRIED]
    found = []
    for word in often:
        # The language has no escapes within its texts.
        if counts[word] >= LEAST_FRAUDS and word.isprintable() and not set(word) & set("'\\"):
            found.append(Condition(f"{name} == '{word}'", np.array([one == word for one in words])))
    return found


def readable(above: float, up_to: float) -> float:
    """The number that is written with the fewest digits of those greater than `above` and at most `up_to`.

    >>> readable(3.0, 5.0), readable(431.2, 518.9), readable(0.0412, 0.0467), readable(-2.5, 1.5), readable(0.3, 0.31)
    (5.0, 500.0, 0.045, 0.0, 0.31)
    """
    if above < 0.0 <= up_to:
        return 0.0
    power = math.floor(math.log10(max(abs(above), abs(up_to))))
    for exponent in range(power + 1, power - 15, -1):
        for step in (5, 2, 1):
            size = step * 10.0**exponent
            cut = float(f"{math.floor(up_to / size) * size:.12g}")
            if above < cut <= up_to:
                return cut
    return up_to


def _written(cut: float) -> str:
    return f"{cut:.12g}" if float(f"{cut:.12g}") == cut else repr(cut)
