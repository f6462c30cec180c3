"""What the analysis claims, against every call there is; and a list of what it must find."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import Decision, DecisionRequest, Principal
from mcp_sdk.models import Attribute, BusinessModel
from mcp_sdk.policy import Engine, check_policies, compile_policies, report_on

STATES = ("created", "paid", "shipped")
MODELS = {
    "order": BusinessModel(
        "order",
        states=STATES,
        transitions={"created": ["paid"], "paid": ["shipped"]},
        attributes={
            "items": "int",
            "channel": "string",
            "express": "bool",
            "ratio": "double",
            "tags": "list",
            "note": Attribute("note", travels=False),
        },
    ),
    "user": BusinessModel("user", attributes={"tier": "string"}, principal=True),
    "parcel": BusinessModel(
        "parcel",
        states=("packed", "sent", "lost", "found"),
        transitions={"packed": ["sent"], "lost": ["found"], "found": ["lost"]},
    ),
}
SILENT = {"MCP0102", "MCP0103", "MCP0105"}
"""Codes that say of a rule that it never speaks."""

HEADS = {
    "AccessPolicy": "  default: {default}\n",
    "TrafficPolicy": "  default: {{version: v9}}\n",
    "QosPolicy": "  default: {{qos: {{priority: low}}}}\n",
    "RateLimitPolicy": "",
}


def source(kind: str, rules: list[tuple[str, str]], *, default: str = "deny", more: str = "", name: str = "p") -> str:
    """Write a policy of these conditions and effects, a line for each rule, from line 6 on."""
    head = f"kind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  target: {{service: s{more}}}\n"
    lines = [f'  - {{name: r{number}, when: "{when}", {effect}}}\n' for number, (when, effect) in enumerate(rules)]
    return head + "  rules:\n" + "".join(lines) + HEADS[kind].format(default=default)


def access(*rules: tuple[str, str], **options: Any) -> str:
    """Write an AccessPolicy of conditions and effects."""
    return source("AccessPolicy", [(when, f"effect: {effect}") for when, effect in rules], **options)


def found(*texts: str) -> list[str]:
    """Give code and line of each finding on policies, guards of refusals left out."""
    sources = {f"{number}.yaml": text for number, text in enumerate(texts)}
    return [f"{one.code}:{one.line}" for one in check_policies(sources, MODELS) if one.code != "MCP0101"]


def calls() -> Iterator[DecisionRequest]:
    """Every call over small domains: facts absent or of a few values, contexts tentative or not."""
    choices: dict[str, tuple[Any, ...]] = {
        "state": (None, *STATES),
        "items": (None, 0, 1, 3),
        "channel": (None, "a", "ab", "b"),
        "express": (None, False, True),
    }
    for values in product(*choices.values()):
        facts = {name: value for name, value in zip(choices, values, strict=True) if value is not None}
        state = facts.pop("state", None)
        for tentative, mfa in product((False, True), (False, True)):
            order = ModelContext("order", "", state, facts, tentative=tentative)
            yield DecisionRequest("s", contexts={"order": order}, principal=Principal(mfa=mfa))


CALLS = tuple(calls())

clause = st.one_of(
    st.sampled_from(STATES).map(lambda state: f"order.state == '{state}'"),
    st.sampled_from(STATES).map(lambda state: f"order.state != '{state}'"),
    st.lists(st.sampled_from(STATES), min_size=1, max_size=3).map(lambda states: f"order.state in {states}"),
    st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(0, 3)).map(
        lambda pair: f"order.items {pair[0]} {pair[1]}"
    ),
    st.sampled_from(
        [
            "has(order.items)",
            "has(order.state)",
            "order.express",
            "order.express == false",
            "principal.mfa",
            "order.channel.startsWith('a')",
            "order.channel == 'a'",
            "order.channel < 'b'",
            "order.channel.contains('b')",
            "order.items / order.items == 1",
            "true",
            "false",
        ]
    ),
)
condition = st.recursive(
    clause,
    lambda part: st.one_of(
        st.tuples(part, part).map(lambda pair: f"({pair[0]} && {pair[1]})"),
        st.tuples(part, part).map(lambda pair: f"({pair[0]} || {pair[1]})"),
        part.map(lambda text: f"!({text})"),
    ),
    max_leaves=4,
)
EFFECTS = {
    "AccessPolicy": [f"effect: {effect}" for effect in ("permit", "deny", "review", "step_up", "permit")],
    "TrafficPolicy": ["route: {version: v1}", "route: {version: v2}", "route: {version: v9}"],
    "QosPolicy": ["qos: {priority: high}", "qos: {priority: low}"],
    "RateLimitPolicy": ["limit: {requests: 1}"],
}
policy = st.sampled_from(sorted(HEADS)).flatmap(
    lambda kind: st.tuples(
        st.just(kind), st.lists(st.tuples(condition, st.sampled_from(EFFECTS[kind])), min_size=1, max_size=6)
    )
)


def spoken(text: str) -> list[tuple[str, ...]]:
    """Give, for each call, the rules that spoke; empty for a default."""
    engine = Engine(compile_policies({"p": text}, MODELS), MODELS)
    decisions = [engine.decide(call) for call in CALLS]
    return [tuple(one.rule for one in (*decision.reasons, *_limits(decision))) for decision in decisions]


def _limits(decision: Decision) -> list[Any]:
    return [limit.reason for limit in decision.limits if limit.reason]


def effects(text: str) -> list[tuple[Any, ...]]:
    """Give, for each call, what follows."""
    engine = Engine(compile_policies({"p": text}, MODELS), MODELS)
    decisions = [engine.decide(call) for call in CALLS]
    return [(one.verdict, one.route, one.qos, one.advice) for one in decisions]


@settings(max_examples=100, deadline=None)
@given(written=policy, default=st.sampled_from(["permit", "deny"]))
def test_what_is_claimed_never_to_speak_speaks_in_no_call(
    written: tuple[str, list[tuple[str, str]]], default: str
) -> None:
    """Rules said to be dead, shadowed or contradicted, and defaults said to be silent, are so over every call."""
    kind, rules = written
    text = source(kind, rules, default=default)
    findings = check_policies({"p": text}, MODELS)
    silent = {f"r{finding.line - 6}" for finding in findings if finding.code in SILENT}
    by_default = any(finding.code == "MCP0109" for finding in findings)
    if silent or by_default:
        speaking = spoken(text)
        assert silent.isdisjoint({rule for rules in speaking for rule in rules})
        assert not by_default or all(rules and rules[0] for rules in speaking)


@settings(max_examples=40, deadline=None)
@given(written=policy, default=st.sampled_from(["permit", "deny"]))
def test_a_rule_that_changes_nothing_can_go(written: tuple[str, list[tuple[str, str]]], default: str) -> None:
    """Without any of the rules said to change nothing every call is decided as with them."""
    kind, rules = written
    findings = check_policies({"p": source(kind, rules, default=default)}, MODELS)
    idle = {finding.line - 6 for finding in findings if finding.code == "MCP0108"}
    if idle and kind != "RateLimitPolicy":
        before = effects(source(kind, rules, default=default))
        for number in idle:
            changed = [(when if place != number else "false", effect) for place, (when, effect) in enumerate(rules)]
            assert effects(source(kind, changed, default=default)) == before


@settings(max_examples=40, deadline=None)
@given(one=condition, other=condition)
def test_a_grant_that_another_policy_contradicts_never_grants(one: str, other: str) -> None:
    """A rule said to grant nothing, for another policy refuses all of its calls, is behind no permitted call."""
    texts = {"a": access((one, "deny"), default="permit", name="a"), "b": access((other, "permit"), name="b")}
    if any(finding.code == "MCP0106" for finding in check_policies(texts, MODELS)):
        engine = Engine(compile_policies(texts, MODELS), MODELS)
        decisions = [engine.decide(call) for call in CALLS]
        granting = [
            decision
            for decision in decisions
            if any(reason.policy == "b" and reason.rule for reason in decision.reasons)
        ]
        assert not any(decision.permitted for decision in granting)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([("order.state == 'paid' && order.state == 'created'", "permit")], ["MCP0103:6"]),
        ([("order.items > 5 && order.items < 3", "permit")], ["MCP0103:6"]),
        ([("order.items > 5 && order.items < 6", "permit")], ["MCP0103:6"]),
        ([("order.channel.startsWith('a') && order.channel == 'b'", "permit")], ["MCP0103:6"]),
        ([("has(order.items) && !has(order.items)", "permit")], ["MCP0103:6"]),
        ([("order.express && !order.express", "permit")], ["MCP0103:6"]),
        ([("order.tags.exists(t, t == 'x') && !order.tags.exists(t, t == 'x')", "permit")], ["MCP0103:6"]),
        ([("order.channel in []", "permit")], ["MCP0103:6"]),
        ([("!(order.state in ['created', 'paid', 'shipped'])", "permit")], ["MCP0103:6"]),
        ([("request.method == 'GET' && request.method == 'PUT'", "deny")], ["MCP0103:6"]),
        ([("order.state == 'paid' && order.state == 'created'", "deny")], ["MCP0104:6"]),
        ([("order.items > 5", "permit"), ("order.items > 10", "permit")], ["MCP0102:7"]),
        ([("order.items > 10", "permit"), ("order.items > 5", "permit")], ["MCP0108:6"]),
        (
            [("order.items > 10", "permit"), ("order.items <= 10", "permit"), ("has(order.items)", "permit")],
            ["MCP0102:8"],
        ),
        (
            [(f"order.state == '{state}'", "permit") for state in STATES] + [("has(order.state)", "permit")],
            ["MCP0102:9"],
        ),
        (
            [("order.state == 'paid'", "permit"), ("has(order.state) && order.state != 'created'", "deny")],
            ["MCP0105:6"],
        ),
        ([("order.state == 'paid'", "step_up"), ("order.state == 'paid'", "deny")], ["MCP0102:6"]),
        (
            [("principal.mfa", "deny"), ("!principal.mfa", "review"), ("order.items > 5", "permit")],
            ["MCP0109:7", "MCP0105:8"],
        ),
        ([("true", "permit")], ["MCP0109:6"]),
        ([("order.state in ['paid', 'created'] && order.state != 'paid'", "permit")], ["MCP0110:6"]),
        ([("order.state in ['created', 'paid', 'shipped']", "permit")], ["MCP0111:6"]),
        ([("parcel.state == 'lost'", "permit")], ["MCP0112:6"]),
        ([("order.note == 'x'", "permit")], ["MCP0114:6"]),
        ([("order.channel in ['a', 'b'] && order.channel < 'b'", "permit")], ["MCP0110:6"]),
        ([("100 / order.items > 3", "permit")], ["MCP0115:6"]),
        ([("order.tags[1] == 'x'", "permit")], ["MCP0115:6"]),
        ([("int(order.channel) > 3", "permit")], ["MCP0115:6"]),
        ([("order.items * 2 > 3", "permit")], ["MCP0115:6"]),
    ],
)
def test_what_is_certain_is_found(rules: list[tuple[str, str]], expected: list[str]) -> None:
    """Each kind of idle rule, value, state and attribute is found, alone and at its place."""
    assert found(access(*rules)) == expected


@pytest.mark.parametrize(
    "rules",
    [
        [("order.items > 5 && order.items < 7", "permit")],
        [("order.items > 10", "step_up"), ("order.items > 5", "permit")],
        [("order.items > 10", "deny"), ("order.items > 5", "permit")],
        [("order.items > 5 && principal.mfa", "permit"), ("order.items > 10", "permit")],
        [("order.state == 'paid' || principal.mfa", "permit"), ("order.state == 'created'", "permit")],
        [("order.tags.exists(t, t == 'x') && !order.tags.exists(t, t == 'y')", "permit")],
        [("order.tags.exists(t, t == 'x')", "permit"), ("order.tags.exists(t, t == 'y')", "permit")],
        [("has(order.items) && order.items != 0 && 100 / order.items > 3", "permit")],
        [("'x' in request.headers && request.headers['x'] == 'y'", "permit")],
        [("order.state == 'created'", "permit"), ("order.state == 'paid'", "deny")],
        [("has(order.note) && order.note == 'x'", "permit")],
        [("request.headers.tenant == 'a'", "deny"), ("request.headers.tenant == 'b'", "deny")],
    ],
)
def test_what_is_not_certain_is_not_claimed(rules: list[tuple[str, str]]) -> None:
    """Rules that may speak are left alone: NaN is in no range, opaque parts may be anything, refusals also err."""
    assert found(access(*rules)) == []


def test_a_refusal_that_may_err_is_not_dead() -> None:
    """A refusing rule that follows grants is asked first, and one whose fact is absent speaks."""
    assert found(access(("order.state == 'paid'", "deny"), ("order.state == 'paid'", "permit"))) == ["MCP0105:7"]
    assert found(access(("order.state == 'paid'", "permit"), ("has(order.items)", "permit"))) == []


def test_a_tentative_context_is_no_reason_for_a_shadow() -> None:
    """A grant by one model does not take the calls of a grant by another, whose context may be certain."""
    rules = (("has(order.items) || true", "permit"), ("user.tier == 'gold'", "permit"))
    assert found(access(*rules)) == []
    assert found(access(*rules).replace("  rules:", "  allow_tentative: true\n  rules:")) == ["MCP0109:7", "MCP0102:8"]


def test_a_claim_that_rests_on_the_declared_states_says_so() -> None:
    """Another version of a service may know more states."""
    (finding,) = check_policies({"p": access(("!(order.state in ['created', 'paid', 'shipped'])", "permit"))}, MODELS)
    assert finding.message.endswith("no other states are declared")
    (finding,) = check_policies({"p": access(("order.state == 'paid' && order.state == 'created'", "permit"))}, MODELS)
    assert finding.message == (
        "rule 'r0': it can never apply, for order.state == 'paid' and order.state == 'created' exclude each other"
    )


def test_a_value_is_said_in_its_unit() -> None:
    """A decimal is in major units, as it was written."""
    models = {"transfer": BusinessModel("transfer", attributes={"amount": "decimal"})}
    text = access(("transfer.amount in [10.5, 20] && transfer.amount > 15", "permit"))
    (finding,) = check_policies({"p": text}, models)
    assert (finding.code, finding.message) == (
        "MCP0110",
        "transfer.amount == 10.50 can never hold here: other clauses of rule 'r0' exclude it",
    )


def test_traffic_and_qos_rules_are_taken_in_order() -> None:
    """The first match speaks, whatever it says; rules that say what the default says may go."""
    routes = [("order.items > 5", "route: {version: v1}"), ("order.items > 7", "route: {version: v2}")]
    assert found(source("TrafficPolicy", routes)) == ["MCP0102:7"]
    parts = [
        (when, f"route: {{version: v{number}}}")
        for number, when in enumerate(("order.ratio < 1.0", "order.ratio >= 1.0", "has(order.ratio)"))
    ]
    assert found(source("TrafficPolicy", parts)) == []
    assert found(source("TrafficPolicy", [*routes[:1], ("order.express", "route: {version: v9}")])) == ["MCP0108:7"]
    assert found(source("QosPolicy", [("order.express", "qos: {priority: low}")])) == ["MCP0108:6"]
    assert found(source("QosPolicy", [("true", "qos: {priority: high}")])) == ["MCP0109:6"]
    limits = [("has(order.items)", "limit: {requests: 1}")] * 2
    assert found(source("RateLimitPolicy", limits)) == []
    assert found(source("RateLimitPolicy", [("false", "limit: {requests: 1}")])) == ["MCP0103:6"]


def test_policies_of_one_target_are_compared() -> None:
    """A grant that another policy refuses, and policies that only their names put in order, are found."""
    deny = access(("order.state == 'paid'", "deny"), default="permit", name="blocked")
    permit = access(("order.state == 'paid' && order.items > 1", "permit"), name="granted")
    assert found(deny, permit) == ["MCP0106:6"]
    assert found(deny.replace("service: s", "service: s, operations: ['GET /a']"), permit) == []
    assert found(deny.replace("spec:", "spec:\n  shadow: true"), permit) == []
    routes = [
        source("TrafficPolicy", [], name=name, more=f", operations: [{operation}]")
        for name, operation in (("a", "'GET /x'"), ("b", "'* /{y}'"))
    ]
    assert found(*routes) == ["MCP0107:1"]
    assert found(routes[0], routes[1].replace("* /{y}", "PUT /x")) == []
    qos = source("QosPolicy", [("order.items > 1", "qos: {priority: high}")], name="a").replace(
        "  default: {qos: {priority: low}}\n", ""
    )
    assert found(qos, qos.replace("name: a", "name: b").replace("> 1", "> 5")) == ["MCP0107:1"]
    assert found(qos, qos.replace("name: a", "name: b").replace("> 1", "< 1")) == []


def test_what_nobody_uses_is_found_at_its_place() -> None:
    """Constants that no expression names, and operations that another one covers or no call has."""
    assert found(access(more=", operations: [HEAD /a]")) == ["MCP0118:4"]
    text = access(
        ("order.items > low && order.channel in known", "permit"), more=", operations: [GET /a, '* /a', '* /a']"
    )
    constants = "  constants:\n    low: 1\n    high: 2\n    known: [a]\n    other: [b]\n"
    assert found(text.replace("  rules:", constants + "  rules:")) == [
        "MCP0117:4",
        "MCP0117:4",
        "MCP0116:7",
        "MCP0116:9",
    ]


def test_a_state_that_nothing_leads_to_is_found_where_it_is_declared() -> None:
    """States on a way that nothing begins are found in the file that declares the model."""
    declared = "models:\n- name: parcel\n  states: [packed, sent, lost, found]\n"
    report = report_on({}, MODELS, declarations={"models.yaml": declared})
    assert [(one.code, one.line, one.column) for one in report.findings] == [("MCP0113", 3, 26), ("MCP0113", 3, 32)]
    assert report.findings[0].message == (
        "no transition of model 'parcel' leads to state 'lost' from where its entities begin ('packed')"
    )


def test_a_report_is_bounded_and_says_so() -> None:
    """Past its bound a report counts, and errors past it still keep policies from taking effect."""
    rules = "".join(f"  - {{name: r{number}, effect: permit}}\n" for number in range(10_100))
    text = access(("true", "permit")).replace("  default", rules + "  default")
    report = report_on({"p": text}, MODELS)
    assert (len(report.findings), report.left_out) == (10_000, 100 + 1)
