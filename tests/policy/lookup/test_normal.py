"""The normal form against the condition itself, on generated conditions and facts."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from conditions import MODELS, calls, condition, request_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.policy import compile_policies
from mcp_sdk.policy.cel.codegen import compile_shape
from mcp_sdk.policy.lookup.domains import ABSENT, NOTHING, PRESENT, Domain, after, prefixed
from mcp_sdk.policy.lookup.normal import OPAQUE, Conjunction, disjuncts, opaque_part
from mcp_sdk.policy.program import RuleRow


def compiled(when: str) -> tuple[dict[str, Any], list[Any]]:
    """Give the shape and constants of a condition."""
    head = "kind: AccessPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n  default: permit\n  rules:\n"
    program = compile_policies({"p": f'{head}  - {{when: "{when}", effect: deny}}'}, MODELS)
    row = RuleRow.of(program["policies"][0]["rules"][0])
    return program["shapes"][row.shape], list(row.constants)


def fulfils(conjunction: Conjunction, request: DecisionRequest) -> bool:
    """Tell whether every fact of a call is in its domain."""
    return all(read(path, request) in domain for path, domain in conjunction.facts.items())


def read(path: tuple[str, ...], request: DecisionRequest) -> Any:
    """Read a fact; None where it is absent."""
    if path[0] == OPAQUE:
        return opaque(path, request)
    if path[0] == "order":
        context = request.contexts.get("order")
        return None if context is None else context.facts.get(path[1])
    value: Any = request
    for name in path:
        value = getattr(value, name)
    return value


def opaque(path: tuple[str, ...], request: DecisionRequest) -> Any:
    """Evaluate a part that no test can tell; None where it errs."""
    params: list[str] = []
    expression = numbered(opaque_part(path), params)
    part = compile_shape({"expr": expression, "params": params}, "value", name="part")(*json.loads(path[2]))
    try:
        return part(request.contexts, request)
    except Exception:
        return None


def numbered(node: Any, params: list[str]) -> Any:
    if not isinstance(node, list) or not node or node[0] == "lit":
        return node
    if node[0] == "k":
        params.append(node[1])
        return ["k", len(params) - 1]
    return [numbered(part, params) for part in node]


@settings(max_examples=400, deadline=None)
@given(when=condition, inputs=calls, refuses=st.booleans())
def test_a_rule_matches_only_where_a_conjunction_holds(
    when: str, inputs: list[tuple[dict[str, Any], str, bool]], refuses: bool
) -> None:
    """Every match is in some conjunction, and where an exact one holds there is a match, errors counted or not."""
    shape, constants = compiled(when)
    matches = compile_shape(shape, "unless" if refuses else "true", name="normal")(*constants)
    found = disjuncts(shape["expr"], shape["params"], constants, on_error=refuses)
    for facts, country, mfa in inputs:
        request = request_of(facts, country, mfa=mfa)
        matched = bool(matches(request.contexts, request))
        holding = [conjunction for conjunction in found if fulfils(conjunction, request)]
        assert holding or not matched
        assert matched or not any(conjunction.exact for conjunction in holding)


@settings(max_examples=200, deadline=None)
@given(when=condition, inputs=calls, refuses=st.booleans())
def test_the_whole_form_tells_every_match(
    when: str, inputs: list[tuple[dict[str, Any], str, bool]], refuses: bool
) -> None:
    """With the parts that no test can tell as facts of their own, a rule matches just where a conjunction holds."""
    shape, constants = compiled(when)
    matches = compile_shape(shape, "unless" if refuses else "true", name="normal")(*constants)
    found = disjuncts(shape["expr"], shape["params"], constants, on_error=refuses, whole=True)
    for facts, country, mfa in inputs:
        request = request_of(facts, country, mfa=mfa)
        assert any(fulfils(one, request) for one in found) == bool(matches(request.contexts, request))


def test_a_part_is_one_whatever_its_constants_number() -> None:
    """Equal parts of two conditions are one fact, others are not; a key of headers is no fact that is always there."""

    def paths(when: str) -> set[Any]:
        shape, constants = compiled(when)
        found = disjuncts(shape["expr"], shape["params"], constants, on_error=True, whole=True)
        return {path for one in found for path in one.facts if path[0] == OPAQUE}

    part = "order.channel.contains('b')"
    assert paths(part) == paths(f"order.state == 'a' && {part}")
    assert paths(part).isdisjoint(paths(part.replace("'b'", "'c'")))
    ((_, expression, _),) = paths("request.headers.tenant == 'a'")
    assert "headers" in expression


@pytest.mark.parametrize(
    ("when", "facts"),
    [
        ("order.state == 'a'", {("order", "state"): Domain(frozenset("a"))}),
        ("order.amount > 5 && order.amount <= 9", {("order", "amount"): Domain(None, 6, 10)}),
        ("order.channel.startsWith('ab')", {("order", "channel"): Domain(None, "ab", "ac")}),
        (
            "has(order.channel) && order.vip",
            {("order", "channel"): PRESENT, ("order", "vip"): Domain(frozenset([True]))},
        ),
        ("!has(order.channel)", {("order", "channel"): ABSENT}),
    ],
)
def test_clauses_of_one_fact_are_its_domain(when: str, facts: dict[Any, Domain]) -> None:
    """Equality, ranges, prefixes, presence and boolean attributes are known exactly."""
    shape, constants = compiled(when)
    assert disjuncts(shape["expr"], shape["params"], constants, on_error=False) == [Conjunction(facts, exact=True)]


def test_a_condition_that_contradicts_itself_has_no_conjunction() -> None:
    """What no facts can fulfil is left out; where errors count, absence still fulfils it."""
    shape, constants = compiled("order.state == 'a' && order.state == 'b'")
    assert disjuncts(shape["expr"], shape["params"], constants, on_error=False) == []
    absent = Conjunction({("order", "state"): ABSENT}, exact=True)
    assert disjuncts(shape["expr"], shape["params"], constants, on_error=True) == [absent]


numbers = st.none() | st.integers(-3, 3)
domains = st.one_of(
    st.builds(
        lambda values, absent: Domain(values, absent=absent),
        st.frozensets(st.integers(-3, 3), max_size=3),
        st.booleans(),
    ),
    st.builds(
        lambda low, high, but, absent: Domain(None, low, high, but, absent),
        numbers,
        numbers,
        st.frozensets(st.integers(-3, 3), max_size=2),
        st.booleans(),
    ),
)


@given(one=domains, other=domains, value=st.none() | st.integers(-5, 5))
def test_domains_meet_and_contain_as_sets_do(one: Domain, other: Domain, value: int | None) -> None:
    """A value is in the meeting of two just when it is in both; an empty one has none; one within another adds none."""
    assert (value in one.meet(other)) == (value in one and value in other)
    assert not (one.empty and value in one)
    assert not (one.within(other) and value in one and value not in other)


@given(text=st.text(max_size=5), prefix=st.text(max_size=3))
def test_a_prefix_is_an_interval_of_strings(text: str, prefix: str) -> None:
    """The strings with a prefix are those between it and the next string that lacks it, whatever the code points."""
    assert (text in prefixed(prefix)) == text.startswith(prefix)


@pytest.mark.parametrize("value", [7, -1.5, 0.0, "a", "", chr(0x10FFFF), math.inf])
def test_the_next_value_is_greater_with_none_between(value: Any) -> None:
    """Greater-than begins at the next value of the type, and nothing is greater than infinity."""
    following = after(value)
    assert following is None if value == math.inf else following > value
    assert NOTHING.empty
