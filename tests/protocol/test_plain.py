"""Values of the ports as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition, Trust
from mcp_sdk.exceptions import MeshError, ProtocolError
from mcp_sdk.ports import AppendResult, AppendStatus, Applied, Change, Cursor
from mcp_sdk.protocol import plain
from mcp_sdk.snapshot import PolicyRevision

WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=5),
    st.booleans(),
    st.floats(allow_nan=False),
    st.just(WHEN),
    st.lists(st.text(max_size=3), max_size=2).map(tuple),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@given(
    attributes=st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
    status=st.sampled_from(list(AppendStatus)),
    entity=st.text(max_size=5),
)
def test_a_change_comes_back_as_it_went(attributes: dict[str, object], status: AppendStatus, entity: str) -> None:
    """A step of a watch survives JSON with every type of attribute."""
    transition = Transition("order", entity, "paid", "e-1", attributes=attributes, observed_at=WHEN)  # type: ignore[arg-type]
    context = ModelContext("order", entity, "paid", attributes, 3, False, WHEN, "shop", Trust.STORE)  # type: ignore[arg-type]
    change = Change("transition", Cursor("c:1"), Scope("a", "b"), Applied(transition, status, context))
    assert plain.change_from_plain(json.loads(json.dumps(plain.plain_change(change)))) == change


def test_other_changes_come_back_too() -> None:
    """What was forgotten and what record was written is told."""
    for change in (
        Change("forgotten", Cursor("c"), Scope(), ref=EntityRef("order", "é")),
        Change("records", Cursor("c"), Scope(), record="token"),
    ):
        assert plain.change_from_plain(plain.plain_change(change)) == change


def test_results_and_revisions_come_back() -> None:
    """Results keep status, revision and seconds; revisions all but their programs."""
    for result in (AppendResult(AppendStatus.APPLIED, 3, 1.5), AppendResult(AppendStatus.LATE, 0)):
        back = plain.result_from_plain(plain.plain_result(result))
        assert (back, back.since) == (result, result.since)
    revision = PolicyRevision(3, {}, {"a.yaml": "kind: é"}, "ann", "2026-01-01")
    assert plain.revision_from_plain(plain.plain_revision(revision)) == revision


@given(JSON)
def test_anything_else_is_refused_in_words(found: object) -> None:
    """Random JSON gives no other error than one of the family."""
    readers: list[Callable[[object], object]] = [
        plain.change_from_plain,
        plain.applied_from_plain,
        plain.result_from_plain,
        plain.ref_from_plain,
        plain.revision_from_plain,
    ]
    for reader in readers:
        try:
            reader(found)
        except MeshError:
            continue


def test_deep_json_is_refused() -> None:
    """Nesting that no reader could follow is no crash."""
    with pytest.raises(ProtocolError, match="not JSON"):
        plain.loads("[" * 1_000_000)


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '{"a\\uDFFF": 1}', '["\\udc00\\ud800"]', '"\ud800"', b'"\xed\xa0\x80"', b'"\xff"']
)
def test_half_a_surrogate_pair_is_refused(text: str | bytes) -> None:
    """What is no character is refused where it comes in, for it could not be written again."""
    with pytest.raises(ProtocolError, match="not JSON"):
        plain.loads(text)


def test_whole_characters_are_read_however_they_are_written() -> None:
    """A pair of surrogates, UTF-8 and a backslash that only looks like one are read as what they are."""
    assert plain.loads('["\\ud83d\\ude00", "\\\\ud800"]') == ["😀", "\\ud800"]
    assert plain.loads('"é😀"'.encode()) == "é😀"
