"""Coverage of policies as an lcov tracefile (geninfo(1)): a rule is a line, a part of its condition two branches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp_sdk.policy.testing.coverage import Coverage, RuleTried

__all__ = ["lcov"]


def lcov(coverage: Coverage) -> str:
    """Write a tracefile. A policy's default stands at the line where the policy begins."""
    lines: list[str] = []
    for file, rules in groupby(coverage.rules, key=lambda one: one.file):
        lines += [f"SF:{file}", *(line for rule in rules for line in _rule(rule)), "end_of_record"]
    return "\n".join(["TN:", *lines, ""])


def _rule(rule: RuleTried) -> Iterator[str]:
    yield f"DA:{rule.line},{rule.spoke}"
    seen = [(part.true, part.false) for part in rule.parts]
    for block, counts in enumerate(seen):
        for branch, count in enumerate(counts):
            yield f"BRDA:{rule.line},{block},{branch},{count if sum(counts) else '-'}"
