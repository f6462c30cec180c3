"""Mappings laid over each other keep their places, and cannot grow or run in circles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.exceptions import Finding
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.layers import Once, laid_over, larger, resolved
from mcp_sdk.policy.source.reading import MapNode, Node, Scalar, SequenceNode, read_documents

MAPPINGS = st.recursive(
    st.integers(0, 9), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=12
).filter(lambda value: isinstance(value, dict))


def node_of(text: str) -> MapNode:
    """Read a mapping."""
    (node,) = read_documents(text, "f.yaml", Collector())
    assert isinstance(node, MapNode)
    return node


def plain(node: Node) -> Any:
    """Give a node as plain values."""
    if isinstance(node, MapNode):
        return {key.text: plain(value) for key, value in node.entries if isinstance(key, Scalar)}
    return [plain(item) for item in node.items] if isinstance(node, SequenceNode) else node.value


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge plain mappings, the slow and obvious way."""
    both = {name: merged(base[name], over[name]) for name in over if _maps(base.get(name), over[name])}
    return {**base, **over, **both}


def _maps(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


@given(base=MAPPINGS, over=MAPPINGS)
def test_mappings_merge_and_of_the_rest_the_upper_one_counts(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Whatever the mappings hold."""
    assert plain(laid_over(node_of(str(base)), node_of(str(over)))) == merged(base, over)


def test_every_value_keeps_its_place() -> None:
    """A mistake in what lies below is reported where it stands."""
    base, over = node_of("a: {b: 1}\nc: 2"), node_of("\n\na: {d: 3}")
    entries = {key.text: value for key, value in laid_over(base, over).entries if isinstance(key, Scalar)}
    assert (entries["c"].line, entries["c"].column) == (2, 4)
    inner = entries["a"]
    assert isinstance(inner, MapNode)
    assert [value.line for _, value in inner.entries] == [1, 3]


def test_a_finding_is_kept_once_for_a_place() -> None:
    """What a thousand cases share is reported once."""
    once = Once()
    once.extend([Finding("MCP0003", f"in case {number}", "f.yaml", 1, 1) for number in range(1000)])
    assert len(once.found) == 1


def test_fixtures_lie_over_what_they_are_like() -> None:
    """Along a chain of names."""
    fixtures = dict(
        zip("abc", (node_of("x: 1\ny: 1"), node_of("like: a\ny: 2"), node_of("like: b\nz: 3")), strict=True)
    )
    found = resolved(fixtures["c"], fixtures, "c", Collector())
    assert found is not None
    assert plain(found) == {"x": 1, "y": 2, "z": 3}


def test_fixtures_that_lead_to_each_other_are_found() -> None:
    """And so is a chain without end in sight."""
    findings = Collector()
    circle: dict[str, Node] = {"a": node_of("like: b"), "b": node_of("like: a")}
    chain: dict[str, Node] = {f"f{number}": node_of(f"like: f{number + 1}") for number in range(10_000)}
    assert resolved(circle["a"], circle, "a", findings) is None
    assert resolved(chain["f0"], chain, "f0", findings) is None
    assert [finding.code for finding in findings.found] == ["MCP0204", "MCP0204"]


def test_aliases_count_as_what_they_stand_for() -> None:
    """A value that is written once and stands a thousand times is large."""
    bomb = node_of("a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b, *b]")
    assert larger(bomb, 100)
    assert not larger(bomb, 1000)
