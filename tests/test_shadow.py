"""Policies in shadow: what they would have changed, and where it is told."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sdk import Decision, DecisionRequest, Denied, Reason, Route, Throttled
from mcp_sdk.decision_log import print_decision
from mcp_sdk.decisions import Limit, Qos, StepUpRequired
from mcp_sdk.services import Subset
from mcp_sdk.shadow import OUTCOMES, in_words, outcomes
from mcp_sdk.telemetry import Telemetry

REQUEST = DecisionRequest("s", "GET /x")


def said(kind: str, effect: str, rule: str = "r") -> Reason:
    """Give the word of a policy in shadow."""
    return Reason("p", kind, rule, effect, shadow=True)


GRANT, LIMIT = said("AccessPolicy", "permit"), said("RateLimitPolicy", "limit")
BUCKET = Limit("p", "k", 1, 1.0, 1, LIMIT)


@pytest.mark.parametrize(
    ("shadow", "wanted"),
    [
        (Decision(reasons=(GRANT,)), ["same"]),
        (Decision(Denied(), reasons=(said("AccessPolicy", "deny"), GRANT)), ["deny", "same"]),
        (Decision(Denied(), reasons=(said("AccessPolicy", "deny", ""),)), ["nothing_granted"]),
        (Decision(StepUpRequired(), reasons=(said("AccessPolicy", "step_up"),)), ["step_up"]),
        (Decision(route=Route(Subset("v2")), reasons=(said("TrafficPolicy", "route"),)), ["route"]),
        (Decision(advice={"a": 1}, reasons=(said("TrafficPolicy", "route"),)), ["advice"]),
        (Decision(qos=Qos("low"), reasons=(said("QosPolicy", "qos"),)), ["qos"]),
        (Decision(limits=(BUCKET,)), ["limit"]),
        (Decision(Throttled(1.0, BUCKET), reasons=(said("RateLimitPolicy", "throttle"),)), ["throttle"]),
    ],
)
def test_each_word_of_a_shadow_has_an_outcome(shadow: Decision, wanted: list[str]) -> None:
    """It says what would have been otherwise, and is one of those declared."""
    decision = Decision(shadow=shadow)
    assert [outcome for _, outcome in outcomes(decision)] == wanted
    assert set(wanted) <= OUTCOMES
    telemetry = Telemetry()
    telemetry.decided(REQUEST, decision)
    assert sum(telemetry.shadows.read().values()) == len(wanted)
    assert telemetry.decisions.read() == {}


def test_a_refusal_that_stands_already_is_the_same() -> None:
    """A shadow that refuses what is refused changes nothing."""
    shadow = Decision(Denied(), reasons=(said("AccessPolicy", "deny"),))
    assert [outcome for _, outcome in outcomes(Decision(Denied(), shadow=shadow))] == ["same"]


def test_debug_tells_of_the_shadow(capsys: Any) -> None:
    """What would have changed stands behind the decision."""
    refused = Decision(Denied(), reasons=(said("AccessPolicy", "deny"),))
    for shadow in (None, Decision(reasons=(GRANT,)), refused):
        print_decision(REQUEST, Decision(shadow=shadow), Telemetry())
    plain, same, denied = capsys.readouterr().err.splitlines()
    assert same == f"{plain} [in shadow: the same]"
    assert denied == f"{plain} [in shadow: deny by rule 'r' of 'p']"
    assert not in_words(Decision())
