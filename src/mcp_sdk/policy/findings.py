"""The codes of findings, and the collector that every stage reports to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from mcp_sdk.exceptions import Finding

__all__ = ["CODES", "MEND", "NOTES", "Collector", "Placed", "Report", "severity_of"]

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
    "MCP0012": "a policy is of another namespace than the one that it is put in force in",
    "MCP0020": "a condition cannot be parsed",
    "MCP0021": "a condition names something unknown",
    "MCP0022": "a condition's types do not fit",
    "MCP0023": "a condition compares a state with one that its model does not declare",
    "MCP0024": "a condition is over a limit of size or nesting",
    "MCP0025": "a literal cannot be written in an attribute's unit",
    "MCP0026": "a condition uses what policies do not support",
    "MCP0027": "a regular expression is refused by RE2",
    "MCP0028": "two models, or two attributes of a model, have one name",
    "MCP0029": "a model or an attribute has a name that policies cannot use",
    "MCP0030": "a transition names a state that its model does not declare",
    "MCP0031": "a model hides what everybody sees",
    "MCP0032": "a model contradicts the one of its name that the mesh holds",
    "MCP0101": "a refusing rule can err for want of a has() guard",
    "MCP0102": "a rule can never speak: rules that go before it take every call that it matches",
    "MCP0103": "a rule is dead: its condition can never hold",
    "MCP0104": "a refusing rule matches by errors only: its condition can never be true",
    "MCP0105": "a rule that grants is contradicted by rules of its policy that refuse the same calls",
    "MCP0106": "a rule that grants is contradicted by a rule of another policy that refuses the same calls",
    "MCP0107": "two policies of one rank govern the same operations, and their names decide which speaks",
    "MCP0108": "a rule changes nothing: what follows without it is the same",
    "MCP0109": "a default can never speak: the rules before it take every call",
    "MCP0110": "a value that a condition compares with is excluded by the rule's other clauses",
    "MCP0111": "a clause asks no more than has(): it names every state of the model",
    "MCP0112": "a condition names a state that its model's transitions never lead to",
    "MCP0113": "a model declares a state that its transitions never lead to",
    "MCP0114": "a condition reads an attribute that no service propagates",
    "MCP0115": "a rule that grants or routes can err for more than an absent fact",
    "MCP0116": "a constant is never used",
    "MCP0117": "an operation of a target is covered by another one of it",
    "MCP0118": "an operation of a target is one of HEAD, which is governed as GET",
    "MCP0201": "a case gives a model that is not declared",
    "MCP0202": "a case gives an attribute that its model does not declare",
    "MCP0203": "a case gives a state or a value that its model does not know",
    "MCP0204": "a case names a fixture that is not there",
    "MCP0205": "a case gives a sensitive attribute, which no policy sees",
    "MCP0206": "a case calls a service that no policy governs",
    "MCP0207": "a case expects the word of a policy, rule or clause that is not there",
    "MCP0208": "two cases of a file have one name",
}
"""What each code says."""

MEND = {
    "MCP0001": "Mend the YAML at this place; quote what holds a colon, a brace or a quote.",
    "MCP0002": "Split the file, and use constants instead of long lists written out.",
    "MCP0003": "Write a value of the type that the message names.",
    "MCP0004": "Take the nearest valid key that the message names, or delete this one.",
    "MCP0005": "Add the key.",
    "MCP0006": "Keep one of the two.",
    "MCP0007": "Take one of the values that the message names.",
    "MCP0008": "Write a value within the range that the message names.",
    "MCP0009": "Rename one policy, or merge the rules of the two.",
    "MCP0010": "Rename one of the rules.",
    "MCP0011": "Write when(CONDITION) then route_to(OPTIONS) else …",
    "MCP0012": "Take metadata.namespace out, or apply the file in that namespace.",
    "MCP0020": "Mend the expression at this place; conditions are CEL.",
    "MCP0021": "Take the nearest name that the message gives, or declare the attribute or model.",
    "MCP0022": "Compare values of one type.",
    "MCP0023": "Take a state that the model declares, or declare this one.",
    "MCP0024": "Split the condition into rules, and use constants for long lists.",
    "MCP0025": "Write no more digits than the attribute's scale has, and compare what has one unit.",
    "MCP0026": "Say it with the standard functions and macros.",
    "MCP0027": "Write the pattern in RE2's syntax.",
    "MCP0028": "Rename one of the two, or delete it.",
    "MCP0029": "Write a lower-case ASCII identifier that is neither reserved nor built in.",
    "MCP0030": "Take the nearest state that the message names, or declare this one.",
    "MCP0031": "Pseudonymise the key, and let the state be seen.",
    "MCP0032": "Write the model as it is held, or give it another name.",
    "MCP0101": "Put has(…) && before the clause, or let the default refuse and rules grant.",
    "MCP0102": "Move the rule before those that the message names, narrow them, or delete it.",
    "MCP0103": "Mend the clauses that exclude each other, or delete the rule.",
    "MCP0104": "Mend the clauses that exclude each other: as written, only absent facts bring the refusal about.",
    "MCP0105": "Refusals win within a policy: narrow those that the message names, or delete the grant.",
    "MCP0106": "Refusals win over all policies of a target: narrow one of the two, or delete the grant.",
    "MCP0107": "Give the operations to one of the two policies, or merge their rules.",
    "MCP0108": "Delete the rule, unless it is there for readers.",
    "MCP0109": "Delete the default where it may be left out; else see whether the rules before it say what was meant.",
    "MCP0110": "Delete the value, or mend the clauses that exclude it.",
    "MCP0111": "Write has(…), or leave out the state that was not meant.",
    "MCP0112": "Declare the transition that leads there, or delete the state.",
    "MCP0113": "Declare the transition that leads there, or delete the state.",
    "MCP0114": "Let the attribute travel, or ask has() first: it is there only where the target looks the entity up.",
    "MCP0115": "Guard the division, index or conversion; where it errs, the rule does not match.",
    "MCP0116": "Delete it, or use it.",
    "MCP0117": "Delete it: the other pattern has all of its calls.",
    "MCP0118": "Write GET, which governs both.",
    "MCP0201": "Take the nearest model that the message names, or declare this one.",
    "MCP0202": "Take the nearest attribute that the message names, or declare this one.",
    "MCP0203": "Write a state or a value that the model knows.",
    "MCP0204": "Take the nearest fixture that the message names, or write this one under fixtures.",
    "MCP0205": "Leave it out: no policy sees what is declared sensitive.",
    "MCP0206": "Take the nearest service that the message names.",
    "MCP0207": "Take the nearest name that the message gives.",
    "MCP0208": "Rename one of the cases.",
}
"""How to mend what each code says."""

NOTES = frozenset({"MCP0108", "MCP0109", "MCP0111", "MCP0115"})


def severity_of(code: str) -> str:
    """Give the severity of a code's findings: what is said of policies that check is no error."""
    analysed = "MCP0100" <= code < "MCP0200"
    return "note" if code in NOTES else "warning" if analysed else "error"


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


