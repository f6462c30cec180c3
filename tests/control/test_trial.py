"""A candidate beside the policies in force."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk import BusinessModel, DecisionRequest, ModelContext
from mcp_sdk.control.decider import Decider, build
from mcp_sdk.control.trial import Tally, Trial, place_of, unit_of
from mcp_sdk.decisions import Principal
from mcp_sdk.policy import compile_policies
from mcp_sdk.rollout import Candidate, Counts
from mcp_sdk.snapshot import Snapshot

VECTORS = [0.785092831, 0.963529583, 0.154158459, 0.600182943]
ORDER = BusinessModel("order", states=("created", "paid"))
POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: a, namespace: default}}
spec:
  target: {{service: shop}}
  default: permit
  rules:
  - {{name: state, when: "has(order.state) && order.state == '{state}'", effect: deny}}
"""


def programs(state: str) -> Any:
    """Compile a policy that refuses orders in a state."""
    return compile_policies({"a.yaml": POLICY.format(state=state)}, {"order": ORDER})


def decider(share: float, *, stage: int = 0) -> Decider:
    """Give one that refuses paid orders, with a candidate that refuses created ones."""
    made = Decider()
    snapshot = Snapshot(1, 7, {"order": ORDER}, programs("paid"))
    made.install(snapshot, made.build(snapshot))
    made.trial = made.try_out(Candidate("r-1", stage, share, 8), programs("created"))
    return made


def call(state: str = "created", who: str = "ada", order: str = "o-1") -> DecisionRequest:
    """Give a call on an order."""
    principal = Principal(who, authenticated=True) if who else Principal()
    contexts = {"order": ModelContext("order", order, state)}
    return DecisionRequest("shop", "GET /orders/o-1", contexts=contexts, principal=principal)


def test_in_shadow_the_policies_in_force_decide_and_the_candidate_is_told_beside() -> None:
    decision = decider(0.0).decide(call("created"))
    assert decision.permitted
    assert decision.revision == 7
    assert decision.rolled is not None
    assert decision.rolled.arm == "current"
    assert decision.rolled.other is not None
    assert not decision.rolled.other.permitted


def test_with_all_decisions_the_candidate_decides() -> None:
    decision = decider(1.0).decide(call("created"))
    assert not decision.permitted
    assert decision.revision == 8
    assert decision.rolled is not None
    assert decision.rolled.arm == "candidate"


def test_a_share_takes_about_so_many_principals_and_each_always_alike() -> None:
    trial = decider(0.25).trial
    assert trial is not None
    taken = [who for who in map(str, range(4000)) if trial.takes(call(who=who))]
    assert 850 < len(taken) < 1150
    assert taken == [who for who in map(str, range(4000)) if trial.takes(call("paid", who, "o-2"))]


@given(st.text(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_a_greater_share_holds_all_that_a_smaller_one_held(who: str, one: float, two: float) -> None:
    engine = build(Snapshot())
    less, more = (Trial(Candidate("r-1", 0, share, 1), engine) for share in sorted((one, two)))
    assert not less.takes(call(who=who)) or more.takes(call(who=who))


def test_two_rollouts_draw_apart() -> None:
    units = [str(number) for number in range(2000)]
    both = sum(place_of("r-1", unit) < 0.5 and place_of("r-2", unit) < 0.5 for unit in units)
    assert 400 < both < 600


def test_places_are_as_documented() -> None:
    """Vectors of docs/rollout.md, for other languages."""
    assert [round(place_of("r-1", unit), 9) for unit in ("ada", "order/o-1", "\u00e9", "")] == VECTORS


def test_who_calls_is_drawn_by_else_the_first_entity_else_chance() -> None:
    assert unit_of(call()) == "ada"
    assert unit_of(call(who="")) == "order/o-1"
    assert unit_of(DecisionRequest("shop")) == ""
    drawn = iter((0.1, 0.9))
    trial = Trial(Candidate("r-1", 0, 0.5, 1), build(Snapshot()), rng=lambda: next(drawn))
    assert [trial.takes(DecisionRequest("shop")) for _ in range(2)] == [True, False]


def test_a_candidate_that_raises_loses_the_call_to_what_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    held = decider(1.0)
    assert held.trial is not None

    def broken(_request: DecisionRequest) -> None:
        raise RuntimeError("a candidate that fails")

    monkeypatch.setattr(held.trial.engine, "decide", broken)
    decision, tally = held.decide(call("paid")), Tally()
    assert not decision.permitted
    assert decision.rolled is not None
    assert decision.rolled.other is None
    tally.decided(decision)
    assert tally.take() == {("r-1", 0): Counts(decisions=1, current_refusals=1, faults=1)}


def test_a_tally_counts_both_sides_and_how_calls_ended() -> None:
    tally, held = Tally(), decider(1.0)
    for state in ("created", "paid"):
        decision = held.decide(call(state))
        tally.decided(decision)
        tally.ended(decision, failed=True)
    expected = Counts(
        decisions=2,
        candidate_decisions=2,
        current_refusals=1,
        candidate_refusals=1,
        newly_refused=1,
        newly_permitted=1,
        candidate_calls=1,
        candidate_errors=1,
    )
    assert tally.take() == {("r-1", 0): expected}
    assert tally.take() == {}


def test_a_stage_is_counted_apart_from_the_one_before() -> None:
    tally = Tally()
    for stage in (0, 1, 0):
        tally.decided(decider(0.0, stage=stage).decide(call()))
    taken = tally.take()
    assert [taken["r-1", stage].decisions for stage in (0, 1)] == [2, 1]


def test_a_further_stage_takes_the_loaded_candidate_over() -> None:
    held = decider(0.0)
    first = held.trial
    assert first is not None
    second = held.try_out(Candidate("r-1", 1, 0.5, 8), programs("created"))
    assert second.engine is first.engine


def test_the_list_of_who_is_in_the_share_is_filtered_by_the_candidate() -> None:
    residue = decider(1.0).residue(call(), ORDER)
    assert residue.revision == 8
