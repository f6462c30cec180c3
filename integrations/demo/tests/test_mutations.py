"""Every rule of every policy file matters: whatever is broken in one of them, the demo says so."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mcp_sdk_demo
import pytest
import yaml
from mcp_sdk_demo.crowd import Load
from mcp_sdk_demo.expect import checks
from mcp_sdk_demo.stage import Stage

from mcp_sdk import PolicyError
from mcp_sdk.cli.sources import read_models, read_policies
from mcp_sdk.policy import compile_policies

POLICIES = Path(mcp_sdk_demo.__file__).parent / "policies"
SMALL = Load(
    standard=6,
    large=60,
    vip=3,
    risky=2,
    refused=2,
    forged=5,
    sold_out=7,
    declined=2,
    nosy=2,
    burst=33,
    browsing=32,
    audience=60,
    returning=10,
    before=3,
)
EFFECTS = ("deny", "review", "step_up", "permit")
_LITERAL = re.compile(r"'([^']*)'")
_NUMBER = re.compile(r"\b\d+\b")
_OPERATORS = {"&&": "||", "||": "&&", "==": "!=", "!=": "==", ">": "<", " > ": " >= "}


class Mutant(NamedTuple):
    """One policy file with one thing changed in one policy."""

    name: str
    file: str
    text: str


def mutants() -> list[Mutant]:
    """Give every mutant of the shipped policies, the first of each rule first."""
    found = [mutant for file in read_policies([str(POLICIES)]) for mutant in _of(Path(file))]
    names = [mutant.name for mutant in found]
    assert len(set(names)) == len(names)
    return found


def _of(file: Path) -> Iterator[Mutant]:
    documents = list(yaml.safe_load_all(file.read_text()))
    for number, document in enumerate(documents):
        for what, changed in _changes(document):
            others = [*documents[:number], *([changed] if changed else []), *documents[number + 1 :]]
            yield Mutant(
                f"{document['metadata']['name']}: {what}", str(file), yaml.safe_dump_all(others, sort_keys=False)
            )


def _changes(policy: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    yield "removed", None
    yield "in another namespace", _with(policy, ("metadata", "namespace"), "elsewhere")
    yield "shadowed", _with(policy, ("spec", "shadow"), value=True)
    yield "another service", _with(policy, ("spec", "target", "service"), "inventory")
    if "operations" in policy["spec"]["target"]:
        yield "another operation", _with(policy, ("spec", "target", "operations"), ["DELETE /nothing"])
        yield from _fewer_operations(policy)
        yield "all operations", _with(policy, ("spec", "target", "operations"), None)
    for name, values in policy["spec"].get("constants", {}).items():
        for value in values:
            fewer = [other for other in values if other != value]
            yield f"{name} without {value}", _with(policy, ("spec", "constants", name), fewer)
    for what, value in _defaults(policy):
        yield what, _with(policy, ("spec", "default"), value)
    for number, rule in enumerate(policy["spec"]["rules"]):
        yield f"{rule['name']} removed", _with(policy, ("spec", "rules", number), None)
        for what, changed in _rule_changes(rule):
            yield f"{rule['name']} {what}", _with(policy, ("spec", "rules", number), changed)
    for number in range(1, len(policy["spec"]["rules"])):
        yield f"rules {number} and {number + 1} swapped", _swapped(policy, number)


def _fewer_operations(policy: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    operations = policy["spec"]["target"]["operations"]
    for left_out in operations if len(operations) > 1 else ():
        rest = [operation for operation in operations if operation != left_out]
        yield f"without {left_out}", _with(policy, ("spec", "target", "operations"), rest)


def _defaults(policy: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if policy["kind"] == "AccessPolicy":
        yield "default turned", "permit" if policy["spec"]["default"] == "deny" else "deny"
    if policy["kind"] == "TrafficPolicy":
        yield "default to v2", {"version": "v2"}
        yield "no default", None


def _rule_changes(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for what, when in _conditions(rule["when"]):
        yield f"when {what}", {**rule, "when": when}
    if "effect" in rule:
        for effect in EFFECTS:
            if effect != rule["effect"]:
                kept = {key: rule[key] for key in ("name", "when", "reason") if key in rule and effect != "permit"}
                yield f"effect {effect}", {**{key: rule[key] for key in ("name", "when")}, **kept, "effect": effect}
        for key, value in (("reason", "go away"), ("acr", "urn:shop:none"), ("max_age", 600)):
            if key in rule:
                yield f"{key} changed", {**rule, key: value}
                yield f"{key} removed", {name: kept for name, kept in rule.items() if name != key}
    if "route" in rule:
        yield from ((what, {**rule, "route": route}) for what, route in _routes(rule["route"]))
    if "limit" in rule:
        yield from ((what, {**rule, "limit": limit}) for what, limit in _limits(rule["limit"]))


def _conditions(when: str) -> Iterator[tuple[str, str]]:
    yield "never", "false"
    yield "turned", f"!({when})"
    for number, match in enumerate(_LITERAL.finditer(when), 1):
        yield f"literal {number}", when[: match.start()] + "'other'" + when[match.end() :]
    for match in _NUMBER.finditer(when):
        for number in (int(match[0]) // 2, int(match[0]) + 1, int(match[0]) * 2):
            yield f"threshold {number}", when[: match.start()] + str(number) + when[match.end() :]
    for operator, other in _OPERATORS.items():
        if operator in when:
            yield f"{operator.strip()} to {other.strip()}", when.replace(operator, other)
    for number, match in enumerate(re.finditer(r"!(?!=)", when), 1):
        yield f"negation {number} dropped", when[: match.start()] + when[match.end() :]


def _routes(route: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "to v1", {"version": "v1"}
    if "version" not in route:
        yield "to v2", {"version": "v2"}
    if "subset" in route:
        yield "to another class", {"subset": {"class": "standard"}}
    if "split" in route:
        weights = list(route["split"].items())
        yield "weights swapped", {**route, "split": {"v2": weights[1][1], "v1": weights[0][1]}}
        yield "weights off by ten", {**route, "split": {"v2": weights[0][1] - 10, "v1": weights[1][1] + 10}}
        yield "shares listed otherwise", {**route, "split": dict(reversed(weights))}
        yield "not sticky", {"split": route["split"]}
        yield "stuck to another fact", {**route, "sticky": route["sticky"].replace(".id", ".state")}
        yield "salted otherwise", {**route, "salt": "other"}


def _limits(limit: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for requests in (limit["requests"] // 2, limit["requests"] + 1, limit["requests"] * 2):
        yield f"{requests} requests", {**limit, "requests": requests}
    yield "per second", {**limit, "per": "1s"}
    yield "per hour", {**limit, "per": "1h"}
    yield "with burst", {**limit, "burst": 20}
    yield "for all together", {key: value for key, value in limit.items() if key != "key"}
    yield "by another key", {**limit, "key": "principal.type"}


def _with(policy: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(policy)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def _swapped(policy: dict[str, Any], number: int) -> dict[str, Any]:
    changed = copy.deepcopy(policy)
    rules = changed["spec"]["rules"]
    rules[number - 1], rules[number] = rules[number], rules[number - 1]
    return changed


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """The shipped policies."""
    return read_policies([str(POLICIES)])


@pytest.fixture(scope="module")
def shop(sources) -> Iterator[Stage]:
    """A running shop, whose policies each test replaces."""
    with Stage() as stage:
        stage.put_in_force(_compiled(sources), sources)
        stage.open_shop()
        yield stage


def _compiled(sources):
    return compile_policies(sources, read_models([str(POLICIES)]))


def _failed(shop: Stage, sources: dict[str, str]) -> list[str]:
    try:
        shop.put_in_force(_compiled(sources), sources)
    except PolicyError as refused:
        return [str(finding) for finding in refused.findings]
    shop.ready()
    return [check.name for check in checks(shop.trade(SMALL), SMALL) if not check.passed]


def _chosen() -> list[Mutant]:
    """All mutants, or by default one in a few: each policy's and rule's removal, and every thirtieth of the others."""
    every = mutants()
    if os.environ.get("MCP_SDK_DEMO_MUTANTS") == "all":
        return every
    return [mutant for number, mutant in enumerate(every) if mutant.name.endswith(" removed") or number % 30 == 0]


@pytest.mark.parametrize("mutant", _chosen(), ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_broken_policy_is_told(shop, sources, mutant):
    """With any one thing broken in any one policy, at least one check fails."""
    assert _failed(shop, {**sources, mutant.file: mutant.text})


def test_the_shipped_policies_pass_after_all_that(shop, sources):
    """In the same shop, without a restart, the shipped policies pass every check."""
    assert _failed(shop, sources) == []
