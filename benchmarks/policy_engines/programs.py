"""A rule set → the programs that a store would hold, as JSON text.

The policy compiler checks every rule with cel-cpp, which takes milliseconds; a hundred thousand would take minutes, and
that work is not what is measured. So the first rules and the last are compiled, the rows between are written as the
compiler writes them, and the last rows written so must equal what the compiler made of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from policy_engines.cel_text import clauses
from policy_engines.rules import Rule, by_service, states

from mcp_sdk import BusinessModel
from mcp_sdk.policy import compile_policies
from mcp_sdk.policy.program import _Builder

__all__ = ["MODELS", "programs"]

ORDER = BusinessModel("order", states=states(), attributes={"sku": "string", "amount": "int", "note": "string"})
MODELS = {"order": ORDER}
COMPILED, COMPARED = 1000, 40
JOIN = " && "
HEAD = """\
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: of-{service}}}
spec:
  target: {{service: {service}}}
  rules:
"""
HEAD_LINES = HEAD.count("\n")


def programs(ordered: Sequence[Rule]) -> str:
    """Give the programs of a rule set; raises ``AssertionError`` where a written row is not the compiler's."""
    if len(ordered) <= COMPILED:
        return json.dumps(_compiled(ordered))
    head, tail = _compiled(ordered[:COMPILED]), _compiled(ordered[-COMPARED:])
    whole = _extended(head, ordered)
    written, real = _comparable(whole)[-COMPARED:], _comparable(tail)
    if written != real:
        raise AssertionError(
            f"not as compiled: {next(pair for pair in zip(written, real, strict=True) if pair[0] != pair[1])}"
        )
    return json.dumps(whole)


def _compiled(ordered: Sequence[Rule]) -> dict[str, Any]:
    text = "".join(HEAD.format(service=name) + "".join(map(_line, of_it)) for name, of_it in by_service(ordered))
    return compile_policies({"p.yaml": text}, MODELS)


def _line(rule: Rule) -> str:
    when = JOIN.join(clauses(rule, "order"))
    return f"  - {{name: {rule.name}, when: {json.dumps(when)}, route: {{version: {_version(rule)}}}}}\n"


def _version(rule: Rule) -> str:
    return f"v{int(rule.name[1:]) % 7}"


def _extended(head: dict[str, Any], ordered: Sequence[Rule]) -> dict[str, Any]:
    """Write the rows of all rules by those that were compiled."""
    rows = [row for policy in head["policies"] for row in policy["rules"]]
    shapes = {_kind(rule): row[4] for rule, row in zip(ordered, rows, strict=False)}
    effects = {effect["route"]["version"]: number for number, effect in enumerate(head["effects"])}
    policies, line, builder = [], 1, _builder(head)
    for service, of_service in by_service(ordered):
        first = line + HEAD_LINES
        written = [
            _row(rule, first + place, shapes[_kind(rule)], effects[_version(rule)])
            for place, rule in enumerate(of_service)
        ]
        names = {"name": f"of-{service}", "service": service, "line": line + 1}
        policies.append(_policy(builder, {**head["policies"][0], **names, "rules": written}))
        line = first + len(written)
    return {**head, "policies": policies}


def _builder(head: dict[str, Any]) -> _Builder:
    """Give the compiler's own builder with the tables of a program, for it knows what a digest is of."""
    builder = _Builder()
    builder.shapes.rows, builder.effects.rows = head["shapes"], head["effects"]
    return builder


def _policy(builder: _Builder, policy: dict[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in policy.items() if name != "digest"}
    return {**said, "digest": builder.digest(said)}


def _kind(rule: Rule) -> tuple[tuple[str, str], ...]:
    return tuple((test.fact, test.op) for test in rule.tests)


def _row(rule: Rule, line: int, shape: int, effect: int) -> list[Any]:
    written = clauses(rule, "order")
    constants = [list(test.value) if isinstance(test.value, tuple) else test.value for test in rule.tests]
    cuts = [place - len(JOIN) + 1 for place in accumulate(len(clause) + len(JOIN) for clause in written[:-1])]
    return [rule.name, JOIN.join(written), line, 5, shape, constants, effect, *cuts]


def _comparable(program: dict[str, Any]) -> list[Any]:
    """Give the rows without what depends on where they stand: lines, and the numbers of the tables."""
    shapes, effects = program["shapes"], program["effects"]
    return [
        [policy["name"], row[0], row[1], shapes[row[4]], row[5], effects[row[6]], row[7:]]
        for policy in program["policies"]
        for row in policy["rules"]
    ]
