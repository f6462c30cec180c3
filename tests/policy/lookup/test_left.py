"""What is left to ask of a rule that a look-up came upon: all but what its keys have found."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from conditions import DOUBLES, MODELS, NUMBERS, STRINGS, request_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oracle import value_in_cel

from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.lookup.index import Index
from mcp_sdk.policy.program import RuleRow

indexable = st.sampled_from(
    [
        *(f"order.state == '{text}'" for text in STRINGS[1:]),
        *(f"order.channel.startsWith('{text}')" for text in STRINGS[1:]),
        *(f"order.amount {op} {number}" for op in ("==", ">=", "<") for number in (0, 1, 2)),
        "order.state in ['a', 'ab']",
        "order.channel in ['b', 'abc']",
        "order.amount in [1, 2]",
        "order.ratio > 0.0",
        "order.vip",
        "order.vip == false",
        "has(order.channel)",
        "!has(order.other)",
        "request.geo.country == 'a'",
        "!(order.state != 'a' || order.channel != 'b')",
        "(order.state == 'a' || order.channel == 'b')",
    ]
)
scanned = st.sampled_from(
    [
        "10 / order.amount > 4",
        "order.amount + 9223372036854775807 > 0",
        "order.other.contains('b')",
        "order.channel.contains('b')",
        "order.other == order.channel",
        "size(order.state) > 1",
        "(10 / order.amount > 4 || order.vip)",
        "!(order.other.contains('b') && order.vip)",
        "(has(order.other) && order.other != order.state)",
        "order.ratio / 0.0 > 1.0",
        "false",
        "true",
    ]
)
joined = st.tuples(st.lists(indexable, min_size=1, max_size=3), st.lists(scanned, min_size=1, max_size=2)).flatmap(
    lambda parts: st.permutations([*parts[0], *parts[1]]).map(" && ".join)
)
effect = st.sampled_from(["permit", "deny", "review"])
rule_sets = st.lists(st.tuples(joined, effect), min_size=4, max_size=25)
held = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(STRINGS[1:]),
        "channel": st.sampled_from(STRINGS),
        "other": st.sampled_from(STRINGS),
        "amount": st.sampled_from(NUMBERS),
        "ratio": st.sampled_from(DOUBLES),
        "vip": st.booleans(),
    },
)
wrong = st.sampled_from(["a", "b", 0, 1, True, False, 1.5, float("nan"), None, ["a"], b"a"])
anything = st.dictionaries(st.sampled_from(["channel", "other", "amount", "ratio", "vip"]), wrong).flatmap(
    lambda odd: held.map(lambda facts: {**facts, **odd})
)
inputs_of = {
    kind: st.lists(st.tuples(facts, st.sampled_from(["", "a"])), min_size=1, max_size=8)
    for kind, facts in (("typed", held), ("any", anything))
}


def source(rules: list[tuple[str, str]]) -> str:
    """Write an AccessPolicy of these conditions and effects."""
    head = "kind: AccessPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n  default: permit\n  rules:\n"
    return head + "".join(f'  - {{when: "{when}", effect: {effect}}}\n' for when, effect in rules)


def engine_of(rules: list[tuple[str, str]]) -> Engine:
    """Give an engine of an AccessPolicy."""
    return Engine(compile_policies({"p": source(rules)}, MODELS), MODELS)


def asking_all(engine: Engine) -> Engine:
    """Make an engine forget what its keys find, so that every rule is asked its whole condition."""
    for policy in engine.policies:
        policy.index.tree.ways = array("I", bytes(4 * policy.index.size))
    return engine


def in_turn(engine: Engine, request: DecisionRequest) -> Any:
    """Give the first rule that matches by cel-cpp."""
    (policy,) = engine.policies
    for number, row in enumerate(policy.rows):
        value = value_in_cel(RuleRow.of(row).clause, request)
        if value is True or (value is None and policy.index.tree.on_error[number]):
            return policy.index.outcome(number)
    return None


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules=rule_sets, inputs=inputs_of["typed"])
def test_the_first_match_is_that_of_cel(rules: list[tuple[str, str]], inputs: list[tuple[dict[str, Any], str]]) -> None:
    """Where what is left errs, is absent or is false, the look-up, the linear scan and cel-cpp find the same rule."""
    engine = engine_of(rules)
    index = engine.policies[0].index
    for facts, country in inputs:
        request = request_of(facts, country, mfa=False)
        found = index.first(request.contexts, request)
        assert found is next(map(index.outcome, index.tree.linear(request.contexts, request)), None)
        assert found is in_turn(engine, request)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules=rule_sets, inputs=inputs_of["any"], tentative=st.booleans())
def test_a_decision_is_as_if_every_condition_were_asked_in_full(
    rules: list[tuple[str, str]], inputs: list[tuple[dict[str, Any], str]], tentative: bool
) -> None:
    """Also for facts of other types, and for contexts that are tentative."""
    programs = compile_policies({"p": source(rules)}, MODELS)
    engine, full = Engine(programs, MODELS), asking_all(Engine(programs, MODELS))
    for facts, country in inputs:
        request = request_of(facts, country, mfa=False)
        for name, context in request.contexts.items():
            request.contexts[name] = context.but(tentative=tentative)  # type: ignore[index]
        assert engine.decide(request) == full.decide(request)


def index_of(when: str, effect: str = "permit") -> Index[Any]:
    """Give the index of fifty rules of one form, ``{n}`` being the rule's number."""
    return engine_of([(when.format(n=number), effect) for number in range(50)]).policies[0].index


