"""What somebody who looks on wants to see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.protocol.filters import Filter

CONTEXT = {"model": "order", "id": "o-1", "state": "paid", "attributes": {"amount": 5, "gift": True, "tier": "a=b"}}
RECORD = {"service": "shop", "verdict": "deny", "contexts": [CONTEXT]}
names = st.from_regex(r"[a-z]{1,8}\.[a-z]{1,8}", fullmatch=True)


@given(st.dictionaries(names, st.text()), st.text(), st.text(), st.booleans(), st.booleans())
def test_both_sides_understand_the_same(
    facts: dict[str, str], service: str, verdict: str, decisions: bool, transitions: bool
) -> None:
    """A filter that is written and read is the same, also when it came as people write it."""
    one = Filter(service, verdict, facts, decisions, transitions)
    assert Filter.from_dict(one.to_dict()) == one
    assert Filter.parse([f"{name}={value}" for name, value in facts.items()]).facts == facts


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ([], True),
        (["order.state=paid"], True),
        (["order.state=created"], False),
        (["order.amount=5", "order.gift=true", "order.id=o-1"], True),
        (["order.tier=a=b"], True),
        (["order.amount=5", "order.gift=false"], False),
        (["user.state=paid"], False),
    ],
)
def test_all_conditions_have_to_hold(conditions: list[str], fits: bool) -> None:
    """Values are compared as text; what a record does not hold fits no condition."""
    assert Filter.parse(conditions).fits_decision(RECORD) is fits


def test_service_verdict_and_kind_choose() -> None:
    """What is said of the decision holds too; a transition has no verdict."""
    assert Filter("shop", "deny").fits_decision(RECORD)
    assert not Filter("other").fits_decision(RECORD)
    assert not Filter(verdict="permit").fits_decision(RECORD)
    assert not Filter(decisions=False).fits_decision(RECORD)
    applied = {"transition": {"source": "shop"}, "context": CONTEXT}
    assert Filter("shop", facts={"order.state": "paid"}).fits_transition(applied)
    assert not Filter(verdict="deny").fits_transition(applied)
    assert not Filter(transitions=False).fits_transition(applied)


@pytest.mark.parametrize("text", ["", "order", "order=1", ".state=1", "order.=1", "order.state"])
def test_what_is_no_condition_is_said(text: str) -> None:
    """A condition names a model and one of its facts."""
    with pytest.raises(ProtocolError, match=r"model\.attribute=value"):
        Filter.parse([text])


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_record_breaks_a_filter(contexts: object) -> None:
    """Records come from clients: whatever they hold, the answer is yes or no."""
    assert Filter.parse(["order.state=paid"]).fits_decision({"contexts": contexts}) in (True, False)
