"""Off-policy estimates beside a known answer: `python -m bench.recommend_off_policy`.

Visitors click with a probability that is known for each item and place. Slates are composed as they are served, with
two places that explore, and what these two showed is the log. From it alone, IPS and SNIPS say what three other
policies would have earned in these places; beside them stands what they truly would have. The truth of a run is the
mean over its own places and arms. Over many runs one sees how often an interval of 95% holds the truth, and how far
off the log's plain mean is, which knows nothing of propensities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.exploration import ExplorationSettings, seed_of
from models.slate import Contenders, Exposures, SlateSettings, compose
from training.off_policy import Estimate, ips, snips

Floats = NDArray[np.float64]
ITEMS, CANDIDATES, K = 60, 30, 8
SLATES, RUNS = 400, 200
SETTINGS = SlateSettings(k=K, exploration=ExplorationSettings(places=(3, 6)))
TARGETS = ("random", "trending", "oracle")


class World(NamedTuple):
    """What nobody knows but the simulation: how likely each item is clicked when seen, and each place is seen."""

    appeal: Floats
    seen: Floats
    popularity: Floats

    def click_rate(self, item: int, place: int) -> float:
        """The probability of a click on an item at a place, counted from 0."""
        return float(self.appeal[item] * self.seen[place])


class Log(NamedTuple):
    """One row for each explored place; `target` and `truth` have a column for each of `TARGETS`."""

    propensity: Floats
    reward: Floats
    target: Floats
    truth: Floats


class Outcome(NamedTuple):
    """What one run said of one target policy."""

    truth: float
    naive: float
    ips: Estimate
    snips: Estimate


def world_of(seed: int) -> World:
    """Items of unlike appeal, a popularity that follows it loosely, places that are seen less the lower they are."""
    rng = np.random.default_rng(seed)
    appeal = rng.beta(1.5, 6.0, ITEMS)
    popularity = appeal * rng.lognormal(0.0, 0.7, ITEMS)
    return World(appeal, 1.0 / np.sqrt(np.arange(1, K + 1, dtype=np.float64)), popularity)


def chosen_by(world: World) -> dict[str, Callable[[Sequence[int]], Floats]]:
    """The target policies: with what probability each shows each arm."""

    def only(worth: Floats) -> Callable[[Sequence[int]], Floats]:
        return lambda arms: np.eye(len(arms))[int(np.argmax(worth[list(arms)]))]

    return {
        "random": lambda arms: np.full(len(arms), 1.0 / len(arms)),
        "trending": only(world.popularity),
        "oracle": only(world.appeal),
    }


def logged(world: World, slates: int, seed: int) -> Log:
    """Traffic of a service that explores: each slate knows the clicks of those before."""
    rng = np.random.default_rng(seed)
    policies = [chosen_by(world)[name] for name in TARGETS]
    shown, clicked = np.zeros(ITEMS), np.zeros(ITEMS)
    propensity, reward, target, truth = [], [], [], []
    for number in range(slates):
        items = rng.choice(ITEMS, CANDIDATES, replace=False).astype(np.int32)
        contenders = Contenders(
            items,
            world.popularity[items] * rng.lognormal(0.0, 0.3, CANDIDATES),
            np.zeros(CANDIDATES, dtype=np.int8),
            np.full(CANDIDATES, -1, dtype=np.int32),
            np.zeros(CANDIDATES, dtype=np.bool_),
        )
        exposures = Exposures(shown[items], clicked[items], seed_of(f"{seed}-{number}"))
        for at, place in enumerate(compose(contenders, K, SETTINGS, exposures)):
            if not place.explored:
                continue
            click = rng.random() < world.click_rate(place.item, at)
            shown[place.item] += 1.0
            clicked[place.item] += click
            chances = np.array([policy(place.arms) for policy in policies])
            propensity.append(place.propensity)
            reward.append(float(click))
            target.append(chances[:, place.arms.index(place.item)])
            truth.append(chances @ [world.click_rate(arm, at) for arm in place.arms])
    return Log(np.array(propensity), np.array(reward), np.array(target), np.array(truth))


def outcomes(log: Log) -> dict[str, Outcome]:
    """What a log says of each target policy, and what is true of it."""
    return {
        name: Outcome(
            float(log.truth[:, column].mean()),
            float(log.reward.mean()),
            ips(log.propensity, log.reward, log.target[:, column]),
            snips(log.propensity, log.reward, log.target[:, column]),
        )
        for column, name in enumerate(TARGETS)
    }


def measure(runs: int = RUNS, slates: int = SLATES) -> dict[str, list[Outcome]]:
    """The outcomes of many runs, each with another world and another log."""
    found: dict[str, list[Outcome]] = {name: [] for name in TARGETS}
    for run in range(runs):
        for name, outcome in outcomes(logged(world_of(run), slates, run)).items():
            found[name].append(outcome)
    return found


def table_of(found: dict[str, list[Outcome]]) -> Table:
    """For people: means over the runs."""
    runs = len(found[TARGETS[0]])
    table = Table(title=f"click rate of the explored places, means over {runs} runs")
    columns = ("target", "true", "log's mean", "IPS", "SNIPS", "IPS error", "SNIPS error", "IPS covers", "SNIPS covers")
    for column in (*columns, "effective rows"):
        table.add_column(column, justify="left" if column == "target" else "right")
    for name, runs_of in found.items():
        truth = np.array([one.truth for one in runs_of])
        row = [name, f"{truth.mean():.4f}", f"{np.mean([one.naive for one in runs_of]):.4f}"]
        estimates = [[getattr(one, kind) for one in runs_of] for kind in ("ips", "snips")]
        values = [np.array([one.value for one in each]) for each in estimates]
        row += [f"{each.mean():.4f}" for each in values]
        row += [f"{math.sqrt(float(np.mean((each - truth) ** 2))):.4f}" for each in values]
        row += [f"{np.mean([e.covers(t) for e, t in zip(each, truth, strict=True)]):.1%}" for each in estimates]
        table.add_row(*row, f"{np.mean([one.ips.effective_rows for one in runs_of]):.0f} of {2 * SLATES}")
    return table


def main() -> None:
    """Measure and print."""
    Console(width=140).print(table_of(measure()))


if __name__ == "__main__":
    main()
