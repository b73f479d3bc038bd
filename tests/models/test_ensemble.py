from __future__ import annotations

import math

import pytest

from models.ensemble import EnsembleWeights, MemberWeight, Opinion, combine


def test_three_members_are_weighed_seven_two_one() -> None:
    combined = combine({"batch": Opinion(1.0), "feedback": Opinion(0.5), "online": Opinion(0.0)})
    assert combined.score == pytest.approx(0.7 + 0.1)
    assert combined.left_out == {}


@pytest.mark.parametrize(
    ("feedback", "reason"),
    [
        (Opinion(None), "missing"),
        (Opinion(math.nan), "not a probability"),
        (Opinion(math.inf), "not a probability"),
        (Opinion(-0.1), "not a probability"),
        (Opinion(0.9, ready=False), "not ready"),
        (Opinion(0.9, age_s=31 * 86_400.0), "stale"),
    ],
)
def test_who_cannot_be_heard_is_left_out_and_the_rest_renormalised(feedback: Opinion, reason: str) -> None:
    combined = combine({"batch": Opinion(0.8), "feedback": feedback, "online": Opinion(0.0)})
    assert combined.score == pytest.approx(0.8 * 0.7 / 0.8)
    assert combined.left_out == {"feedback": reason}


def test_the_online_member_stays_capped_when_the_batch_member_is_gone() -> None:
    combined = combine({"feedback": Opinion(0.0), "online": Opinion(1.0)})
    assert combined.score == pytest.approx(0.2)
    assert combined.left_out == {"batch": "missing"}


def test_the_last_member_left_decides_alone() -> None:
    assert combine({"online": Opinion(0.4)}).score == pytest.approx(0.4)


def test_no_member_no_score() -> None:
    assert combine({}).score is None


def test_a_shadow_is_not_heard() -> None:
    assert combine({"batch": Opinion(0.3), "shadow": Opinion(1.0)}).score == pytest.approx(0.3)


def test_the_score_never_leaves_the_range() -> None:
    assert combine({name: Opinion(1.0) for name in ("batch", "feedback", "online")}).score == 1.0


@pytest.mark.parametrize("member", [MemberWeight(weight=0.0), MemberWeight(weight=1.0, cap=0.0)])
def test_weights_that_mean_nothing_are_refused(member: MemberWeight) -> None:
    with pytest.raises(ValueError, match="member 'batch' has weight"):
        EnsembleWeights("test", {"batch": member})
