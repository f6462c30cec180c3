"""Rules in CEL, for the three engines that speak it."""

from __future__ import annotations

import json

from policy_engines.rules import Rule, Test

__all__ = ["clauses"]

WRITTEN = {
    "==": "{} == {}",
    "in": "{} in {}",
    "prefix": "{}.startsWith({})",
    "contains": "{}.contains({})",
    ">=": "{} >= {}",
    "<": "{} < {}",
}


def clauses(rule: Rule, model: str = "") -> list[str]:
    """Give a rule's tests, each as a clause over variables or over the fields of ``model``."""
    return [_clause(test, f"{model}." if model else "") for test in rule.tests]


def _clause(test: Test, before: str) -> str:
    constant = json.dumps(list(test.value) if isinstance(test.value, tuple) else test.value)
    return WRITTEN[test.op].format(before + test.fact, constant)
