"""Explanations: every rule considered, the clause that failed, the value it saw, and nothing that is sensitive."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk.decisions import Principal, RequestFacts
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies, explain

SOURCE = Path(__file__).parent / "sources" / "design.yaml"
Build = Callable[..., Any]
TRANSFER = {"namespace": "shop", "operation": "POST /transfers"}


@pytest.fixture(scope="module")
def engine(models: Mapping[str, BusinessModel]) -> Engine:
    """The policies of the design."""
    return Engine(compile_policies({"design.yaml": SOURCE.read_text()}, models), models, epoch=1, revision=7)


def test_the_failed_clause_and_its_value_are_told(engine: Engine, call: Build, context: Build) -> None:
    """A rule that did not match names the clause that failed, and amounts read as people write them."""
    explained = explain(engine, call("transfers", context("transfer", amount=600_00, risk="low"), **TRANSFER))
    rule = explained.policies[0].rules[0]
    assert not rule.matched
    assert rule.failed is not None
    assert (rule.failed.clause, rule.failed.result) == ("transfer.amount >= 50000", "false")
    assert rule.failed.facts == {"transfer.amount": "600.00"}


def test_the_default_is_explained_by_every_rule(
    engine: Engine, call: Build, golden: Callable[[str, str], None]
) -> None:
    """For a default the sentence says why each rule did not match."""
    explained = explain(engine, call("order-service", namespace="shop"))
    golden("explain.json", json.dumps(explained.to_dict(), indent=1) + "\n")
    assert explained.sentence().count("did not match") == 3


def test_a_refusing_rule_matches_by_error(engine: Engine, call: Build) -> None:
    """An absent fact shows as an error that makes a refusing rule match."""
    rules = {rule.rule: rule for rule in explain(engine, call("transfers", **TRANSFER)).policies[0].rules}
    assert rules["review"].matched
    assert rules["review"].clauses[0].result == "error"
    assert rules["review"].clauses[0].facts == {"transfer.risk": "(absent)"}
    assert not rules["high-risk"].matched


def test_what_is_decided_is_what_is_explained(engine: Engine, call: Build, context: Build) -> None:
    """The explanation's decision is the engine's own."""
    asked = call("transfers", context("transfer", amount=60_000_00, risk="low"), **TRANSFER)
    assert explain(engine, asked).decision == engine.decide(asked)


def test_a_policy_of_another_operation_is_listed_as_not_applying(engine: Engine, call: Build) -> None:
    """Policies of the service whose target does not hold the call are named."""
    (policy,) = explain(engine, call("transfers", namespace="shop", operation="GET /x")).policies
    assert (policy.applies, policy.rules) == (False, ())


def test_nothing_sensitive_is_shown(models: Mapping[str, BusinessModel], call: Build, context: Build) -> None:
    """Headers, query values, a principal's id and attributes stay hidden, also when a clause reads them."""
    source = """kind: AccessPolicy
metadata: {name: p}
spec:
  target: {service: s}
  default: deny
  rules:
  - when: >-
      request.headers['authorization'] == 'x' && request.query.token == 'y' && principal.id != 'z'
      && principal.attributes.pin == 1 && order.items > 1
    effect: permit
"""
    engine = Engine(compile_policies({"p": source}, models), models)
    secret = "s3cret"
    asked = call(
        "s",
        context("order", items=5, card=secret),
        request=RequestFacts(headers={"authorization": secret}, query={"token": secret}),
        principal=Principal(secret, attributes={"pin": secret}),
    )
    explained = explain(engine, asked)
    assert secret not in json.dumps(explained.to_dict())
    assert explained.policies[0].rules[0].clauses[-1].facts == {"order.items": "5"}


def test_a_fact_of_another_type_is_explained_as_it_decides(engine: Engine, call: Build, context: Build) -> None:
    """A value that is not of its declared type refuses, and the explanation says that the rule matched by an error."""
    asked = call("transfers", context("transfer", amount="many", risk="low"), **TRANSFER)
    explained = explain(engine, asked)
    assert explained.decision.reasons[0].rule == "high-risk"
    rule = explained.policies[0].rules[0]
    assert rule.matched
    assert [seen.result for seen in rule.clauses] == ["true", "error", "true"]


@pytest.mark.parametrize(("pseudonymise", "shown"), [(False, "'/patients/123-45'"), (True, "(hidden)")])
def test_a_path_is_hidden_where_ids_are_pseudonyms(call: Build, pseudonymise: bool, shown: str) -> None:
    """A path may hold an id that must not be seen, so no clause shows it once a model pseudonymises."""
    text = (
        "apiVersion: mesh.mcp-sdk.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n"
        "  target: {service: clinic}\n  default: permit\n"
        "  rules: [{name: r, when: \"request.path == '/x'\", effect: deny}]\n"
    )
    models = {"patient": BusinessModel("patient", pseudonymise=pseudonymise)}
    made = Engine(compile_policies({"p.yaml": text}, models), models, epoch=1, revision=1)
    asked = call("clinic", namespace="shop", request=RequestFacts(path="/patients/123-45"))
    assert explain(made, asked).policies[0].rules[0].clauses[0].facts == {"request.path": shown}


def test_policies_in_shadow_are_explained(models: Mapping[str, BusinessModel], call: Build) -> None:
    """They stand among the others, marked; the sentence says what they would have changed."""
    text = "kind: AccessPolicy\nmetadata: {name: p}\nspec: {target: {service: s}, default: deny, shadow: true}\n"
    engine = Engine(compile_policies({"p.yaml": text}, models), models)
    explained = explain(engine, call("s"))
    assert [(policy.policy, policy.shadow) for policy in explained.policies] == [("p", True)]
    plain = explained.to_dict()
    assert (plain["decision"], plain["shadow"]) == ("permit", "deny")
    assert explained.sentence().endswith(". In shadow: deny by the default of 'p' (no rule granted).")