def names(condition: Any) -> set[str]:
    """Give the facts that the code of a condition names."""
    found, codes = set(), [condition.__code__]
    while codes:
        code = codes.pop()
        found |= {name for name in code.co_consts if isinstance(name, str)}
        codes += [part for part in code.co_consts if hasattr(part, "co_consts")]
    return found & {"state", "channel", "amount", "other", "ratio", "vip"}


@pytest.mark.parametrize(
    ("when", "left"),
    [
        ("order.state == 's{n}' && order.other.contains('x')", {"other"}),
        ("order.channel in ['c{n}', 'd{n}'] && order.other.contains('x')", {"other"}),
        ("order.channel.startsWith('/{n:02}/') && order.other.contains('x')", {"other"}),
        ("order.amount >= {n}0 && order.amount < {n}5 && order.other.contains('x')", {"other"}),
        ("order.other.contains('x') && order.state == 's{n}' && has(order.channel)", {"other", "channel"}),
        ("!(order.state != 's{n}' || order.other.contains('x'))", {"state", "other"}),
        ("order.ratio > {n}.5 && order.other.contains('x')", {"ratio", "other"}),
        ("(order.state == 's{n}' || order.channel == 's{n}') && order.other.contains('x')", None),
        ("order.state == 's{n}' && (order.channel == 'a' || order.other.contains('x'))", {"channel", "other"}),
    ],
)
def test_a_clause_that_every_key_of_a_rule_proves_is_not_asked_again(when: str, left: set[str] | None) -> None:
    """What the keys do not prove is, in its place; None is all of it."""
    tree = index_of(when).tree
    assert names(tree.left(7)) == (names(tree.holds(7)) if left is None else left)
    assert tree.left(7).__code__ is tree.left(8).__code__


def test_what_refuses_on_an_error_is_asked_what_its_keys_do_not_prove() -> None:
    """A key that also stands for absence proves that its clause is not false, and that is what counts."""
    index = index_of("order.state == 's{n}' && order.other.contains('x')", "deny")
    assert names(index.tree.left(7)) == {"other"}
    for facts, matches in (
        ({"state": "s7", "other": "x"}, True),
        ({"state": "s7"}, True),
        ({"other": "x"}, True),
        ({"state": "s7", "other": "y"}, False),
        ({"other": "y"}, False),
    ):
        request = request_of(facts, "", mfa=False)
        assert (index.first(request.contexts, request) is not None) is matches


def test_a_rule_that_several_keys_lead_to_is_asked_what_one_of_them_leaves_open() -> None:
    """The state ``a`` has many rules and parts them by channel; ``b`` has one, which stands in ``a`` as well."""
    rules = [(f"order.state == 's{n}' && order.other.contains('x')", "permit") for n in range(30)]
    rules += [
        (f"order.state == 'a' && order.channel == 'c{n}' && order.other.contains('x')", "permit") for n in range(9)
    ]
    rules += [("order.state in ['a', 'b'] && order.channel == 'c9' && order.other.contains('x')", "permit")]
    index = engine_of(rules).policies[0].index
    assert [names(index.tree.left(number)) for number in (0, 30, 39)] == [{"other"}, {"other"}, {"channel", "other"}]
    for state, channel, other in (("a", "c9", "x"), ("b", "c9", "x"), ("b", "c8", "x"), ("b", "c9", "y")):
        request = request_of({"state": state, "channel": channel, "other": other}, "", mfa=False)
        expected = next(map(index.outcome, index.tree.linear(request.contexts, request)), None)
        assert index.first(request.contexts, request) is expected


def test_the_keys_of_a_range_prove_nothing_of_a_number_that_is_none() -> None:
    """NaN lies at the end of every row of intervals, and in none of them."""
    index = index_of("has(order.ratio) && order.ratio > {n}.5")
    request = request_of({"ratio": float("nan")}, "", mfa=False)
    assert index.first(request.contexts, request) is None


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules=rule_sets, inputs=inputs_of["typed"])
def test_a_new_revision_goes_on_with_what_is_left(
    rules: list[tuple[str, str]], inputs: list[tuple[dict[str, Any], str]]
) -> None:
    """A tree that is taken over asks the rules of the new revision, whose shapes have other numbers."""
    before = engine_of(rules)
    other = (
        source([("size(order.id) > 3", "deny")]).replace("name: p", "name: aside").replace("service: s", "service: t")
    )
    programs = compile_policies({"a": other, "p": source(rules)}, MODELS)
    after = Engine(programs, MODELS, revision=2, before=before)
    mine = next(policy for policy in after.policies if policy.name == "p")
    assume(len(programs["shapes"]) > 1)
    assert mine.index.tree is before.policies[0].index.tree
    for facts, country in inputs:
        request = request_of(facts, country, mfa=False)
        linear = next(map(mine.index.outcome, mine.index.tree.linear(request.contexts, request)), None)
        assert mine.index.first(request.contexts, request) is linear
