"""The lines of a decision log: what is read, and what is said of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.context import EntityRef
from mcp_sdk.decision_log import describe
from mcp_sdk.decisions import Decision, DecisionRequest, Denied, Limit, Qos, Reason, Route, Throttled
from mcp_sdk.policy.history.records import LONGEST, Line, Record, Unread, answer_of, read_records
from mcp_sdk.services import Subset
from mcp_sdk.telemetry import Telemetry

LIMIT = Limit(
    "bursts", "each:alice", 20, 1.0, 5, Reason("bursts", "RateLimitPolicy", "each", "limit", "true", "20 per 1 s")
)
DECISION = Decision(
    route=Route(Subset("v2"), "high", "o-1", 2.0),
    qos=Qos("low", "gold"),
    advice={"size": 5},
    limits=(LIMIT,),
    reasons=(Reason("traffic", "TrafficPolicy", "", "route", "", "split v1 50, v2 50"),),
)


def plain(decision: Decision = DECISION, **fields: Any) -> dict[str, Any]:
    """Give a record."""
    return describe(DecisionRequest("s", "GET /x", **fields), decision, Telemetry())


def read(*lines: bytes, whole: bool = True) -> list[Record | Unread]:
    """Read lines."""
    return list(read_records(Line(number, raw, whole) for number, raw in enumerate(lines, 1)))


def test_a_record_tells_what_its_decision_did() -> None:
    """Its answer is that of the decision it was written of; keys of limits and what sticks are not in it."""
    (record,) = read(json.dumps(plain()).encode())
    assert isinstance(record, Record)
    assert record.answer == answer_of(DECISION)
    assert record.answer.route == "version=v2, priority high, timeout 2.0"
    assert record.answer.limits == ("bursts/each 20 per 1 s",)
    assert record.answer.rules == (("traffic", "default"), ("bursts", "each"))
    assert "alice" not in json.dumps(plain())
    assert "o-1" not in json.dumps(plain())


def test_a_share_drawn_by_chance_is_told_as_its_split() -> None:
    """Which share it was says nothing of the policies."""
    shares = [Decision(route=Route(Subset(version)), reasons=DECISION.reasons) for version in ("v1", "v2")]
    assert {answer_of(one).route for one in shares} == {"split v1 50, v2 50"}
    assert answer_of(Decision()).route == answer_of(Decision(route=Route())).route == "any endpoint"


def test_what_a_log_handler_put_before_a_record_is_passed_over() -> None:
    """So are empty lines."""
    records = read(b"", b"INFO:mcp_sdk.decisions:" + json.dumps(plain()).encode(), b"  \n")
    assert [type(one) for one in records] == [Record]


@pytest.mark.parametrize(
    ("raw", "why", "detail"),
    [
        (b"\xff{}", "no UTF-8 text", "byte 1 is 0xff"),
        (b"hello", "no JSON object", ""),
        (b"{hello", "no JSON object", "Expecting property name"),
        (b"[" * 9 + b"{" + b'"a":' + b"[" * 200_000, "no JSON object", ""),
        (b"{" + b" " * LONGEST + b"}", "longer than any record", f"over {LONGEST} bytes"),
        (b"{}", "no record of a decision that this version reads", "no record of a decision: it has no 'format'"),
        (json.dumps(plain() | {"reasons": 3}).encode(), "no record of a decision that", "the answer of the record"),
        (json.dumps(plain() | {"verdict": []}).encode(), "", ""),
        (
            json.dumps(plain() | {"hidden": "all"}).encode(),
            "no record of a decision that",
            "hidden is no list of names",
        ),
        (json.dumps(plain(Decision(Throttled(1.0, LIMIT)))).encode(), "a record of admission", ""),
        (json.dumps(plain(Decision(shadow=Decision(Throttled(1.0, LIMIT))))).encode(), "a record of admission", ""),
        (json.dumps(plain() | {"hidden": ["operation"]}).encode(), "a mask changed what call it was", "operation"),
    ],
)
def test_a_line_that_cannot_be_used_is_told_with_its_place(raw: bytes, why: str, detail: str) -> None:
    """Its number, a cause of few, and what is wrong with it."""
    (found,) = read(raw)
    if why:
        assert isinstance(found, Unread)
        assert found.why.startswith(why)
        assert found.detail.startswith(detail)
        assert found.place == "line 1"


def test_a_last_line_without_its_end_was_cut_short() -> None:
    """A log is written while it is read; a whole record at its end is one all the same."""
    raw = json.dumps(plain()).encode()
    (cut,) = read(raw[:50], whole=False)
    assert isinstance(cut, Unread)
    assert cut.why.startswith("cut short")
    assert isinstance(read(raw, whole=False)[0], Record)


def test_a_reference_that_nobody_looked_up_is_unknown() -> None:
    """One that was looked for in vain is absent."""
    refs = (EntityRef("order", "o-1"), EntityRef("user", "u-1"))
    record = describe(DecisionRequest("s", references=refs), Decision(Denied()), Telemetry(), absent=refs[1:])
    (found,) = read(json.dumps(record).encode())
    assert isinstance(found, Record)
    assert found.unknown == {"order"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(sorted(plain())), json_values).map(
        lambda changes: json.dumps(plain() | changes).encode()
    )
)
def test_no_line_breaks_the_reader(raw: bytes) -> None:
    """Whatever stands in a log is a record or is told."""
    for found in read(raw):
        assert isinstance(found, (Record, Unread))
