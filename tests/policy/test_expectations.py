"""What is expected of a decision: all that is observed of it, and nothing else, passes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.testing.cases import Case, read_cases
from mcp_sdk.policy.testing.expectations import CHANCE, Vocabulary, compare, observe
from mcp_sdk.policy.testing.verify import Verifier

SOURCE = Path(__file__).parent / "sources" / "cased.yaml"
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cf", "Cn", "Co", "Zl", "Zp"]), max_size=8)
NAMES = TEXT.filter(bool)


@pytest.fixture(scope="module")
def engine(models: Mapping[str, BusinessModel]) -> Engine:
    """Policies of every kind."""
    return Engine(compile_policies({"cased.yaml": SOURCE.read_text()}, models), models, rng=lambda: 0.99)


def optional(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Give mappings with any of the keys."""
    return st.fixed_dictionaries({}, optional=values)


AMOUNTS = st.sampled_from([0, 999.99, 1000, 1000.01, 50_000, 10**15])
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
CONTEXTS = optional(
    order=optional(
        id=NAMES,
        state=st.sampled_from(["created", "paid", "shipped"]),
        amount=AMOUNTS,
        items=st.integers(-(2**63), 2**63 - 1),
        express=st.booleans(),
        paid_at=MOMENTS,
        tags=st.lists(TEXT, max_size=2),
        channel=TEXT,
        trust=st.sampled_from(["local", "store", "verified", "unsigned", "expired"]),
        tentative=st.booleans(),
    ),
    user=optional(id=NAMES, tier=st.sampled_from(["vip", "platinum", "standard"])),
    transfer=optional(id=NAMES, amount=AMOUNTS, risk=st.sampled_from(["high", "low"])),
)
GIVEN = st.fixed_dictionaries(
    {
        "service": st.just("orders"),
        "operation": st.sampled_from(["POST /transfers", "GET /orders/o-1", "shop.orders.pay"]),
        "phase": st.sampled_from(["inbound", "outbound", "method"]),
        "contexts": CONTEXTS,
    },
    optional={
        "ingress": st.sampled_from(["mesh", "open"]),
        "principal": optional(
            id=TEXT,
            mfa=st.booleans(),
            authenticated=st.booleans(),
            roles=st.lists(NAMES, max_size=2),
            auth_time=MOMENTS,
        ),
        "source": optional(service=TEXT, verified=st.booleans()),
        "request": optional(
            geo=optional(country=st.sampled_from(["NO", "DE"])),
            headers=st.dictionaries(NAMES, TEXT, max_size=2),
            query=st.dictionaries(NAMES, TEXT, max_size=2),
            size=st.integers(-1, 2**63 - 1),
        ),
        "now": MOMENTS,
    },
)


def cases_of(engine: Engine, *cases: dict[str, Any]) -> tuple[Case, ...]:
    """Read cases as if they had been written; JSON is YAML."""
    findings = Collector()
    text = json.dumps({"cases": list(cases)}, ensure_ascii=False)
    found = read_cases({"it_test.yaml": text}, engine, findings)
    assert [str(finding) for finding in findings.found] == []
    return found


def expectation(observed: Mapping[str, Any]) -> dict[str, Any]:
    """Write all that was observed as a person would expect it."""
    route = {name: value for name, value in observed["route"].items() if value not in ("", {}, None, CHANCE)}
    details = {name: observed[name] for name in ("acr", "max_age", "by", "message") if observed[name]}
    reasons = [
        {"policy": one["policy"], "kind": one["kind"], **({"rule": one["rule"]} if one["rule"] else {"default": True})}
        for one in observed["reason"]
    ]
    kept = {name: observed[name] for name in ("verdict", "advice", "limits")}
    qos = {name: value for name, value in observed["qos"].items() if value}
    return {**kept, **details, "route": route, "qos": qos, "reason": reasons}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(facts=GIVEN)
def test_what_is_observed_may_be_expected(engine: Engine, facts: dict[str, Any]) -> None:
    """A case of any call passes when it expects what the engine decides."""
    (asked,) = cases_of(engine, {"name": "x", **facts, "expect": {"verdict": "permit"}})
    observed = observe(engine.decide(asked.request), Vocabulary(engine).of(asked.request))
    (case,) = cases_of(engine, {"name": "x", **facts, "expect": expectation(observed)})
    verified = Verifier(engine).verify(case)
    assert verified.passed, verified.differences


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(facts=GIVEN, data=st.data())
def test_anything_else_is_a_difference(engine: Engine, facts: dict[str, Any], data: st.DataObject) -> None:
    """A case fails when one thing that it expects is altered, and says which aspect it was."""
    (case,) = cases_of(engine, {"name": "x", **facts, "expect": {"verdict": "permit"}})
    observed = observe(engine.decide(case.request), Vocabulary(engine).of(case.request))
    (case,) = cases_of(engine, {"name": "x", **facts, "expect": expectation(observed)})
    expected = case.expected
    aspect, altered = data.draw(st.sampled_from(list(alterations(expected))))
    assert [one.aspect for one in compare({**expected, aspect: altered}, observed)] == [aspect]


