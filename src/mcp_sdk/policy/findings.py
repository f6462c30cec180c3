"""The codes of findings, and the collector that every stage reports to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from mcp_sdk.exceptions import Finding

__all__ = ["CODES", "Collector", "Placed"]

CODES = {
    "MCP0001": "the text is not YAML",
    "MCP0002": "the text is over a limit of size, depth or count",
    "MCP0003": "a value has the wrong type",
    "MCP0004": "a key is unknown",
    "MCP0005": "a required key is missing",
    "MCP0006": "a key is written twice",
    "MCP0007": "a value is none of the valid ones",
    "MCP0008": "a value is out of its range",
    "MCP0009": "two policies have one name, or two TrafficPolicies one target",
    "MCP0010": "two rules of a policy have one name",
    "MCP0011": "the text of route rules cannot be read",
    "MCP0020": "a condition cannot be parsed",
    "MCP0021": "a condition names something unknown",
    "MCP0022": "a condition's types do not fit",
    "MCP0023": "a condition compares a state with one that its model does not declare",
    "MCP0024": "a condition is over a limit of size or nesting",
    "MCP0025": "a literal cannot be written in an attribute's unit",
    "MCP0026": "a condition uses what policies do not support",
    "MCP0027": "a regular expression is refused by RE2",
    "MCP0101": "a refusing rule can err for want of a has() guard",
    "MCP0102": "a rule can never apply: an earlier rule of the policy always does",
    "MCP0201": "a case gives a model that is not declared",
    "MCP0202": "a case gives an attribute that its model does not declare",
    "MCP0203": "a case gives a state or a value that its model does not know",
    "MCP0204": "a case names a fixture that is not there",
    "MCP0205": "a case gives a sensitive attribute, which no policy sees",
    "MCP0206": "a case calls a service that no policy governs",
    "MCP0207": "a case expects the word of a policy, rule or clause that is not there",
    "MCP0208": "two cases of a file have one name",
}


class Placed(Protocol):
    """Anything that stands at a line and column of a file, both counted from 1."""

    @property
    def file(self) -> str:
        """The name of the file."""

    @property
    def line(self) -> int:
        """The line, from 1."""

    @property
    def column(self) -> int:
        """The column in code points, from 1."""


@dataclass(slots=True)
class Collector:
    """Collects findings up to a bound, so that no input can make a report of unbounded size."""

    limit: int = 10_000
    found: list[Finding] = field(default_factory=list)

    def error(self, code: str, message: str, at: Placed) -> None:
        """Report what forbids the policies from taking effect."""
        self.add(Finding(code, message, at.file, at.line, at.column))

    def warning(self, code: str, message: str, at: Placed) -> None:
        """Report what is worth a look."""
        self.add(Finding(code, message, at.file, at.line, at.column, "warning"))

    def add(self, finding: Finding) -> None:
        """Keep a finding unless the bound is reached."""
        if len(self.found) < self.limit:
            self.found.append(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Keep several."""
        for finding in findings:
            self.add(finding)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those of severity error."""
        return tuple(finding for finding in self.found if finding.severity == "error")

    def sorted(self) -> tuple[Finding, ...]:
        """Give all findings by place."""
        return tuple(sorted(self.found, key=lambda finding: (finding.file, finding.line, finding.column, finding.code)))
