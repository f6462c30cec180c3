"""Responses to refused requests."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk import Decision, Denied, Permit, Reason, ReviewRequired, Shed, StepUpRequired, Throttled
from mcp_sdk.decisions import Limit
from mcp_sdk.problems import problem, quota_headers, respond

REASON = Reason("transfers", "AccessPolicy", "high-risk", "deny", "transfer.amount >= 50000", "amount was 99999")
LIMIT = Limit("per-user", "u-1", 10, 60.0, 20, REASON)


def answer(verdict, reason=REASON):
    """Give the response, its headers and its body."""
    response = respond(Decision(verdict, reasons=(reason,)))
    return response, dict(response.headers), json.loads(response.body)


@pytest.mark.parametrize(
    ("verdict", "status", "kind"),
    [
        (Denied(), 403, "denied"),
        (ReviewRequired("risk"), 403, "review-required"),
        (StepUpRequired("urn:mfa"), 401, "step-up-required"),
        (Throttled(2.0, LIMIT), 429, "throttled"),
        (Shed(), 503, "shed"),
    ],
)
def test_each_refusal_has_its_status_and_type(verdict, status, kind):
    """A caller can tell them apart without reading prose."""
    response, headers, body = answer(verdict)
    assert (response.status, body["status"], body["type"]) == (status, status, f"urn:mcp-sdk:problem:{kind}")
    assert headers["content-length"] == str(len(response.body))
    assert headers["cache-control"] == "no-store"


def test_a_review_names_who_reviews():
    """The ``review`` member tells it from a denial."""
    assert answer(ReviewRequired("risk-service"))[2]["review"] == {"by": "risk-service"}


def test_step_up_is_the_challenge_of_rfc_9470():
    """The header says what authentication would do."""
    headers = answer(StepUpRequired("urn:a urn:b", 300))[1]
    assert headers["www-authenticate"] == (
        'Bearer error="insufficient_user_authentication", '
        'error_description="A stronger or more recent authentication is required", '
        'acr_values="urn:a urn:b", max_age="300"'
    )


def test_throttled_says_when_to_come_back():
    """``Retry-After`` is rounded up, and the quota's fields are structured."""
    headers = answer(Throttled(2.1, LIMIT))[1]
    assert headers["retry-after"] == "3"
    assert headers["ratelimit-policy"] == '"per-user";q=10;w=60'
    assert headers["ratelimit"] == '"per-user";r=0;t=3'


def test_no_response_tells_the_clause_or_a_value():
    """Neither the condition nor what it saw reaches a caller."""
    for verdict in (Denied("no"), ReviewRequired(), StepUpRequired(), Throttled(1.0, LIMIT), Shed()):
        body = answer(verdict)[0].body
        assert b"50000" not in body
        assert b"99999" not in body
        assert b"u-1" not in body


def test_a_permit_has_no_refusing_response():
    """Asking for one is a mistake of the caller's."""
    with pytest.raises(TypeError):
        respond(Decision(Permit()))


@given(st.text(), st.text(), st.text(), st.floats(min_value=0) | st.just(float("nan")))
def test_nothing_breaks_out_of_a_header(text, acr, name, wait):
    """Whatever a policy's author wrote, a header's value is printable ASCII, and its quotes are balanced."""
    limit = Limit(name, name, 1, wait or 1.0, 1, REASON)
    for verdict in (
        StepUpRequired(acr, 1, text),
        Throttled(wait, limit),
        Shed(wait),
        Denied(text),
        ReviewRequired(text, text),
    ):
        response = respond(Decision(verdict, reasons=(Reason(name, "AccessPolicy", text),)))
        for header, value in response.headers:
            assert re.fullmatch(r"[ -~]*", value), header
            assert len(re.findall(r'(?<!\\)(?:\\\\)*"', value)) % 2 == 0
        assert response.raw_headers
        json.loads(response.body)


def test_quota_headers_of_nothing_are_none():
    """A request without limits has no quota fields."""
    assert quota_headers([]) == ()


def test_a_problem_takes_further_members():
    """Extensions are beside the standard members (RFC 9457 section 3.2)."""
    body = json.loads(problem(400, "x", "X", retry=True).body)
    assert body == {"type": "urn:mcp-sdk:problem:x", "title": "X", "status": 400, "retry": True}