@dataclass(frozen=True, slots=True)
class Report:
    """Findings by place, and how many more there were than a report may hold."""

    findings: tuple[Finding, ...]
    left_out: int = 0


@dataclass(slots=True)
class Collector:
    """Collects findings up to a bound, so that no input can make a report of unbounded size.

    ``left_out`` counts those past the bound, ``failures`` every error, kept or not.
    """

    limit: int = 10_000
    found: list[Finding] = field(default_factory=list)
    left_out: int = 0
    failures: int = 0

    def error(self, code: str, message: str, at: Placed) -> None:
        """Report what forbids the policies from taking effect."""
        self.add(Finding(code, message, at.file, at.line, at.column))

    def report(self, code: str, message: str, at: Placed) -> None:
        """Report with the severity of the code."""
        self.add(Finding(code, message, at.file, at.line, at.column, severity_of(code)))

    def add(self, finding: Finding) -> None:
        """Keep a finding unless the bound is reached."""
        self.failures += finding.severity == "error"
        if self.full:
            self.left_out += 1
        else:
            self.found.append(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Keep several."""
        for finding in findings:
            self.add(finding)

    @property
    def full(self) -> bool:
        """Whether further findings are only counted."""
        return len(self.found) >= self.limit

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those of severity error."""
        return tuple(finding for finding in self.found if finding.severity == "error")

    def sorted(self) -> tuple[Finding, ...]:
        """Give all findings by place."""
        return tuple(sorted(self.found, key=lambda finding: (finding.file, finding.line, finding.column, finding.code)))
