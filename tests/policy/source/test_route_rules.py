"""The ``when … then … else`` text becomes the same TrafficPolicy as YAML does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, check_policies, compile_policies
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.reading import Scalar
from mcp_sdk.policy.source.route_rules import parse_route_rules

Models = Mapping[str, BusinessModel]
Build = Callable[..., Any]
HEAD = "kind: TrafficPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n"


def text_policy(rules: str) -> str:
    """Write a policy by its text form."""
    lines = "".join(f"    {line}\n" for line in rules.splitlines())
    return f"{HEAD}  route_rules: |\n{lines}"


def conditions(rules: str, models: Models) -> list[str]:
    """Give the conditions that a text becomes."""
    findings = Collector()
    parsed, _ = parse_route_rules(Scalar(rules, "f", 1, 1, raw=rules), models, findings)
    assert findings.found == []
    return [rule.when.text for rule in parsed]


def test_the_text_of_the_source_document_routes(models: Models, call: Build, context: Build) -> None:
    """Created orders go to v2, all else to v1."""
    source = text_policy("when(state='order_created') then route_to(version='v2') else route_to(version='v1')")
    engine = Engine(compile_policies({"p": source}, models), models)
    routes = [engine.decide(call("s", *held)).route for held in ((context("order", state="created"),), ())]
    assert [str(route.subset) for route in routes if route] == ["version=v2", "version=v1"]


def test_the_text_gives_the_program_that_yaml_gives(models: Models) -> None:
    """Every option of ``route_to`` has its YAML form, and the program is the same but for places."""
    text = text_policy(
        "when(order.amount > 10 && state = 'order_paid')\n"
        "then route_to(split={v2: 80, 'v1': 20}, sticky=order.id, salt='x', priority=high, timeout='500ms')\n"
        "else when(user.tier in ['vip']) then route_to(labels={class: performance})\n"
        "else route_to(version=v1)"
    )
    yaml = (
        f"{HEAD}  rules:\n"
        "  - {when: \"order.amount > 10 && order.state == 'paid'\", route: {split: {v2: 80, v1: 20},"
        " sticky: order.id, salt: x,"
        " priority: high, timeout: 500ms}}\n"
        "  - {when: \"user.tier in ['vip']\", route: {subset: {class: performance}}}\n"
        "  default: {version: v1}\n"
    )

    def placeless(source: str) -> Any:
        program = compile_policies({"p": source}, models)
        for row in program["policies"][0]["rules"]:
            row[2:4] = [0, 0]
        del program["policies"][0]["digest"]
        return program

    assert placeless(text) == placeless(yaml)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("state='order_created'", "order.state == 'created'"),
        ('state == "order_created"', "order.state == 'created'"),
        ("state != 'order_created'", "order.state != 'created'"),
        ("state='order_line_open'", "order_line.state == 'open'"),
        ("order.channel = 'a=b' && order.items >= 1", "order.channel == 'a=b' && order.items >= 1"),
        ("order.state = 'paid'", "order.state == 'paid'"),
        ("order.channel == ')' || (true)", "order.channel == ')' || (true)"),
    ],
)
def test_sugar_becomes_cel(written: str, meant: str, models: Models) -> None:
    """``state='model_state'`` is split after the longest model's name; ``=`` is ``==`` outside of strings."""
    assert conditions(f"when({written}) then route_to(version=v1)", models) == [meant]


@pytest.mark.parametrize(
    ("rules", "column", "code", "said"),
    [
        ("when(state='order_creatd') then route_to()", 16, "MCP0023", "created"),
        ("when(state='oder_created') then route_to()", 16, "MCP0023", "order_created"),
        ("when(order.chanel = 'x') then route_to()", 16, "MCP0021", "channel"),
        ("when(state='order_paid' && order.chanel = 'x') then route_to()", 38, "MCP0021", "channel"),
        ("whn(true) then route_to()", 5, "MCP0011", "'when'"),
        ("when(true) route_to()", 16, "MCP0011", "'then'"),
        ("when(true) then route_to(versio='v1')", 30, "MCP0011", "version"),
        ("when(true) then route_to(version='v1', version='v2')", 44, "MCP0011", "twice"),
        ("when(true) then route_to(split={v1: x})", 41, "MCP0011", "weight"),
        ("when(true) then route_to(timeout=soon)", 38, "MCP0011", "timeout"),
        ("when(true) then route_to() else", 36, "MCP0011", "the end"),
        ("when(true", 14, "MCP0011", "')'"),
        ("when(true) then route_to() x", 32, "MCP0011", "'x'"),
    ],
)
def test_mistakes_have_their_place(rules: str, column: int, code: str, said: str, models: Models) -> None:
    """A mistake in the text is a finding at its line and column, with what was expected."""
    finding = next(iter(check_policies({"p": text_policy(rules)}, models)))
    assert (finding.code, finding.line, finding.column) == (code, 6, column)
    assert said in finding.message