def alterations(expected: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each aspect with one thing in it altered."""
    for aspect, value in expected.items():
        for altered in other(value):
            yield aspect, altered


def other(value: Any) -> Iterator[Any]:
    """Yield values that are not this one."""
    if isinstance(value, dict):
        yield from ({**value, name: one} for name, inner in value.items() for one in other(inner))
        yield {**value, "version": "no such one"}
    elif isinstance(value, list):
        yield from ([*value[:n], one, *value[n + 1 :]] for n, inner in enumerate(value) for one in other(inner))
        yield [*value, {"policy": "no such one"}]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value + 1
        yield value == 1
    else:
        yield f"{value}x"


@pytest.mark.parametrize("aspect", ["route", "qos", "advice", "limits", "reason"])
def test_an_empty_expectation_says_that_there_is_none(engine: Engine, aspect: str) -> None:
    """It fails where there is one, and passes where there is none."""
    vip = {"user": {"tier": "vip"}}
    facts = {"service": "orders", "operation": "POST /transfers", "principal": {"id": "ann"}, "contexts": vip}
    empty = {aspect: [] if aspect in ("limits", "reason") else {}}
    (full,) = cases_of(engine, {"name": "x", **facts, "expect": empty})
    assert [one.aspect for one in Verifier(engine).verify(full).differences] == [aspect]
    if aspect != "reason":
        (none,) = cases_of(engine, {"name": "x", **facts, "phase": "method", "expect": empty})
        assert Verifier(engine).verify(none).passed


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ("{reason: {policy: ordr-traffic}}", "no policy here is 'ordr-traffic'. Did you mean 'order-traffic'?"),
        ("{reason: {policy: transfers, rule: vip}}", "no rule here is 'vip'. Known: high-risk, region, review."),
        ("{reason: {rule: review, clause: transfer.risk == 'low'}}", "Did you mean \"transfer.risk == 'high'\"?"),
        ("{reason: {policy: planned, default: true}}", "'planned' is in shadow, so it decides nothing"),
        ("{reason: {rule: vip, default: true}}", "'rule' and 'default' exclude each other"),
        ("{limits: [{rule: ech}]}", "no rule here is 'ech'. Did you mean 'each'?"),
        ("{limits: [5]}", "'limits' is a mapping or a list of mappings"),
        ("{route: v2}", "'route' is a mapping, not 'v2'"),
        ("{route: {split: {v2: 1.5}}}", "'v2' is an integer, not 1.5"),
        ("{route: {versoin: v2}}", "Did you mean 'version'?"),
        ("{qos: {priority: hig}}", "Did you mean 'high'?"),
        ("{verdict: refuse}", "'verdict' is 'refuse'."),
        ("{max_age: never}", "'max_age' is a time above 0"),
        ("{}", "it expects nothing, so it cannot fail"),
        ("permit", "'expect' is a mapping, not 'permit'"),
    ],
)
def test_an_expectation_that_nothing_can_meet_is_a_finding(engine: Engine, expected: str, said: str) -> None:
    """With its place, and the nearest that can be met."""
    findings = Collector()
    text = f"cases:\n- name: x\n  service: orders\n  expect: {expected}"
    read_cases({"it_test.yaml": text}, engine, findings)
    (finding,) = findings.found
    assert said in finding.message
    assert (finding.file, finding.line) == ("it_test.yaml", 4)


def test_a_clause_is_the_condition_or_a_part_of_it(engine: Engine) -> None:
    """Blanks make no difference."""
    (case,) = cases_of(
        engine,
        {
            "name": "x",
            "service": "orders",
            "operation": "POST /transfers",
            "principal": {"id": "ann"},
            "contexts": {"transfer": {"amount": 60_000}},
            "expect": {"reason": {"rule": "high-risk", "clause": "transfer.amount  >= 50000"}},
        },
    )
    assert Verifier(engine).verify(case).passed
