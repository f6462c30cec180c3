"""The look-up against the linear truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conditions import MODELS, calls, condition, request_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.cel.codegen import compile_shape
from mcp_sdk.policy.lookup.index import Index
from mcp_sdk.policy.lookup.ranges import layout, overlap
from mcp_sdk.policy.lookup.tree import Node

effect = st.sampled_from(["permit", "deny", "review"])


def source(rules: list[tuple[str, str]]) -> str:
    """Write an AccessPolicy of these conditions and effects."""
    lines = [f'  - {{when: "{when}", effect: {effect}}}' for when, effect in rules]
    head = [
        "kind: AccessPolicy",
        "metadata: {name: p}",
        "spec:",
        "  target: {service: s}",
        "  default: permit",
        "  rules:",
    ]
    return "\n".join([*head, *lines])


def index_of(rules: list[tuple[str, str]]) -> Index[Any]:
    """Give the index of an AccessPolicy."""
    return Engine(compile_policies({"p": source(rules)}, MODELS), MODELS).policies[0].index


def linear(index: Index[Any], contexts: Any, request: Any) -> list[Any]:
    """Ask every rule in turn."""
    found = []
    for rule in index.rules:
        try:
            matched = rule.holds(contexts, request)
        except Exception:
            matched = rule.on_error
        if matched:
            found.append(rule.outcome)
    return found


def agrees(index: Index[Any], request: DecisionRequest) -> None:
    """Look up, and compare with asking every rule."""
    expected = linear(index, request.contexts, request)
    assert index.every(request.contexts, request) == expected
    assert index.first(request.contexts, request) is (expected[0] if expected else None)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules=st.lists(st.tuples(condition, effect), min_size=1, max_size=25), inputs=calls)
def test_the_lookup_finds_what_asking_every_rule_finds(
    rules: list[tuple[str, str]], inputs: list[tuple[dict[str, Any], str, bool]]
) -> None:
    """First match and all matches are those of the linear scan, for every effect, facts present or not."""
    index = index_of(rules)
    for facts, country, mfa in inputs:
        agrees(index, request_of(facts, country, mfa=mfa))


wrong = st.sampled_from(["a", "ab", 0, 1, True, False, 1.5, float("nan"), None, ["a"], b"a"])
mistyped = st.dictionaries(st.sampled_from(["channel", "other", "amount", "ratio", "vip"]), wrong)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rules=st.lists(st.tuples(condition, effect), min_size=1, max_size=25),
    inputs=st.lists(mistyped, min_size=1, max_size=8),
)
@example(rules=[("!(order.vip != true && order.vip)", "deny")], inputs=[{"vip": "a"}])
def test_facts_of_other_types_pass_over_no_refusal_and_grant_nothing(
    rules: list[tuple[str, str]], inputs: list[dict[str, Any]]
) -> None:
    """What no declared type admits is no key: what is not false refuses, and only what is true grants."""
    engine = Engine(compile_policies({"p": source(rules)}, MODELS), MODELS)
    policy, shapes = engine.policies[0], engine.programs["shapes"]
    conditions = [compile_shape(shapes[row[4]], "value", name="truth")(*row[5]) for row in policy.rows]
    for facts in inputs:
        request = request_of(facts, "", mfa=False)
        found = set(policy.index.tree.every(request.contexts, request))
        for number, condition_of in enumerate(conditions):
            try:
                value = condition_of(request.contexts, request)
            except Exception:
                value = None
            refuses = policy.index.tree.on_error[number]
            assert number in found or not refuses or value is False
            assert number not in found or refuses or value is True


@settings(max_examples=60, deadline=None)
@given(
    ends=st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 60)), min_size=8, max_size=60),
    amounts=st.lists(st.integers(-60, 120), min_size=1, max_size=20),
)
def test_ranges_are_found_however_they_overlap(ends: list[tuple[int, int]], amounts: list[int]) -> None:
    """Disjoint, nested and crossing intervals give the matches of the linear scan, at their ends too."""
    index = index_of([(f"order.amount >= {low} && order.amount < {low + width}", "deny") for low, width in ends])
    for amount in [*amounts, *(low for low, _ in ends), *(low + width for low, width in ends)]:
        agrees(index, request_of({"amount": amount}, "", mfa=False))


@pytest.mark.parametrize(
    ("when", "facts"),
    [
        ("order.state == 's{n}'", {"state": "s7"}),
        ("order.channel in ['c{n}', 'd{n}']", {"channel": "d7"}),
        ("order.channel.startsWith('/{n:02}/')", {"channel": "/07/x"}),
        ("'/{n:02}/' <= order.channel && order.channel < '/{n:02}0'", {"channel": "/07/x"}),
        ("order.channel.startsWith('/{n}') && order.channel.startsWith('/')", {"channel": "/47/x"}),
        ("order.amount >= {n}0 && order.amount < {n}5", {"amount": 72}),
        ("order.ratio > {n}.5", {"ratio": 7.6}),
        ("order.vip && order.state == 's{n}'", {"vip": True, "state": "s7"}),
        ("order.state == 'a' && order.channel == 'c{n}'", {"state": "a", "channel": "c7"}),
        ("order.state == 's{n}' || order.channel == 'c{n}'", {"channel": "c7"}),
        ("!(order.state != 's{n}' || order.amount < 5)", {"state": "s7", "amount": 9}),
        ("request.geo.country == 'c{n}' && has(order.state)", {"state": "a"}),
    ],
)
def test_what_the_index_covers_is_not_scanned(when: str, facts: dict[str, Any]) -> None:
    """Equality, lists, prefixes, ranges, booleans, presence, conjunctions and disjunctions part fifty rules."""
    index = index_of([(when.format(n=number), "permit") for number in range(50)])
    assert isinstance(index.tree.root, Node)
    request = request_of(facts, "c7", mfa=False)
    asked = {number for number, sure in index.tree.candidates(request.contexts, request) if not sure}
    assert len(asked) <= 8
    agrees(index, request)


def test_a_rule_of_which_every_test_was_taken_is_not_asked() -> None:
    """Where the keys say all that the condition says, the look-up alone is the answer."""
    index = index_of([(f"order.state == 's{number}' && order.amount > {number}", "permit") for number in range(50)])
    request = request_of({"state": "s7", "amount": 8}, "", mfa=False)
    assert index.first(request.contexts, request) is not None
    assert index.tree.conditions.count(None) >= 49


def test_a_fact_of_another_type_hides_no_refusal(
    call: Callable[..., DecisionRequest], context: Callable[..., ModelContext]
) -> None:
    """A value that cannot be a key falls back to asking every rule."""
    rules = [(f"order.channel == '{number}' || order.amount > 1", "deny") for number in range(3)]
    rules += [(f"order.channel == '{number}'", "deny") for number in range(9)]
    index = index_of(rules)
    for facts in ({"channel": ["unhashable"], "amount": 200}, {"channel": 5, "amount": "x"}):
        agrees(index, call("s", context("order", **facts)))


@settings(max_examples=60, deadline=None)
@given(
    prefixes=st.lists(st.text("ab/", max_size=7), min_size=2, max_size=40),
    texts=st.lists(st.text("ab/", max_size=9), min_size=1, max_size=20),
)
def test_prefixes_are_found_however_long_they_are(prefixes: list[str], texts: list[str]) -> None:
    """Nested prefixes, of few lengths or of many, give the matches of the linear scan."""
    index = index_of([(f"order.channel.startsWith('{prefix}')", "deny") for prefix in prefixes])
    for text in texts:
        agrees(index, request_of({"channel": text}, "", mfa=False))


@given(
    intervals=st.lists(st.tuples(st.none() | st.integers(0, 30), st.none() | st.integers(0, 30)), max_size=40).map(
        lambda pairs: [(low, high) for low, high in pairs if low is None or high is None or low < high]
    ),
    value=st.integers(-2, 32),
)
def test_a_layout_lists_the_intervals_that_cover_a_value(
    intervals: list[tuple[int | None, int | None]], value: int
) -> None:
    """Flat or as a tree, the places of a value name each interval that holds it, once."""
    found = layout(intervals)
    tree = Node(("order", "amount"), cuts=found.cuts, slots=found.places, flat=found.flat)
    places = [place if isinstance(place, list) else [place] for place in tree.covering(value) if place is not None]
    listed = sorted(number for place in places for number in place)
    covering = [
        n for n, (low, high) in enumerate(intervals) if (low is None or low <= value) and (high is None or value < high)
    ]
    assert listed == covering
    assert overlap(intervals) >= 0


def test_many_nested_ranges_take_little_room() -> None:
    """A thousand thresholds, each within the one before, are kept in a tree, not listed a million times."""
    found = layout([(number, None) for number in range(1000)])
    assert not found.flat
    assert sum(len(place) for place in found.places if isinstance(place, list)) < 25_000
