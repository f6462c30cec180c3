"""Conditions taken apart at ``&&``, ``||`` and ``!``: the same value, and the text that was written."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.branches import Branch, branch_texts, branches_of, evaluate
from mcp_sdk.policy.cel.environment import Environment
from mcp_sdk.policy.cel.syntax import decode


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("order.express", ["order.express"]),
        ("a && b || c", ["a", "b", "c"]),
        ("(a || b) && (c || d)", ["a", "b", "c", "d"]),
        ("!(a || b) && !c", ["a", "b", "!c"]),
        ("!(!(a && b) || c)", ["a", "b", "c"]),
        ("a || b || c || d || e", ["a", "b", "c", "d", "e"]),
        ("f(a && b) && (x in [1, 2])", ["f(a && b)", "(x in [1, 2])"]),
        ("(a ? b || c : d) && e == '&& ||'", ["(a ? b || c : d)", "e == '&& ||'"]),
        ("xs.exists(x, x == 1 && y) || z", ["xs.exists(x, x == 1 && y)", "z"]),
    ],
)
def test_a_part_has_the_text_that_was_written(models: Mapping[str, BusinessModel], text: str, parts: list[str]) -> None:
    """In order, whatever brackets and negations join them."""
    assert branch_texts(text, decode(Environment(models).parse(text))) == parts


TREES = st.recursive(
    st.sampled_from([True, False, None]).map(lambda value: ["lit", value]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["_&&_", "_||_"]), inner, inner).map(lambda it: ["call", it[0], "bool", *it[1:]]),
        inner.map(lambda one: ["call", "!_", "bool", one]),
    ),
    max_leaves=12,
)


def truth(shape: list) -> bool | None:
    """Evaluate by the table of CEL's logical operators; None is an error."""
    if shape[0] == "lit":
        return shape[1]
    values = [truth(part) for part in shape[3:]]
    if shape[1] == "!_":
        return None if values[0] is None else not values[0]
    decisive = shape[1] == "_||_"
    return decisive if decisive in values else None if None in values else not decisive


@given(shape=TREES)
def test_the_parts_have_the_value_of_the_whole(shape: list) -> None:
    """By CEL's tables: an error is absorbed where another part decides, and no part is asked twice."""
    branch, leaves = branches_of(shape)
    asked: list[int] = []

    def see(leaf: Branch) -> bool | None:
        asked.append(leaf.number)
        return truth(leaf.shape)

    assert evaluate(branch, see) is truth(shape)
    assert asked == sorted(set(asked))
    assert set(asked) <= {leaf.number for leaf in leaves}
