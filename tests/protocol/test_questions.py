"""Questions and answers whole."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.context import EntityRef, ModelContext, Trust
from mcp_sdk.decisions import (
    Decision,
    DecisionRequest,
    Denied,
    Geo,
    Limit,
    Permit,
    Phase,
    Principal,
    Qos,
    Reason,
    RequestFacts,
    ReviewRequired,
    Rolled,
    Route,
    Shed,
    Source,
    StepUpRequired,
)
from mcp_sdk.exceptions import MeshError, ProtocolError
from mcp_sdk.protocol.questions import answer_from_plain, plain_answer, plain_question, question_from_plain
from mcp_sdk.services import Subset

WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUESTION = DecisionRequest(
    "shop",
    "POST /orders",
    Phase.OUTBOUND,
    {"order": ModelContext("order", "o-1", "paid", {"amount": 5, "l": ("a",), "at": WHEN}, 3, trust=Trust.VERIFIED)},
    (EntityRef("user", "u-1"),),
    RequestFacts("POST", "/orders", "POST /orders", "http", "shop", {"x-a": "é"}, {"q": "1"}, 7, Geo("CH", "ZH")),
    Principal(
        "u-1", authenticated=True, roles=("a",), scopes=("b",), mfa=True, auth_time=WHEN, attributes={"l": ["x"]}
    ),
    Source("gateway", "shop", "prod", "127.0.0.1", verified=True),
    "shop",
    "prod",
    WHEN,
)
REASON = Reason("p", "AccessPolicy", "r", "deny", "order.state == 'paid'", "detail", 7, "verified")
VERDICTS = [
    Permit(),
    Denied("no"),
    StepUpRequired("urn:mfa", 300, "again"),
    ReviewRequired("risk", "wait"),
    Shed(2.0, "low", "full"),
]


def test_a_question_comes_back_as_it_went() -> None:
    """Everything that a condition may look at survives JSON, headers and the trust of contexts included."""
    back = question_from_plain(json.loads(json.dumps(plain_question(QUESTION))))
    assert back == QUESTION
    assert question_from_plain(plain_question(DecisionRequest("a", now=WHEN))) == DecisionRequest("a", now=WHEN)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_an_answer_comes_back_as_it_went(verdict: object) -> None:
    """Every kind of verdict, with route, limits and what policies in shadow say."""
    decision = Decision(
        verdict,  # type: ignore[arg-type]
        Route(Subset("v2", {"class": "fast"}), "high", "o-1", 1.5),
        Qos("high", "gold"),
        {"quality": "720p"},
        (Limit("p", "u-1", 5, 60.0, 2, REASON),),
        (REASON,),
        1,
        7,
        Decision(Denied("in shadow"), reasons=(replace(REASON, shadow=True),)),
    )
    assert answer_from_plain(json.loads(json.dumps(plain_answer(decision)))) == decision


@pytest.mark.parametrize("other", [None, Decision(Denied("by the other side"), reasons=(REASON,))])
def test_an_answer_says_which_side_of_a_rollout_made_it(other: Decision | None) -> None:
    """With what the other side would have said; a side that there is none of is refused."""
    decision = Decision(rolled=Rolled("r-1", 2, "candidate", other))
    plain = json.loads(json.dumps(plain_answer(decision)))
    assert answer_from_plain(plain) == decision
    assert "rollout" not in plain_answer(Decision())
    with pytest.raises(ProtocolError, match="current or candidate, not 'both'"):
        answer_from_plain({**plain, "rollout": {**plain["rollout"], "arm": "both"}})


@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=3)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
        max_leaves=5,
    )
)
def test_anything_else_is_refused_in_words(found: object) -> None:
    """Random JSON, also in the place of a member, gives no other error than one of the family."""
    for read in (question_from_plain, answer_from_plain):
        with pytest.raises(MeshError):
            read(found)
    for name in plain_question(QUESTION):
        try:
            question_from_plain({**plain_question(QUESTION), name: found})
        except MeshError:
            continue


def test_it_is_said_what_does_not_fit() -> None:
    """A missing member is named."""
    with pytest.raises(ProtocolError, match="service"):
        question_from_plain({key: value for key, value in plain_question(QUESTION).items() if key != "service"})
