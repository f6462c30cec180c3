"""Codes and the collector."""

from __future__ import annotations

from mcp_sdk.exceptions import Finding
from mcp_sdk.policy.findings import CODES, MEND, NOTES, Collector, severity_of


def test_every_code_says_how_to_mend_it() -> None:
    """Each code has its severity and its remedy, and only what policies that check are told is no error."""
    assert list(MEND) == list(CODES)
    assert set(CODES) >= NOTES
    assert {severity_of(code) for code in CODES if not code.startswith("MCP01")} == {"error"}
    assert {severity_of(code) for code in CODES if code.startswith("MCP01")} == {"warning", "note"}


def test_past_the_bound_findings_are_counted_and_errors_are_not_forgotten() -> None:
    """A collector that is full still knows that there was an error."""
    findings = Collector(limit=1)
    findings.report("MCP0102", "one", Finding("", "", "f", 1, 1))
    findings.extend([Finding("MCP0021", "two"), Finding("MCP0021", "three")])
    assert ([finding.message for finding in findings.found], findings.left_out) == (["one"], 2)
    assert (findings.full, findings.failures, findings.errors) == (True, 2, ())
