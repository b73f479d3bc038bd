from bench.rules import LIVE, measure, rules_like_people_write
from features.fraud import FRAUD
from scoring.rules import check_rule


def test_every_figure_is_measured_and_says_what_of() -> None:
    figures = measure(rounds=200)
    assert set(figures) == {
        f"{LIVE} rules, none fires",
        f"{LIVE} rules and 10 in shadow",
        f"{LIVE + 5} rules, 5 fire, 1 snoozed",
        f"a new set of {LIVE} rules",
    }
    assert all(figure.value > 0 for figure in figures.values())


def test_the_rules_are_real_ones() -> None:
    written = rules_like_people_write(50)
    assert len({rule.when for rule in written}) == 50
    assert all(check_rule(rule, FRAUD).weight >= 4 for rule in written)
