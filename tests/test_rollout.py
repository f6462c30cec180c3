"""What a rollout is, and when it goes on or stops."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.rollout import DEFAULT_STAGES, Candidate, Counts, Limits, Plan, Rollout, Stage, judge

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PLAN = Plan((Stage(0.0, 60), Stage(0.1, 60)), Limits(0.05, 0.02, 100))


def rollout(stage: int = 0) -> Rollout:
    """Give a rollout in a stage that began ``NOW``."""
    return Rollout("r-1", "ada", 7, PLAN, stage=stage, since=NOW.isoformat())


def test_a_stage_goes_on_when_its_time_is_over_and_enough_was_counted() -> None:
    counts = Counts(decisions=100)
    assert judge(rollout(), counts, NOW).what == "wait"
    assert judge(rollout(), counts, LATER).what == "advance"


def test_without_decisions_it_waits_however_long() -> None:
    step = judge(rollout(), Counts(decisions=99), LATER)
    assert (step.what, step.reason) == ("wait", "99 of 100 decisions counted")


def test_a_share_needs_decisions_that_the_candidate_made() -> None:
    assert judge(rollout(1), Counts(decisions=1000, candidate_decisions=99), LATER).what == "wait"
    assert judge(rollout(1), Counts(decisions=1000, candidate_decisions=100), LATER).what == "advance"


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (Counts(decisions=100, current_refusals=1, candidate_refusals=7), "6.00% more decisions refused"),
        (Counts(decisions=100, faults=3), "3.00% more failures of the candidate"),
        (
            Counts(1000, current_calls=900, current_errors=9, candidate_calls=100, candidate_errors=4),
            "3.00% more errors",
        ),
    ],
)
def test_a_rise_over_the_limit_stops_it_before_its_time(counts: Counts, why: str) -> None:
    step = judge(rollout(), counts, NOW)
    assert step.what == "stop"
    assert step.reason.startswith(why)


@pytest.mark.parametrize(
    "counts",
    [
        Counts(decisions=100, current_refusals=1, candidate_refusals=6),
        Counts(decisions=99, candidate_refusals=99),
        Counts(decisions=1000, current_calls=900, candidate_calls=99, candidate_errors=99),
        Counts(decisions=100, current_refusals=50, candidate_refusals=3),
    ],
)
def test_what_is_within_the_limit_or_too_little_to_know_stops_nothing(counts: Counts) -> None:
    assert judge(rollout(), counts, NOW).what == "wait"


def test_it_reads_what_it_wrote() -> None:
    made = rollout().further(LATER, Counts(decisions=3, faults=1)).ended("stopped", "ada said so", Counts(decisions=2))
    assert Rollout.from_dict(made.to_dict()) == made
    assert Candidate.from_dict(made.candidate.to_dict()) == Candidate("r-1", 1, 0.1, 8)
    assert made.history == (Counts(decisions=3, faults=1), Counts(decisions=2))


@pytest.mark.parametrize(
    "change",
    [
        {"stage": 2},
        {"since": "yesterday"},
        {"plan": {"stages": [], "limits": {}}},
        {"plan": {"stages": [{"share": 2, "seconds": 1}], "limits": {}}},
        {"plan": {"stages": [{"share": 0.2, "seconds": 1}, {"share": 0.1, "seconds": 1}], "limits": {}}},
        {"plan": {"stages": [{"share": 0.2, "seconds": -1}], "limits": {}}},
        {"history": [{"decisions": -1}]},
        {"history": [{"decisions": True}]},
        {"history": [3]},
        {"base": "seven"},
    ],
)
def test_what_is_no_rollout_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        Rollout.from_dict(rollout().to_dict() | change)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_share_is_from_nothing_to_all(share: float) -> None:
    with pytest.raises(ProtocolError):
        Stage(share, 1)
    with pytest.raises(ProtocolError):
        Candidate.from_dict({"id": "r-1", "stage": 0, "share": share, "revision": 1})


def test_stages_are_said_as_people_say_them() -> None:
    assert [str(stage) for stage in DEFAULT_STAGES] == ["shadow", "5 %", "25 %"]


@pytest.mark.parametrize(
    "counts",
    [
        {"decisions": 3, "candidate_refusals": 4},
        {"decisions": 3, "newly_refused": 2, "newly_permitted": 2},
        {"candidate_decisions": 1},
        {"decisions": 9, "candidate_calls": 2, "candidate_errors": 3},
    ],
)
def test_no_part_of_counts_is_greater_than_its_whole(counts: dict[str, int]) -> None:
    with pytest.raises(ProtocolError, match="greater than the whole"):
        Counts.from_dict(counts)


parts = st.integers(0, 500)
numbers = st.builds(
    Counts, st.integers(1000, 2000), *[parts] * 6, st.integers(500, 900), parts, st.integers(500, 900), parts
)


@given(numbers, numbers, numbers)
def test_counts_add_up_in_any_order(one: Counts, two: Counts, three: Counts) -> None:
    assert (one + two) + three == one + (two + three)
    assert one + two == two + one
    assert Counts.from_dict((one + two).to_dict()) == one + two
    assert (one + two).possible
