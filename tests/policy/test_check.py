"""Findings: code, place, value and the nearest valid one; literals in their units; bounded time for any text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk.exceptions import PolicyError
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, check_policies, compile_policies
from mcp_sdk.policy.findings import CODES

SOURCES = Path(__file__).parent / "sources"
Models = Mapping[str, BusinessModel]
Build = Callable[..., Any]

HEAD = """kind: AccessPolicy
metadata: {name: p}
spec:
  target: {service: s}
  default: deny
"""


def policy(when: str, constants: str = "{}", effect: str = "permit") -> str:
    """Write a policy with one condition."""
    return f"{HEAD}  constants: {constants}\n  rules:\n  - {{when: {json.dumps(when)}, effect: {effect}}}\n"


def codes(text: str, models: Models) -> list[str]:
    """Give the codes of all findings."""
    return [finding.code for finding in check_policies({"p.yaml": text}, models)]


def test_every_mistake_of_a_file_is_reported_at_its_place(models: Models, golden: Callable[[str, str], None]) -> None:
    """One file with a mistake of each kind: file, line, column, code, value and the nearest valid one."""
    findings = check_policies({"bad.yaml": (SOURCES / "bad.yaml").read_text()}, models)
    golden("bad.txt", "".join(f"{finding}\n" for finding in findings))
    assert {finding.code for finding in findings} <= set(CODES)


def test_a_policy_that_does_not_check_raises_every_error(models: Models) -> None:
    """``compile_policies`` raises all errors at once, and warnings do not stop it."""
    with pytest.raises(PolicyError) as caught:
        compile_policies({"p": policy("order.stat == 'x' || oder.state == 'x'")}, models)
    assert [finding.code for finding in caught.value.findings] == ["MCP0021", "MCP0021"]
    assert compile_policies({"p": policy("transfer.risk == 'high'", effect="deny")}, models)["policies"]


@pytest.mark.parametrize(
    ("when", "facts", "holds"),
    [
        ("order.amount > 1000", {"amount": 1000_00}, False),
        ("order.amount > 1000", {"amount": 1000_01}, True),
        ("order.amount > 1000.50", {"amount": 1000_50}, False),
        ("1000.5 < order.amount", {"amount": 1000_51}, True),
        ("order.amount > -1", {"amount": -99}, True),
        ("order.amount in [10, 20.5]", {"amount": 20_50}, True),
        ("order.amount * 2 > 100", {"amount": 50_01}, True),
        ("order.amount / 2 == 50", {"amount": 100_01}, True),
        ("order.amount + 5 > 10", {"amount": 5_01}, True),
        ("order.amount > (order.express ? 10 : 20)", {"amount": 15_00, "express": True}, True),
        ("order.amount > limit", {"amount": 25_01}, True),
        ("order.amount in limits", {"amount": 30_00}, True),
        ("order.items > limit2", {"items": 3}, True),
        ("order.ratio > 1", {"ratio": 1.5}, True),
        ("order.ratio * 2 > 3", {"ratio": 1.25}, False),
        ("order.ratio in [1, 2]", {"ratio": 2.0}, True),
        ("order.amount > 1e3", {"amount": 1000_01}, True),
        ("order.channel in channels", {"channel": "web"}, True),
        ("[1, 2].exists(limit, limit > 1)", {}, True),
    ],
)
def test_literals_are_written_in_the_unit_of_what_they_meet(
    when: str, facts: dict[str, Any], *, holds: bool, models: Models, call: Build, context: Build
) -> None:
    """Decimals compare in minor units with literals in major units, integers meet doubles, constants as literals do."""
    constants = "{limit: 25, limits: [10, 30], limit2: 2, channels: [web, app]}"
    engine = Engine(compile_policies({"p": policy(when, constants)}, models), models)
    assert engine.decide(call("s", context("order", **facts))).permitted is holds


@pytest.mark.parametrize(
    ("when", "code"),
    [
        ("order.amount > 0.001", "MCP0025"),
        ("order.amount > 1e999999999", "MCP0025"),
        ("order.amount > 92233720368547758.08", "MCP0025"),
        ("order.ratio > 1e400", "MCP0025"),
        ("order.amount > order.items", "MCP0025"),
        ("order.items > 9223372036854775808", "MCP0020"),
        ("order.items > 1 || " * 6000 + "true", "MCP0024"),
        ("(" * 1000 + "true" + ")" * 1000, "MCP0024"),
        ("(" * 150 + "true" + ")" * 150, "MCP0024"),
        ("order.tags.exists(a, order.tags.exists(b, order.tags.exists(c, order.tags.exists(d, a == d))))", "MCP0024"),
        ("!" * 40 + "(" * 33 + "true" + ")" * 33, "MCP0024"),
        ("", "MCP0020"),
        ("order.channel.matches('((a{100}){100}){100}')", "MCP0027"),
        ("'paid' != order.state || order.state == 'x'", "MCP0023"),
        ("order.state in states", "MCP0023"),
        ("order.?state == 'paid'", "MCP0020"),
        ("order", "MCP0022"),
    ],
)
def test_what_cannot_be_checked_is_one_coded_finding(when: str, code: str, models: Models) -> None:
    """Values out of range, other units, huge or deep expressions and unknown states are one error each."""
    assert codes(policy(when, "{states: [paid, lost]}"), models) == [code]


def test_a_refusing_rule_that_can_err_is_a_warning(models: Models) -> None:
    """A refusing rule that reads a fact without a guard is reported; a guarded or a granting one is not."""
    assert codes(policy("transfer.amount > 5", effect="deny"), models) == ["MCP0101"]
    guarded = (
        "has(transfer.amount) && transfer.amount > 5",
        "!has(transfer.amount) || transfer.amount > 5",
        "has(transfer.amount) && (transfer.amount > 5 || transfer.amount < 1)",
        "principal.mfa && request.geo.country == 'KP'",
    )
    assert [codes(policy(when, effect="deny"), models) for when in guarded] == [[], [], [], []]
    assert codes(policy("transfer.amount > 5"), models) == []


def test_a_rule_behind_one_that_always_applies_is_a_warning(models: Models) -> None:
    """What always refuses contradicts every grant; what always grants hides other grants, and the default."""

    def found(*effects: str) -> list[tuple[str, int]]:
        rules = "".join(f"  - {{when: 'true', effect: {effect}}}\n" for effect in effects)
        return [(finding.code, finding.line) for finding in check_policies({"p": f"{HEAD}  rules:\n{rules}"}, models)]

    assert found("permit", "deny", "permit") == [("MCP0105", 7), ("MCP0109", 8), ("MCP0105", 9)]
    assert found("permit", "permit") == [("MCP0109", 7), ("MCP0102", 8)]


def test_the_program_is_the_same_byte_for_byte(models: Models, golden: Callable[[str, str], None]) -> None:
    """Compiling is deterministic, and the program is plain JSON."""
    source = {"design.yaml": (SOURCES / "design.yaml").read_text()}
    golden("design.json", json.dumps(compile_policies(source, models), indent=1, ensure_ascii=False) + "\n")


def test_rules_of_one_form_share_a_shape(models: Models) -> None:
    """A thousand rules that differ by constants are one shape."""
    rules = "".join(f"  - {{when: \"order.channel == 'c{number}'\", effect: permit}}\n" for number in range(1000))
    assert len(compile_policies({"p": f"{HEAD}  rules:\n{rules}"}, models)["shapes"]) == 1
