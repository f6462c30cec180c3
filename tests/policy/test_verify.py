"""Cases that fail say what was expected, what was observed, and which clause made the difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.testing.cases import read_cases
from mcp_sdk.policy.testing.verify import Verifier

SOURCE = Path(__file__).parent / "sources" / "cased.yaml"
Verify = Callable[[str], tuple[list[str], tuple[str, ...]]]


@pytest.fixture(scope="module")
def verify(models: Mapping[str, BusinessModel]) -> Verify:
    """Verify one case from its facts and expectation; give the differences and the explanation."""
    engine = Engine(compile_policies({"cased.yaml": SOURCE.read_text()}, models), models, rng=lambda: 0.0)

    def run(text: str) -> tuple[list[str], tuple[str, ...]]:
        findings = Collector()
        file = f"defaults: {{service: orders, principal: {{id: ann}}}}\ncases:\n- {{name: x, {text}}}"
        (case,) = read_cases({"it_test.yaml": file}, engine, findings)
        verifier = Verifier(engine)
        verified = verifier.verify(case)
        return list(map(str, verified.differences)), verifier.explain(verified)

    return run


def test_a_case_that_holds_has_no_difference(verify: Verify) -> None:
    """Only what is expected is compared."""
    assert verify("expect: {verdict: permit}")[0] == []


def test_the_clause_that_failed_is_told_with_what_it_saw(verify: Verify) -> None:
    """Of the rule that was expected to speak, and of no other."""
    differences, lines = verify(
        "contexts: {order: {amount: 999.99}}, expect: {route: {sticky: o-1}, reason: {rule: large}}"
    )
    spoke = (
        "{policy: known, rule: signed-in}",
        "{policy: order-traffic, default: true}",
        "{policy: limits, rule: each}",
    )
    assert differences == [
        "route: expected {sticky: o-1}, observed none",
        f"reason: expected {{rule: large}}, observed {', '.join(spoke)}",
    ]
    assert lines[1:] == (
        "order-traffic: rule 'large' did not match: order.amount > 1000 is false (order.amount is 999.99)",
    )


def test_without_a_rule_all_that_concern_the_aspect_are_told(verify: Verify) -> None:
    """The word of an access policy is explained by access policies."""
    differences, lines = verify("principal: {authenticated: false}, expect: {verdict: permit}")
    assert differences == ["verdict: expected permit, observed deny"]
    assert lines[0] == "deny: deny by the default of 'known' (no rule granted)."
    assert [line.partition(":")[0] for line in lines[1:]] == ["known", "known"]


def test_a_version_by_chance_is_not_expected(verify: Verify) -> None:
    """A split that nothing sticks to has no version that a test can rely on."""
    differences, lines = verify("contexts: {order: {amount: 1500}}, expect: {route: {version: v2}}")
    assert differences == ["route: expected {version: v2}, observed {version: by chance}"]
    assert "expect the split" in lines[1]
    assert verify("contexts: {order: {amount: 1500}}, expect: {route: {split: {v1: 20, v2: 80}}}")[0] == []


def test_a_split_with_one_share_leaves_nothing_to_chance(verify: Verify) -> None:
    """A share of weight 0 gets none."""
    assert verify("contexts: {order: {express: true}}, expect: {route: {version: v3}}")[0] == []


def test_a_sticky_value_has_its_share(verify: Verify) -> None:
    """The same in every process; and the other one is a difference."""
    facts = "contexts: {order: {id: o-1, amount: 1500}}"
    verdicts = [verify(f"{facts}, expect: {{route: {{version: {one}, sticky: o-1}}}}")[0] for one in ("v1", "v2")]
    assert sorted(map(len, verdicts)) == [0, 1]


def test_limits_are_named_with_their_keys(verify: Verify) -> None:
    """All of them, in any order; the key is the value that the policy's ``key`` gave."""
    call = "operation: POST /x"
    both = "[{rule: everyone, key: '', burst: 9}, {rule: each, key: ann, per: 1m}]"
    assert verify(f"{call}, expect: {{limits: {both}}}")[0] == []
    assert verify(f"{call}, expect: {{limits: {{rule: each}}}}")[0] == [
        "limits: expected {rule: each}, observed {policy: limits, rule: each}, {policy: limits, rule: everyone}"
    ]


def test_what_is_overruled_is_not_the_reason(verify: Verify) -> None:
    """A policy that permits is no reason for a refusal by another."""
    call = "operation: POST /transfers, request: {geo: {country: NO}}"
    assert verify(f"{call}, expect: {{verdict: deny, message: region not served, reason: {{rule: region}}}}")[0] == []
    assert verify(f"{call}, expect: {{reason: {{rule: signed-in}}}}")[0] != []
